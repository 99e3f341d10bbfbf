"""The configuration of uvicorn: the options of the interface server in uvicorn's terms, and the certificate."""

from __future__ import annotations

import ssl
from functools import partial
from typing import NoReturn

import uvicorn

from channels_classic.exceptions import CannotListen

from ..asgi import Application
from ..config import ClientLimits, InterfaceConfig
from .connect_rate import ConnectRate
from .http_protocol import HttpProtocol
from .listen import Listen
from .websocket_protocol import WebSocketProtocol


def uvicorn_config(
    application: Application, config: InterfaceConfig, listen: Listen, limits: ClientLimits, rate: ConnectRate | None
) -> uvicorn.Config:
    """Return the configuration for uvicorn. Raises `CannotListen` for a certificate that cannot be loaded."""
    if listen.keyfile and not listen.certfile:
        raise ValueError(
            f"--keyfile {listen.keyfile} is given without --certfile: name the file of the certificate too."
        )
    found = uvicorn.Config(
        application,
        http=partial(HttpProtocol, limits=limits, rate=rate),  # type: ignore[arg-type]  # called like the class
        ws=WebSocketProtocol,  # which `HttpProtocol` makes
        ws_max_size=limits.max_message,
        ws_ping_interval=config.ping_interval,
        ws_ping_timeout=config.ping_timeout,
        ws_per_message_deflate=config.compression,
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=listen.backlog,
        limit_concurrency=limits.max_connections or None,
        timeout_keep_alive=limits.keep_alive,  # type: ignore[arg-type]  # a float works for the timer
        ssl_context_factory=(lambda *_: _tls_context(listen)) if listen.certfile else None,
    )
    try:
        found.load()
    except OSError as error:  # a file that is missing or has no certificate in it
        files = f"{listen.certfile} and {listen.keyfile}" if listen.keyfile else listen.certfile
        reason = error.strerror or str(error)
        if isinstance(error, ssl.SSLError):
            reason = f"expected a certificate chain and its private key in PEM form ({error.reason or error})"
        # Without its number, for which there may be a hint about ports.
        raise CannotListen(f"any endpoint with TLS from {files}", OSError(reason)) from error
    return found


def _tls_context(listen: Listen) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(listen.certfile, listen.keyfile or None, _refuse_passphrase)
    return context


def _refuse_passphrase() -> NoReturn:
    """OpenSSL would ask for it on the terminal, where nobody may sit."""
    raise OSError(
        "its private key has a passphrase, which nobody can type when the program starts: write the key without one, "
        "openssl pkey -in OLD -out NEW, into a file that only the user of the program may read"
    )
