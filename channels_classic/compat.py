"""The import names of Channels 1.x for projects that keep them: channels, asgi_redis, asgi_ipc, asgiref.inmemory.

Write `import channels_classic.compat` on the first line of the package that holds the settings (`mysite/__init__.py`):
every process of a project imports that before it can import `channels`. The names are aliases of the modules of this
package: each class is the same object under either name, and `"channels"` is a valid entry of `INSTALLED_APPS`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType

from channels_classic._import_names import MODULES, NAMES
from channels_classic.apps import ChannelsConfig
from channels_classic.exceptions import OtherChannelsInstalled


class _Finder(MetaPathFinder):
    """Finds the old names. It has to be the first finder: others would load the files of this package a second time."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        name = MODULES.get(fullname)
        if name is None and fullname.startswith("channels."):
            name = "channels_classic" + fullname.removeprefix("channels")
        return ModuleSpec(fullname, _Loader(name)) if name is not None and _exists(name) else None


class _Loader(Loader):
    """Loads an old name as the module of the new one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._own: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module of the new name, importing it if it is not imported yet."""
        module = import_module(self._name)
        self._own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Restore the spec of the module, which Python has replaced; it has been executed before."""
        module.__spec__ = self._own
        for old, new in NAMES.get(self._name, {}).items():
            setattr(module, old, getattr(module, new))


def _exists(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent is not a package
        return False


def _refuse_other_channels() -> None:
    """Raise `OtherChannelsInstalled` if there is a package `channels` other than Channels 0.x or 1.x."""
    spec = find_spec("channels")
    if spec is None or spec.origin is None:  # none, or only a folder of that name
        return
    try:
        installed: str | None = version("channels")
    except PackageNotFoundError:
        installed = None
    if installed is None or not installed.startswith(("0.", "1.")):
        raise OtherChannelsInstalled(installed, spec.origin)


_refuse_other_channels()
sys.meta_path.insert(0, _Finder())
ChannelsConfig.label = "channels"
