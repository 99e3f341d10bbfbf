"""The scenarios, their contenders and goals: one table.

Figures are called by their units; one that ends in "/s" is better when it is higher, all others when they are lower.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.contenders import Words

HTTP = ("benchmarks.clients", "--programs", "{programs}", "http")
SOCKETS = ("benchmarks.clients", "--programs", "{programs}")

CHANNELS = ("channels", "channels-2")
CHANNELS_SYNC = ("channels-sync", "channels-sync-2")
PUBSUB = ("pubsub", "pubsub-2")
DAPHNE = ("daphne", "daphne-2")
DJANGO = ("django", "django-2")
GUNICORN = ("gunicorn", "gunicorn-2")


FULL_SIZES = {"storm": "5000", "drain": "30", "crowd": "20000", "drops": "1000", "period": "10"}
QUICK_SIZES = {"storm": "500", "drain": "3", "crowd": "1000", "drops": "200", "period": "3"}
"""The sockets whose server is replaced, the seconds that takes, the sockets of a crowd, and those that lose their
network once in as many seconds; and all of them for `--quick`.
"""


@dataclass(frozen=True)
class Goal:
    """A figure of ours as a multiple of the best of `against`, in the same round; without any, of the figure 1.

    Higher is better for figures that end in "/s", so the goal is at least `ratio`; for others at most. A goal without
    a ratio is a share that is only shown.
    """

    against: tuple[str, ...]
    ratio: float | None
    figure: str
    ours: str = "redis"

    @property
    def at_least(self) -> bool:
        return is_rate(self.figure)


@dataclass(frozen=True)
class Scenario:
    """A client, as arguments of `python -m`, those it is run against, and the goals.

    With `pages` there are users and sessions. With `cold` the client begins when the programs do. `--quick` leaves out
    those that are not `is_quick`.
    """

    key: str
    title: str
    client: Words
    contenders: tuple[str, ...]
    goals: tuple[Goal, ...]
    pages: bool = False
    cold: bool = False
    is_quick: bool = True


def is_rate(figure: str) -> bool:
    return figure.endswith("/s")


def _not_slower(*figures: str, local: str = "local", redis: str = "redis") -> tuple[Goal, ...]:
    """The local layer keeps up with Redis."""
    return tuple(Goal((redis,), 1.0, figure, local) for figure in figures)


def _nothing_missed(twice: str, ours: str) -> tuple[Goal, ...]:
    """A recoverable group delivers everything, once."""
    return tuple(Goal((), 0, figure, ours) for figure in ("missed", twice, "gaps"))


def _broadcast(sockets: int) -> Scenario:
    return Scenario(
        f"broadcast-{sockets}",
        f"broadcast to {sockets:,} sockets",
        (*SOCKETS, "broadcast", "{ws}/room", "--sockets", str(sockets)),
        ("redis", "local", *CHANNELS, *PUBSUB, *(DAPHNE if sockets == 1000 else ()), "nchan", "ws"),
        (
            Goal(CHANNELS, 20, "deliveries/s"),
            Goal(("nchan",), 1, "deliveries/s"),
            Goal(("ws",), None, "deliveries/s"),
            Goal(PUBSUB, 20, "deliveries/s"),
            Goal((), 0, "lost"),
            *((Goal((), 4, "µs of interface server"),) if sockets == 1000 else ()),
            *_not_slower("deliveries/s"),
        ),
        is_quick=sockets == 1000,
    )


SCENARIOS = (
    Scenario(
        "http-view",
        "HTTP, trivial view, 64 connections",
        (*HTTP, "{http}/", "--connections", "64", "--expect", "Hello, world"),
        ("redis", "local", *CHANNELS, *DAPHNE, *GUNICORN, "bare", "handler"),
        (
            Goal(CHANNELS, 4, "requests/s"),
            Goal(DAPHNE, None, "requests/s"),
            Goal(("gunicorn-2",), 1.8, "requests/s"),
            Goal(("bare",), None, "requests/s"),
            Goal(("handler",), None, "requests/s"),
            *_not_slower("requests/s"),
        ),
    ),
    Scenario(
        "http-page",
        "HTTP, session, user and one query, 16 connections",
        (*HTTP, "{http}/page", "--connections", "16", "--cookie", "{cookie}", "--expect", "Hello, anna"),
        ("redis", "redis-2", "local", *DJANGO, *GUNICORN),
        (
            Goal(DJANGO, None, "requests/s"),
            Goal(GUNICORN, None, "requests/s"),
            Goal(("django-2",), 2, "requests/s", "redis-2"),
            Goal(("gunicorn-2",), 1, "requests/s", "redis-2"),
            *_not_slower("requests/s"),
        ),
        pages=True,
    ),
    Scenario(
        "echo",
        "echo, 64 sockets",
        (*SOCKETS, "echo", "{ws}/echo", "--sockets", "64"),
        ("redis", "local", *CHANNELS, *CHANNELS_SYNC, *DAPHNE, "bare", "picows", "ws"),
        (
            Goal(CHANNELS, 1.8, "messages/s"),
            Goal(CHANNELS_SYNC, 4, "messages/s"),
            Goal(DAPHNE, None, "messages/s"),
            Goal(("picows",), None, "messages/s"),
            Goal(("ws",), None, "messages/s"),
            Goal(("bare",), None, "messages/s"),
            *_not_slower("messages/s"),
        ),
    ),
    Scenario(
        "echo-1",
        "echo, 1 socket",
        (*SOCKETS, "echo", "{ws}/echo", "--sockets", "1"),
        ("redis", "local", *CHANNELS, "daphne"),
        (Goal(CHANNELS, 1.5, "ms, median"), Goal(("daphne",), None, "ms, median"), *_not_slower("ms, median")),
    ),
    _broadcast(1000),
    _broadcast(5000),
    Scenario(
        "streams",
        "broadcast to 1,000 event streams, and to 1,000 sockets",
        ("benchmarks.event_streams", "{ws}/room", "--programs", "{programs}"),
        ("redis-streams", "nchan"),
        (
            Goal(("nchan",), None, "deliveries/s", "redis-streams"),
            Goal(("nchan",), None, "KiB a stream", "redis-streams"),
            Goal((), 0.9, "times the rate/s", "redis-streams"),
            Goal((), 1, "times the memory", "redis-streams"),
            Goal((), 0, "lost", "redis-streams"),
        ),
    ),
    Scenario(
        "group",
        "what a group send costs its sender",
        ("benchmarks.inside", "group"),
        ("redis-layer", "local-layer", "core-layer", "core-apart"),
        (
            Goal((), 1.3, "times as long for 10000", "redis-layer"),
            Goal((), 0, "bytes a member", "redis-layer"),
            Goal(("core-apart",), 1 / 50, "µs for 10000", "redis-layer"),
            Goal(("core-layer",), None, "µs for 10000", "redis-layer"),
            *_not_slower("µs for 10000", local="local-layer", redis="redis-layer"),
        ),
    ),
    Scenario(
        "group-inboxes",
        "a group send to 1,000 interface servers, and to 1,000,000 members on 10",
        ("benchmarks.inside", "inboxes"),
        ("redis-layer", "local-layer"),
        (Goal((), 25, "µs an inbox", "redis-layer"), Goal((), 5, "ms for 1000000", "redis-layer")),
    ),
    Scenario(
        "healing",
        "groups of 10 × 10,000 members after Redis lost its data",
        ("benchmarks.healing",),
        ("redis-layer",),
        tuple(
            goal
            for groups in (1, 1000)
            for goal in (
                Goal((), 5, f"s for {groups} groups", "redis-layer"),
                Goal((), 50, f"ms, longest ping, {groups} groups", "redis-layer"),
            )
        ),
        is_quick=False,
    ),
    Scenario(
        "layer",
        "layer alone, 200 bytes there and back, 1 thread",
        ("benchmarks.inside", "messages"),
        ("redis-layer", "local-layer", "core-layer", "core-alone", "redis-benchmark"),
        (
            Goal(("core-layer", "core-alone"), 4, "messages/s", "redis-layer"),
            Goal(("redis-benchmark",), None, "messages/s", "redis-layer"),
            *_not_slower("messages/s", local="local-layer", redis="redis-layer"),
        ),
    ),
    Scenario(
        "layer-async",
        "layer alone, 200 bytes there and back, 16 coroutines",
        ("benchmarks.inside", "messages-async"),
        ("redis-layer", "local-layer", "core-layer", "redis-benchmark"),
        (
            Goal(("core-layer",), 8, "messages/s", "redis-layer"),
            Goal(("redis-benchmark",), None, "messages/s", "redis-layer"),
            *_not_slower("messages/s", local="local-layer", redis="redis-layer"),
        ),
    ),
    Scenario(
        "idle",
        "opening sockets, and keeping them",
        (*SOCKETS, "idle", "{ws}/echo", "--sockets", "1000"),
        ("redis", "local", *CHANNELS, "daphne", "bare", "picows", "nchan", "ws"),
        (
            Goal(CHANNELS, 2, "connects/s"),
            Goal(("nchan",), 1, "KiB a socket"),
            Goal(("nchan",), None, "connects/s"),
            Goal(("picows",), None, "connects/s"),
            Goal(("ws",), None, "connects/s"),
            Goal(CHANNELS, 0.5, "KiB a socket"),
            Goal(("bare",), None, "connects/s"),
            Goal(("bare",), None, "KiB a socket"),
            *_not_slower("connects/s"),
        ),
    ),
    Scenario(
        "crowd",
        "64 echoing sockets among 20,000, and a broadcast to them",
        (*SOCKETS, "crowd", "{ws}/echo", "--sockets", "{crowd}"),
        ("redis", "local", "channels"),
        (
            Goal((), 2, "times as long"),
            Goal((), 0, "lost"),
            Goal(("channels",), None, "ms, 99 % of all"),
        ),
    ),
    Scenario(
        "storm",
        "the server of thousands of sockets is replaced",
        ("benchmarks.storm", "{ws}/storm", "--programs", "{programs}", "--sockets", "{storm}", "--drain", "{drain}"),
        ("redis-drain", "redis-restart", "channels-restart"),
        (
            Goal((), 0, "failed attempts", "redis-drain"),
            Goal((), 2, "times the paced rate", "redis-drain"),
            Goal((), 2, "times the 99 % before", "redis-drain"),
            Goal((), 0, "lost", "redis-drain"),
            Goal((), 0, "twice", "redis-drain"),
            *_nothing_missed("delivered twice", "redis-drain"),
            Goal((), None, "times the paced rate", "redis-restart"),
            *_nothing_missed("delivered twice", "redis-restart"),
        ),
    ),
    Scenario(
        "drops",
        "clients that lose their network for 2 s every 10 s",
        ("benchmarks.drops", "{ws}/feed", "--sockets", "{drops}", "--period", "{period}"),
        ("redis",),
        _nothing_missed("twice", "redis"),
    ),
    Scenario(
        "blocking",
        "consumers that wait 10 ms, 8 workers",
        (*SOCKETS, "echo", "{ws}/wait", "--sockets", "32"),
        ("redis-threads", "local-threads", "redis-8", "local-8"),
        (
            Goal((), 0.9 * 8 / 0.010, "messages/s", "redis-threads"),
            Goal((), 0.9 * 8 / 0.010, "messages/s", "redis-8"),
            *_not_slower("messages/s", local="local-threads", redis="redis-threads"),
            *_not_slower("messages/s", local="local-8", redis="redis-8"),
        ),
    ),
    Scenario(
        "scaling",
        "consumers that compute, 1 and 2 workers",
        (*SOCKETS, "echo", "{ws}/calculate", "--sockets", "16"),
        ("redis", "redis-2", "local", "local-2"),
        (
            Goal(("redis",), 1.7, "messages/s", "redis-2"),
            Goal(("local",), 1.7, "messages/s", "local-2"),
            *_not_slower("messages/s", local="local-2", redis="redis-2"),
        ),
    ),
    Scenario(
        "floods",
        "an honest socket beside 64 that send as fast as they can",
        ("benchmarks.floods", "{ws}/echo"),
        ("redis", "local", "redis-rate", "local-rate"),
        (
            Goal((), 3, "times the 99 % alone", "redis-rate"),
            Goal((), 3, "times the 99 % alone", "local-rate"),
            Goal((), None, "times the 99 % alone", "redis"),
            Goal((), None, "times the 99 % alone", "local"),
        ),
    ),
    Scenario(
        "slow-clients",
        "an honest client beside 160 slow, silent and vanished ones, 2 workers",
        ("benchmarks.slow_clients", "{http}"),
        ("redis-2", "local-2"),
        (Goal((), 2, "times the 99 % alone", "redis-2"), Goal((), 2, "times the 99 % alone", "local-2")),
    ),
    Scenario(
        "start",
        "starting, until the first echo",
        (*SOCKETS, "first", "{ws}/echo", "--since", "{since}"),
        ("redis", "local", "channels", "daphne"),
        (Goal(("channels",), 1.2, "s to the first echo"), *_not_slower("s to the first echo")),
        cold=True,
    ),
)
