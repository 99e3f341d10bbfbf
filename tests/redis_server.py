"""A real Redis (or Valkey) server for tests: a process of its own on a free port, with nothing kept on disk."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile

from tests.waiting import eventually

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """A server that a test may stop and start again on the same port; what it held is gone then."""

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="redis-")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server and return when it answers."""
        assert PROGRAM is not None
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": self._folder.name}
        arguments = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.DEVNULL)
        eventually(self._answers, timeout=10)

    def stop(self) -> None:
        """Stop the server at once, if it runs."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Keep the server from doing anything, while its connections stay open; only `stop` ends that."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.stop()
        self._folder.cleanup()

    def flush(self) -> None:
        """Remove every key."""
        self.command("FLUSHALL")

    def command(self, *words: str) -> str:
        """Return the first line that the server answers to a command, asked without any client library."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            parts = [f"*{len(words)}", *(line for word in words for line in (f"${len(word.encode())}", word))]
            connection.sendall(("\r\n".join(parts) + "\r\n").encode())
            return connection.makefile("r", newline="\r\n").readline().strip()

    def info(self, section: str) -> dict[str, str]:
        """Return a section of what the server tells about itself."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(f"INFO {section}\r\n".encode())
            reader = connection.makefile("rb")
            text = reader.read(int(reader.readline()[1:])).decode()
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
            raise AssertionError(f"{PROGRAM} on port {self.port} ended at once with code {self._process.returncode}")
        try:
            return self.command("PING") == "+PONG"
        except OSError:
            return False


def free_port() -> int:
    """Return a TCP port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
