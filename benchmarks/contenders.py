"""The contenders and how each is started: one table. All serve `benchmarks.project` from this environment.

Peers run with one process, as they do unless told otherwise, and with two, as many as an interface server and a worker.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

Words = tuple[str, ...]

INTERFACE: Words = ("django", "runinterface", "--port", "{port}")
WORKER: Words = ("django", "runworker")
GROUP: Words = ("benchmarks.inside", "group")
NCHAN = "/usr/lib/nginx/modules/ngx_nchan_module.so"
"""Nchan, where Debian's package `libnginx-mod-nchan` puts it."""

NODE_MODULES = Path(sys.prefix) / "node_modules"
"""The packages for Node, in this environment."""

COROUTINE: Words = ("benchmarks.inside", "messages-async", "--together")


@dataclass(frozen=True)
class Contender:
    """Programs that serve together: arguments of `python -m`, and after which line, how often, each of them serves.

    `layer` is a key of the layers in the project's settings. `prefix` comes before the paths of sockets.
    `client` measures instead of the scenario's: for floors, which are no servers. Without the Python package or the
    file that it `needs` a contender is left out.
    """

    name: str
    programs: tuple[Words, ...] = ()
    ready: tuple[str, int] = ("", 0)
    layer: str | None = None
    prefix: str = ""
    client: Words | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: str = ""

    @property
    def is_available(self) -> bool:
        return not self.needs or (Path(self.needs).exists() if "/" in self.needs else find_spec(self.needs) is not None)


def _replaced(program: Words) -> Words:
    """A program that does not replace itself on SIGHUP, under one that restarts it."""
    return ("benchmarks.restarter", *program)


def _ours(layer: str, *options: str, name: str = "", processes: int = 1) -> Contender:
    label = {"redis": "Redis", "local": "local"}[layer]
    worker = (*WORKER, *options)
    return Contender(
        f"channels_classic, {label}{name}",
        (INTERFACE, worker),
        (r"Worker process \d+ listens" if processes > 1 else "Listening on channels", processes),
        layer,
    )


def _uvicorn(name: str, application: str, layer: str | None = None, processes: int = 1, prefix: str = "") -> Contender:
    program = ("uvicorn", f"benchmarks.project.{application}:application", "--port", "{port}", "--no-access-log")
    workers = ("--workers", str(processes)) if processes > 1 else ()
    return Contender(
        f"{name} × {processes}",
        ((*program, *workers),),
        ("Application startup complete", processes),
        layer,
        prefix,
    )


def _daphne(processes: int) -> Contender:
    program = ("benchmarks.project.daphnes", "{port}", str(processes))
    return Contender(f"Channels 4, Daphne × {processes}", (program,), ("Listening on TCP", processes), "core")


def _gunicorn(processes: int) -> Contender:
    program = ("gunicorn", "benchmarks.project.wsgi", "--bind", "127.0.0.1:{port}", "--no-control-socket")
    return Contender(
        f"Gunicorn × {processes}", ((*program, "--workers", str(processes)),), ("Booting worker", processes)
    )


def _bare(name: str, module: str, needs: str) -> Contender:
    return Contender(name, ((f"benchmarks.project.{module}", "{port}"),), ("serves", 1), needs=needs)


CONTENDERS: dict[str, Contender] = {
    "redis": _ours("redis"),
    "local": _ours("local"),
    "redis-2": _ours("redis", "--processes", "2", name=", 2 workers", processes=2),
    "local-2": _ours("local", "--processes", "2", name=", 2 workers", processes=2),
    "redis-threads": _ours("redis", "--threads", "8", name=", 8 threads"),
    "local-threads": _ours("local", "--threads", "8", name=", 8 threads"),
    "redis-8": _ours("redis", "--processes", "8", name=", 8 processes", processes=8),
    "local-8": _ours("local", "--processes", "8", name=", 8 processes", processes=8),
    "channels": _uvicorn("Channels 4, uvicorn", "channels_4", "core"),
    "channels-2": _uvicorn("Channels 4, uvicorn", "channels_4", "core", 2),
    "channels-sync": _uvicorn("Channels 4, uvicorn, sync consumer", "channels_4", "core", prefix="/sync"),
    "channels-sync-2": _uvicorn("Channels 4, uvicorn, sync consumer", "channels_4", "core", 2, prefix="/sync"),
    "pubsub": _uvicorn("Channels 4, uvicorn, pub/sub", "channels_4", "pubsub"),
    "pubsub-2": _uvicorn("Channels 4, uvicorn, pub/sub", "channels_4", "pubsub", 2),
    "daphne": _daphne(1),
    "daphne-2": _daphne(2),
    "django": _uvicorn("Django, uvicorn", "asgi"),
    "django-2": _uvicorn("Django, uvicorn", "asgi", processes=2),
    "gunicorn": _gunicorn(1),
    "gunicorn-2": _gunicorn(2),
    "bare": _uvicorn("bare ASGI, uvicorn", "bare"),
    "picows": _bare("picows × 1", "picows_echo", needs="picows"),
    "nchan": _bare("nginx with Nchan × 1", "nchan", needs=NCHAN),
    "ws": _bare("ws on Node × 1", "node_ws", needs=str(NODE_MODULES / "ws")),
    "handler": Contender("Django's WSGI handler, in process", client=("benchmarks.inside", "handler")),
    "redis-streams": Contender(
        "channels_classic, Redis, --event-streams",
        ((*INTERFACE, "--event-streams", "*"), WORKER),
        ("Listening on channels", 1),
        "redis",
    ),
    **{
        f"{layer}-rate": Contender(
            f"channels_classic, {label}, --frame-rate 100",
            ((*INTERFACE, "--frame-rate", "100"), WORKER),
            ("Listening on channels", 1),
            layer,
        )
        for layer, label in (("redis", "Redis"), ("local", "local"))
    },
    # Replaced while it serves: by a successor, or stopped and started again.
    "redis-drain": Contender(
        "channels_classic, Redis, --drain",
        ((*INTERFACE, "--drain", "{drain}"), (*WORKER, "--processes", "2")),
        (r"Worker process \d+ listens", 2),
        "redis",
    ),
    "redis-restart": Contender(
        "channels_classic, Redis, restarted",
        (_replaced(INTERFACE), (*WORKER, "--processes", "2")),
        (r"Worker process \d+ listens", 2),
        "redis",
    ),
    "channels-restart": Contender(
        "Channels 4, uvicorn, restarted",
        (_replaced(_uvicorn("", "channels_4").programs[0]),),
        ("Application startup complete", 1),
        "core",
    ),
    # Layers alone: the client is the sender and the receiver.
    "redis-layer": Contender("channels_classic, Redis", layer="redis"),
    "local-layer": Contender("channels_classic, local", (INTERFACE,), ("hosts the channel layer", 1), "local"),
    "core-layer": Contender("channels_redis core", layer="core"),
    "core-apart": Contender("channels_redis core, each in a channel", layer="core", client=(*GROUP, "--apart")),
    "core-alone": Contender("channels_redis core, one coroutine", layer="core", client=(*COROUTINE, "1")),
    "redis-benchmark": Contender("redis-benchmark, 16 a pipeline", client=("benchmarks.inside", "redis-benchmark")),
}
