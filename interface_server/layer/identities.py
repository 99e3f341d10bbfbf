"""The identities of the clients of this process in their groups, kept so that `Registry` can write them again. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from channels_classic.layers.results import Identity


class Identities:
    """The identity of each client in each group in which it has one. Most clients have none."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[str, Identity]] = {}
        self._by_local: dict[str, set[str]] = {}

    def note(self, group: str, local: str, who: object, info: object) -> None:
        """Record the identity that a consumer gave to a client; the format of a later release is ignored."""
        if isinstance(who, str) and isinstance(info, bytes):
            self._set(group, local, Identity(who, info))

    def _set(self, group: str, local: str, identity: Identity) -> None:
        self._groups.setdefault(group, {})[local] = identity
        self._by_local.setdefault(local, set()).add(group)

    def forget(self, group: str, local: str) -> None:
        """Forget the identity of a client in a group that it left."""
        found = self._groups.get(group, {})
        if found.pop(local, None) is None:
            return
        if not found:
            del self._groups[group]
        groups = self._by_local[local]
        groups.discard(group)
        if not groups:
            del self._by_local[local]

    def drop(self, local: str) -> None:
        """Forget a client that is gone."""
        for group in list(self._by_local.get(local, ())):
            self.forget(group, local)

    def take_over(self, group: str, identities: Mapping[str, Identity]) -> None:
        """Replace what is known of a group by what the layer has."""
        for local in list(self.of(group)):
            self.forget(group, local)
        for local, identity in identities.items():
            self._set(group, local, identity)

    def of(self, group: str) -> Mapping[str, Identity]:
        """Return who the clients in a group are."""
        return self._groups.get(group, {})

    def groups(self) -> list[str]:
        """Return the groups in which anybody has an identity."""
        return list(self._groups)

    def clear(self) -> None:
        """Forget everything."""
        self._groups.clear()
        self._by_local.clear()
