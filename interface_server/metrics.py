"""The metrics of an interface server process, made from what it counts and holds when somebody asks."""

from __future__ import annotations

from channels_classic._metrics.samples import Samples
from channels_classic._metrics.site import lost

from .layer.session import LayerSession
from .websocket.connection import WebSocket


def samples(session: LayerSession) -> Samples:
    """Return the samples of this process. On its event loop."""
    found, stats, groups = Samples(), session.stats, session.registry.groups
    found.add("interface_processes", 1)
    found.add("sockets", stats.sockets)
    found.add("sockets_opened_total", stats.opened)
    for code, number in stats.closed.items():
        found.add("sockets_closed_total", number, code)
    for outcome, durations in stats.handshakes.items():
        found.add_durations("handshake_duration_seconds", durations, outcome)
    found.add("requests_in_progress", stats.open_requests)
    for status, durations in stats.requests.items():
        found.add_durations("request_duration_seconds", durations, status)
    for reason, number in stats.cut_off.items():
        found.add("clients_cut_off_total", number, reason)
    found.add("groups", len(groups))
    found.add("group_members", groups.member_count)
    found.add("layer_connections", session.connections)
    found.add("layer_outages_total", stats.outages)
    _add_waiting(found, session)
    found.include(lost(session.losses))
    return found


def _add_waiting(found: Samples, session: LayerSession) -> None:
    frames = inbound = outbound = 0
    for client in session.registry.everybody():
        if isinstance(client, WebSocket):
            frames += client.waiting_frames
            from_client, to_client = client.waiting_bytes
            inbound += from_client
            outbound += to_client
    found.add("waiting_frames", frames)
    found.add("waiting_bytes", inbound, "in")
    found.add("waiting_bytes", outbound, "out")
