"""The WebSocket server `ws` on Node: `python -m benchmarks.project.node_ws PORT`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.contenders import NODE_MODULES


def main() -> None:
    os.environ["NODE_PATH"] = str(NODE_MODULES)
    os.execvp("node", ["node", str(Path(__file__).with_suffix(".js")), sys.argv[1]])


if __name__ == "__main__":
    main()
