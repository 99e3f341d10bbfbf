"""HTTP requests: the body to the layer, the response back to the client."""

from __future__ import annotations
