"""A page of the documentation as a script: its files are written, its commands run, its hidden checks executed.

What a block of a page is:

* The first line of a file names it in a comment: `# chat/consumers.py`, `{# chat/templates/room.html #}`. With
  `, at the end` behind the name the block is appended to the file.
* A block of the language `console` has commands behind `$ ` and their output, in which `…` stands for anything. A
  command that serves is started, and stays until the page stops it or ends. The ports in `PORTS` are free ones here.
* `<!-- run` … `-->` has Python for what a reader does by hand. It is not shown, and sees the methods of `Reader`.
* `<!-- not run: reason -->` stands above a block that is not run.
* `<!-- starts from: page.md -->` begins with the files and commands of another page.
* Blocks of the language `text`, and those without a language, are shown only.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

from tests.support.htmx import serve_htmx
from tests.support.processes import Process
from tests.support.redis_server import free_port
from tests.support.waiting import eventually, scaled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).parent.parent.parent
SERVERS = ("runserver", "runinterface", "runworker", "rundelay", "channels-classic")
SHOWN_ONLY = ("", "text")
PORTS = ("8000", "9100", "9101")
"""Those on the pages: the site's, and those of metrics."""

_BLOCK = re.compile(
    r"^(?P<fence>```+)(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^(?P=fence) *$"
    r"|^<!-- (?P<kind>run|not run|starts from)\b:?(?P<comment>.*?)-->",
    re.M | re.S,
)
_FILE = re.compile(r"^(?:#|//|<!--|\{#|;) (?P<path>[\w./@-]+\.\w+|Procfile)(?P<rest>, at the end)?(?: -->| #\})?$")
_ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "DJANGO_SETTINGS_MODULE": None,
    "COLUMNS": "120",
}


@dataclass(frozen=True)
class Block:
    """A fenced block or a comment for this module, with the line it begins on."""

    line: int
    kind: str
    body: str


def blocks(text: str) -> Iterator[Block]:
    """Yield what is to be done on a page, in order. Raises `ValueError` for a block that nothing can be done with."""
    skip = False
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        if found["kind"]:
            skip = found["kind"] == "not run"
            if not found["comment"].strip():
                raise ValueError(f"line {line}: the comment {found['kind']!r} is empty")
            if not skip:
                yield Block(line, found["kind"], found["comment"])
        elif skip:
            skip = False
        elif found["language"] not in SHOWN_ONLY:
            kind = found["language"] if found["language"] == "console" else "file"
            if kind == "file" and not _FILE.match(found["body"].partition("\n")[0]):
                raise ValueError(f"line {line}: the block names no file, and no comment gives a reason not to run it")
            yield Block(line, kind, found["body"])


class Reader:
    """Follows pages in a project of its own folder. Its public methods are the names that hidden checks see."""

    def __init__(self, folder: Path, browser: Browser | None = None) -> None:
        self.folder = folder
        self._ports = {shown: free_port() for shown in PORTS}
        self.port = self._ports["8000"]
        self._browser = browser
        self._programs: list[tuple[str, Process]] = []
        self._contexts: list[Any] = []
        self._names: dict[str, Any] = {
            name: getattr(self, name)
            for name in "folder port window get socket output stop kill start run signal".split()  # noqa: SIM905
        }
        self._names["eventually"] = eventually

    def follow(self, page: str, *, quietly: bool = False) -> None:
        """Do what a page says. With `quietly`, as for a page that went before, nothing is served or compared."""
        for block in blocks((ROOT / page).read_text()):
            try:
                self._do(block, page, quietly)
            except Exception as error:
                raise AssertionError(f"{page}, line {block.line}: {error}\n{self.output()}") from error

    def _do(self, block: Block, page: str, quietly: bool) -> None:
        if block.kind == "starts from":
            self.follow(os.path.relpath(ROOT / page / ".." / block.body.strip(), ROOT), quietly=True)
        elif block.kind == "file":
            self._write(block.body)
        elif block.kind == "console":
            self._console(block.body, quietly)
        elif not quietly:
            exec(compile("\n" * block.line + block.body, page, "exec"), self._names)

    def _write(self, body: str) -> None:
        head, _, content = body.partition("\n")
        name = _FILE.match(head)
        assert name is not None
        path = self.folder / name["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text() + "\n" if name["rest"] else ""
        path.write_text(before + content)

    def _console(self, body: str, quietly: bool) -> None:
        first, *parts = re.split(r"^\$ ", body, flags=re.M)
        if first.strip() or not parts:
            raise ValueError("a console block begins with a command behind '$ '")
        for part in parts:
            command, _, expected = part.partition("\n")
            while command.endswith("\\"):
                more, _, expected = expected.partition("\n")
                command = command[:-1] + more.lstrip("> ")
            command = command.partition("  # ")[0].strip()
            if any(word in SERVERS for word in command.split()):
                if not quietly:
                    self.start(command, expected)
            else:
                if not (quietly and "manage.py test" in command):
                    self.run(command, "…" if quietly else expected)

    def run(self, command: str, expected: str = "…") -> str:
        """Run a command to its end, compare its output and return it."""
        done = subprocess.run(
            ["/bin/bash", "-c", self._with_free_ports(command)],
            cwd=self.folder,
            env={name: value for name, value in {**os.environ, **_ENVIRONMENT}.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=scaled(60),
            check=False,
        )
        output = self._as_shown(done.stdout).strip()
        if done.returncode and not re.search("Error|FAILED|Exception", expected):
            raise AssertionError(f"{command!r} ended with status {done.returncode}:\n{output}")
        if not re.fullmatch(_pattern(expected), output, re.S):
            raise AssertionError(f"{command!r} wrote\n{output}\nbut the page shows\n{expected}")
        return output

    def start(self, command: str, expected: str = "") -> Process:
        """Start a command that serves; return when it has written what the page shows, or listens on the port."""
        line = command.rstrip(" &")
        if re.search(r"\brun(server|interface)\b", line) and "8000" not in line and "unix" not in line:
            line += " 8000" if "runserver" in line else " --port 8000"
        program = Process(["/bin/bash", "-c", f"exec {self._with_free_ports(line)}"], cwd=self.folder, env=_ENVIRONMENT)
        self._programs.append((command, program))
        pattern = re.compile(_pattern(expected), re.S)
        if not expected.strip():
            pattern = re.compile("Quit the server|Serving |Listening on|Running ")
        eventually(lambda: not program.running or pattern.search(self._as_shown(program.output)), 40)
        if not program.running:
            raise AssertionError(f"{command!r} ended with status {program.returncode}")
        return program

    def output(self, word: str = "") -> str:
        """Return what the programs whose commands have `word` wrote so far."""
        return "".join(program.output for command, program in self._programs if word in command)

    def stop(self, word: str = "", number: signal.Signals = signal.SIGTERM) -> None:
        """Stop the programs whose commands have `word`."""
        for entry in [entry for entry in self._programs if word in entry[0]]:
            entry[1].stop(number)
            self._programs.remove(entry)

    def kill(self, word: str) -> None:
        """Kill the program started first among those whose commands have `word`."""
        entry = next(entry for entry in self._programs if word in entry[0])
        entry[1].kill()
        self._programs.remove(entry)

    def signal(self, word: str, name: str) -> None:
        """Send a signal to the programs whose commands have `word`."""
        for command, program in self._programs:
            if word in command:
                program.send_signal(signal.Signals[name])

    def window(self, path: str, *, new: bool = True) -> Page:
        """Open a page in a window of a visitor of its own, or of the visitor before."""
        assert self._browser is not None
        if new or not self._contexts:
            self._contexts.append(self._browser.new_context())
            self._contexts[-1].set_default_timeout(scaled(15) * 1000)
            serve_htmx(self._contexts[-1])
        page: Page = self._contexts[-1].new_page()
        page.goto(f"http://localhost:{self.port}{path}")
        return page

    def get(self, path: str, port: str = "8000") -> tuple[int, str]:
        """Return the status and the text of a response, from a port as the page shows it."""
        try:
            with urlopen(f"http://localhost:{self._ports[port]}{path}", timeout=scaled(20)) as response:
                return response.status, response.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def socket(self, path: str, **options: Any) -> ClientConnection:
        """Open a WebSocket; it closes with its `with` block."""
        url = f"ws://localhost:{self.port}{path}"
        opened: ClientConnection = connect(url, open_timeout=scaled(20), close_timeout=scaled(5), **options)
        return opened

    def _with_free_ports(self, command: str) -> str:
        return re.sub(r"\b(\d{4})\b", lambda found: str(self._ports.get(found[1], found[1])), command)

    def _as_shown(self, output: str) -> str:
        shown = {str(port): name for name, port in self._ports.items()}
        return re.sub(r"\b(\d{4,5})\b", lambda found: shown.get(found[1], found[1]), output)

    def close(self) -> None:
        """End everything that the pages started."""
        for context in self._contexts:
            context.close()
        self.stop()


def _pattern(expected: str) -> str:
    return ".*?".join(re.escape(part) for part in expected.strip().split("…"))
