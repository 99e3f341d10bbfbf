"""Inside the routers of Channels 4, path by path. `make test-hosting` makes an environment with `channels` for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.hosting.test_asgi_hosts import HOST, ROOT, get
from tests.support.processes import Process

PYTHON = os.environ.get("CHANNELS_4_PYTHON", str(ROOT / ".venv-channels-4/bin/python"))


@pytest.mark.skipif(not Path(PYTHON).exists(), reason="`make test-hosting` makes the environment with Channels 4")
def test_old_and_new_consumers_share_one_process(tmp_path: Path, free_port: int) -> None:
    environment = {"LAYER_PATH": f"{tmp_path}/layer", "DJANGO_SETTINGS_MODULE": None, "PYTHONPATH": str(ROOT)}
    program = [PYTHON, "-m", "uvicorn", "tests.hosting.channels_4:application", "--port", str(free_port)]
    with Process(program, env=environment, cwd=tmp_path) as server:
        server.wait_for_port(free_port)
        with Process([PYTHON, ROOT / "tests/projects/site/manage.py", "runworker"], env=environment) as worker:
            worker.wait_for_line("Listening on channels")
            assert get(free_port) == (200, b"Hello, world")
            with connect(f"ws://{HOST}:{free_port}/shout/") as new, connect(f"ws://{HOST}:{free_port}/room") as old:
                for client, answer in ((new, "HELLO"), (old, "hello")):
                    client.send("hello")
                    assert client.recv(10) == answer
    assert "Traceback" not in server.output
