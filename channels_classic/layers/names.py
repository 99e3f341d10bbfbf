"""The grammar of channel and group names: which names are legal, and the parts of a name. Pure functions over text.

A process-local channel `inbox!local` is carried by the queue of its inbox (`inbox!`); every other channel by a queue of
its own name. Interface servers name their inboxes with `new_inbox`, which others recognise as managed.
"""

from __future__ import annotations

import re
import secrets
from base64 import b64encode
from functools import lru_cache

from channels_classic.exceptions import InvalidChannelName, InvalidGroupName

MAX_LENGTH = 100
"""Characters in a channel or group name (the ASGI draft asks for at least 100)."""

DELAY_CHANNEL = "asgi.delay"
"""The channel of delayed messages, from which the delay server takes them. It announces itself to nobody."""

WIRE_VERSION = 2
"""Version of the envelopes and hints that an interface server of this release reads and a sender writes.

An inbox carries it in its name. A sender that does not know the version of an inbox writes one plain message for each
client instead, which every release reads.
"""

_CHANNEL = re.compile(r"[A-Za-z0-9._-]+(?:\?[A-Za-z0-9._-]+|![A-Za-z0-9._-]*)?")
_GROUP = re.compile(r"[A-Za-z0-9._-]+")
_NEVER_IN_GLOBS = re.compile(r"[^A-Za-z0-9._?*!-]")
_SET = re.compile(r"\[!?\]?[^\]]*\]")
_MANAGED = re.compile(rf"interface\.v{WIRE_VERSION}\.[A-Za-z0-9]+!")
_OWNED = re.compile(r"interface\.v\d+\.[A-Za-z0-9]+!")


@lru_cache(maxsize=4096)
def check_channel(name: str) -> str:
    """Return `name` if it is a channel that can be sent to; otherwise raise `InvalidChannelName` (a `TypeError`)."""
    return _check(name, _CHANNEL, InvalidChannelName)


@lru_cache(maxsize=4096)
def is_channel(name: str) -> bool:
    """Return True for a channel that can be sent to."""
    return len(name) <= MAX_LENGTH and _CHANNEL.fullmatch(name) is not None


@lru_cache(maxsize=4096)
def check_receivable(name: str) -> str:
    """Return `name` if it can be received from: a process-local name stops at its `!`."""
    check_channel(name)
    if "!" in name and not name.endswith("!"):
        raise InvalidChannelName(name, f"to receive from a process-local channel give its inbox, {inbox_of(name)!r}")
    return name


@lru_cache(maxsize=4096)
def check_group(name: str) -> str:
    """Return `name` if it is a legal group name; otherwise raise `InvalidGroupName` (a `TypeError`)."""
    return _check(name, _GROUP, InvalidGroupName)


def _check(name: str, grammar: re.Pattern[str], error: type[InvalidChannelName] | type[InvalidGroupName]) -> str:
    if not isinstance(name, str):
        raise error(name, f"it is {type(name).__name__}")
    if len(name) > MAX_LENGTH:
        raise error(name, f"it has {len(name)} characters")
    if not grammar.fullmatch(name):
        raise error(name)
    return name


def check_glob(option: str, pattern: str) -> None:
    """Raise `ValueError` for a glob, given for `option`, that no name of a channel can match."""
    found = _NEVER_IN_GLOBS.search(_SET.sub("", pattern))
    if found is not None or not pattern:
        reason = "is empty" if found is None else f"has {found[0]!r}"
        raise ValueError(
            f"{option} has the pattern {pattern!r}, which {reason} and so matches no channel: expected a glob such as "
            "'chat.*'."
        )


def split(channel: str) -> tuple[str, str]:
    """Return the queue that carries `channel` and its local part: `("inbox!", "local")`, or `(channel, "")`."""
    head, mark, local = channel.partition("!")
    return head + mark, local


def inbox_of(channel: str) -> str:
    """Return the name up to and including `!`, or the whole name when there is none."""
    return split(channel)[0]


def managed_prefix() -> str:
    """Return the start of the names of all inboxes that are managed."""
    return f"interface.v{WIRE_VERSION}."


@lru_cache(maxsize=4096)
def is_managed(inbox: str) -> bool:
    """Return True for the inbox of an interface server that reads the envelopes and hints of this release."""
    return _MANAGED.fullmatch(inbox) is not None


@lru_cache(maxsize=4096)
def is_owned(inbox: str) -> bool:
    """Return True for the inbox of an interface server of any release; nobody else may read it."""
    return _OWNED.fullmatch(inbox) is not None


def random_text(length: int) -> str:
    """Return letters and digits that nobody can guess."""
    return b64encode(secrets.token_bytes(length), altchars=b"Aa")[:length].decode()


def new_inbox() -> str:
    """Return a fresh inbox name for one interface server process. Call it after a fork: no two processes share one."""
    return f"{managed_prefix()}{random_text(20)}!"
