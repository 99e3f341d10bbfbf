"""A Django project of any kind as real processes: an interface server, workers, and whatever else `manage.py` runs.

`Site` is the one way to have a site in a test, `SiteOnLayer` one whose layer the test can use too. Their subclasses
describe projects: where `manage.py` lies, the environment, and how the project is prepared. Each site has a port and a
channel layer of its own.
"""

from __future__ import annotations

import http.client
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.redis import RedisChannelLayer
from tests.support.commands import run_command
from tests.support.processes import Process
from tests.support.redis_server import free_port
from tests.support.waiting import eventually, scaled

if TYPE_CHECKING:
    from typing_extensions import Self

HOST = "127.0.0.1"
ROOT = Path(__file__).parent.parent.parent


class Site:
    """`with Site(folder) as site:` has an interface server and workers, and answers.

    `folder` holds `manage.py`. `environment` is added to that of the tests; a value of `None` removes a name. With
    `workers=0` the test starts its own. What is started through the site ends with it.
    """

    page = "/"
    """A page that must answer before the site counts as running."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str | None] | None = None,
        *,
        workers: int = 2,
        options: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.environment: dict[str, str | None] = {"DJANGO_SETTINGS_MODULE": None, **(environment or {})}
        self.options = options
        """Options of `runinterface`."""
        self.workers: list[Process] = []
        self.processes: list[Process] = []
        self._worker_count = workers

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start_interface()
            self.start_workers(self._worker_count)
        except BaseException:
            self.stop()
            sys.stdout.write(self.output)  # pytest shows it beside the failure
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def prepare(self) -> None:
        """Make the database and the like, before the first program starts."""

    # Programs

    def run(self, *arguments: str, python: Sequence[str] = ()) -> Process:
        """Start `manage.py` with these arguments, and options for Python."""
        return self.start(sys.executable, *python, "manage.py", *arguments)

    def start(self, *command: str | os.PathLike[str]) -> Process:
        """Start a program in the folder of the project; it ends with the site, unless the test stops it before."""
        process = Process(command, cwd=self.folder, env=self.environment)
        self.processes.append(process)
        return process

    def manage(self, *arguments: str) -> str:
        """Run `manage.py` to its end and return its output."""
        command = run_command(["manage.py", *arguments], self.folder, self.environment)
        assert command.status == 0, f"manage.py {' '.join(arguments)} ended with {command.status}:\n{command.output}"
        return command.output

    def start_interface(self) -> None:
        self.interface = self.run("runinterface", "--bind", HOST, "--port", str(self.port), *self.options)
        self.interface.wait_for_port(self.port)

    def start_workers(self, count: int = 2) -> None:
        """Start workers and return when they work."""
        self.workers = [self.run("runworker") for _ in range(count)]
        for worker in self.workers:
            worker.wait_for_line("Listening on channels")
        if count:
            # An interface server that has not reached its layer within some seconds serves, and answers 503.
            eventually(lambda: self.get(self.page)[0] == 200, 20)

    def stop_workers(self) -> None:
        for worker in self.workers:
            assert worker.stop() == 0, worker.output
        self.workers = []

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()

    @property
    def output(self) -> str:
        """The output of all programs so far."""
        return "".join(process.output for process in self.processes)

    # Clients

    def url(self, path: str = "/", scheme: str = "http") -> str:
        return f"{scheme}://{HOST}:{self.port}{path}"

    def get(self, path: str) -> tuple[int, str]:
        """Return the status and the content of a page."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=scaled(30))
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


class SiteOnLayer(Site):
    """A site on the embedded layer, or on Redis with `redis_url`, and with a temporary folder of its own."""

    def __init__(
        self, folder: Path, redis_url: str | None = None, *, workers: int = 2, options: tuple[str, ...] = ()
    ) -> None:
        super().__init__(folder, workers=workers, options=options)
        self.redis_url = redis_url
        self._temporary = tempfile.TemporaryDirectory(prefix="site-")
        self.temporary = self._temporary.name
        self._path = f"{self.temporary}/layer"
        self.environment |= {"REDIS_URL": redis_url, "LAYER_PATH": self._path}

    def stop(self) -> None:
        super().stop()
        self._temporary.cleanup()

    @contextmanager
    def layer(self) -> Iterator[BaseChannelLayer]:
        """The site's layer, for the test to send from a process of its own."""
        hosts = (self.redis_url or "").split(",")
        layer = RedisChannelLayer(hosts=hosts) if self.redis_url else LocalChannelLayer(path=self._path)
        try:
            yield layer
        finally:
            layer.close()
