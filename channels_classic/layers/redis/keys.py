"""The names of all keys of one shard, in one place.

A shard's keys share a hash tag, so that every script finds its keys on one node. Whatever a name contains, it stands
last.
"""

from __future__ import annotations


class Keys:
    """Builds keys under `prefix` for the shard with the hash tag `tag`; those of the statistics have their own."""

    def __init__(self, prefix: str, tag: str = "0", stats_prefix: str | None = None) -> None:
        self._base = f"{prefix}{{{tag}}}:"
        self.epoch = f"{self._base}epoch"
        self.inboxes = f"{self._base}inboxes"
        self.counters = f"{prefix if stats_prefix is None else stats_prefix}{{{tag}}}:counters"

    def queue(self, queue: str) -> str:
        """List: the entries of a channel, or of an inbox."""
        return f"{self._base}queue:{queue}"

    def quotas(self, inbox: str) -> str:
        """Hash: what the clients of an inbox have in its list."""
        return f"{self._base}quotas:{inbox}"

    def alive(self, inbox: str) -> str:
        """String: there as long as the owner of an inbox lives."""
        return f"{self._base}alive:{inbox}"

    def life(self, inbox: str) -> str:
        """String: the number of the server's life in which the owner of an inbox was last heard of."""
        return f"{self._base}life:{inbox}"

    def group(self, group: str) -> str:
        """Sorted set: the lists in which a group has members, by the time one joined last."""
        return f"{self._base}group:{group}"

    def members(self, group: str, queue: str) -> str:
        """Sorted set: the members of a group that one list carries, by the time they joined."""
        return f"{self._base}members:{group}:{queue}"

    def flushable(self) -> list[str]:
        """Patterns of everything that `flush` removes."""
        escaped = "".join(f"\\{char}" if char in "*?[]^\\" else char for char in self._base)
        return [f"{escaped}{kind}:*" for kind in ("queue", "quotas", "group", "members")]
