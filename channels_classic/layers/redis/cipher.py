"""Encryption of payloads: the only place where the content of entries is encrypted and decrypted.

Names of channels and groups, and who is charged for an entry, stay readable.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Protocol


class Cipher(Protocol):
    """Encrypts and decrypts payloads."""

    def encrypt(self, payload: bytes) -> bytes:
        """Return what is stored for `payload`."""

    def decrypt(self, stored: bytes) -> bytes:
        """Return the payload. Raise `ValueError` for data that none of the keys encrypted."""


class Plain:
    """Encrypts nothing."""

    def encrypt(self, payload: bytes) -> bytes:
        return payload

    def decrypt(self, stored: bytes) -> bytes:
        return stored


class Fernets:
    """Fernet with several keys: the first encrypts, all decrypt, so that keys can be replaced one by one.

    Nothing depends on the time in a token: messages expire by the server's clock, not by those of two hosts.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        try:
            from cryptography.fernet import Fernet, InvalidToken, MultiFernet
        except ImportError as error:
            raise ValueError(
                "`symmetric_encryption_keys` needs the package cryptography: "
                "pip install 'channels-classic[encryption]'."
            ) from error
        self._invalid = InvalidToken
        self._fernet = MultiFernet([Fernet(_fernet_key(key)) for key in keys])

    def encrypt(self, payload: bytes) -> bytes:
        return self._fernet.encrypt(payload)

    def decrypt(self, stored: bytes) -> bytes:
        try:
            return self._fernet.decrypt(stored)
        except self._invalid as error:
            raise ValueError("it was encrypted with another key, or not at all") from error


def make_cipher(keys: Sequence[str] | None) -> Cipher:
    """Return the cipher for the argument `symmetric_encryption_keys`; without keys nothing is encrypted."""
    if isinstance(keys, (str, bytes)):
        raise ValueError("`symmetric_encryption_keys` is a list of keys; a single one was given: write [key].")
    return Fernets(list(keys)) if keys else Plain()


def _fernet_key(key: str) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())
