"""The interface server's side of the channel layer: inbox, connections, clients and their groups."""

from __future__ import annotations
