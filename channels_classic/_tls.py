"""Loads certificates where nobody can type the passphrase of their key."""

from __future__ import annotations

import ssl
from typing import NoReturn


def load_certificate(context: ssl.SSLContext, certificate: str, key: str | None, refusal: Exception) -> None:
    """Load a certificate and its key, which is in the same file without `key`.

    Raises `refusal` for a key with a passphrase: OpenSSL would ask for it on the terminal, where nobody may sit.
    """

    def refuse() -> NoReturn:
        raise refusal

    context.load_cert_chain(certificate, key, refuse)
