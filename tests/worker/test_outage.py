"""A layer that goes away and comes back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from channels_classic import Group
from channels_classic.layers.codec import Outcome
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.message import Message
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually, scaled
from tests.worker.harness import Inbox, make_group, make_worker, running


@pytest.fixture
def layer(own_redis: RedisServer) -> Iterator[RedisChannelLayer]:
    layer = RedisChannelLayer(hosts=[own_redis.url])
    yield layer
    layer.close()


def said(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records)


def test_workers_say_once_that_the_layer_is_away_and_once_that_it_is_back_and_go_on(
    own_redis: RedisServer, layer: RedisChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "channels_classic.worker")
    seen: list[Any] = []
    with running(make_group(layer, {"test": seen.append}, 3)):
        layer.send("test", {})
        eventually(lambda: len(seen) == 1)
        own_redis.stop()
        eventually(lambda: said(caplog, "cannot be reached"))
        own_redis.start()
        eventually(lambda: said(caplog, "The channel layer is back"))
        with closing(RedisChannelLayer(hosts=[own_redis.url])) as another:
            another.send("test", {})
        eventually(lambda: len(seen) == 2, timeout=10)
    assert said(caplog, "cannot be reached") == 1
    assert said(caplog, "The channel layer is back") == 1


def test_a_worker_also_logs_the_reason_that_it_meets_when_it_connects_again(
    own_redis: RedisServer, layer: RedisChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "channels_classic.worker")
    seen: list[Any] = []
    with running(make_worker(layer, {"test": seen.append})):
        layer.send("test", {})
        eventually(lambda: seen)
        with own_redis.with_new_password():
            eventually(lambda: said(caplog, "NOAUTH"))
        eventually(lambda: said(caplog, "The channel layer is back"))
    assert said(caplog, "Check that the server runs") == said(caplog, "Give the password in `hosts`") == 1


def test_a_worker_may_be_started_before_its_layer(own_redis: RedisServer, layer: RedisChannelLayer) -> None:
    seen: list[Any] = []
    own_redis.stop()
    with running(make_worker(layer, {"test": seen.append})):
        own_redis.start()
        layer.send("test", {})
        eventually(lambda: seen)


def test_a_worker_can_be_stopped_while_its_layer_is_away(
    own_redis: RedisServer, layer: RedisChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    with running(make_group(layer, {"test": print}, 2)):
        own_redis.stop()
        eventually(lambda: said(caplog, "cannot be reached"))


def test_what_a_consumer_sends_while_the_layer_is_away_is_delivered_when_it_is_back(
    own_redis: RedisServer, layer: RedisChannelLayer
) -> None:
    running_now, release = threading.Event(), threading.Event()

    def consumer(message: Message) -> None:
        running_now.set()
        release.wait(scaled(10))
        assert message.reply_channel is not None
        message.reply_channel.send({"text": "answer"})

    inbox = Inbox(layer)
    with running(make_worker(layer, {"test": consumer, "other": print})):
        inbox.post("test", {})
        assert running_now.wait(scaled(5))
        own_redis.stop()
        layer.close()
        own_redis.start()
        release.set()
        # The connection is known to be broken before the answer is written, so the answer waits for a new one.
        inbox.wait(2)
    assert layer.losses.as_dict() == {}
    assert inbox.seen == [("client", {"text": "answer"}), ("client", Outcome.CONSUMED)]


def test_a_server_that_forgets_its_scripts_costs_no_message_and_doubles_none(
    own_redis: RedisServer, layer: RedisChannelLayer, caplog: pytest.LogCaptureFixture
) -> None:
    def consumer(message: Message) -> None:
        assert message.reply_channel is not None
        own_redis.command("SCRIPT", "FLUSH")
        message.reply_channel.send({"n": 0})
        Group("room", channel_layer=message.channel_layer).send({"n": 1})
        message.reply_channel.send({"n": 2})

    inbox = Inbox(layer)
    layer.group_add("room", inbox.client())
    inbox.wait(1)
    with running(make_worker(layer, {"test": consumer})):
        for number in range(3):
            inbox.post("test", {}, token=str(number))
            assert len(inbox.wait(1 + 4 * (number + 1))) == 1 + 4 * (number + 1)
    expected = [("client", {"n": 0}), ("room", {"n": 1}), ("client", {"n": 2}), ("client", Outcome.CONSUMED)]
    assert inbox.seen[1:] == expected * 3
    assert layer.losses.as_dict() == {}
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


class Vault(redis.CredentialProvider):
    """Gives credentials unless it is sealed."""

    is_sealed = False

    def get_credentials(self) -> tuple[str, str]:
        if self.is_sealed:
            raise LookupError("the vault is sealed")
        return "default", ""


@pytest.mark.parametrize("take", ["function", "coroutine"])
def test_a_credential_provider_that_fails_is_an_outage_and_ends_no_worker(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture, take: str
) -> None:
    caplog.set_level("INFO", "channels_classic.worker")
    vault, seen = Vault(), []

    async def see(message: Message) -> None:
        await message.channel_layer.send_async("seen", {})
        seen.append(message)

    layer = RedisChannelLayer(hosts=[own_redis.url], connection_kwargs={"credential_provider": vault})
    consumer = seen.append if take == "function" else see
    with closing(layer), running(make_worker(layer, {"test": consumer})):
        layer.send("test", {})
        eventually(lambda: len(seen) == 1)
        vault.is_sealed = True
        own_redis.stop()
        own_redis.start()
        step = "Check `connection_kwargs` in CHANNEL_LAYERS, and where the provider gets the credentials from."
        eventually(lambda: said(caplog, f"Vault raised LookupError: the vault is sealed. {step}"))
        vault.is_sealed = False
        eventually(lambda: said(caplog, "The channel layer is back"))
        layer.send("test", {})
        eventually(lambda: len(seen) == 2, timeout=10)
    assert not [record for record in caplog.records if record.exc_info]
