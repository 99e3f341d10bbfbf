"""Recoverable groups: messages in the order of their positions, to clients that have all of those before.

A client that joins has a start, which is read with its membership: the position up to which it has the messages. Once
its handshake is accepted it gets those after that from what the layer keeps, and then whatever is delivered to all. A
position that is missing, because an entry was lost or came late, is read from the layer too. So each client gets
everything once and in order, or is told that there is a *gap*.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from channels_classic.exceptions import LayerUnavailable, StepRefused
from channels_classic.layers.codec import decode_kept
from channels_classic.layers.history import ALL, HEAD, Cursor
from channels_classic.layers.losses import Losses
from channels_classic.layers.results import History, Kept, Roster, Start
from channels_classic.layers.steps import Members, ReadHistory, Step

from .client import Broadcast, Client
from .registry import Registry

logger = logging.getLogger("channels_classic.interface_server")

AT_ONCE = 50
"""Streams that catch up together, so that messages of clients are sent in between."""

RETRY_PAUSE = 1.0
"""Seconds until a client that could not be served, because the layer was down, is tried again."""


@dataclass(slots=True, eq=False)
class JoinRequest:
    """The cursor of a client that joins a group. With `last` the last message alone is of interest."""

    cursor: Cursor
    last: bool
    is_begun: bool = False


@dataclass(slots=True)
class Stream:
    """The messages of one group in one life: delivered up to `position` to clients with a floor below that.

    `floors` are the positions up to which each client has been served apart from the others. With `last` a missing
    message is not a gap, if a later one is there.
    """

    life: int
    position: int
    last: bool
    floors: dict[str, int] = field(default_factory=dict)

    def receivers(self, position: int) -> list[str]:
        """Return the clients that do not have the message at a position."""
        return [local for local, floor in self.floors.items() if floor < position]


class Recovery:
    """The streams of this process; `ask` runs a step."""

    def __init__(self, registry: Registry, ask: Callable[[Step], Awaitable[Any]], losses: Losses) -> None:
        self._registry = registry
        self._ask = ask
        self._losses = losses
        self._streams: dict[str, Stream] = {}
        self._requests: dict[str, dict[str, JoinRequest]] = {}
        self._doubted: dict[str, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_used(self) -> bool:
        """True if any client is, or asks to be, in a recoverable group."""
        return bool(self._streams or self._requests)

    # Clients

    def requested(self, group: str, local: str, start: Start) -> None:
        """Add a client that has the messages up to a position; a client that is added again has all of them."""
        stream = self._streams.get(group)
        if not self._registry.groups.has(group, local) or (stream is not None and local in stream.floors):
            return
        request = JoinRequest(Cursor(start.life, start.position), start.last)
        requests = self._requests.setdefault(local, {})
        if group not in requests or requests[group].cursor != request.cursor:
            requests[group] = request
        self.begin(local)

    def begin(self, local: str) -> None:
        """Serve a client in its groups, if it is open."""
        client = self._registry.clients.get(local)
        if client is None or not client.is_open:
            return
        for group, request in self._requests.get(local, {}).items():
            if not request.is_begun:
                request.is_begun = True
                task = asyncio.get_running_loop().create_task(self._serve(client, group, request))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def left(self, group: str, local: str, *_: object) -> None:
        """Stop serving a client that is no longer a member."""
        self._forget_request(group, local)
        stream = self._streams.get(group)
        if stream is not None:
            stream.floors.pop(local, None)
            # One that is being served may have read the history already, and needs to know how far messages have come.
            if not stream.floors and not self._is_awaited(group):
                del self._streams[group]

    def _is_awaited(self, group: str) -> bool:
        """Return True if a client is to be served in a group, or is being served."""
        return any(group in requests for requests in self._requests.values())

    def _forget_request(self, group: str, local: str) -> None:
        requests = self._requests.get(local, {})
        requests.pop(group, None)
        if not requests:
            self._requests.pop(local, None)

    def gone(self, local: str, groups: Iterable[str]) -> None:
        """Forget a client that is gone."""
        for group in {*groups, *self._requests.get(local, ())}:
            self.left(group, local)

    def clear(self) -> None:
        """Forget all members of all groups."""
        self._streams.clear()
        self._requests.clear()

    def take_over(self, group: str, roster: Roster, known: int) -> bool:
        """Adopt the members of a group as the layer has them: forget all others, serve these.

        `known` is the version of the index when they were asked for. Returns False if hints have reported later changes
        since; what has no members has no version.
        """
        version = self._registry.groups.version(group)
        if 0 < roster.version < version or (not roster.version and version != known):
            return False
        self._registry.take_over(group, roster)
        stream = self._streams.get(group)
        served = () if stream is None else stream.floors
        pending = (local for local, requests in self._requests.items() if group in requests)
        for local in [*served, *pending]:
            if not self._registry.groups.has(group, local):
                self.left(group, local)
        for local, start in roster.starts.items():
            self.requested(group, local, start)
        return True

    def _is_pending(self, group: str, local: str) -> bool:
        return group in self._requests.get(local, ())

    def plain_members(self, group: str) -> list[Client]:
        """Return the members that were added without recovery: they get messages as they come."""
        stream = self._streams.get(group)
        floors: Mapping[str, int] = {} if stream is None else stream.floors
        members = self._registry.groups.members(group)
        return [
            member for member in members if member.local not in floors and not self._is_pending(group, member.local)
        ]

    # Serving one client

    async def _serve(self, client: Client, group: str, request: JoinRequest) -> None:
        """Give a client what it missed, until it has all that was delivered to the others meanwhile."""
        cursor, last = request.cursor, request.last
        while self._requests.get(client.local, {}).get(group) is request:  # otherwise it left, or asked again
            try:
                history: History = await self._ask(ReadHistory(group, *cursor, self._registry.inbox, client.local))
            except (LayerUnavailable, StepRefused) as error:
                logger.debug("What %s missed of the group %s cannot be read yet: %s", client.local, group, error)
                await asyncio.sleep(RETRY_PAUSE)
                continue
            if self._requests.get(client.local, {}).get(group) is not request:
                return
            if not history.is_member:
                # What was sent since may be in the history. It has left, of which a hint will tell; until then it must
                # not get messages as they come. Or the layer lost its members, and they will be written again.
                await asyncio.sleep(RETRY_PAUSE)
                continue
            if last and history.kept is None:
                cursor = Cursor(ALL, 0)
                continue
            self._give(client, group, history, last)
            stream = self._stream(group, history, request.last)
            if stream.position <= history.head:
                self._finish(client, group, stream, history.head)
                return
            cursor = Cursor(history.life, history.head)

    def _finish(self, client: Client, group: str, stream: Stream, position: int) -> None:
        stream.floors[client.local] = position
        self._forget_request(group, client.local)

    def _give(self, client: Client, group: str, history: History, last: bool) -> None:
        if history.kept is None:
            self._tell_gap([client], group, Cursor(history.life, history.head))
            return
        kept = history.kept[-1:] if last else history.kept
        for entry in kept:
            self._deliver(group, history.life, entry, [client.local])
        if not kept:
            client.note_cursor(group, str(Cursor(history.life, history.head)), gap=False)

    def _stream(self, group: str, history: History, last: bool) -> Stream:
        """Return the stream of a group, in the life of its history."""
        stream = self._streams.get(group)
        if stream is None:
            stream = self._streams[group] = Stream(history.life, history.head, last)
        elif stream.life != history.life:
            self._begin_life(stream, group, history)
        stream.last = stream.last or last
        return stream

    # Messages

    async def received(
        self, group: str, message: Mapping[str, Any], left_out: object, life: int, position: int
    ) -> None:
        """Deliver a message from the inbox, after all earlier ones."""
        stream = self._streams.get(group)
        if stream is None:
            if self._is_awaited(group):
                # A client being served may have read the history before this one was kept: it reads on up to here.
                self._streams[group] = Stream(life, position, last=False)
            return
        try:
            while self._streams.get(group) is stream and (stream.life != life or stream.position < position):
                if stream.life == life and position == stream.position + 1:
                    locals_ = [local for local in stream.receivers(position) if local != left_out]
                    self._broadcast(Broadcast(message, f"{group} {life}-{position}"), locals_)
                    stream.position = position
                elif await self._catch_up(group, stream, position):
                    return
        except (LayerUnavailable, StepRefused) as error:
            logger.warning("Messages of the group %s cannot be delivered yet: %s", group, error)
            self.doubt(group)

    async def _catch_up(self, group: str, stream: Stream, limit: float) -> bool:
        """Deliver what the layer keeps beyond the position of a stream, up to `limit`.

        A message beyond the one that came may be from after a member was discarded, of which nothing is known here yet.
        Returns False if the stream has moved while the layer was asked, so that its answer does not show what is gone:
        a heartbeat catches up while messages come.
        """
        life, position = stream.life, stream.position
        history: History = await self._ask(ReadHistory(group, life, position))
        if history.kept is None and stream.last:
            history = await self._ask(ReadHistory(group, ALL, 0))
        if self._streams.get(group) is not stream:
            return True
        if (stream.life, stream.position) != (life, position):
            return False
        if history.kept is None or (stream.last and history.life != stream.life):
            self._begin_life(stream, group, history)
            return True
        for entry in history.kept:
            if entry.position <= limit and (entry.position == stream.position + 1 or stream.last):
                self._deliver(group, stream.life, entry, stream.receivers(entry.position))
                stream.position = entry.position
        return True

    def doubt(self, group: str) -> None:
        """Entries of a stream have been lost."""
        if group in self._streams:
            self._doubted[group] = None

    def doubt_all(self) -> None:
        """Entries of any stream may have been lost, or not been written."""
        self._doubted = dict.fromkeys(self._streams)

    async def catch_up(self) -> None:
        """Catch up with the streams that are in doubt: entries were lost, or the layer lost its data.

        Those that the layer refuses, because their shard is down, stay in doubt and hold up no others.
        """
        groups = list(self._doubted)
        for start in range(0, len(groups), AT_ONCE):
            await asyncio.gather(*map(self._restart, groups[start : start + AT_ONCE]))

    async def _restart(self, group: str) -> None:
        """Catch up with a stream whose entries may have been lost, including those that report discarded members."""
        stream = self._streams.get(group)
        try:
            if stream is not None and not await self._is_caught_up(group, stream):
                return
        except StepRefused as error:
            if not error.foreign:  # otherwise the next message for the group reports it
                return
        self._doubted.pop(group, None)

    async def _is_caught_up(self, group: str, stream: Stream) -> bool:
        """Catch up with a stream; return False if that must be tried again: its members have to be restored first."""
        head: History = await self._ask(ReadHistory(group, HEAD, 0))
        known = self._registry.groups.version(group)
        roster: Roster = await self._ask(Members(group, self._registry.inbox))
        if roster.complete and self._streams.get(group) is stream:
            self.take_over(group, roster, known)
            return await self._catch_up(group, stream, head.head)
        return roster.complete

    def _begin_life(self, stream: Stream, group: str, history: History) -> None:
        """Continue from the last position; what lies between is gone, except the last message where that is enough."""
        clients = self._registry.clients
        stream.life, stream.position = history.life, history.head
        if stream.last and history.kept is not None:
            for entry in history.kept[-1:]:
                self._deliver(group, history.life, entry, stream.floors)
        else:
            waiting = [clients[local] for local in stream.floors if local in clients]
            self._tell_gap(waiting, group, Cursor(history.life, history.head))
        stream.floors = dict.fromkeys(stream.floors, history.head)

    def _deliver(self, group: str, life: int, entry: Kept, locals_: Iterable[str]) -> None:
        try:
            message, but = decode_kept(entry.payload)
        except ValueError:
            self._losses.count("undecodable", group)
            return
        owner = self._registry.inbox
        receivers = [local for local in locals_ if owner + local != but]
        self._broadcast(Broadcast(message, f"{group} {life}-{entry.position}"), receivers)

    def _broadcast(self, broadcast: Broadcast, locals_: Iterable[str]) -> None:
        clients = self._registry.clients
        for local in locals_:
            if local in clients:
                clients[local].broadcast(broadcast)

    def _tell_gap(self, clients: list[Client], group: str, cursor: Cursor) -> None:
        self._losses.count("gap", group, len(clients))
        for client in clients:
            client.note_cursor(group, str(cursor), gap=True)

    async def stop(self) -> None:
        """Cancel the tasks that still serve clients."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
