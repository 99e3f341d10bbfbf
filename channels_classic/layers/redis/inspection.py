"""An inspection of the servers of a Redis layer: what they are, what they allow, and what would lose messages.

It asks each server what the layer will ask of it later, on throwaway keys, so that a refusal is found before the first
message. The commands that a user may run cannot be looked up without being an administrator, so each is tried, on a key
of a type that it refuses: the server checks the permission first, and then changes nothing.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from uuid import uuid4

import redis

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.redis.commands import SCRIPTS, Command, CommandBuilder
from channels_classic.layers.redis.connector import Connector, described, error_code, next_step
from channels_classic.layers.redis.endpoint import RedisEndpoint
from channels_classic.layers.redis.handover import fields_of
from channels_classic.layers.redis.keys import Keys
from channels_classic.layers.redis.layer import RedisChannelLayer
from channels_classic.layers.redis.protocol import LOST, is_too_old
from channels_classic.layers.steps import Entry, Push, Retire, Take

SHORT_TIMEOUT = 60
"""Seconds: a consumer may well work for longer, while its connection to the server idles."""

CLOCKS_DIFFER = 5.0
"""Seconds between the clocks of the server and of this machine from which logs cannot be read side by side."""

PROBES = """
    INFO | TIME | CLIENT ID | CLIENT UNBLOCK 0 | EVALSHA none 0 | EXISTS k | GET k | TYPE k | PEXPIRE k 5000 | PTTL k
    MEMORY USAGE k | BLMPOP 0.01 1 k LEFT | LMPOP 1 k LEFT | LINDEX k 0 | LLEN k | LPOP k | LPUSH k x
    LRANGE k 0 0 | RPUSH k x | HDEL k x | HGET k x | HGETALL k | HINCRBY k x 1 | HLEN k | HMGET k x | HSET k x x
    SADD k x | SCARD k | SISMEMBER k x | SMEMBERS k | SPOP k | SREM k x | HEXISTS k x | HVALS k | ZADD k 1 x
    ZCARD k | ZRANGE k 0 -1 | ZREM k x | ZREMRANGEBYSCORE k 0 0 | ZSCORE k x | SCAN 0 COUNT 1 | UNLINK k | DEL k
"""
"""Every command of the layer but `SET` and `SCRIPT LOAD`; `k` is a key that holds a string, which `DEL` removes."""


class Problem(Enum):
    """Kinds of findings."""

    UNREACHABLE = "there is no connection"
    REFUSED = "the server answers with an error"
    FORBIDDEN = "the user lacks permissions"
    TOO_OLD = "the version"
    CLUSTER = "the class of the layer"
    EVICTION = "maxmemory-policy"
    TIMEOUT = "timeout"
    CLOCK = "the clock"


_HOPELESS = (Problem.REFUSED, Problem.FORBIDDEN, Problem.TOO_OLD, Problem.CLUSTER)
"""Problems with which no message will pass, so that none is tried."""


@dataclass(frozen=True)
class ServerFinding:
    """A problem, the sentence about it and the hint that repairs it."""

    problem: Problem
    sentence: str
    hint: str


@dataclass
class Inspection:
    """The result for one server."""

    where: str
    facts: list[str] = field(default_factory=list)
    findings: list[ServerFinding] = field(default_factory=list)


def inspect_servers(layer: RedisChannelLayer) -> list[Inspection]:
    """Inspect every server of `layer`, in order."""
    try:
        connectors = layer._connectors()
    except LayerUnavailable as error:
        return [Inspection(error.where, findings=[_unreachable(error.where, error.reason, error.next_step)])]
    return [_inspect(layer, connector, layer._shard(tag)) for connector, tag in connectors]


def _inspect(layer: RedisChannelLayer, connector: Connector, builder: CommandBuilder) -> Inspection:
    found = Inspection(f"Redis {connector.where}")
    try:
        server = _Server(connector)
    except LayerUnavailable as error:
        found.findings.append(_unreachable(found.where, error.reason, error.next_step))
        return found
    except (*LOST, redis.RedisError) as error:
        found.findings.append(_failure(found.where, error))
        return found
    except Exception as error:  # of code of the project, such as `redis_connect_func`
        found.findings.append(_unreachable(found.where, repr(error), "Check `connection_kwargs` in CHANNEL_LAYERS."))
        return found
    try:
        _look_at(server, found, bool(connector.questions))
        found.findings += _forbidden(found.where, server, builder.keys, connector.questions)
        if not any(finding.problem in _HOPELESS for finding in found.findings):
            found.findings += _round_trip(found, RedisEndpoint(connector, builder, layer.losses))
    except (*LOST, redis.RedisError) as error:
        found.findings.append(_failure(found.where, error))
    finally:
        server.close()
    found.findings = list(dict.fromkeys(found.findings))  # several commands may be refused for one reason
    return found


class _Server:
    """A connection that asks one command after the other; errors are answers."""

    def __init__(self, connector: Connector) -> None:
        self._raw = connector.open()
        self._raw.connect()

    def ask(self, *command: Any) -> Any:
        """Return the reply, or the error that the server answered."""
        self._raw.send_command(*command, check_health=False)
        try:
            return self._raw.read_response(disable_decoding=True)
        except redis.RedisError as error:
            if isinstance(error, LOST) and not error_code(error):
                raise
            return error

    def close(self) -> None:
        self._raw.disconnect()


def _look_at(server: _Server, found: Inspection, as_cluster: bool) -> None:
    """Read what the server reports of itself; that the user may not ask is found out with the permissions."""
    info = server.ask("INFO")
    if isinstance(info, bytes):
        fields = fields_of(info)
        found.facts += _facts(fields)
        found.findings += judge(found.where, fields, as_cluster)
    before = time.time()
    clock = server.ask("TIME")
    if isinstance(clock, list):
        found.findings += judge_clock(found.where, int(clock[0]) + int(clock[1]) / 1e6 - (before + time.time()) / 2)
    timeout = server.ask("CONFIG", "GET", "timeout")
    if isinstance(timeout, list) and len(timeout) == 2:
        found.findings += judge_timeout(found.where, int(timeout[1]))
    else:
        found.facts.append("`timeout` is not known, since the user may not run CONFIG GET")


def _facts(fields: Mapping[str, str]) -> Iterator[str]:
    valkey = fields.get("valkey_version")
    yield f"Valkey {valkey}" if valkey else f"Redis {fields.get('redis_version', 'of unknown version')}"
    yield f"maxmemory {fields.get('maxmemory_human', 'unknown')}"
    yield f"maxmemory-policy {fields.get('maxmemory_policy', 'unknown')}"


def judge(where: str, fields: Mapping[str, str], as_cluster: bool) -> Iterator[ServerFinding]:
    """Yield what is wrong with a server, by its reply to `INFO`; pure."""
    version = fields.get("redis_version", "0")
    if is_too_old(version):
        yield ServerFinding(
            Problem.TOO_OLD, f"{where} is version {version}.", "Redis 7.0 or later, or Valkey, is needed."
        )
    if "cluster" in (fields.get("redis_mode"), fields.get("server_mode")) and not as_cluster:  # Redis, Valkey
        yield ServerFinding(
            Problem.CLUSTER,
            f"{where} is a node of a cluster, and the layer is not RedisClusterChannelLayer.",
            "Write 'channels_classic.layers.redis.RedisClusterChannelLayer' as BACKEND.",
        )
    policy = fields.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield ServerFinding(
            Problem.EVICTION,
            f"{where} has the maxmemory-policy {policy!r}: when its memory is used up it removes waiting messages and "
            "groups, without an error and without a count.",
            "Run CONFIG SET maxmemory-policy noeviction, and write it into redis.conf; caches belong on a server of "
            "their own.",
        )


def judge_clock(where: str, ahead: float) -> Iterator[ServerFinding]:
    """Yield a finding about a clock that is `ahead` seconds ahead of that of this machine; pure."""
    if abs(ahead) >= CLOCKS_DIFFER:
        yield ServerFinding(
            Problem.CLOCK,
            f"The clock of {where} is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} that of this machine.",
            "Messages expire by its clock alone, so none is lost, but times in logs do not fit together: synchronise "
            "both with NTP.",
        )


def judge_timeout(where: str, timeout: int) -> Iterator[ServerFinding]:
    """Yield a finding about the `timeout` of a server, in seconds; pure."""
    if 0 < timeout < SHORT_TIMEOUT:
        yield ServerFinding(
            Problem.TIMEOUT,
            f"{where} has timeout {timeout}: it closes a connection that idles for {timeout} s, as that of a worker "
            "does while a consumer runs.",
            "Nothing is lost, but each of them is made anew: run CONFIG SET timeout 0, and write it into redis.conf.",
        )


def _forbidden(where: str, server: _Server, keys: Keys, questions: Sequence[Command]) -> Iterator[ServerFinding]:
    """Try every command and every kind of key; yield the findings about those that are refused."""
    name = f"channels_check.{uuid4().hex}"
    key = keys.queue(name)
    stored = server.ask("SET", key, "", "PX", 5000)
    probes = [line.split() for line in PROBES.replace("|", "\n").splitlines() if line.strip()]
    answers = {"SET": stored, "SCRIPT LOAD": server.ask("SCRIPT", "LOAD", SCRIPTS[0].source)}
    for command in (*probes, *questions, *([("CLUSTER", "SLOTS")] if questions else [])):
        answers[_command_name(command)] = server.ask(*(key if word == "k" else word for word in command))
    # ZREM changes nothing: the key is not there, has no such member or is of another type.
    touched = {
        name: [server.ask("EXISTS", name), server.ask("ZREM", name, f"{name}:none")] for name in kinds(keys, name)
    }
    commands = [command for command, answer in answers.items() if _is_forbidden(answer, a_key=False)]
    closed = [name for name, replies in touched.items() if any(_is_forbidden(reply, a_key=True) for reply in replies)]
    if commands:
        yield ServerFinding(
            Problem.FORBIDDEN,
            f"NOPERM: the user of {where} may not run {', '.join(commands)}.",
            f"Run ACL SETUSER NAME {' '.join(f'+{command.lower()}' for command in _rules(commands))}, or use the rule "
            "in docs/reference/layers.md.",
        )
    if closed:
        patterns = dict.fromkeys(f"~{name.partition('{')[0]}*" for name in closed)
        yield ServerFinding(
            Problem.FORBIDDEN,
            f"NOPERM: the user of {where} may not use keys such as {closed[0]!r}.",
            f"Run ACL SETUSER NAME {' '.join(patterns)}, for `prefix` and `stats_prefix` in CONFIG.",
        )
    if not commands and not closed and isinstance(stored, redis.RedisError):
        yield _failure(where, stored)


def _command_name(command: Sequence[Any]) -> str:
    return " ".join(command[:2]) if command[0] in ("CLIENT", "CLUSTER", "MEMORY") else str(command[0])


def _rules(commands: Sequence[str]) -> Iterator[str]:
    for command in commands:
        yield command.replace(" ", "|")


def kinds(keys: Keys, name: str) -> list[str]:
    """Return a key of every kind, those that have names with `name`."""
    methods = [method for attribute, method in vars(Keys).items() if attribute[0] != "_" and attribute != "flushable"]
    named = [method(keys, *[name] * (len(inspect.signature(method).parameters) - 1)) for method in methods]
    return [*named, *(key for attribute, key in vars(keys).items() if attribute[0] != "_")]


def _is_forbidden(reply: Any, a_key: bool) -> bool:
    """Return whether a reply is about a command, or about a key, that the user may not use."""
    return isinstance(reply, redis.RedisError) and error_code(reply) == "NOPERM" and ("key" in str(reply)) is a_key


def _round_trip(found: Inspection, endpoint: RedisEndpoint) -> Iterator[ServerFinding]:
    """Send a message through an inbox that nobody else has, and take it back."""
    inbox, payload = f"channels_check.{uuid4().hex}!", b"channels_check"
    try:
        connection = endpoint.open()
    except LayerUnavailable as error:
        yield _by_text(found.where, error.reason, error.next_step)
        return
    try:
        begun = time.perf_counter()
        connection.write([Push(inbox, [Entry(payload, 5)]), Take([inbox]), Retire(inbox)])
        results = [connection.read() for _ in range(3)]
    except LayerUnavailable as error:
        yield _by_text(found.where, error.reason, error.next_step)
        return
    finally:
        connection.close()
    refusals = [result for result in results if isinstance(result, StepRefused)]
    if refusals:
        yield _by_text(found.where, refusals[0].reason, refusals[0].next_step)
    else:
        found.facts.append(f"a message went there and back in {(time.perf_counter() - begun) * 1000:.1f} ms")


def _unreachable(where: str, reason: str, hint: str) -> ServerFinding:
    return ServerFinding(Problem.UNREACHABLE, f"{where} cannot be reached: {reason}.", hint)


def _failure(where: str, error: BaseException) -> ServerFinding:
    return _by_text(where, described(error), next_step(error))


def _by_text(where: str, reason: str, hint: str) -> ServerFinding:
    """Return the finding about an error of the server, named by its code, or of the connection."""
    code = reason.partition(" ")[0]
    if code.isalpha() and code.isupper() and len(code) > 2:
        return ServerFinding(Problem.REFUSED, f"{where} refuses: {reason}.", hint)
    return _unreachable(where, reason, hint)
