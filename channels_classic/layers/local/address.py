"""The address of a project's local layer: the same for all processes of one user on one machine, and for nobody else.

On Linux it is a name in the kernel's abstract namespace of Unix sockets, written `@name`. It lies in no folder, so it
depends on no `TMPDIR`, no working folder and no release folder, `PrivateTmp=` does not hide it, and no cleaner of
temporary files can take it away. Elsewhere, and where a `path` is given, it is a socket in a folder of its own.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import struct
import sys

from channels_classic.exceptions import InvalidChannelLayerError

PATH_LIMIT = 100
"""Bytes of a socket's path must be fewer than this; the system's own limit is 104 or 108."""

FOLDERS = "/tmp"  # noqa: S108  # a folder of mode 0700 is made there; $TMPDIR differs between a service and a shell
"""The folder that holds the folders of the users, where there are no abstract sockets."""

_PEER_CREDENTIALS = struct.Struct("3i")


def default_address(deployment: str = "") -> str:
    """Return the address for the project that the settings describe; `deployment` tells several of it apart.

    It follows from the user and from `SECRET_KEY`, which all processes of a project share and other projects do not.
    Raise `InvalidChannelLayerError` if that is empty.
    """
    digest = hashlib.sha256("\0".join(("channels_classic", _project(), deployment)).encode()).hexdigest()[:32]
    if sys.platform == "linux":
        return f"@channels-classic-{os.geteuid()}-{digest}"
    return f"{FOLDERS}/channels-classic-{os.geteuid()}/{digest}.sock"


def _project() -> str:
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    if not settings.configured and "DJANGO_SETTINGS_MODULE" not in os.environ:
        return os.getcwd()
    try:
        return str(settings.SECRET_KEY)
    except ImproperlyConfigured as error:
        raise InvalidChannelLayerError(
            "The local channel layer finds its address by SECRET_KEY, which is empty.",
            "Set it in the environment of this process, or give a `path` in the CONFIG of CHANNEL_LAYERS.",
            key="path",
        ) from error


def check_path(path: str | os.PathLike[str]) -> str:
    """Return the address that `path` in the settings gives. Raise `ValueError` for one that cannot be an address."""
    address = os.fspath(path)
    if not isinstance(address, str) or not address or "\0" in address:
        raise ValueError(f"`path` is {path!r}: expected the path of a file, or '@name' on Linux.")
    if not is_abstract(address) and not os.path.isabs(address):
        raise ValueError(f"`path` is {path!r}, which depends on the current folder: expected an absolute path.")
    if is_abstract(address) and sys.platform != "linux":
        raise ValueError(f"`path` is {path!r}, an abstract name, which only Linux knows: expected the path of a file.")
    if len(os.fsencode(address)) >= PATH_LIMIT:
        raise ValueError(f"`path` is {path!r}, too long for a socket: expected fewer than {PATH_LIMIT} bytes.")
    if address.endswith("/") or os.path.isdir(address):
        raise ValueError(f"`path` is {path!r}, a folder: expected the path of a file in it, such as layer.sock.")
    if not is_abstract(address) and is_other_file(address):
        raise ValueError(f"`path` is {path!r}, a file that is not a socket: expected a path at which there is nothing.")
    return address


def is_other_file(path: str) -> bool:
    """Return True if there is something at a path that no host has made."""
    try:
        return not stat.S_ISSOCK(os.lstat(path).st_mode)
    except OSError:
        return False


def is_abstract(address: str) -> bool:
    """Return True for a name in the abstract namespace, False for the path of a file."""
    return address.startswith("@")


def socket_address(address: str) -> str:
    """Return `address` as `socket.bind` and `socket.connect` take it."""
    return "\0" + address[1:] if is_abstract(address) else address


def check_address(address: str) -> None:
    """Make the folder of a socket if it is missing. Raise `InvalidChannelLayerError` where others could reach it."""
    if is_abstract(address):
        return
    folder = os.path.dirname(address) or "."
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


def user_of_peer(connection: socket.socket) -> int:
    """Return the user id of the process at the other end of a Unix socket, as the kernel knows it.

    Where the kernel does not tell, return this process's own: there the mode of the folder keeps others out.
    """
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return os.geteuid()
    credentials = connection.getsockopt(socket.SOL_SOCKET, option, _PEER_CREDENTIALS.size)
    uid: int = _PEER_CREDENTIALS.unpack(credentials)[1]
    return uid
