"""The ES module in a browser and in Node, with a real site that is killed and replaced under it."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from channels_classic.layers.redis import RedisChannelLayer
from tests.browser_client.test_connection import script
from tests.support.node import node
from tests.support.own_project import HOST, Project, own_project
from tests.support.processes import Process
from tests.support.redis_server import RedisServer
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Route

pytestmark = pytest.mark.slow

MODULE = "/static/channels/js/client/connection.js"

KEEP: dict[str, Any] = {"keep": 1000, "seconds": 60}

SETTINGS = """
BACKEND = "channels_classic.layers.redis.RedisChannelLayer"
CHANNEL_LAYERS["default"] |= {{"BACKEND": BACKEND, "CONFIG": {{"hosts": [{url!r}]}}}}
"""

ROUTING = """
import json
from channels_classic import Group, route

def feed():
    return Group("feed", keep=1000, seconds=60)

def tell(target, payload):
    target.send({"text": json.dumps({"stream": "presence", "payload": payload})})

def connect(message):
    who = message["query_string"].decode()
    message.reply_channel.send({"accept": True})
    feed().add(message.reply_channel, who=who, info={"name": who.title()}, after=message.get("cursors", {}).get("feed"))
    tell(message.reply_channel, {"all": feed().presence()})

def came(message):
    tell(feed(), {"join": {message["who"]: message["info"]}})

def receive(message):
    feed().send({"text": message["text"]})

channel_routing = [
    route("websocket.connect", connect),
    route("websocket.receive", receive),
    route("group.join", came, group="^feed$"),
]
"""

# A page or a program that notes the numbers it gets, the codes with which it was closed, and who is there.
PROGRAM = """
const connection = new Connection(ADDRESS, {firstDelay: 100, longestDelay: 500, eventStreams: true});
const presence = new Presence(connection.stream("presence"));
const told = (facts) => tell(JSON.stringify(facts));
connection.addEventListener("message", ({ data }) => told({ message: data }));
connection.addEventListener("gap", ({ group }) => told({ gap: group }));
connection.addEventListener("close", ({ code, wasOpen }) => wasOpen && told({ close: code }));
presence.addEventListener("change", () => told({ people: [...presence.people.keys()].sort() }));
connection.send("from NAME");
"""


# Where no WebSocket can be opened: nobody listens on this port.
WITHOUT_SOCKETS = """
globalThis.WebSocket = class extends WebSocket { constructor() { super("ws://127.0.0.1:9/"); } };
"""

NAMES = ["chromium", "chromium-stream", "node", "node-stream"]


class Client:
    """The notes of a client so far; `output` returns its lines."""

    def __init__(self, output: Callable[[], str], refused: Sequence[Route] = ()) -> None:
        self._output = output
        self.refused = refused
        """The messages that were answered with 429."""

    def __repr__(self) -> str:
        return self._output()

    def noted(self, name: str) -> list[Any]:
        facts = [json.loads(line) for line in self._output().splitlines() if line.startswith("{")]
        return [fact[name] for fact in facts if name in fact]

    @property
    def numbers(self) -> list[int]:
        return [message for message in self.noted("message") if isinstance(message, int)]


@pytest.fixture
def site(own_redis: RedisServer) -> Iterator[Project]:
    with own_project(SETTINGS.format(url=own_redis.url)) as project:
        project.write("mysite/routing.py", ROUTING)
        project.options = ("--drain", "1", "--event-streams", "*")
        with project:
            yield project


@pytest.fixture
def clients(site: Project, browser: Browser) -> Iterator[dict[str, Client]]:
    """Pages in Chromium and programs in Node, with a WebSocket and with an event stream."""
    with ExitStack() as stack:
        context = browser.new_context()
        stack.callback(context.close)
        yield {name: (node_program if "node" in name else chromium_page)(site, context, stack, name) for name in NAMES}


def text_of(name: str, address: str) -> str:
    before = WITHOUT_SOCKETS if "stream" in name else ""
    return before + PROGRAM.replace("ADDRESS", repr(address)).replace("NAME", name)


def chromium_page(site: Project, context: BrowserContext, stack: ExitStack, name: str) -> Client:
    page = context.new_page()
    page.goto(site.url())
    refused: list[Route] = []

    def refuse_once(route: Route) -> None:
        """Answer the first message of an event stream as a server does whose consumers are behind."""
        if route.request.method == "POST" and not refused:
            refused.append(route)
            route.fulfill(status=429, headers={"Retry-After": "0"})
        else:
            route.continue_()

    page.route(re.compile(rf"/\?{name}$"), refuse_once)
    head = f"const {{Connection, Presence}} = await import({MODULE!r}); window.lines = [];"
    tell = "const tell = (line) => lines.push(line);"
    page.evaluate(f"async () => {{ {head} {tell} {text_of(name, f'/?{name}')} }}")
    return Client(lambda: str(page.evaluate("lines.join('\\n')")), refused)


def node_program(site: Project, context: BrowserContext, stack: ExitStack, name: str) -> Client:
    head = f"import {{Connection, Presence}} from {script().as_uri()!r}; const tell = console.log;"
    path = site.write(f"{name}.mjs", head + text_of(name, f"ws://{HOST}:{site.port}/?{name}"))
    program = stack.enter_context(Process([node(), path]))
    return Client(lambda: program.output)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_clients_get_every_message_once_while_servers_are_killed_and_replaced(
    site: Project, clients: dict[str, Client], own_redis: RedisServer
) -> None:
    layer = RedisChannelLayer(hosts=[own_redis.url])
    sent: list[int] = []

    def publish(count: int = 10) -> None:
        for number in range(len(sent), len(sent) + count):
            layer.send_group("feed", {"text": str(number)}, **KEEP)
            sent.append(number)

    def all_have_everything() -> bool:
        return all(client.numbers == sent for client in clients.values())

    eventually(lambda: all(client.noted("people")[-1:] == [NAMES] for client in clients.values()), 20)
    publish()
    eventually(all_have_everything)

    for child in children(site.interface.pid):
        os.kill(child, signal.SIGKILL)
    publish()
    eventually(all_have_everything, 20)
    assert all(client.noted("close") == [1006] for client in clients.values())

    site.interface.send_signal(signal.SIGHUP)
    while not all(client.noted("close") == [1006, 1012] for client in clients.values()):
        publish(1)
        assert len(sent) < KEEP["keep"], "the server does not close its sockets"
        time.sleep(0.02)
    publish()
    eventually(all_have_everything, 20)

    layer.close()
    assert len(clients["chromium-stream"].refused) == 1
    for name, client in clients.items():
        assert client.noted("gap") == []
        assert client.noted("people")[-1] == NAMES
        assert client.noted("message").count(f"from {name}") == 1
