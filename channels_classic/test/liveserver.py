"""A test case with a real interface server and a real worker, for browsers and other clients outside the test.

Both are forks of the test process. Each test has its own, on a channel layer of their own.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from multiprocessing import get_start_method
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import TransactionTestCase, override_settings

from channels_classic.asgi import channel_layers, import_layer_class
from channels_classic.conf import CHANNEL_LAYERS, CHANNELS_WS_PROTOCOLS, DEFAULT_CHANNEL_LAYER
from channels_classic.interface_server import InterfaceConfig, InterfaceServer
from channels_classic.interface_server.server.listen import Listen
from channels_classic.interface_server.server.server import Server
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.names import random_text
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.signals import worker_process_ready
from channels_classic.test.child import STOP_TIMEOUT, Child
from channels_classic.worker import Worker, WorkerGroup

__all__ = ["ChannelLiveServerTestCase", "ProtocolServerProcess", "WorkerProcess"]


class ProtocolServerProcess(Child):
    """The interface server, on a free port, which it reports."""

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
        threading.Thread(target=self._report_port, args=(server,), daemon=True).start()
        server.run()

    def _report_port(self, server: Server) -> None:
        server.ready.wait()
        self.report_ready(str(urlsplit(server.addresses[0]).port))


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
        worker.grace = STOP_TIMEOUT / 2
        worker_process_ready.send(sender=worker)
        worker.ready()
        worker.install_signal_handler()  # as `run` does, but before the test may stop this process
        self.report_ready()
        worker.run()

    def _http_consumer(self) -> Any:
        if not self.serve_static or not apps.is_installed("django.contrib.staticfiles"):
            return None
        from channels_classic.staticfiles import StaticFilesConsumer

        return StaticFilesConsumer()


class ChannelLiveServerTestCase(TransactionTestCase):
    """Run an interface server and a worker for each test, at `live_server_url`.

    The databases must be in files or on a server. There must be one channel layer: the embedded one, or one whose
    `TEST_CONFIG` names a place that may be emptied. The test itself uses the same layer. The routes are those of the
    settings and the default ones; `apply_routes` does not affect the worker. Raises `LiveServerFailed`, with the output
    of the process, when one does not start, or ends before the test.
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
        """The URL of the site for HTTP."""
        return f"http://{self.host}:{self._port}"

    @property
    def live_server_ws_url(self) -> str:
        """The URL of the site for WebSockets."""
        return f"ws://{self.host}:{self._port}"

    @classmethod
    def setUpClass(cls) -> None:
        """Set up the class; what was started for a first test that is skipped is stopped after the class."""
        on_disk = ExitStack()
        cls.addClassCleanup(on_disk.close)
        for connection in connections.all():
            on_disk.enter_context(_copied_to_disk(connection))
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
                connection.close()  # a fork should inherit none that is open
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


@contextmanager
def _copied_to_disk(connection: Any) -> Iterator[None]:
    """Use a copy in a file in place of the copy in memory that Django makes for a process of a parallel test run.

    It makes one where such processes are not forked, as from Python 3.14 on: each reads the file of its database into
    memory. Django closes no database in memory, so the connection is put aside, and used again afterwards.
    """
    name = str(connection.settings_dict["NAME"])
    if get_start_method() == "fork" or not re.match(rf"file:memorydb_{connection.alias}_\d+\?", name):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="channels-") as folder:
        file = str(Path(folder, f"{connection.alias}.sqlite3"))
        connection.ensure_connection()
        in_memory = connection.connection
        with closing(connection.Database.connect(file)) as copy:
            in_memory.backup(copy)
        connection.connection, connection.settings_dict["NAME"] = None, file
        try:
            yield
        finally:
            connection.close()
            connection.connection, connection.settings_dict["NAME"] = in_memory, name


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
    """Replace the layer in the settings by an empty one that nothing else uses, for this process and its forks."""
    with tempfile.TemporaryDirectory(prefix="channels-") as folder:
        entry = _checked_entry()
        config = _test_config(entry, folder)
        layers = {DEFAULT_CHANNEL_LAYER: {**entry, "CONFIG": config, "TEST_CONFIG": config}}
        previous = channel_layers.backends.copy()
        with override_settings(**{CHANNEL_LAYERS.used_name: layers}):
            channel_layers.backends.clear()
            # Not from the settings, which may be others by the end of the test.
            layer = channel_layers.make_test_backend(DEFAULT_CHANNEL_LAYER).channel_layer
            _empty(layer)
            try:
                yield
            finally:
                _close(channel_layers.backends.get(DEFAULT_CHANNEL_LAYER))
                _empty(layer)
                _remove_keys(layer)
                channel_layers.backends.clear()
                channel_layers.backends.update(previous)


def _checked_entry() -> dict[str, Any]:
    """Return the only entry of `CHANNEL_LAYERS`."""
    layers = channel_layers.configs
    if len(layers) > 1:
        raise ImproperlyConfigured(
            f"ChannelLiveServerTestCase can be used with one channel layer; {CHANNEL_LAYERS.used_name} has "
            f"{', '.join(layers)}."
        )
    if DEFAULT_CHANNEL_LAYER not in layers:
        channel_layers.make_backend(DEFAULT_CHANNEL_LAYER)  # raises an error that says what to write
    return layers[DEFAULT_CHANNEL_LAYER]


def _test_config(entry: dict[str, Any], folder: str) -> dict[str, Any]:
    """Return the arguments of the layer, with names of its own, so that tests may run in parallel."""
    layer_class = import_layer_class(DEFAULT_CHANNEL_LAYER, entry)
    if "inmemory" in layer_class.__module__:
        raise ImproperlyConfigured(
            "ChannelLiveServerTestCase cannot be used with the memory layer: its worker is another process, which "
            "cannot reach that layer. Leave BACKEND out of CHANNEL_LAYERS for the embedded layer."
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


def _remove_keys(layer: Any) -> None:
    """Remove all keys of a layer in Redis whose prefix is used no more: some outlive `flush`, for a day or a month."""
    if not isinstance(layer, RedisChannelLayer):
        return
    pattern = "".join(f"\\{char}" if char in "*?[]^\\" else char for char in layer.prefix) + "*"
    for connector, _ in layer._connectors():
        # Without the layer, which writes such a key when it connects.
        connection = connector.open()
        try:
            cursor: bytes = b"0"
            while True:
                connection.send_command("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)
                cursor, keys = connection.read_response()
                for key in keys:
                    connection.send_command("UNLINK", key)
                    connection.read_response()
                if cursor == b"0":
                    break
        finally:
            connection.disconnect()


def _empty(layer: Any) -> None:
    """Empty a layer, unless it is the embedded one, which ends with its interface server."""
    if "flush" in layer.extensions and not isinstance(layer, LocalChannelLayer):
        layer.flush()
    _close(layer)


def _close(layer: Any) -> None:
    close = getattr(layer, "close", None)  # layers of other packages may have none
    if close is not None:
        close()
