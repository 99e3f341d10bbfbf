"""The limits on clients that interface servers announce when they were reached, and what each means.

A name has two parts, as the metrics of interface servers count it: how it ended for the client, and with which status,
close code or reason.
"""

from __future__ import annotations

from collections.abc import Mapping

LIMITS: Mapping[str, str] = {
    "refused 400": "malformed requests",
    "refused 408": "request lines, headers or bodies that came too slowly: --head-timeout, --body-rate",
    "refused 414": "a request line beyond --max-request-line",
    "refused 429": "too many requests sent ahead on one connection",
    "refused 431": "headers beyond --max-head",
    "refused 503": "a connection beyond --max-connections, a handshake beyond --connect-rate, or an upload when the "
    "server stopped",
    "request 408": "a body beyond --body-timeout",
    "request 413": "a body beyond --max-body",
    "request 503": "no worker answered within --http-timeout, the layer was down or full, or --spool-disk was used up",
    "handshake 403": "a consumer refused it, or none accepted it within --websocket-connect-timeout (runserver: "
    "--websocket-handshake-timeout)",
    "handshake 429": "a client beyond --sockets-per-address",
    "handshake 503": "the layer was down or full, or the server stopped",
    "closed 1008": "a client beyond --frame-rate or --byte-rate, or a consumer that closed with this code",
    "closed 1009": "a message beyond --max-message",
    "closed 1011": "a client that did not answer a ping within --ping-timeout",
    "closed 1013": "its frames waited longer than --waiting-timeout, or it did not read",
    "cut_off slow_response": "a client that did not read its response: --stall-timeout, --max-response",
    "cut_off slow_socket": "a client that did not read from its WebSocket",
    "cut_off stalled": "frames that no worker took within --waiting-timeout",
    "cut_off memory": "the WebSocket that used most beyond --socket-memory",
}
"""Each limit, and what it means."""

WORRYING = {"refused 503", "request 503", "handshake 503", "cut_off stalled", "cut_off memory"}
"""Those that point to a problem of the site; others are reached by clients that are slow, wrong or hostile."""
