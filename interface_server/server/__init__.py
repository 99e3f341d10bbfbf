"""The interface server as a program: sockets, processes, and uvicorn with its protocols."""

from __future__ import annotations
