"""Who may open a WebSocket: consumers of ``websocket.connect`` wrapped so that foreign origins are denied.

Browsers let any site open a WebSocket to any host, with the cookies of that host, and say in the ``Origin`` header
which site it was. Any other client can say what it likes there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import update_wrapper
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import validate_host

from channels_classic.exceptions import DenyConnection
from channels_classic.message import Message

__all__ = ["AllowedHostsOnlyOriginValidator", "BaseOriginValidator", "allowed_hosts_only"]

logger = logging.getLogger(__name__)


class BaseOriginValidator:
    """Wraps a consumer function: a message whose origin ``validate_origin`` refuses raises ``DenyConnection``.

    An instance is no method: in a class-based consumer wrap what ``get_handler`` returns. Only for
    ``websocket.connect``; nowhere else is a connection denied.
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        update_wrapper(self, func)
        self.func = func

    def __call__(self, message: Message, *args: Any, **kwargs: Any) -> Any:
        origin = self.get_origin(message)
        if not self.validate_origin(message, origin):
            raise _denied(f"The origin {origin!r} is not allowed", message)
        return self.func(message, *args, **kwargs)

    def get_header(self, message: Message, name: bytes) -> list[bytes]:
        """What follows the name in the first header called ``name``: a list of its value. Raises ``KeyError``."""
        headers = message.content["headers"]
        if isinstance(headers, dict):
            # The form that test clients of Channels 1.x send.
            headers = [(key.encode("latin-1"), value) for key, value in headers.items()]
        for header in headers:
            if header and header[0] == name:
                return list(header[1:])
        raise KeyError(name)

    def get_origin(self, message: Message) -> str:
        """The origin that a message names. Raises ``DenyConnection`` when it names none, or one that is not ASCII."""
        try:
            return self.get_header(message, b"origin")[0].decode("ascii")
        except (KeyError, IndexError):
            raise _denied("There is no Origin header", message) from None
        except UnicodeDecodeError:
            raise _denied("The Origin header is not ASCII", message) from None

    def validate_origin(self, message: Message, origin: str) -> bool:
        """Whether ``origin`` may connect; subclasses say."""
        raise NotImplementedError(f"{type(self).__name__} must define validate_origin(message, origin).")


class AllowedHostsOnlyOriginValidator(BaseOriginValidator):
    """Lets in origins whose host is in ``ALLOWED_HOSTS``, whatever their scheme and port.

    With ``DEBUG`` and no ``ALLOWED_HOSTS`` these are the local ones, as in Django. An origin without a host, such as
    ``null`` or a file, is refused even if all hosts are allowed.
    """

    def validate_origin(self, message: Message, origin: str) -> bool:
        """Whether the host of ``origin`` is allowed."""
        allowed_hosts = settings.ALLOWED_HOSTS
        if settings.DEBUG and not allowed_hosts:
            allowed_hosts = [".localhost", "127.0.0.1", "[::1]"]
        host = _host(origin)
        return host is not None and validate_host(host, allowed_hosts)


allowed_hosts_only = AllowedHostsOnlyOriginValidator


def _host(origin: str) -> str | None:
    try:
        host = urlsplit(origin).hostname
    except ValueError:  # a bracket that does not close
        return None
    # `hostname` takes off the brackets of IPv6 addresses, ALLOWED_HOSTS has them.
    return f"[{host}]" if host and ":" in host else host


def _denied(reason: str, message: Message) -> DenyConnection:
    sentence = f"{reason}: the WebSocket of {message.get('path')!r} is denied. Hosts are allowed by ALLOWED_HOSTS."
    logger.warning("%s", sentence)
    return DenyConnection(sentence)
