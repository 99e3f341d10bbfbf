"""The observer of a server: the program around it, which reports to a supervisor and a process manager."""

from __future__ import annotations

from channels_classic._health import Health


class ServerObserver:
    """Receives the state changes of a server, in its event loop. This one ignores them."""

    @property
    def is_successor(self) -> bool:
        """True if another server accepts from the same sockets until this one is ready."""
        return False

    @property
    def is_replaced(self) -> bool:
        """True if the server stops because its successor serves: then a drain may take longer than planned."""
        return False

    def changed(self, state: Health) -> None:
        """The server accepts clients, and is in this state: ready, or what it lacks."""

    def beat(self) -> None:
        """The event loop runs."""

    def stopping(self) -> None:
        """The server accepts no more clients."""
