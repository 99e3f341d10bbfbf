"""Where the local layer of a project is on this machine: one place for all processes of one user, and only for them."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from pathlib import Path

from channels_classic.exceptions import InvalidChannelLayerError

PATH_LIMIT = 100
"""Bytes of a socket's path must be fewer than this; the system's own limit is 104 or 108."""


def default_path() -> str:
    """The path of the socket, from the user and the project."""
    digest = hashlib.sha256("\0".join(_project()).encode()).hexdigest()
    return str(_folder() / f"{digest[:16]}.sock")


def _folder() -> Path:
    # Not $XDG_RUNTIME_DIR: a cron job has none, and must find the same place as a login shell.
    return Path(tempfile.gettempdir(), f"channels-classic-{os.geteuid()}")


def _project() -> tuple[str, str]:
    """What tells a project from others: its folder and its settings."""
    from django.conf import settings

    if not settings.configured and "DJANGO_SETTINGS_MODULE" not in os.environ:
        return os.getcwd(), ""
    name = str(getattr(settings, "SETTINGS_MODULE", None) or "")
    # Not the working directory, if there is anything better: a cron job has another one.
    file = getattr(sys.modules.get(name), "__file__", None)
    folder = getattr(settings, "BASE_DIR", None) or (os.path.dirname(file) if file else os.getcwd())
    return os.path.realpath(folder), name


def check_path(path: str) -> None:
    """Make the folder of a socket if it is missing. Raises `InvalidChannelLayerError` where others could reach it."""
    if len(os.fsencode(path)) >= PATH_LIMIT:
        raise InvalidChannelLayerError(
            f"The path of the local channel layer, {path!r}, is too long for a socket: expected fewer than "
            f"{PATH_LIMIT} bytes. Give a shorter `path` in the CONFIG of CHANNEL_LAYERS.",
            key="path",
        )
    folder = os.path.dirname(path) or "."
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
    except OSError as error:
        raise InvalidChannelLayerError(
            f"The folder of the local channel layer, {folder!r}, cannot be made: {error.strerror}. "
            "Give another `path` in the CONFIG of CHANNEL_LAYERS.",
            key="path",
        ) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise InvalidChannelLayerError(
            f"The folder of the local channel layer, {folder!r}, belongs to user {found.st_uid} with mode "
            f"{stat.filemode(found.st_mode)}: expected a folder of user {os.geteuid()} that nobody else may enter. "
            "Give a `path` in a folder of its own in the CONFIG of CHANNEL_LAYERS, "
            f"or run `chmod 700 {folder}` if nothing else uses it.",
            key="path",
        )
