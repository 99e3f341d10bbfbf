"""Progress of the demonstration: a bar with `rich`, a line per part without."""

from __future__ import annotations

from types import TracebackType
from typing import Any


class Bar:
    """`with Bar(total) as bar:` shows how many of `total` messages were sent, and what goes wrong meanwhile."""

    def __init__(self, total: int) -> None:
        self._progress: Any = None
        try:
            from rich.progress import Progress
        except ImportError:
            return
        self._progress = Progress()
        self._task = self._progress.add_task("starting", total=total)

    def __enter__(self) -> Bar:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def say(self, what: str) -> None:
        """Show the fault that is injected from now on."""
        if self._progress is not None:
            self._progress.update(self._task, description=f"{what:34}")
        else:
            print(f"{what} …", flush=True)

    def update(self, sent: int) -> None:
        """Show how many were sent."""
        if self._progress is not None:
            self._progress.update(self._task, completed=sent)
