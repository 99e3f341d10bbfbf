"""Programs of a fake next release, to be run beside those of this one: `python -m tests.support.next_release …`.

    interface URL TEXT…     a client in a group, which sends a frame with each text when the one before was reported on
    worker                  `manage.py runworker` of the project in the current folder
    send-group URL GROUP    one message
    add URL CHANNEL GROUP…  a member of each group

It has another wire version. Messages with the text "new kind" are written as a kind that this release does not have,
and a report that travels with the text "new outcome" has an outcome of which this release does not know.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from channels_classic.interface_server.config import InterfaceConfig
from channels_classic.interface_server.layer.client import Broadcast
from channels_classic.interface_server.layer.session import LayerSession
from channels_classic.layers import codec, names, planner
from channels_classic.layers.codec import Outcome
from channels_classic.layers.planner import Outgoing
from channels_classic.layers.redis import RedisChannelLayer
from tests.support.client import FakeClient

NEW_KIND, NEW_OUTCOME = 42, 99


def become_next_release() -> None:
    """Change what this process writes."""
    names.WIRE_VERSION = 3
    names._MANAGED = re.compile(r"interface\.v3\.[A-Za-z0-9]+!")
    planner.encode_message = _encode_message  # type: ignore[attr-defined]  # imported there


def _encode_message(channel: str, kind: int, message: Mapping[str, Any], *fields: Any) -> bytes:
    text = message.get("text")
    if text == "new outcome" and len(fields) > 2 and fields[-1] != Outcome.RUNNING:
        fields = (*fields[:-1], NEW_OUTCOME)
    return codec.encode_message(channel, NEW_KIND if text == "new kind" else kind, message, *fields)  # type: ignore[arg-type]


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Client(FakeClient):
    """A client that prints what it gets."""

    def __init__(self) -> None:
        super().__init__("me")
        self.reported = asyncio.Event()

    def reply(self, message: Any) -> None:
        say("got", message.get("text"))

    def broadcast(self, broadcast: Broadcast) -> None:
        self.reply(broadcast.message)

    def report(self, token: str, outcome: Any) -> None:
        if outcome is not Outcome.RUNNING:
            say("report", token, outcome.name)
            self.reported.set()


async def interface(url: str, texts: Sequence[str]) -> None:
    layer = RedisChannelLayer(hosts=[url])
    session = LayerSession(layer, InterfaceConfig())
    await session.start()
    client = Client()
    channel = session.add(client)
    await layer.group_add_async("room", channel)
    say("channel", channel)
    for order, text in enumerate(texts):
        client.reported.clear()
        message = {"reply_channel": channel, "path": "/echo", "order": order, "text": text}
        began = time.monotonic()
        session.send(Outgoing("websocket.receive", message, token=str(order)))
        await client.reported.wait()
        say(f"frame {order} took {time.monotonic() - began:.1f} s")
    await asyncio.Event().wait()


def main(program: str, *arguments: str) -> None:
    become_next_release()
    if program == "interface":
        asyncio.run(interface(arguments[0], arguments[1:]))
    elif program == "worker":
        from django.core.management import execute_from_command_line

        execute_from_command_line(["manage.py", "runworker", *arguments])
    elif program == "send-group":
        layer = RedisChannelLayer(hosts=[arguments[0]])
        layer.send_group(arguments[1], {"text": "from the next release"})
        say("sent", layer.losses.as_dict())
        layer.close()
    elif program == "add":
        layer = RedisChannelLayer(hosts=[arguments[0]])
        for group in arguments[2:]:
            layer.group_add(group, arguments[1])
        say("added")
        layer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
