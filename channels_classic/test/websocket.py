"""A test client for WebSockets: it sends path, headers, cookies and session as a browser does, and text as JSON."""

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
    """The WebSocket of a browser. With `ordered` each message gets the next `order`, which starts at 0."""

    def __init__(self, *, ordered: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.order = 0
        self._ordered = ordered
        self._session: Any = None
        self._cookies: dict[str, str] = {}
        self._headers: dict[str, bytes] = {}
        self._session_cookie = True

    def set_cookie(self, key: str, value: str) -> None:
        """Set a cookie for the messages that are sent from now on."""
        self._cookies[key] = value

    def set_header(self, key: str, value: bytes | str) -> None:
        """Set a header for the messages that are sent from now on. Raises `ValueError` for cookies."""
        if key.lower() == "cookie":
            raise ValueError("The header 'cookie' is made from the cookies: use set_cookie(key, value).")
        self._headers[key] = value.encode("latin-1") if isinstance(value, str) else value

    def get_cookies(self) -> dict[str, Any]:
        """Return the cookies that were set, and that of the session until the first message was sent."""
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
        """The session of the browser: until a user logs in, under the key of the channel session.

        Raises `OSError` when the sessions app is not installed.
        """
        if not _has_sessions():
            raise OSError("There is no session: 'django.contrib.sessions' is not in INSTALLED_APPS.")
        if self._session is None:
            self._session = session_for_reply_channel(self.reply_channel)
            if CHANNEL_SESSION_ENGINE.get() != settings.SESSION_ENGINE:
                self._session = _session_of_browser(self._session.session_key)
        return self._session

    def send(self, to: str, content: Content | None = None, text: Any = None, path: str = "/") -> None:
        """Send a message as an interface server would.

        Headers are a list of pairs of bytes, unless `content` has some; the query string is sent on connect only, the
        cookie of the session with the first message only.
        """
        message = self._get_content(content, text, path)
        if "headers" not in (content or {}):
            message["headers"] = [[key.encode("ascii"), value] for key, value in message["headers"].items()]
        if to != CONNECT and "query_string" not in (content or {}):
            message["query_string"] = ""
        super().send(to, message)
        self._session_cookie = False

    def receive(self, json: bool = True) -> Any:
        """Return the text of the next message to the client, or its content if it has none, `None` without one.

        With `json` a text is decoded. Raises `ValueError` for a text that is not JSON.
        """
        content = super().receive()
        if content is None:
            return None
        text = content.get("text", content)
        return _decoded(text) if json and isinstance(text, str) else text

    def consume(self, channel: str, fail_on_none: bool = True, check_accept: bool = True) -> Any:
        """Do as `Client.consume`; after `websocket.connect`, with `check_accept`, the first reply must be to accept."""
        value = super().consume(channel, fail_on_none=fail_on_none)
        if channel == CONNECT and check_accept:
            reply = self.receive(json=False)
            if reply != {"accept": True}:
                raise AssertionError(
                    "Expected the consumer to accept the socket with {'accept': True}; its first reply is "
                    f"{reply!r}. Pass check_accept=False if that is intended."
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
        """Log a user in, before the first message is sent. Return whether there is such an active user."""
        from django.contrib.auth import authenticate

        user: Any = authenticate(**credentials)
        if user is None or not user.is_active or not _has_sessions():
            return False
        self._login(user)
        return True

    def force_login(self, user: Any, backend: str | None = None) -> None:
        """Log a user in without credentials, before the first message is sent, as `django.test.Client` does.

        `backend` is the path of an authentication backend; by default the first one that can get users.
        """
        user.backend = backend or _backend_of_users()
        self._login(user, user.backend)

    def _login(self, user: Any, backend: str | None = None) -> None:
        from django.contrib.auth import login

        request = HttpRequest()
        request.session = self.session
        login(request, user, backend)
        request.session.save()

    def _get_content(self, content: Content | None = None, text: Any = None, path: str = "/") -> Content:
        """Return the content of a message: values in `content` override the other arguments."""
        content = copy.deepcopy(content or {})
        path, query_string = _split(content.pop("path", path))
        content.setdefault("reply_channel", self.reply_channel)
        content["path"] = path
        content.setdefault("query_string", query_string)
        content.setdefault("headers", self.headers)
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


def _backend_of_users() -> str | None:
    """Return the path of the first authentication backend that can get users; `login` raises when there is none."""
    from django.contrib.auth import load_backend

    backends: list[str] = settings.AUTHENTICATION_BACKENDS
    return next((path for path in backends if hasattr(load_backend(path), "get_user")), None)


def _session_of_browser(key: str) -> Any:
    """Return the session of views with the key `key`, loaded; it is neither created nor saved."""
    session: Any = import_module(settings.SESSION_ENGINE).SessionStore(session_key=key)
    session.keys()  # load it now, since loading a session that does not exist resets its key
    session._session_key = key
    return session


def _split(path: str) -> tuple[str, str]:
    """Return the path and the query string."""
    if path.count("?") > 1:
        raise ValueError(f"The path {path!r} has more than one '?': write those in the query string as '%3F'.")
    path, _, query_string = path.partition("?")
    return path, query_string


def _decoded(text: str) -> Any:
    try:
        return json_module.loads(text)
    except json_module.JSONDecodeError as error:
        problem = f"The reply {text!r} is not JSON: {error.msg}. To receive it as text use receive(json=False)."
        raise json_module.JSONDecodeError(problem, error.doc, error.pos) from error
