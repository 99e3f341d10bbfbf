"""The state that uvicorn's server shares with its connections, and what is counted there before a request exists."""

from __future__ import annotations

from collections import Counter

import uvicorn.server


class ServerState(uvicorn.server.ServerState):
    """Counts requests and handshakes that were refused before they reached the application, by status."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: Counter[int] = Counter()
