"""Layers in a child that is forked while a thread of its parent uses them."""

from __future__ import annotations

import socket
import sys

from tests.support.processes import Process

_PROGRAM = """
import os, signal, sys, threading, time
from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.layers.redis import RedisChannelLayer, RedisSentinelChannelLayer

impatient = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}

def hold(lock):
    held = threading.Event()
    def run():
        with lock:
            held.set()
            time.sleep(30)
    threading.Thread(target=run, daemon=True).start()
    held.wait()

def send(layer):
    try:
        layer.send("jobs", {})
        print("sent", flush=True)
    except LayerUnavailable as error:
        print("unavailable", flush=True)
    layer.losses.count("full", "jobs")

%s
if os.fork() == 0:
    signal.alarm(10)
    send(layer)
    os._exit(0)
print("child:", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
os._exit(0)
"""

_ASKING_SENTINELS = """
layer = RedisSentinelChannelLayer(
    hosts=[("127.0.0.1", int(sys.argv[1]))], services=["main"], connection_kwargs=impatient
)
threading.Thread(target=send, args=[layer], daemon=True).start()
time.sleep(0.3)
"""

_USING_A_LAYER = """
layer = RedisChannelLayer(hosts=[sys.argv[1]])
send(layer)
hold(layer._pool._lock)
hold(layer.losses._lock)
"""

_IN_MEMORY = """
layer = ChannelLayer()
send(layer)
hold(layer.store.lock)
"""


def check(setting: str, argument: str, says: list[str]) -> None:
    with Process([sys.executable, "-W", "ignore", "-c", _PROGRAM % setting, argument]) as program:
        program.wait_for_line("child: 0")
        said = [line for line in program.output.splitlines() if line in ("sent", "unavailable")]
        assert said[-len(says) :] == says


def test_a_child_waits_for_no_lock_of_its_parent(redis_url: str) -> None:
    check(_USING_A_LAYER, redis_url, ["sent", "sent"])


def test_a_child_asks_sentinels_for_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        check(_ASKING_SENTINELS, str(silent.getsockname()[1]), ["unavailable"])


def test_a_child_has_a_memory_layer_of_its_own() -> None:
    check(_IN_MEMORY, "", ["sent", "sent"])
