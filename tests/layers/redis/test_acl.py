"""A Redis user who may do no more than the layer needs, and what the programs report about one who may do less."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.history import HEAD
from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.redis.protocol import RedisProtocol
from channels_classic.layers.results import PushStatus, Taken
from channels_classic.layers.steps import Entry, Heartbeat, Join, Push, ReadHistory, Take
from tests.support.own_project import own_project
from tests.support.redis_server import RedisServer
from tests.support.waiting import scaled

ROOT = Path(__file__).parent.parent.parent.parent
LAYERS = (ROOT / "docs/reference/layers.md").read_text()
RULE = re.search(r"ACL SETUSER (.*)", LAYERS)

REDIS = "CHANNEL_LAYERS['default']['BACKEND'] = 'channels_classic.layers.redis.RedisChannelLayer'\n"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.close()


def allow(server: RedisServer, *changes: str) -> str:
    """Make the user of the documentation, changed; its URL."""
    assert RULE is not None
    server.command("ACL", "SETUSER", *RULE[1].split(), *changes)
    return f"redis://channels:secret@127.0.0.1:{server.port}/0"


def test_the_documented_rule_is_enough_for_everything(server: RedisServer) -> None:
    layer = RedisChannelLayer(hosts=[allow(server)])
    layer.send("jobs", {"n": 1})
    assert layer.receive(["jobs"], block=True) == ("jobs", {"n": 1})
    assert layer.receive(["jobs"]) == (None, None)
    assert layer.new_channel("box?").startswith("box?")
    layer.group_add("g", "jobs")
    layer.send_group("g", {"n": 2})
    assert layer.group_channels("g") == ["jobs"]
    layer.group_discard("g", "jobs")
    assert layer.channel_statistics("jobs")["messages_count"] == 2
    assert layer.global_statistics()["messages_count"] == 2
    layer.flush()
    assert layer.receive(["jobs"]) == (None, None)
    layer.close()


def test_a_site_runs_with_the_documented_rule(server: RedisServer) -> None:
    config = f"CHANNEL_LAYERS['default']['CONFIG'] = {{'hosts': ['{allow(server)}']}}"
    with own_project(REDIS + config) as project:
        with (
            project.run("runinterface", "--port", str(project.port)) as interface,
            project.run("runworker") as worker,
        ):
            interface.wait_for_port(project.port)
            worker.wait_for_line("Listening on channels")
            with project.socket() as socket:
                socket.send("x")
                assert socket.recv(timeout=scaled(5)) == "first x"
            assert worker.stop() == 0 and interface.stop() == 0
        assert "NOPERM" not in interface.output + worker.output
        assert "secret" not in interface.output + worker.output


@pytest.mark.parametrize(
    "changes",
    [["-info"], ["-evalsha"], ["resetkeys", "~other:*"]],
    ids=" ".join,
)
def test_a_user_who_may_do_less_is_told_what_to_allow(server: RedisServer, changes: list[str]) -> None:
    layer = RedisChannelLayer(hosts=[allow(server, *changes)])
    with pytest.raises((LayerUnavailable, StepRefused), match=r"docs/reference/layers\.md"):
        layer.send("jobs", {})
    layer.close()


@pytest.mark.parametrize("missing", ["hlen", "hincrby", "pexpire"])
def test_what_is_written_is_not_reported_as_refused(server: RedisServer, missing: str) -> None:
    """Its sender would send it again."""
    layer = RedisChannelLayer(hosts=[allow(server)])
    layer.run([Heartbeat("interface.v2.a!"), Join("g", "interface.v2.a!", ["client"])])
    allow(server, f"-{missing}")
    layer.send("jobs", {"n": 1})
    layer.send("interface.v2.a!client", {"n": 1})
    layer.send_group("g", {"n": 1})
    assert server.command("LLEN", "asgi:{0}:queue:jobs") == ":1"
    assert server.command("LLEN", "asgi:{0}:queue:interface.v2.a!") == ":2"
    layer.close()


@pytest.mark.parametrize("missing", ["lpop", "pexpire"])
def test_a_message_that_its_group_has_kept_is_not_reported_as_refused(server: RedisServer, missing: str) -> None:
    layer = RedisChannelLayer(hosts=[allow(server)])
    layer.send_group("g", {"n": 0}, keep=1, seconds=1)
    allow(server, f"-{missing}")
    for n in (1, 2):
        layer.send_group("g", {"n": n}, keep=1, seconds=60)
    (history,) = layer.run([ReadHistory("g", HEAD, 0)])
    assert history.head == 3
    layer.close()


def test_a_message_that_is_reported_as_refused_was_not_kept(server: RedisServer) -> None:
    layer = RedisChannelLayer(hosts=[allow(server)])
    layer.send_group("g", {"n": 0}, keep=10, seconds=60)
    allow(server, "-hset")
    with pytest.raises(StepRefused, match="Nothing was written"):
        layer.send_group("g", {"n": 1}, keep=10, seconds=60)
    allow(server)
    layer.send_group("g", {"n": 1}, keep=10, seconds=60)
    (history,) = layer.run([ReadHistory("g", HEAD, 0)])
    assert history.head == 2
    assert server.command("LLEN", "asgi:{0}:kept:g") == ":2"
    layer.close()


def test_entries_behind_one_that_is_written_are_not_accepted_where_a_command_is_missing(server: RedisServer) -> None:
    layer = RedisChannelLayer(hosts=[allow(server)])
    layer.send("warm", {})
    allow(server, "-memory|usage")
    large = Entry(bytes(100_000), 60, limit=10)
    (statuses,) = layer.run([Push("jobs", [large, large])])
    assert statuses == [PushStatus.ACCEPTED, PushStatus.FULL]
    with pytest.raises(StepRefused, match=r"NOPERM .*docs/reference/layers"):
        raise layer.run([Push("jobs", [large])])[0]
    assert server.command("LLEN", "asgi:{0}:queue:jobs") == ":1"
    layer.close()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_what_a_take_was_given_is_counted_when_the_time_may_not_be_asked_any_more(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    def needs_time(*_: object) -> bool:
        allow(server, "-time")
        return True

    monkeypatch.setattr(RedisProtocol, "needs_time", needs_time)
    layer = RedisChannelLayer(hosts=[allow(server)])
    layer.send("jobs", {"n": 1})

    async def receive() -> Any:
        try:
            return await layer.receive_async(["jobs"])
        finally:
            await layer.close_async()

    with pytest.raises(LayerUnavailable, match=r"NOPERM .*'time' command"):  # by the next take, for what is behind it
        asyncio.run(receive()) if asynchronous else layer.receive(["jobs"])
    assert layer.losses.as_dict() == {"fenced": 1}
    layer.close()


def test_a_user_who_may_not_load_scripts_is_told_when_they_are_missing(server: RedisServer) -> None:
    url = allow(server)
    RedisChannelLayer(hosts=[url]).send("jobs", {})
    layer = RedisChannelLayer(hosts=[allow(server, "-script|load")])
    layer.send("jobs", {})
    server.command("SCRIPT", "FLUSH")
    with pytest.raises(StepRefused, match="forgot its scripts"):
        layer.send("jobs", {})
    with pytest.raises((LayerUnavailable, StepRefused), match="NOPERM"):
        layer.send("jobs", {})
    layer.close()


@pytest.mark.parametrize(
    ("user", "step"),
    [
        ("channels:wrong@", "Check the user and the password"),
        ("", "Give the password"),
    ],
)
def test_a_wrong_password_is_named_as_such(server: RedisServer, user: str, step: str) -> None:
    allow(server)
    server.command("ACL", "SETUSER", "default", "resetpass", ">other")
    layer = RedisChannelLayer(hosts=[f"redis://{user}127.0.0.1:{server.port}/0"])
    with pytest.raises(LayerUnavailable, match=step):
        layer.send("jobs", {})
    layer.close()


def test_a_request_that_redis_refuses_is_reported_under_the_name_of_the_refusal(server: RedisServer) -> None:
    config = f"CHANNEL_LAYERS['default']['CONFIG'] = {{'hosts': ['{allow(server)}']}}"
    with own_project(REDIS + config) as project:
        with project.run("runinterface", "--port", str(project.port)) as interface:
            interface.wait_for_port(project.port)
            allow(server, "-evalsha")
            assert project.get("/")[0] == 503
            # The refusal meets the request, or the connection that is opened for it.
            interface.wait_for_line("(refused|cannot be reached): NOPERM")
        assert "held its capacity" not in interface.output


def test_a_key_of_another_type_hits_no_other_channel_with_the_rule_by_command(server: RedisServer) -> None:
    """A take from several finds out which of them it is."""
    rule = re.findall(r"^ACL SETUSER (.*)", LAYERS, re.MULTILINE)[1]
    server.command("ACL", "SETUSER", *rule.split())
    layer = RedisChannelLayer(hosts=[f"redis://channels:secret@127.0.0.1:{server.port}/0"])
    server.command("SET", "asgi:{0}:queue:odd", "x")
    layer.send("fine", {"n": 1})
    results = [layer.run([Take(["odd", "fine"], 1)])[0] for _ in range(3)]
    assert isinstance(results[0], StepRefused)
    assert isinstance(results[2], Taken)
    layer.close()
