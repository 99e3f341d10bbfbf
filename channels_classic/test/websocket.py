"""A test client that speaks like a browser's WebSocket: path, headers, cookies and session, text as JSON."""

from __future__ import annotations

import copy
import json as json_module
from http.cookies import SimpleCookie
from importlib import import_module
from typing import Any

from django.apps import apps
from django.conf import settings
from django.http import HttpRequest

from channels_classic.conf import CHANNEL_SESSION_ENGINE
from channels_classic.sessions import session_for_reply_channel
from channels_classic.test.base import Client, Content

__all__ = ["WSClient"]

CONNECT = "websocket.connect"


class WSClient(Client):
    """A WebSocket of a browser. With `ordered` each message gets the next `order`, which starts at 0."""

    def __init__(self, *, ordered: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.order = 0
        self._ordered = ordered
        self._session: Any = None
        self._cookies: dict[str, str] = {}
        self._headers: dict[str, bytes] = {}
        self._session_cookie = True

    def set_cookie(self, key: str, value: str) -> None:
        """Set a cookie for the messages from now on."""
        self._cookies[key] = value

    def set_header(self, key: str, value: bytes | str) -> None:
        """Set a header for the messages from now on. Raises `ValueError` for cookies, which `set_cookie` sets."""
        if key.lower() == "cookie":
            raise ValueError("The header 'cookie' is made from the cookies: use set_cookie(key, value).")
        self._headers[key] = value.encode("latin-1") if isinstance(value, str) else value

    def get_cookies(self) -> dict[str, Any]:
        """The cookies that were set, and that of the session until the first message was sent."""
        cookies = self._cookies.copy()
        if self._session_cookie and _has_sessions():
            cookies[settings.SESSION_COOKIE_NAME] = self.session.session_key
        return cookies

    @property
    def headers(self) -> dict[str, bytes]:
        """The headers that were set, and the cookies as one."""
        cookies: SimpleCookie = SimpleCookie()
        for key, value in self.get_cookies().items():
            cookies[key] = value
        text = ";".join(cookie.OutputString() for cookie in cookies.values())
        return {**self._headers, "cookie": text.encode("ascii")}

    @property
    def session(self) -> Any:
        """The session of the browser: until somebody logs in, under the key of the channel session.

        Raises `OSError` when the sessions app is not installed.
        """
        if not _has_sessions():
            raise OSError("A session was asked for, and 'django.contrib.sessions' is not in INSTALLED_APPS.")
        if self._session is None:
            self._session = session_for_reply_channel(self.reply_channel)
            if CHANNEL_SESSION_ENGINE.get() != settings.SESSION_ENGINE:
                self._session = _session_of_browser(self._session.session_key)
        return self._session

    def send(self, to: str, content: Content | None = None, text: Any = None, path: str = "/") -> None:
        """Send a message as an interface server would: the query string and the session's cookie at first only."""
        message = self._get_content(content, text, path)
        if to != CONNECT and "query_string" not in (content or {}):
            message["query_string"] = ""
        super().send(to, message)
        self._session_cookie = False

    def receive(self, json: bool = True) -> Any:
        """What the next message to the client says, or `None`: its text, as JSON or not, or else all its content."""
        content = super().receive()
        if content is None:
            return None
        text = content.get("text", content)
        return _decoded(text) if json and isinstance(text, str) else text

    def consume(self, channel: str, fail_on_none: bool = True, check_accept: bool = True) -> Any:
        """As `Client.consume`; after `websocket.connect`, with `check_accept`, the next reply must be to accept."""
        value = super().consume(channel, fail_on_none=fail_on_none)
        if channel == CONNECT and check_accept:
            reply = self.receive(json=False)
            if reply != {"accept": True}:
                raise AssertionError(
                    "Expected the consumer to accept the socket with {'accept': True}; its first reply is "
                    f"{reply!r}. Give check_accept=False where that is meant."
                )
        return value

    def send_and_consume(  # type: ignore[override]  # as in Channels 1.1.8
        self,
        channel: str,
        content: Content | None = None,
        text: Any = None,
        path: str = "/",
        fail_on_none: bool = True,
        check_accept: bool = True,
    ) -> Any:
        """Send a message and consume the next one: see `send` and `consume`."""
        self.send(channel, content, text, path)
        return self.consume(channel, fail_on_none=fail_on_none, check_accept=check_accept)

    def login(self, **credentials: Any) -> bool:
        """Log a user in, before the first message is sent; whether that is an active user."""
        from django.contrib.auth import authenticate

        user: Any = authenticate(**credentials)
        if user is None or not user.is_active or not _has_sessions():
            return False
        self._login(user)
        return True

    def force_login(self, user: Any, backend: str | None = None) -> None:
        """Log a user in without asking, before the first message is sent."""
        user.backend = backend or settings.AUTHENTICATION_BACKENDS[0]
        self._login(user, user.backend)

    def _login(self, user: Any, backend: str | None = None) -> None:
        from django.contrib.auth import login

        request = HttpRequest()
        request.session = self.session
        login(request, user, backend)
        request.session.save()

    def _get_content(self, content: Content | None = None, text: Any = None, path: str = "/") -> Content:
        """The content of a message: what is given in `content` wins over the other arguments."""
        content = copy.deepcopy(content or {})
        path, query_string = _split(content.pop("path", path))
        content.setdefault("reply_channel", self.reply_channel)
        content["path"] = path
        content.setdefault("query_string", query_string)
        content.setdefault("headers", [[key.encode("ascii"), value] for key, value in self.headers.items()])
        text = text or content.get("text")
        if text is not None:
            content["text"] = text if isinstance(text, str) else json_module.dumps(text)
        if self._ordered:
            if "order" in content:
                raise ValueError("An ordered client numbers its messages itself: set client.order, not 'order'.")
            content["order"] = self.order
            self.order += 1
        return content


def _has_sessions() -> bool:
    return apps.is_installed("django.contrib.sessions")


def _session_of_browser(key: str) -> Any:
    """The session of views under a key of our choice, loaded; neither created nor saved."""
    session: Any = import_module(settings.SESSION_ENGINE).SessionStore(session_key=key)
    session.keys()  # load, because loading a session that does not exist takes its key away
    session._session_key = key
    return session


def _split(path: str) -> tuple[str, str]:
    """The path and the query string."""
    if path.count("?") > 1:
        raise ValueError(f"The path {path!r} has more than one '?': quote those of the query string as '%3F'.")
    path, _, query_string = path.partition("?")
    return path, query_string


def _decoded(text: str) -> Any:
    try:
        return json_module.loads(text)
    except json_module.JSONDecodeError as error:
        problem = f"The reply {text!r} is no JSON, give receive(json=False): {error.msg}"
        raise json_module.JSONDecodeError(problem, error.doc, error.pos) from error
