"""Another user of the machine who takes the name of a local layer, with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.local import LocalChannelLayer
from tests.interface_server.server.test_program import PROGRAM
from tests.support.processes import Process
from tests.support.site import ROOT

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="Only Linux has abstract names."),
    pytest.mark.skipif(os.geteuid() != 0, reason="Only root can start a process of another user."),
]

STRANGER = 65534

SQUAT = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
listener = socket.socket(socket.AF_UNIX)
listener.bind("\\0" + sys.argv[1][1:])
listener.listen()
print("listens", flush=True)
sys.stdin.read()
"""


@contextmanager
def squatted(address: str) -> Iterator[None]:
    """A process of another user listens there."""
    command = [sys.executable, "-S", "-c", SQUAT, address, str(STRANGER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"listens\n"
        yield
        process.stdin.close()


def test_an_interface_server_does_not_start_and_names_the_user() -> None:
    address = f"@squatted-{os.getpid()}-1"
    command = [str(PROGRAM), "interface", "--layer", f"local:{address}", "--port", "0"]
    with squatted(address), Process(command, cwd=ROOT) as program:
        assert program.wait() != 0
        assert f"a process of user {STRANGER} listens there, expected one of user 0" in program.output
        assert "`path` in the CONFIG of CHANNEL_LAYERS" in program.output
        assert "Traceback" not in program.output


def test_a_client_does_not_use_it_and_names_the_user() -> None:
    address = f"@squatted-{os.getpid()}-2"
    layer = LocalChannelLayer(path=address)
    with squatted(address), pytest.raises(LayerUnavailable, match=f"a process of user {STRANGER} listens there"):
        layer.send("chat", {"text": "secret"})
    layer.close()
