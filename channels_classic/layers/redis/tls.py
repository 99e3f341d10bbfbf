"""Arguments of TLS for redis-py, tried before anything connects."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NoReturn


def check_tls(options: Mapping[str, Any]) -> None:
    """Raise `ValueError` for arguments of redis-py from which it can make no context for TLS.

    A file that this user may not read is passed over: another one may.
    """
    certificate, key = options.get("ssl_certfile"), options.get("ssl_keyfile")
    if key and not certificate:
        raise ValueError("'ssl_keyfile' is given without 'ssl_certfile', the certificate of the key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    password = options.get("ssl_password") or _refuse_passphrase
    for name, (act, expected) in _trials(context, key, password).items():
        value = options.get(name)
        if value is not None:
            _try(name, act, value, expected)


def _trials(context: ssl.SSLContext, key: Any, password: Any) -> dict[str, tuple[Callable[[Any], object], str]]:
    """Return what redis-py does with each argument, and what is expected of it."""
    return {
        "ssl_certfile": (
            lambda value: context.load_cert_chain(value, key, password),
            "a PEM file with a certificate, its key there or in 'ssl_keyfile', and the passphrase in 'ssl_password'",
        ),
        "ssl_ca_certs": (context.load_verify_locations, "a PEM file with certificates"),
        "ssl_ca_path": (lambda value: context.load_verify_locations(capath=value), "the path of a folder"),
        "ssl_ca_data": (lambda value: context.load_verify_locations(cadata=value), "certificates, PEM or DER"),
        "ssl_cert_reqs": (
            lambda value: isinstance(value, str) or ssl.VerifyMode(value),
            "'none', 'optional' or 'required'",
        ),
        "ssl_ciphers": (context.set_ciphers, "names of ciphers, as OpenSSL spells them"),
        "ssl_include_verify_flags": (_flags(context), "a list of ssl.VerifyFlags"),
        "ssl_exclude_verify_flags": (_flags(context), "a list of ssl.VerifyFlags"),
    }


def _flags(context: ssl.SSLContext) -> Callable[[Any], object]:
    return lambda value: [context.verify_flags | flag for flag in value]


def _try(name: str, act: Callable[[Any], object], value: Any, expected: str) -> None:
    try:
        act(value)
    except PermissionError:
        return
    except _Passphrase:
        raise ValueError("the private key in 'ssl_keyfile' has a passphrase: give it as 'ssl_password'") from None
    except (OSError, TypeError, ValueError) as error:
        reason = re.sub(r" \(_ssl\.c:\d+\)$", "", str(error.args[-1])).rstrip(".")
        raise ValueError(f"{name!r} is refused ({reason}), expected {expected}") from error


class _Passphrase(Exception):
    """Raised where OpenSSL would ask for a passphrase on the terminal."""


def _refuse_passphrase() -> NoReturn:
    raise _Passphrase
