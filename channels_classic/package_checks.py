"""Check at the start of a project that the libraries of the layers are new enough.

pip checks that as well, but not with `--no-deps`, and the errors that an old library causes do not name it.
"""

from __future__ import annotations

import re
from importlib import metadata

__all__ = ["check_all", "required_versions"]

# The lower bounds in setup.cfg.
required_versions = {
    "redis": "8",
    "msgpack": "1.2.3",
}


def check_all() -> None:
    """Raise `RuntimeError` for the first package in `required_versions` that is installed and too old."""
    for package, minimum in required_versions.items():
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        if _numbers(version) < _numbers(minimum):
            raise RuntimeError(
                f"{package} {version} is installed, and channels_classic needs {minimum} or later: "
                f"pip install --upgrade {package!r}"
            )


def _numbers(version: str) -> list[int]:
    """Return the numbers at the beginning of a version, without suffixes such as `rc1`."""
    leading = re.match(r"\d+(\.\d+)*", version)
    return [int(part) for part in leading[0].split(".")] if leading else []
