"""The names of all keys of one shard, in one place.

A shard's keys share a hash tag, so that every script finds its keys on one node. Whatever a name contains, it stands
last.
"""

from __future__ import annotations


class Keys:
    """Builds keys under `prefix` for the shard with the hash tag `tag`; those of the statistics have their own."""

    def __init__(self, prefix: str, tag: str = "0", stats_prefix: str | None = None) -> None:
        self.start = f"{prefix}{{{tag}}}:"
        """The text with which all of them begin."""
        self.epoch = f"{self.start}epoch"
        self.inboxes = f"{self.start}inboxes"
        self.programs = f"{self.start}programs"
        self.presence_inboxes = f"{self.start}presence_inboxes"
        self.notices = f"{self.start}notices"
        self.noticed = f"{self.start}noticed"
        self.counters = f"{prefix if stats_prefix is None else stats_prefix}{{{tag}}}:counters"

    def queue(self, queue: str) -> str:
        """List: the entries of a channel, or of an inbox."""
        return f"{self.start}queue:{queue}"

    def quotas(self, inbox: str) -> str:
        """Hash: the number and bytes of the entries of each client of an inbox."""
        return f"{self.start}quotas:{inbox}"

    def alive(self, inbox: str) -> str:
        """String: present while the owner of an inbox lives."""
        return f"{self.start}alive:{inbox}"

    def restored(self, inbox: str) -> str:
        """String: the epoch for which the owner of an inbox has written all of its memberships."""
        return f"{self.start}restored:{inbox}"

    def group(self, group: str) -> str:
        """Sorted set: the inboxes with members of a group, by version."""
        return f"{self.start}group:{group}"

    def members(self, group: str, inbox: str) -> str:
        """Set: the clients of an inbox that are members of a group."""
        return f"{self.start}members:{group}:{inbox}"

    def left(self, group: str, inbox: str) -> str:
        """Sorted set: the clients of an inbox to leave out when its owner restores a group, by when they left.

        Two notes are among them: that members were lost, and that the last one left. See group.lua.
        """
        return f"{self.start}left:{group}:{inbox}"

    def channels(self, group: str) -> str:
        """Sorted set: the members of a group that no interface server owns, by the time they joined."""
        return f"{self.start}channels:{group}"

    def history(self, group: str) -> str:
        """Hash: the positions of the messages that a group keeps."""
        return f"{self.start}history:{group}"

    def kept(self, group: str) -> str:
        """List: those messages."""
        return f"{self.start}kept:{group}"

    def starts(self, group: str, inbox: str) -> str:
        """Hash: the starts of the members that recover; scripts make this name themselves."""
        return f"{self.start}starts:{group}:{inbox}"

    def identities(self, group: str, inbox: str) -> str:
        """Hash: the identities of the members that an inbox has in a group; scripts make this name themselves."""
        return f"{self.start}identities:{group}:{inbox}"

    def people(self, group: str, inbox: str) -> str:
        """Hash: the number of sockets of each person among them."""
        return f"{self.start}people:{group}:{inbox}"

    def presence_groups(self, inbox: str) -> str:
        """Set: the groups in which an inbox has members with an identity."""
        return f"{self.start}presence_groups:{inbox}"

    def flushable(self) -> list[str]:
        """Patterns of everything that `flush` removes."""
        escaped = "".join(f"\\{char}" if char in "*?[]^\\" else char for char in self.start)
        kinds = ["queue", "quotas", "group", "members", "left", "channels", "identities", "people", "presence_groups"]
        kinds += ["history", "kept", "starts"]
        return [*(f"{escaped}{kind}:*" for kind in kinds), f"{escaped}presence_inboxes", f"{escaped}notice[sd]"]
