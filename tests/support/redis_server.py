"""A real Redis (or Valkey) server for tests: a process of its own on a free port, with nothing kept on disk."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tests.support.waiting import eventually, scaled

OLDEST = 7


def _program() -> str | None:
    """Return the server to test with: the one that `REDIS_SERVER` names, or Redis if it is new enough, or Valkey."""
    if "REDIS_SERVER" in os.environ:
        return shutil.which(os.environ["REDIS_SERVER"])
    redis, valkey = shutil.which("redis-server"), shutil.which("valkey-server")
    if redis is None or valkey is None:
        return redis or valkey
    found = re.search(
        r"v=(\d+)", subprocess.run([redis, "--version"], capture_output=True, text=True, check=False).stdout
    )
    return redis if found and int(found[1]) >= OLDEST else valkey


PROGRAM = _program()


_SHARE = 1_000
"""Ports that one process has to itself."""

_SHARES = range(10_000, 32_000, _SHARE)
"""The first port of each share. They lie below those that the system gives to clients."""


class RedisServer:
    """A server that a test may stop and start again on the same port; what it held is gone then.

    `options` are those of its configuration.
    """

    def __init__(self, *, program: str | None = PROGRAM, **options: Any) -> None:
        self._program = program
        self.port = free_port()
        self._options = {name.replace("_", "-"): value for name, value in options.items()}
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def folder(self) -> str:
        """The folder in which it keeps snapshots."""
        return self._folder.name

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and return when it answers."""
        assert self._program is not None
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": self._folder.name,
            **self._options,
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", *str(value).split(" "))]
        self._process = subprocess.Popen([self._program, *arguments], stdout=subprocess.DEVNULL)
        eventually(self._answers, timeout=10)

    def stop(self) -> None:
        """Stop the server at once, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Keep the server from doing anything, while its connections stay open, until `resume` or `stop`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        self._folder.cleanup()

    def flush(self) -> None:
        """Remove every key."""
        self.command("FLUSHALL")

    def command(self, *words: str) -> str:
        """Return the first line that the server answers to a command, asked without any client library."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=scaled(5)) as connection:
            parts = [f"*{len(words)}", *(line for word in words for line in (f"${len(word.encode())}", word))]
            connection.sendall(("\r\n".join(parts) + "\r\n").encode())
            return connection.makefile("r", newline="\r\n").readline().strip()

    @contextlib.contextmanager
    def with_new_password(self) -> Iterator[None]:
        """Inside the block clients need a password that they were not given; those that are connected lose that."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            answers = connection.makefile("r")
            for command in ("CONFIG SET requirepass secret", "CLIENT KILL TYPE normal"):
                connection.sendall(f"{command}\r\n".encode())
                assert answers.readline()[0] in "+:"
            try:
                yield
            finally:
                connection.sendall(b'CONFIG SET requirepass ""\r\n')
                assert answers.readline() == "+OK\n"
            answers.close()

    def command_text(self, *words: str) -> str:
        """Return a text that the server answers to a command."""
        return self.command_list(*words)[0]

    def command_list(self, *words: str) -> list[str]:
        """Return the texts that the server answers to a command."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=scaled(5)) as connection:
            connection.sendall(f"{' '.join(words)}\r\n".encode())
            reader = connection.makefile("rb")
            head = reader.readline()
            count = int(head[1:]) if head[:1] == b"*" else 1
            return [self._text(reader, head if head[:1] == b"$" else reader.readline()) for _ in range(count)]

    @staticmethod
    def _text(reader: IO[bytes], head: bytes) -> str:
        return reader.read(int(head[1:]) + 2)[:-2].decode()

    def info(self, section: str) -> dict[str, str]:
        """Return a section of what the server tells about itself."""
        return self.information("INFO", section)

    def information(self, *words: str) -> dict[str, str]:
        """Return what a command tells in lines of names and values.

        Sentinels cut the clients of a server that changes its role: then it is asked again.
        """
        text = ""
        while not text:
            with (
                contextlib.suppress(ConnectionResetError),
                socket.create_connection(("127.0.0.1", self.port), timeout=scaled(5)) as connection,
            ):
                connection.sendall(f"{' '.join(words)}\r\n".encode())
                reader = connection.makefile("rb")
                head = reader.readline()
                text = reader.read(int(head[1:] or 0)).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def statistics(self) -> dict[str, int]:
        """Return how often each command ran, inside scripts too, since `CONFIG RESETSTAT`."""
        return {
            name.partition("_")[2]: int(text.split(",")[0].partition("=")[2])
            for name, text in self.info("commandstats").items()
        }

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(
                f"{self._program} on port {self.port} ended at once with code {self._process.returncode}"
            )
        try:
            return self.command("PING") == "+PONG"
        except OSError:
            return False


class Sentinel(RedisServer):
    """A sentinel that watches masters, by the names of their services. It decides alone within a second.

    That time is scaled: a server on a busy machine is not down. `options` are those of its configuration.
    """

    def __init__(self, masters: Mapping[str, RedisServer], quorum: int = 1, **options: Any) -> None:
        super().__init__()
        self._options = {}
        lines = [f"port {self.port}", "bind 127.0.0.1", f"dir {self._folder.name}", "sentinel resolve-hostnames no"]
        lines += [f"{name.replace('_', '-')} {value}" for name, value in options.items()]
        for service, master in masters.items():
            lines.append(f"sentinel monitor {service} 127.0.0.1 {master.port} {quorum}")
            lines.append(f"sentinel down-after-milliseconds {service} {scaled(500):.0f}")
            lines.append(f"sentinel failover-timeout {service} {scaled(3000):.0f}")
        self._file = Path(self._folder.name, "sentinel.conf")
        self._file.write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start the sentinel and return when it answers."""
        assert PROGRAM is not None
        self._process = subprocess.Popen([PROGRAM, str(self._file), "--sentinel"], stdout=subprocess.DEVNULL)
        eventually(self._answers, timeout=10)


class Cluster:
    """A cluster of masters without replicas, each with an equal range of slots."""

    def __init__(self, masters: int = 3) -> None:
        options: dict[str, Any] = {
            "cluster_enabled": "yes",
            "cluster_node_timeout": round(scaled(1000)),
            "cluster_require_full_coverage": "no",
        }
        self._buses = [free_port() for _ in range(masters)]
        self.nodes = [RedisServer(cluster_port=bus, **options) for bus in self._buses]

    def start(self) -> None:
        """Start the nodes and return when they are one cluster."""
        edges = [16384 * index // len(self.nodes) for index in range(len(self.nodes) + 1)]
        for node, first, end in zip(self.nodes, edges, edges[1:], strict=False):
            node.start()
            node.command("CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1))
        for index, node in enumerate(self.nodes):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", str(index + 1))
            node.command("CLUSTER", "MEET", "127.0.0.1", str(self.nodes[0].port), str(self._buses[0]))
        eventually(lambda: all(self._is_whole(node) for node in self.nodes), timeout=20)

    def _is_whole(self, node: RedisServer) -> bool:
        # The state alone is "ok" too while a node knows of no owner for some slots: full coverage is not required.
        info = node.information("CLUSTER", "INFO")
        return info["cluster_state"] == "ok" and info["cluster_slots_ok"] == "16384"

    def begin_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Begin to move a slot: from here on new keys belong to the target, others stay until they are moved."""
        target.command("CLUSTER", "SETSLOT", str(slot), "IMPORTING", self.node_id(source))
        source.command("CLUSTER", "SETSLOT", str(slot), "MIGRATING", self.node_id(target))

    def end_move(self, slot: int, source: RedisServer, target: RedisServer) -> None:
        """Move all keys of the slot, and tell every node."""
        while keys := source.command_list("CLUSTER", "GETKEYSINSLOT", str(slot), "100"):
            source.command("MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "KEYS", *keys)
        for node in (target, source, *self.nodes):
            node.command("CLUSTER", "SETSLOT", str(slot), "NODE", self.node_id(target))

    def node_id(self, node: RedisServer) -> str:
        return node.command_text("CLUSTER", "MYID")

    def owner(self, slot: int) -> RedisServer:
        """Return the node whose range had the slot at the start."""
        return self.nodes[slot * len(self.nodes) // 16384]

    def flush(self) -> None:
        """Remove every key."""
        for node in self.nodes:
            node.flush()

    def close(self) -> None:
        """Stop the nodes and remove their folders."""
        for node in self.nodes:
            node.close()


@functools.cache
def _ports() -> Iterator[int]:
    """Return the ports of a share that no other process of this machine has, in a circle that begins anywhere.

    Several runs of the tests can be going on, each with several processes. A lock on a file is over with its process.
    """
    for first in _SHARES:
        lock = os.open(Path(tempfile.gettempdir()) / f"channels_classic-tests-ports-{first}", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        start = random.SystemRandom().randrange(first, first + _SHARE)
        return itertools.cycle([*range(start, first + _SHARE), *range(first, start)])
    raise AssertionError(f"More than {len(_SHARES)} processes run tests on this machine.")


def free_port() -> int:
    """Return a TCP port of this machine that nothing listens on now, and that no other test is given soon."""
    for port in _ports():
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is always a next one")
