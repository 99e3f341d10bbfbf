"""Node for tests: the one of this machine if it has a global WebSocket, otherwise the one that Playwright brings."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

import playwright

OLDEST = 22
"""The first release with a global WebSocket."""

_DRIVER = Path(playwright.__file__).parent / "driver" / "node"


@lru_cache
def node() -> str:
    """Return the path of the program."""
    found = shutil.which("node")
    return found if found and _major(found) >= OLDEST else str(_DRIVER)


def _major(program: str) -> int:
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)", version)
    return int(found[1]) if found else 0
