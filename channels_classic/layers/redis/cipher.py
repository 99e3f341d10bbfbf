"""Encryption of payloads: the only place where the content of entries is encrypted and decrypted.

Names of channels and groups, and who is charged for an entry, stay readable. What is encrypted is bound to the place
where it is stored: somebody who can write to the server cannot move a message to another channel.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

QUEUE, KEPT, WHO = "queue:", "kept:", "who:"
"""The kinds of places, before the name of a queue, of a group that keeps messages, or of somebody who is present."""


class Cipher(Protocol):
    """Encrypts and decrypts payloads."""

    def encrypt(self, payload: bytes, place: str) -> bytes:
        """Return what is stored for `payload` at `place`."""

    def decrypt(self, stored: bytes, place: str) -> bytes:
        """Return the payload. Raise `ValueError` for data that none of the keys encrypted for that place."""


class Plain:
    """Encrypts nothing."""

    def encrypt(self, payload: bytes, place: str) -> bytes:
        return payload

    def decrypt(self, stored: bytes, place: str) -> bytes:
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

    def encrypt(self, payload: bytes, place: str) -> bytes:
        return self._fernet.encrypt(_digest(place) + payload)

    def decrypt(self, stored: bytes, place: str) -> bytes:
        try:
            found = self._fernet.decrypt(stored)
        except self._invalid as error:
            raise ValueError("it was encrypted with another key, or not at all") from error
        digest = _digest(place)
        if not found.startswith(digest):
            raise ValueError("it was encrypted for another channel or group")
        return found[len(digest) :]


def make_cipher(keys: Sequence[str] | None) -> Cipher:
    """Return the cipher for the argument `symmetric_encryption_keys`; without keys nothing is encrypted."""
    if isinstance(keys, (str, bytes)):
        raise ValueError("`symmetric_encryption_keys` is a list of keys; a single one was given: write [key].")
    if not isinstance(keys, (Sequence, type(None))):
        raise ValueError(f"`symmetric_encryption_keys` is of type {type(keys).__name__}: expected a list of keys.")
    for number, key in enumerate(keys or ()):
        if not isinstance(key, str):
            raise ValueError(f"Key {number} of `symmetric_encryption_keys` is of type {type(key).__name__}, not text.")
        if not key.strip():
            raise ValueError(f"Key {number} of `symmetric_encryption_keys` is empty: anybody could guess it.")
    return Fernets(list(keys)) if keys else Plain()


@lru_cache(maxsize=4096)
def _digest(place: str) -> bytes:
    return hashlib.sha256(place.encode()).digest()[:16]


def _fernet_key(key: str) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())
