"""Measurements inside a process: a layer alone, the cost of a group send to its sender, and two floors.

`python -m benchmarks.inside messages|messages-async|group|inboxes|handler|redis-benchmark …` prints figures as JSON.
The layer is the default one of `benchmarks.project.settings`: of this package, or of channels_redis, which has
coroutines only.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvloop

from benchmarks.clients import Figures, spread

MESSAGE = {"text": "x" * 200}
TOGETHER = 16
SIZES = (10, 100, 1_000, 10_000)


# A layer alone


def messages(options: argparse.Namespace) -> Figures:
    """Messages sent and received by one thread, one after another."""
    send: Callable[..., Any]
    receive: Callable[[], Any]
    if _is_ours():
        layer = _ours()
        send, receive = layer.send, lambda: layer.receive(["numbers"], block=True)[1]
    else:
        from asgiref.sync import async_to_sync
        from channels.layers import get_channel_layer

        theirs = get_channel_layer()
        # What synchronous code of Channels 4 does.
        send, receive = async_to_sync(theirs.send), lambda: async_to_sync(theirs.receive)("numbers")
    times, wrong = [], 0
    for begun in _for(options.seconds):
        send("numbers", MESSAGE)
        wrong += receive() != MESSAGE
        times.append(time.perf_counter() - begun)
    return {"messages/s": len(times) / sum(times), **spread(times), "wrong": wrong}


def messages_async(options: argparse.Namespace) -> Figures:
    """Messages sent and received by coroutines on one event loop, each on a channel of its own."""
    return uvloop.run(_messages_async(options))


async def _messages_async(options: argparse.Namespace) -> Figures:
    send, receive = _coroutines()
    times: list[float] = []
    wrong = 0

    async def exchange(channel: str) -> None:
        nonlocal wrong
        for begun in _for(options.seconds):
            await send(channel, MESSAGE)
            wrong += await receive(channel) != MESSAGE
            times.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(exchange(f"numbers.{number}") for number in range(options.together)))
    return {"messages/s": len(times) / (time.perf_counter() - begun), **spread(times), "wrong": wrong}


def _coroutines() -> tuple[Callable[[str, Any], Awaitable[None]], Callable[[str], Awaitable[Any]]]:
    """The send and receive functions of a coroutine."""
    if _is_ours():
        layer = _ours()

        async def receive(channel: str) -> Any:
            return (await layer.receive_async([channel]))[1]

        return layer.send_async, receive
    from channels.layers import get_channel_layer

    theirs = get_channel_layer()
    return theirs.send, theirs.receive


def _for(seconds: float) -> Iterator[float]:
    """The time now, again and again until it is over."""
    until = time.perf_counter() + seconds
    while (now := time.perf_counter()) < until:
        yield now


# Groups


def group(options: argparse.Namespace) -> Figures:
    """Seconds that a sender spends on one group send, for growing groups; nobody else uses the layer meanwhile."""
    costs = _our_group(options) if _is_ours() else uvloop.run(_their_group(options))
    sizes = _our_bytes() if os.environ["LAYER"] == "redis" else {}
    # Where the cost does not grow with members the slope is noise, of either sign.
    slope = max(0.0, (costs[SIZES[-1]] - costs[SIZES[0]]) / (SIZES[-1] - SIZES[0]))
    each = {f"µs for {size}": cost * 1e6 for size, cost in costs.items()}
    return {**each, "µs a member": slope * 1e6, "times as long for 10000": costs[SIZES[-1]] / costs[SIZES[0]], **sizes}


def _our_group(options: argparse.Namespace) -> dict[int, float]:
    """Members are clients of one interface server, whose part is played here: it lives, and takes what arrives."""
    from channels_classic.layers.steps import Take

    layer, costs = _ours(), {}
    for size in SIZES:
        inbox, times = _join(f"group{size}", size), []
        for begun in _for(options.seconds / len(SIZES)):
            layer.send_group(f"group{size}", MESSAGE)
            times.append(time.perf_counter() - begun)
            (taken,) = layer.run([Take([inbox], 10, 1.0)])
            assert taken is not None
        costs[size] = sorted(times)[len(times) // 2]
    return costs


def _our_bytes() -> Figures:
    """Bytes that a group send takes through Redis, in either direction, for each further member."""
    import redis

    layer, server = _ours(), redis.Redis.from_url(os.environ["REDIS_URL"])

    def transferred() -> int:
        found = server.info("stats")
        return int(found["total_net_input_bytes"]) + int(found["total_net_output_bytes"])

    def size_of_send(size: int) -> float:
        group = f"bytes{size:05}"  # names of one length
        _join(group, size)
        layer.send_group(group, MESSAGE)
        before = transferred()
        for _ in range(TOGETHER):
            layer.send_group(group, MESSAGE)
        return (transferred() - before) / TOGETHER  # the question is as long for any size

    smallest, largest = size_of_send(SIZES[0]), size_of_send(SIZES[-1])
    return {"bytes a member": max(0.0, round((largest - smallest) / (SIZES[-1] - SIZES[0]), 1))}


def _join(group: str, size: int) -> str:
    """Make clients of an interface server that lives members of a group; return its inbox."""
    from channels_classic.layers import names
    from channels_classic.layers.steps import Heartbeat, Join

    layer, inbox = _ours(), names.new_inbox()
    members = [names.random_text(12) for _ in range(size)]
    layer.run([Heartbeat(inbox)])
    for start in range(0, size, 500):
        layer.run([Join(group, inbox, members[start : start + 500])])
    return inbox


def inboxes(options: argparse.Namespace) -> Figures:
    """Seconds that a sender spends on a group over 1,000 interface servers, and on one of 1,000,000 members over 10."""
    wide, large = _over_inboxes("wide", 1_000, 50, options), _over_inboxes("large", 10, 100_000, options)
    return {"µs an inbox": wide * 1e6 / 1_000, "ms for 1000000": large * 1e3}


def _over_inboxes(group: str, count: int, members: int, options: argparse.Namespace) -> float:
    from channels_classic.layers import names
    from channels_classic.layers.steps import Heartbeat, Join, Take

    layer, inboxes = _ours(), [names.new_inbox() for _ in range(count)]
    for inbox in inboxes:
        for start in range(0, members, 500):
            clients = [f"{number:016x}" for number in range(start, min(start + 500, members))]
            layer.run([Heartbeat(inbox), Join(group, inbox, clients)])
    times = []
    for begun in _for(options.seconds / 2):
        layer.send_group(group, MESSAGE)
        times.append(time.perf_counter() - begun)
        layer.run([step for inbox in inboxes for step in (Heartbeat(inbox), Take([inbox], 10))])
    return sorted(times)[len(times) // 2]


async def _their_group(options: argparse.Namespace) -> dict[int, float]:
    """Members are channels of consumers in this process, or with `--apart` channels of their own."""
    import redis.asyncio
    from channels.layers import get_channel_layer

    layer, costs = get_channel_layer(), {}
    async with redis.asyncio.Redis.from_url(os.environ["REDIS_URL"]) as client:
        for size in SIZES:
            members = [f"member.{number}" if options.apart else await layer.new_channel() for number in range(size)]
            for start in range(0, size, 100):
                await asyncio.gather(*(layer.group_add(f"group{size}", name) for name in members[start : start + 100]))
            keys = {layer.prefix + (name if options.apart else layer.non_local_name(name)) for name in members}
            times = []
            for begun in _for(options.seconds / len(SIZES)):
                await layer.group_send(f"group{size}", {"type": "say", **MESSAGE})
                times.append(time.perf_counter() - begun)
                assert await client.delete(*keys) == len(keys)
            costs[size] = sorted(times)[len(times) // 2]
    return costs


# Floors


def handler(options: argparse.Namespace) -> Figures:
    """Requests per second of Django's WSGI handler, called in this process."""
    from django.core.wsgi import get_wsgi_application

    application, count, wrong = get_wsgi_application(), 0, 0
    elapsed = time.perf_counter()
    for _ in _for(options.seconds):
        environ = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": "/",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "wsgi.input": io.BytesIO(),
        }
        response = application(environ, lambda status, headers: None)
        wrong += b"".join(response) != b"Hello, world"
        response.close()
        count += 1
    return {"requests/s": count / (time.perf_counter() - elapsed), "wrong": wrong}


def redis_benchmark(options: argparse.Namespace) -> Figures:
    """Messages per second pushed to a list and popped from it by one client, 16 commands a pipeline."""
    port = os.environ["REDIS_URL"].rpartition(":")[2].partition("/")[0]
    number = str(int(200_000 * max(options.seconds, 1)))
    command = ["redis-benchmark", "-p", port, "-c", "1", "-P", str(TOGETHER), "-d", "200", "-n", number, "--csv"]
    output = subprocess.run([*command, "-t", "rpush,lpop"], capture_output=True, text=True, check=True).stdout
    rates = {row["test"]: float(row["rps"]) for row in csv.DictReader(io.StringIO(output))}
    return {"messages/s": 1 / sum(1 / rate for rate in rates.values())}


def _is_ours() -> bool:
    return os.environ["LAYER"] in ("redis", "local")


def _ours() -> Any:
    from channels_classic.asgi import channel_layers

    return channel_layers["default"].channel_layer


MEASURES = {
    "messages": messages,
    "messages-async": messages_async,
    "group": group,
    "inboxes": inboxes,
    "handler": handler,
    "redis-benchmark": redis_benchmark,
}


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--together", type=int, default=TOGETHER, help="coroutines of messages-async")
    parser.add_argument("--apart", action="store_true", help="group: each member is a channel of its own")
    options = parser.parse_args()
    import django

    django.setup()
    print(json.dumps(MEASURES[options.measure](options)))


if __name__ == "__main__":
    main()
