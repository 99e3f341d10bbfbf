"""The page about messages, held to what the interface server sends, takes and answers."""

from __future__ import annotations

import ast
import json
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from channels_classic.interface_server.close_codes import is_close_code
from channels_classic.interface_server.replies import KEYS
from tests.support.own_project import Project, own_project
from tests.support.waiting import eventually, scaled

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/messages.md").read_text()
SERVER = ROOT / "interface_server"

ROUTING = """
import json
from pathlib import Path

def note(message):
    with Path("seen.jsonl").open("a") as file:
        file.write(json.dumps([message.channel.name, sorted(message.content)]) + "\\n")

def request(message):
    note(message)
    message.reply_channel.send({"status": 200, "content": b"done"})

def connect(message):
    note(message)
    message.reply_channel.send({"accept": True})

def receive(message):
    note(message)
    message.reply_channel.send({"text": "done"})

channel_routing = {
    "http.request": request, "http.disconnect": note,
    "websocket.connect": connect, "websocket.receive": receive, "websocket.disconnect": note,
}
"""


@pytest.fixture(scope="module")
def seen() -> Iterator[dict[str, set[str]]]:
    """The keys of the messages that arrive on each channel, those of large bodies and of both kinds of frames."""
    with own_project() as project:
        project.write("mysite/routing.py", ROUTING)
        options = ("--port", str(project.port), "--event-streams", "*")
        with project.run("runinterface", *options) as server, project.run("runworker"):
            server.wait_for_port(project.port)
            for body in (None, b"x" * 600_000):
                with urlopen(project.url("/"), data=body, timeout=scaled(20)) as response:
                    assert response.read() == b"done"
            cursors = urlsafe_b64encode(b'{"group": "0"}').decode().rstrip("=")
            offered = [Subprotocol("channels.recover.v1"), Subprotocol(f"channels.cursors.{cursors}")]
            with connect(project.url("/", "ws"), subprotocols=offered, open_timeout=scaled(20)):
                pass
            stream = Request(project.url("/"), headers={"Accept": "text/event-stream"})
            with urlopen(stream, timeout=scaled(20)) as response:
                assert response.readline().startswith(b"retry: ")
            with project.socket("/") as socket:
                for frame in ("text", b"bytes"):
                    socket.send(frame)
                    assert socket.recv(timeout=scaled(10)) == "done"
            yield eventually(lambda: _seen(project), 20)


def _seen(project: Project) -> dict[str, set[str]]:
    """Return the keys by channel, nothing before the last message was noted."""
    keys: dict[str, set[str]] = {}
    for line in (project.folder / "seen.jsonl").read_text().splitlines():
        channel, found = json.loads(line)
        keys.setdefault(channel, set()).update(found)
    return keys if "websocket.disconnect" in keys else {}


def _section(title: str) -> str:
    return re.split(r"^#+ ", PAGE.partition(f"# {title}\n")[2], maxsplit=1, flags=re.M)[0]


def _keys(title: str) -> set[str]:
    rows = re.findall(r"^\| (`.*?) \|", _section(title), re.M)
    return {key for row in rows for key in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize("channel", ["http.request", "websocket.connect", "websocket.receive", "websocket.disconnect"])
def test_the_keys_of_a_channel_are_on_the_page(channel: str, seen: dict[str, set[str]]) -> None:
    assert seen[channel] == _keys(f"`{channel}`")


def test_the_keys_of_replies_are_on_the_page() -> None:
    assert _keys("Replies") == KEYS
    source = (SERVER / "http/response.py").read_text()
    assert _keys("The response") == set(re.findall(r'message(?:\.get\(|\[)"(\w+)"', source))


def test_the_keys_of_a_delayed_message_are_on_the_page() -> None:
    source = (ROOT / "channels_classic/delay/storage.py").read_text()
    assert _keys("`asgi.delay`") == set(re.findall(r'message\["(\w+)"\]', source))


def test_the_keys_of_presence_are_on_the_page() -> None:
    source = (ROOT / "worker/announcer.py").read_text()
    keys = set(re.findall(r'"(\w+)": ', re.findall(r"content = \{.*?\}", source)[0]))
    assert _keys("`group.join`, `group.leave`") == keys


def _numbers(first: int, last: int) -> set[int]:
    nodes = [node for path in SERVER.rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    values = {node.value for node in nodes if isinstance(node, ast.Constant) and type(node.value) is int}
    return {value for value in values if first <= value <= last}


def _codes(title: str) -> set[int]:
    return {int(code) for code in re.findall(r"^\| (\d+) \|", _section(title), re.M)}


def test_every_close_code_of_the_interface_server_is_on_the_page() -> None:
    not_sent = {1004, 1014}  # named by the rule of codes that may be sent
    assert _numbers(1000, 1015) - not_sent <= _codes("Close codes")
    assert [code for code in _codes("Close codes") - {1005, 1006} if not is_close_code(code)] == []


def test_every_status_of_the_interface_server_is_on_the_page() -> None:
    used = _numbers(400, 505) - {0o666}  # the mode of a Unix socket
    assert {403, 408, 413, 503} < used
    assert used - {499} <= _codes("Statuses")
    assert _codes("Statuses") <= used
