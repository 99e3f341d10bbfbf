"""A test case with a real interface server and a real worker, for browsers and other clients outside the test.

Both are forks of the test process, one of each per test, on a channel layer of their own.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import TransactionTestCase, override_settings

from channels_classic.asgi import channel_layers, import_layer_class
from channels_classic.conf import CHANNELS_WS_PROTOCOLS, DEFAULT_CHANNEL_LAYER
from channels_classic.interface_server import InterfaceConfig, InterfaceServer
from channels_classic.interface_server.server.listen import Listen
from channels_classic.interface_server.server.server import Server
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.names import random_text
from channels_classic.signals import worker_process_ready
from channels_classic.test.child import STOP_PATIENCE, Child
from channels_classic.worker import Worker, WorkerGroup

__all__ = ["ChannelLiveServerTestCase", "ProtocolServerProcess", "WorkerProcess"]


class ProtocolServerProcess(Child):
    """The interface server, on a free port, which it tells."""

    name = "interface server"

    def __init__(self, host: str) -> None:
        super().__init__()
        self.host = host

    def main(self) -> None:
        """Serve until SIGTERM."""
        config = InterfaceConfig(
            ws_protocols=tuple(CHANNELS_WS_PROTOCOLS.get() or ()),
            root_path=settings.FORCE_SCRIPT_NAME or "",
        )
        layer = channel_layers[DEFAULT_CHANNEL_LAYER].channel_layer
        server = Server(InterfaceServer(layer, config), config, Listen(bind=self.host, port=0))
        threading.Thread(target=self._tell_port, args=(server,), daemon=True).start()
        server.run()

    def _tell_port(self, server: Server) -> None:
        server.ready.wait()
        self.tell_ready(str(urlsplit(server.addresses[0]).port))


class WorkerProcess(Child):
    """The worker, with the default routes."""

    name = "worker"

    def __init__(self, host: str, threads: int, serve_static: bool) -> None:
        super().__init__()
        self.host = host
        self.threads = threads
        self.serve_static = serve_static

    def main(self) -> None:
        """Consume until SIGTERM."""
        settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, self.host]
        layer = channel_layers[DEFAULT_CHANNEL_LAYER]
        layer.router.check_default(http_consumer=self._http_consumer())
        worker = Worker(layer) if self.threads == 1 else WorkerGroup(layer, n_threads=self.threads)
        worker.grace = STOP_PATIENCE / 2
        worker_process_ready.send(sender=worker)
        worker.ready()
        worker.install_signal_handler()  # as `run` does, but before anybody may ask it to stop
        self.tell_ready()
        worker.run()

    def _http_consumer(self) -> Any:
        if not self.serve_static or not apps.is_installed("django.contrib.staticfiles"):
            return None
        from channels_classic.staticfiles import StaticFilesConsumer

        return StaticFilesConsumer()


class ChannelLiveServerTestCase(TransactionTestCase):
    """Runs an interface server and a worker beside each test; `live_server_url` is where.

    The databases must be in files or on a server. There must be one channel layer: the embedded one, or one whose
    `TEST_CONFIG` says where it may be emptied. The test itself uses the same layer. The routes are those of the
    settings and the default ones; `apply_routes` does not reach the worker. Raises `LiveServerFailed`, with what the
    process wrote, when one does not start, or ends before the test.
    """

    host = "localhost"
    worker_threads = 1
    serve_static = True
    ProtocolServerProcess = ProtocolServerProcess
    WorkerProcess = WorkerProcess

    _port = ""
    _running: ExitStack | None = None

    @property
    def live_server_url(self) -> str:
        """Where the site of this test is, for HTTP."""
        return f"http://{self.host}:{self._port}"

    @property
    def live_server_ws_url(self) -> str:
        """Where the site of this test is, for WebSockets."""
        return f"ws://{self.host}:{self._port}"

    @classmethod
    def setUpClass(cls) -> None:
        """Set up the class; what Django started for a first test that is skipped ends with the class."""
        cls.addClassCleanup(cls._stop)
        super().setUpClass()

    @classmethod
    def _pre_setup(cls) -> None:
        cls._stop()
        _refuse_databases_in_memory()
        super()._pre_setup()  # type: ignore[misc]  # private in Django, not in its stubs
        with ExitStack() as stack:
            cls._start(stack)
            cls._running = stack.pop_all()

    def _post_teardown(self) -> None:
        try:
            self._stop()
        finally:
            super()._post_teardown()  # type: ignore[misc]

    @classmethod
    def _start(cls, stack: ExitStack) -> None:
        stack.enter_context(_test_layer())
        for connection in connections.all(initialized_only=True):
            if not connection.in_atomic_block:
                connection.close()  # a fork should find none that is open
        server = cls.ProtocolServerProcess(cls.host)
        cls._port = server.start()
        stack.callback(server.stop)
        worker = cls.WorkerProcess(cls.host, cls.worker_threads, cls.serve_static)
        worker.start()
        stack.callback(worker.stop)

    @classmethod
    def _stop(cls) -> None:
        running, cls._running = cls._running, None
        if running is not None:
            running.close()


def _refuse_databases_in_memory() -> None:
    connection: Any
    for connection in connections.all():
        if connection.vendor == "sqlite" and connection.is_in_memory_db():
            raise ImproperlyConfigured(
                f"ChannelLiveServerTestCase cannot be used with the database {connection.alias!r}, which is in memory: "
                "its worker is another process. Name a file for the tests, in "
                f"DATABASES[{connection.alias!r}]['TEST']['NAME']."
            )


@contextmanager
def _test_layer() -> Iterator[None]:
    """Have the settings name an empty layer that nothing else uses, for this process and its forks."""
    with tempfile.TemporaryDirectory(prefix="channels-") as folder:
        entry = _checked_entry()
        config = _test_config(entry, folder)
        layers = {DEFAULT_CHANNEL_LAYER: {**entry, "CONFIG": config, "TEST_CONFIG": config}}
        previous = channel_layers.backends.copy()
        with override_settings(CHANNEL_LAYERS=layers):
            channel_layers.backends.clear()
            _empty_layer()
            try:
                yield
            finally:
                _close(channel_layers.backends.get(DEFAULT_CHANNEL_LAYER))
                _empty_layer()
                channel_layers.backends.clear()
                channel_layers.backends.update(previous)


def _checked_entry() -> dict[str, Any]:
    """The one entry of `CHANNEL_LAYERS`."""
    layers = channel_layers.configs
    if len(layers) > 1:
        raise ImproperlyConfigured(
            f"ChannelLiveServerTestCase can be used with one channel layer; CHANNEL_LAYERS has {', '.join(layers)}."
        )
    if DEFAULT_CHANNEL_LAYER not in layers:
        channel_layers.make_backend(DEFAULT_CHANNEL_LAYER)  # raises, and says what to write
    return layers[DEFAULT_CHANNEL_LAYER]


def _test_config(entry: dict[str, Any], folder: str) -> dict[str, Any]:
    """What the layer is made with: names of its own, so that tests may run beside each other."""
    layer_class = import_layer_class(DEFAULT_CHANNEL_LAYER, entry)
    if "inmemory" in layer_class.__module__:
        raise ImproperlyConfigured(
            "ChannelLiveServerTestCase cannot be used with the memory layer, which ends at the process: its worker is "
            "another one. Leave BACKEND out of CHANNEL_LAYERS for the embedded layer."
        )
    if issubclass(layer_class, LocalChannelLayer):
        path = str(Path(folder, "layer"))
        return (
            {"path": path, **entry["TEST_CONFIG"]}
            if "TEST_CONFIG" in entry
            else {**entry.get("CONFIG", {}), "path": path}
        )
    layer = channel_layers.make_test_backend(DEFAULT_CHANNEL_LAYER)
    if not isinstance(getattr(layer, "prefix", None), str):
        return dict(entry["TEST_CONFIG"])
    return {**entry["TEST_CONFIG"], "prefix": f"{layer.prefix}{random_text(8)}:"}


def _empty_layer() -> None:
    """Leave nothing in the layer of the settings; the embedded one ends with its interface server anyway."""
    layer = channel_layers.make_test_backend(DEFAULT_CHANNEL_LAYER)
    if "flush" in layer.extensions and not isinstance(layer.channel_layer, LocalChannelLayer):
        layer.flush()
    _close(layer)


def _close(layer: Any) -> None:
    close = getattr(layer, "close", None)  # others' layers may have none
    if close is not None:
        close()
