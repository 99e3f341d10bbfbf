"""Every kind of loss: brought about with a real layer, worker or interface server, and seen by an operator.

The process that counts it has it in its metrics, by kind and channel, and `manage.py channels` shows it for the site.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from channels_classic._metrics.site import lost
from channels_classic.channel import Channel
from channels_classic.exceptions import ChannelsError, ConsumeLater
from channels_classic.layers.base import BaseChannelLayer
from channels_classic.layers.codec import Outcome
from channels_classic.layers.diagnosis import NORMAL
from channels_classic.layers.local import LocalChannelLayer
from channels_classic.layers.losses import KINDS
from channels_classic.layers.names import new_inbox
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.status import read
from channels_classic.layers.steps import Heartbeat, Join
from channels_classic.management.status_tables import text
from channels_classic.message import Message
from tests.interface_server.live import live
from tests.layers.hosts import folder
from tests.support.redis_server import RedisServer
from tests.support.site import ROOT
from tests.support.waiting import eventually
from tests.worker.harness import make_worker, running

QUEUE = "asgi:{0}:queue:jobs"


@dataclass
class Stage:
    """A server of the test's own, and a layer on it that counts."""

    server: RedisServer
    layer: RedisChannelLayer

    def other(self, **options: Any) -> RedisChannelLayer:
        return RedisChannelLayer(hosts=[self.server.url], **options)


def full(stage: Stage) -> None:
    stage.layer.group_add("room", "member")
    for _ in range(stage.layer.capacity + 1):
        stage.layer.send_group("room", {})


def expired(stage: Stage) -> None:
    stage.other(expiry=1).send("jobs", {"n": 1})
    stage.layer.send("jobs", {"n": 2})
    time.sleep(1.1)  # the expiry
    eventually(lambda: stage.layer.receive(["jobs"]) == ("jobs", {"n": 2}))


def fenced(stage: Stage) -> None:
    stage.layer.send("jobs", {})
    stage.server.command("SAVE")
    stage.server.stop()
    stage.server.start()
    with suppress(ChannelsError):  # the first connection is the one that broke
        stage.layer.receive(["jobs"])
    stage.layer.receive(["jobs"])


def dead(stage: Stage) -> None:
    inbox = new_inbox()
    stage.layer.run([Heartbeat(inbox), Join("room", inbox, ["client"])])
    stage.server.command("DEL", f"asgi:{{0}}:alive:{inbox}")
    stage.layer.send_group("room", {})


def undecodable(stage: Stage) -> None:
    stage.server.command("RPUSH", QUEUE, "x")
    stage.layer.receive(["jobs"])


def unknown(stage: Stage) -> None:
    with live(stage.layer) as server, server.websocket() as client:
        client.send("x")
        channel = str(server.take("websocket.receive").reply_channel)
        stage.layer.send(f"{channel.partition('!')[0]}!nobody", {"text": "x"})
        eventually(stage.layer.losses.as_dict)


def refused(stage: Stage) -> None:
    with live(stage.layer) as server:
        stage.server.command("CONFIG", "SET", "maxmemory", "1")
        assert status_of(server) == 503
        stage.server.command("CONFIG", "SET", "maxmemory", "0")


def broker(stage: Stage) -> None:
    with live(stage.layer) as server:
        stage.server.command("CLIENT", "PAUSE", "60000", "WRITE")
        connection = server.http()
        connection.request("GET", "/")
        eventually(lambda: int(stage.server.info("clients")["blocked_clients"]) >= 2)
        stage.server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        stage.server.command("CLIENT", "UNPAUSE")
        assert connection.getresponse().status == 503
        connection.close()


def died(stage: Stage) -> None:
    with live(stage.layer) as server, server.websocket() as client:
        client.send("x")
        server.report(server.take("websocket.receive"), Outcome.DIED)
        eventually(stage.layer.losses.as_dict)


def unheard(stage: Stage) -> None:
    layer = stage.layer
    layer.planner.expiry = layer.expiry = 1
    with live(layer) as server, server.websocket() as client:
        client.send("x")
        server.take("websocket.receive")
        eventually(layer.losses.as_dict, timeout=20)


def late(stage: Stage) -> None:
    layer = stage.layer
    layer.planner.expiry = layer.expiry = 1
    with live(layer) as server, server.websocket() as client:
        client.send("1")
        client.send("2")
        first, second = server.take("websocket.receive"), server.take("websocket.receive", timeout=20)
        assert first.reply_channel is not None
        reply = Outgoing(first.reply_channel, {"text": "x"}, report=first.report(Outcome.CONSUMED))
        layer.run(layer.planner.pushes([reply], {}))
        eventually(lambda: "late" in layer.losses.as_dict())
        server.report(second)


def gap(stage: Stage) -> None:
    with live(stage.layer) as server, server.websocket() as client:
        client.send("x")
        channel = str(server.consume("websocket.receive")["reply_channel"])
        stage.layer.group_add("room", channel, after="1-1", keep=5)
        eventually(stage.layer.losses.as_dict)


def flood(stage: Stage) -> None:
    with live(stage.layer, sockets_per_address=1) as server, server.websocket(), suppress(InvalidStatus):
        server.handshake()


def retries(stage: Stage) -> None:
    def consumer(message: Message) -> None:
        raise ConsumeLater

    with running(make_worker(stage.layer, {"jobs": consumer}, message_retries=1)):
        stage.layer.send("jobs", {})
        eventually(stage.layer.losses.as_dict)


def invalid(stage: Stage) -> None:
    def large(message: Message) -> None:
        Channel("other", channel_layer=message.channel_layer).send({"data": b"x" * 20_000_000})

    with running(make_worker(stage.layer, {"jobs": large})):
        stage.layer.send("jobs", {})
        eventually(stage.layer.losses.as_dict)


def status_of(server: Any) -> int:
    connection = server.http()
    connection.request("GET", "/")
    status: int = connection.getresponse().status
    connection.close()
    return status


SCENARIOS: dict[str, tuple[Callable[[Stage], None], str]] = {
    "full": (full, "room"),
    "expired": (expired, "jobs"),
    "fenced": (fenced, "jobs"),
    "dead": (dead, "inboxes"),
    "unknown": (unknown, "inboxes"),
    "broker": (broker, "http.request"),
    "refused": (refused, "http.request"),
    "invalid": (invalid, "other"),
    "retries": (retries, "jobs"),
    "undecodable": (undecodable, "jobs"),
    "died": (died, "websocket.receive"),
    "unheard": (unheard, "websocket.receive"),
    "late": (late, "inboxes"),
    "gap": (gap, "room"),
    "flood": (flood, "websocket.connect"),
}
"""A way to bring each kind about → the channel by which it is counted."""


def test_every_kind_is_brought_about() -> None:
    """Without a host there is no status."""
    assert set(SCENARIOS) == set(KINDS) - {"unhosted"}


def test_every_kind_is_a_row_of_the_page_about_delivery() -> None:
    page = (ROOT / "docs" / "delivery.md").read_text()
    table = page.partition("## Kinds of loss\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.M)) == sorted(KINDS)


@pytest.mark.parametrize("kind", SCENARIOS)
def test_a_loss_is_seen_by_its_kind_and_channel(own_redis: RedisServer, kind: str) -> None:
    stage = Stage(own_redis, RedisChannelLayer(hosts=[own_redis.url], capacity=5))
    before = read(stage.layer)
    bring_about, channel = SCENARIOS[kind]
    bring_about(stage)
    others = {"unheard"} if kind == "late" else set()  # the lease ends in either case
    assert stage.layer.losses.as_dict()[kind] == 1
    assert set(stage.layer.losses.as_dict()) <= {kind, *others}
    metrics = [(labels, value) for _, labels, value in lost(stage.layer.losses)]
    assert ((kind, channel), 1) in metrics
    stage.layer.global_statistics()  # carries the counts to the layer
    status = read(stage.layer)
    assert status.losses == stage.layer.losses.as_dict()
    assert re.search(rf"^  {kind} +1 +{re.escape(KINDS[kind])}$", text(status), re.M)
    assert (f"1 message(s) were lost a moment ago ({kind})" in text(status.since(before))) == (kind not in NORMAL)
    stage.layer.close()


def test_a_group_send_that_nobody_hosts_is_in_the_metrics_of_its_process() -> None:
    with folder() as name:
        layer: BaseChannelLayer = LocalChannelLayer(path=f"{name}/layer")
        layer.send_group("room", {})
        assert [labels for _, labels, _ in lost(layer.losses)] == [("unhosted", "room")]
