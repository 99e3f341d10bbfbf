"""`manage.py channels_check` against real servers: each refusal has its own name, and a server that fits has none."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
from django.core.management import CommandError, call_command

from channels_classic import checks_live
from channels_classic.layers.redis import inspection
from channels_classic.layers.redis.inspection import PROBES, judge, judge_clock, judge_timeout
from tests.support.redis_server import PROGRAM, Cluster, RedisServer, Sentinel
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pytest_django import Settings

REDIS = "channels_classic.layers.redis.RedisChannelLayer"
DOCS = Path(__file__).parent.parent / "docs"
RULES = re.findall(r"^ACL SETUSER (.*)", (DOCS / "reference" / "layers.md").read_text(), re.MULTILINE)
SCRIPTS = Path(inspection.__file__).parent / "scripts"

Check = Callable[..., str]


@pytest.fixture
def check(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Check:
    """Runs the command for a layer on `hosts`; returns its output, and the summary of a failure."""

    def run(hosts: Any, *options: str, backend: str = REDIS, **config: Any) -> str:
        if hosts is not None:
            config["hosts"] = hosts
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "ROUTING": [], "CONFIG": config}}
        failure = ""
        try:
            call_command("channels_check", *options, no_color=True)
        except CommandError as error:
            failure = str(error)
        return capsys.readouterr().out + failure

    return run


@pytest.fixture
def server(own_redis: RedisServer) -> RedisServer:
    return own_redis


def user(server: RedisServer, *changes: str, rule: str = RULES[0]) -> str:
    """Make the user of the documentation, changed; return the URL."""
    assert server.command("ACL", "SETUSER", *rule.split(), *changes) == "+OK"
    return f"redis://channels:secret@127.0.0.1:{server.port}/0"


def ids(output: str) -> list[str]:
    return re.findall(r"channels_classic\.([EW]\d+)", output)


def keys_left(server: RedisServer) -> int:
    return int(server.command("EVAL", "return #redis.call('KEYS', '*channels_check*')", "0")[1:])


def test_a_server_that_fits_is_described_and_left_as_it_was(server: RedisServer, check: Check) -> None:
    output = check([server.url])
    assert ids(output) == []
    assert "maxmemory-policy noeviction" in output
    assert re.search(r"(Redis|Valkey) \d+\.\d+", output)
    assert "a message went there and back in" in output
    assert keys_left(server) == 0
    assert server.command("ZCARD", "asgi:{0}:inboxes") == ":0"
    assert server.command("EXISTS", "asgi:{0}:counters") == ":0"


@pytest.mark.parametrize("rule", RULES, ids=["categories", "commands"])
def test_the_documented_user_is_all_that_is_needed(server: RedisServer, check: Check, rule: str) -> None:
    output = check([user(server, rule=rule)])
    assert ids(output) == []
    assert "the user may not run CONFIG GET" in output
    assert "secret" not in output
    assert keys_left(server) == 0


def test_every_command_of_the_layer_is_tried() -> None:
    scripts = "".join(path.read_text() for path in SCRIPTS.glob("*.lua"))
    used = set(re.findall(r"(?:redis\.p?call\(|mended\(|pcall\(mended, )'([A-Z]+)'", scripts))
    for name in ("commands.py", "protocol.py"):
        source = Path(inspection.__file__).with_name(name).read_text()
        used |= set(re.findall(r'(?<!\w)\(\s*"([A-Z]{3,})"', source))
    tried = {line.split()[0] for line in PROBES.replace("|", "\n").splitlines() if line.strip()}
    assert used - tried <= {"SET", "LEFT", "COUNT", "SCRIPT"}, "inspection.PROBES lacks a command"


@pytest.mark.parametrize(
    "command",
    ["info", "evalsha", "blmpop", "lmpop", "set", "hincrby", "client|id", "script|load", "memory|usage", "zadd"],
)
def test_a_command_that_is_not_allowed_is_named_with_the_rule_that_allows_it(
    server: RedisServer, check: Check, command: str
) -> None:
    output = check([user(server, f"-{command}")])
    shown = command.replace("|", " ").upper()
    assert ids(output) == ["E022"]
    assert f"NOPERM: the user of Redis 127.0.0.1:{server.port}/0 may not run {shown}" in output
    assert f"+{command}" in output
    assert keys_left(server) == 0


def test_a_database_that_the_server_lacks_is_no_server_that_does_not_run(server: RedisServer, check: Check) -> None:
    output = check([f"redis://127.0.0.1:{server.port}/99999"])
    assert ids(output) == ["E020"]
    assert "DB index is out of range" in output
    assert "name one from 0 to 15" in output and "Check that the server runs" not in output


class FailingProvider(redis.CredentialProvider):
    """Gives no credentials."""

    def get_credentials(self) -> tuple[str]:
        raise ValueError("the vault is sealed")


def test_credentials_that_cannot_be_had_are_reported(server: RedisServer, check: Check) -> None:
    output = check([server.url], connection_kwargs={"credential_provider": FailingProvider()})
    assert ids(output) == ["E020"]
    assert "the vault is sealed" in output and "Check `connection_kwargs`" in output


def test_several_commands_are_named_together(server: RedisServer, check: Check) -> None:
    output = check([user(server, "-@read")])
    assert ids(output) == ["E022"]
    assert "HGET, " in output and "ZRANGE" in output


@pytest.mark.parametrize(
    ("changes", "config", "pattern"),
    [
        (["resetkeys", "~other:*"], {}, "~asgi:*"),
        ([], {"prefix": "mine:"}, "~mine:*"),
        ([], {"stats_prefix": "numbers:"}, "~numbers:*"),
        (["resetkeys", "%R~asgi:*"], {}, "~asgi:*"),
        (["resetkeys", "~asgi:{0}:queue:*"], {}, "~asgi:*"),
    ],
    ids=repr,
)
def test_keys_that_are_not_allowed_are_named_with_the_pattern_that_allows_them(
    server: RedisServer, check: Check, changes: list[str], config: dict[str, str], pattern: str
) -> None:
    output = check([user(server, *changes)], **config)
    assert ids(output) == ["E022"]
    assert "may not use keys such as" in output and pattern in output


def test_refusals_have_their_own_names(server: RedisServer, check: Check) -> None:
    server.command("ACL", "SETUSER", "channels", "on", ">secret", "~*", "+@all")
    address = f"127.0.0.1:{server.port}/0"
    assert "WRONGPASS" in check([f"redis://channels:wrong@{address}"])
    server.command("CONFIG", "SET", "requirepass", "secret")
    output = check([f"redis://{address}"])
    assert ids(output) == ["E021"]
    assert "NOAUTH" in output and "Give the password" in output


def test_a_full_memory_is_named(server: RedisServer, check: Check) -> None:
    server.command("CONFIG", "SET", "maxmemory", "1")
    output = check([server.url])
    assert ids(output) == ["E021"]
    assert "OOM" in output and "Raise `maxmemory`" in output and "full" not in output


def test_a_master_that_misses_its_replicas_is_named_once(server: RedisServer, check: Check) -> None:
    server.command("CONFIG", "SET", "min-replicas-to-write", "1")
    output = check([server.url])
    assert ids(output) == ["E021"]
    assert "NOREPLICAS" in output and "lower `min-replicas-to-write`" in output


def test_a_replica_is_named(server: RedisServer, check: Check) -> None:
    replica = RedisServer(replicaof=f"127.0.0.1 {server.port}")
    try:
        replica.start()
        eventually(lambda: replica.info("replication")["role"] == "slave")
        output = check([replica.url])
    finally:
        replica.close()
    assert ids(output) == ["E021"]
    assert "READONLY" in output and "name the master" in output


def test_a_server_that_reads_its_data_is_named(server: RedisServer, check: Check) -> None:
    loading = RedisServer()
    try:
        loading.start()
        for number in range(80):
            loading.command("SET", str(number), "x" * 10_000)
        assert loading.command("SAVE") == "+OK"
        loading.stop()
        arguments = {"port": loading.port, "dir": loading.folder, "key-load-delay": 100_000, "save": "1 1"}
        words = [word for name, value in arguments.items() for word in (f"--{name}", *str(value).split())]
        words += ["--loading-process-events-interval-bytes", "1024"]
        assert PROGRAM is not None
        process = subprocess.Popen([PROGRAM, *words], stdout=subprocess.DEVNULL)
        try:
            eventually(lambda: _says(loading).startswith("-LOADING"))
            output = check([loading.url])
        finally:
            process.kill()
            process.wait()
    finally:
        loading.close()
    assert ids(output) == ["E021"]
    assert "LOADING" in output and "wait until it has finished" in output


def _says(server: RedisServer) -> str:
    try:
        return server.command("PING")
    except OSError:
        return ""


def test_a_server_that_is_not_there_is_named_with_its_setting(check: Check, free_port: int) -> None:
    output = check([f"redis://127.0.0.1:{free_port}"])
    assert ids(output) == ["E020"]
    assert f"127.0.0.1:{free_port}/0 cannot be reached" in output and "`hosts`" in output


def test_a_server_that_stands_still_is_named(server: RedisServer, check: Check) -> None:
    server.pause()
    try:
        output = check([server.url], connection_kwargs={"socket_timeout": 0.5})
    finally:
        server.resume()
    assert ids(output) == ["E020"]
    assert "Timeout" in output


def test_each_of_several_servers_is_inspected(server: RedisServer, check: Check, free_port: int) -> None:
    output = check([server.url, f"redis://127.0.0.1:{free_port}"])
    assert ids(output) == ["E020"]
    assert "a message went there and back in" in output


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_would_remove_messages_is_named(server: RedisServer, check: Check, policy: str) -> None:
    server.command("CONFIG", "SET", "maxmemory-policy", policy)
    output = check([server.url])
    assert ids(output) == ["E025"]
    assert policy in output and "CONFIG SET maxmemory-policy noeviction" in output


def test_a_short_timeout_is_warned_of_and_does_not_fail_unless_asked_to(server: RedisServer, check: Check) -> None:
    server.command("CONFIG", "SET", "timeout", "3")
    output = check([server.url])
    assert ids(output) == ["W020"]
    assert "problem(s) found" not in output
    assert "1 problem(s) found" in check([server.url], "--fail-level", "WARNING")
    server.command("CONFIG", "SET", "timeout", "300")
    assert ids(check([server.url])) == []


def test_a_silenced_message_is_not_shown(server: RedisServer, check: Check, settings: Settings) -> None:
    settings.SILENCED_SYSTEM_CHECKS = ["channels_classic.E025"]
    server.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert ids(check([server.url])) == []


def test_a_node_of_a_cluster_needs_the_layer_for_clusters(check: Check) -> None:
    cluster = Cluster(1)
    try:
        cluster.start()
        url = cluster.nodes[0].url
        assert "E024" in ids(check([url]))
        assert ids(check([url], backend="channels_classic.layers.redis.RedisClusterChannelLayer")) == []
    finally:
        cluster.close()


def test_the_masters_behind_sentinels_are_inspected(server: RedisServer, check: Check) -> None:
    sentinel = Sentinel({"main": server})
    backend = "channels_classic.layers.redis.RedisSentinelChannelLayer"
    try:
        sentinel.start()
        hosts = [("127.0.0.1", sentinel.port)]
        assert "service main: " in check(hosts, backend=backend)
        output = check(hosts, backend=backend, services=["other"])
    finally:
        sentinel.close()
    assert ids(output) == ["E020"]
    assert "they know no service 'other'" in output


def test_what_a_server_says_of_itself_is_judged_without_a_server() -> None:
    assert [finding.sentence for finding in judge("Redis x", {"redis_version": "6.2.14"}, False)] == [
        "Redis x is version 6.2.14."
    ]
    assert list(judge("Redis x", {"redis_version": "7.0.0", "redis_mode": "cluster"}, True)) == []


@pytest.mark.parametrize(
    ("ahead", "words"), [(0.5, ""), (-4.9, ""), (60.2, "60 s ahead of that of"), (-60.2, "60 s behind that of")]
)
def test_a_clock_that_differs_is_warned_of(ahead: float, words: str) -> None:
    assert words in "".join(finding.sentence for finding in judge_clock("Redis x", ahead))
    assert bool(list(judge_clock("Redis x", ahead))) is bool(words)


@pytest.mark.parametrize(("timeout", "number"), [(0, 0), (1, 1), (59, 1), (60, 0)])
def test_a_timeout_of_less_than_a_minute_is_warned_of(timeout: int, number: int) -> None:
    assert len(list(judge_timeout("Redis x", timeout))) == number


# Other layers


def test_the_local_layer_without_a_host_is_a_warning(check: Check, tmp_path: Path) -> None:
    output = check(None, backend="channels_classic.layers.local.LocalChannelLayer", path=str(tmp_path / "socket"))
    assert ids(output) == ["W022"]
    assert "runinterface" in output


def test_the_memory_layer_and_those_of_others_have_nothing_to_connect_to(check: Check) -> None:
    assert "lives in each process" in check(None, backend="channels_classic.layers.inmemory.ChannelLayer")
    assert "not a layer of channels_classic" in check(None, backend="tests.test_checks_live.Foreign")


class Foreign:
    """A layer of somebody else."""

    def send(self, channel: str, message: dict[str, Any]) -> None:
        """Drop it."""


def test_settings_that_cannot_work_are_reported_before_anything_connects(settings: Settings, check: Check) -> None:
    assert "write 'redis://127.0.0.1:6379/0'" in check(["127.0.0.1:6379"])


def test_a_project_without_layers_is_told_what_to_add(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {}
    with pytest.raises(CommandError, match="Add to your settings"):
        call_command("channels_check")


def test_an_unknown_alias_names_the_nearest(settings: Settings) -> None:
    settings.CHANNEL_LAYERS = {"default": {"ROUTING": []}}
    with pytest.raises(CommandError, match="Did you mean 'default'"):
        call_command("channels_check", "defalt")


def test_the_page_lists_the_messages() -> None:
    documented = set(
        re.findall(r"^\| `channels_classic\.([EW]02\d)` \|", (DOCS / "checks.md").read_text(), re.MULTILINE)
    )
    assert documented == set(re.findall(r'"channels_classic\.([EW]\d+)"', Path(checks_live.__file__).read_text()))


def test_no_command_of_the_documented_rule_can_be_left_out(server: RedisServer, check: Check) -> None:
    commands = [word for word in RULES[1].split() if word.startswith("+")]
    left_out = random.sample(commands, 4)
    for command in left_out:
        url = user(server, "resetpass", ">secret", f"-{command[1:]}", rule=RULES[1])
        output = check([f"{url.removesuffix('/0')}/1"])  # database 0 needs no SELECT
        assert ids(output) in (["E022"], ["E021"]), (command, output)
        assert "NOPERM" in output
