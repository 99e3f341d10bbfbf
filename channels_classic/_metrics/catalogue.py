"""All metrics: the one place where each has its name, type, labels and help. `docs/metrics.md` says how to use them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

PREFIX = "channels_classic_"


class MetricKind(Enum):
    """The type of a metric, as Prometheus names it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric. Its full name begins with `PREFIX`; that of a counter ends in `_total`."""

    name: str
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """The name as Prometheus has it."""
        return PREFIX + self.name


def _counter(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, MetricKind.COUNTER, text, labels)


def _gauge(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, MetricKind.GAUGE, text, labels)


def _histogram(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, MetricKind.HISTOGRAM, text, labels)


INTERFACE = (
    _gauge("interface_processes", "Processes of this interface server that answered the scrape."),
    _gauge("sockets", "Open WebSockets."),
    _counter("sockets_opened_total", "WebSockets that were accepted."),
    _counter("sockets_closed_total", "WebSockets that ended, by close code.", "code"),
    _histogram(
        "handshake_duration_seconds",
        "Handshakes, by outcome: accepted, the status of a refusal, or left for a client that went away.",
        "outcome",
    ),
    _gauge("requests_in_progress", "Requests that are not answered yet."),
    _histogram(
        "request_duration_seconds",
        "Requests, by status, or left for a client that did not get all of its response.",
        "status",
    ),
    _counter(
        "refused_requests_total",
        "Requests and handshakes refused before workers could know of them, by status: malformed, too large, too slow, "
        "or one connection too many.",
        "status",
    ),
    _gauge("waiting_frames", "Messages of WebSockets that wait for the one before them, or for room on a channel."),
    _gauge("waiting_bytes", "Bytes that wait for workers (in) and for clients that read slowly (out).", "direction"),
    _counter(
        "clients_cut_off_total",
        "Clients cut off: slow_socket and slow_response did not read, stalled sent more than workers took, memory was "
        "the largest beyond --socket-memory.",
        "reason",
    ),
    _gauge("groups", "Groups with members at this interface server."),
    _gauge("group_members", "Memberships of clients of this interface server."),
    _counter(
        "restored_groups_total",
        "Groups whose members were written again, because the layer had lost them, but no other data.",
    ),
)

WORKER = (
    _gauge("worker_processes", "Processes of this worker that answered the scrape."),
    _gauge("worker_threads", "Threads that take messages."),
    _gauge("worker_busy_threads", "Threads in which a consumer runs."),
    _gauge("worker_coroutines", "async def consumers that run."),
    _histogram("consumer_duration_seconds", "Consumers that ran.", "consumer"),
    _counter(
        "consumed_messages_total",
        "Messages taken, by consumer and outcome: consumed, raised, unrouted, expired, dropped, or put_back.",
        "consumer",
        "outcome",
    ),
    _counter("put_back_messages_total", "Messages put back because the consumer before them took too long."),
)

BOTH = (
    _gauge("stuck_processes", "Processes of a program with a parent that have not shown for 10 seconds that they run."),
    _counter(
        "process_restarts_total",
        "Processes that their parent started anew, by reason: died, stuck, failed to start, recycled, or reloaded.",
        "reason",
    ),
    _gauge("layer_connections", "Open connections of this program to the channel layer, without those for one call."),
    _counter("layer_outages_total", "Times that this program lost the channel layer."),
    _counter(
        "lost_messages_total", "Messages that this program counted as lost, by kind and channel.", "kind", "channel"
    ),
)

LAYER = (
    _gauge("layer_up", "1 if the channel layer answered when the metrics were read, otherwise 0."),
    _counter("channel_messages_total", "Messages that the layer accepted, by channel.", "channel"),
    _counter("channel_refused_sends_total", "Sends that found a channel full, by channel.", "channel"),
    _gauge("channel_waiting_messages", "Messages that wait in a channel.", "channel"),
    _gauge("channel_oldest_message_age_seconds", "Age of the oldest message that waits in a channel.", "channel"),
    _gauge("channel_workers", "Worker processes that listen on a channel.", "channel"),
)
"""Of the whole site: every program reports the same."""

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (*INTERFACE, *WORKER, *BOTH, *LAYER)}
