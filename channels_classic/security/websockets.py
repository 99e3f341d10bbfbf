"""Protect WebSocket handshakes from pages of foreign sites: always by default, and in validators for single consumers.

The router passes each handshake and its consumer to `guarded`, which puts `deny_foreign_origin` in the place of a
consumer that must not be called. A consumer wrapped in a validator decides for itself. The decision is in `_origins`;
this module reads the message and the settings, and logs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any, NoReturn

from django.conf import settings

from channels_classic._headers import header_values, headers_named
from channels_classic._throttled_log import ThrottledLog
from channels_classic.conf import CHANNELS_TRUSTED_ORIGINS
from channels_classic.exceptions import DenyConnection
from channels_classic.message import Message
from channels_classic.routing import Match
from channels_classic.security._origins import (
    is_host_allowed,
    is_origin_allowed,
    is_trusted_origin_valid,
    parse_origin,
)

__all__ = ["AllowedHostsOnlyOriginValidator", "BaseOriginValidator", "allowed_hosts_only"]

logger = logging.getLogger("django.channels")

_log = ThrottledLog(10, 1.0)

_LOGGED = 200
"""Characters of a value from the client that a log line shows."""


class BaseOriginValidator:
    """Wrap a consumer function: a message whose origin `validate_origin` refuses raises `DenyConnection`.

    It decides in place of the protection that other consumers have by default. An instance is not a method: in a
    class-based consumer wrap what `get_handler` returns. Only for `websocket.connect`; other messages have no
    handshake to deny.
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        update_wrapper(self, func)
        self.func = func

    def __call__(self, message: Message, *args: Any, **kwargs: Any) -> Any:
        origin = self.get_origin(message)
        if not self.validate_origin(message, origin):
            raise _denied(f"The origin {_shown(origin)} is not allowed", message, "Hosts are allowed by ALLOWED_HOSTS.")
        return self.func(message, *args, **kwargs)

    def get_header(self, message: Message, name: bytes) -> list[bytes]:
        """Return the value of the first header called `name`, in a list. Raises `KeyError` if there is none."""
        for header in headers_named(message, name):
            return list(header[1:])
        raise KeyError(name)

    def get_origin(self, message: Message) -> str:
        """Return the origin that a message names.

        Raises `DenyConnection` when it names none or several, or one that is not ASCII.
        """
        if len(header_values(message, b"origin")) > 1:
            raise _denied("There are several Origin headers", message, "Browsers send one.")
        try:
            return self.get_header(message, b"origin")[0].decode("ascii")
        except (KeyError, IndexError):
            hint = "Browsers send one; in a test call client.set_header('origin', 'http://testserver')."
            raise _denied("There is no Origin header", message, hint) from None
        except UnicodeDecodeError:
            raise _denied("The Origin header is not ASCII", message, "Browsers send ASCII.") from None

    def validate_origin(self, message: Message, origin: str) -> bool:
        """Return whether `origin` may connect; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} must define validate_origin(message, origin).")


class AllowedHostsOnlyOriginValidator(BaseOriginValidator):
    """Let in origins whose host is in `ALLOWED_HOSTS`, whatever their scheme and port, and no others.

    With `DEBUG` and no `ALLOWED_HOSTS` these are the local ones, as in Django. An origin without a host, such as
    `null` or a file, is refused even if all hosts are allowed; so is a handshake without an origin.
    """

    def validate_origin(self, message: Message, origin: str) -> bool:
        """Return whether the host of `origin` is allowed."""
        return is_host_allowed(parse_origin(origin), _allowed_hosts())


allowed_hosts_only = AllowedHostsOnlyOriginValidator


def guarded(message: Message, match: Match) -> Match:
    """Return `match`, or a consumer that denies the handshake. One that validates origins is called in any case."""
    may_connect = _validator_of(match[0]) is not None or is_origin_allowed(
        header_values(message, b"origin"), _requested_host(message), _allowed_hosts(), trusted_origins()
    )
    return match if may_connect else (deny_foreign_origin, {})


def is_open_to_foreign_pages(consumer: object) -> bool:
    """Return whether pages of any site may connect to `consumer`, as the settings are now.

    Validators of the project are taken to refuse some.
    """
    nobodys = "https://foreign.invalid"  # RFC 6761 reserves the domain: no site has it
    validator = _validator_of(consumer)
    if validator is None:
        return is_origin_allowed([nobodys.encode()], None, _allowed_hosts(), trusted_origins())
    return type(validator) is AllowedHostsOnlyOriginValidator and is_host_allowed(
        parse_origin(nobodys), _allowed_hosts()
    )


def deny_foreign_origin(message: Message, **kwargs: Any) -> NoReturn:
    """Deny a handshake: the consumer that takes the place of the one of the route."""
    origins = [origin.decode("latin-1") for origin in header_values(message, b"origin")]
    shown = ", ".join(map(_shown, origins))
    if len(origins) > 1:
        reason = f"it has several Origin headers, {shown}, which no browser sends."
    elif not is_trusted_origin_valid(origins[0]):
        reason = f"its origin {shown} is malformed."
    else:
        reason = (
            f"its origin {shown} is neither the host it asks for, {_shown(_requested_host(message))}, nor in "
            "ALLOWED_HOSTS. If pages of that origin may use this site with the sessions of its visitors, add it to the "
            "setting CHANNELS_TRUSTED_ORIGINS."
        )
    raise _logged(f"The WebSocket {_shown(message.get('path'))} is refused with 403: {reason}")


def trusted_origins() -> Sequence[str]:
    """Return the setting `CHANNELS_TRUSTED_ORIGINS`; a text stands for a list of one."""
    origins: Sequence[str] = CHANNELS_TRUSTED_ORIGINS.get()
    return [origins] if isinstance(origins, str) else origins


def _allowed_hosts() -> Sequence[str]:
    if settings.DEBUG and not settings.ALLOWED_HOSTS:
        return [".localhost", "127.0.0.1", "[::1]"]
    hosts: Sequence[str] = settings.ALLOWED_HOSTS
    return hosts


def _requested_host(message: Message) -> str | None:
    """Return the host a handshake asks for, as `HttpRequest.get_host` finds it but not validated.

    Several headers are joined as in `META`, so that they match no host.
    """
    hosts = header_values(message, b"x-forwarded-host") if settings.USE_X_FORWARDED_HOST else []
    hosts = hosts or header_values(message, b"host")
    return b",".join(hosts).decode("latin-1") if hosts else None


def _validator_of(consumer: Any) -> BaseOriginValidator | None:
    """Return the validator among the decorators of `consumer`."""
    while consumer is not None and not isinstance(consumer, BaseOriginValidator):
        consumer = getattr(consumer, "__wrapped__", None)
    return consumer


def _denied(reason: str, message: Message, hint: str) -> DenyConnection:
    return _logged(f"{reason}: the WebSocket of {_shown(message.get('path'))} is denied. {hint}")


def _logged(sentence: str) -> DenyConnection:
    """Return the error for a handshake that is denied, after a line in the log: a client can send many of these."""
    _log.warn(logger, "%s", sentence)
    return DenyConnection(sentence)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LOGGED else text[:_LOGGED] + "…"
