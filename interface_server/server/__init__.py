"""The interface server as a program: sockets, processes, and its protocols for uvicorn."""

from __future__ import annotations
