"""The metrics of an interface server process, computed for each scrape from its counts and its state."""

from __future__ import annotations

from channels_classic._metrics.samples import Samples
from channels_classic._metrics.site import lost

from .layer.session import LayerSession


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
    for refusal, number in stats.refused.items():
        found.add("refused_requests_total", number, str(refusal))
    for reason, number in stats.cut_off.items():
        found.add("clients_cut_off_total", number, reason)
    found.add("groups", len(groups))
    found.add("group_members", groups.member_count)
    found.add("layer_connections", session.connections)
    found.add("layer_outages_total", stats.outages)
    found.add("restored_groups_total", stats.restored_groups)
    _add_waiting(found, session)
    found.include(lost(session.losses))
    return found


def _add_waiting(found: Samples, session: LayerSession) -> None:
    """Add what waits. To touch every client would take longer than all the rest of a scrape."""
    totals = [0, 0, 0]
    for client in list(session.waiting):
        waiting = client.waiting_frames, *client.waiting_bytes
        if not any(waiting):
            session.waiting.discard(client)
        totals = [total + number for total, number in zip(totals, waiting, strict=True)]
    found.add("waiting_frames", totals[0])
    found.add("waiting_bytes", totals[1], "in")
    found.add("waiting_bytes", totals[2], "out")
