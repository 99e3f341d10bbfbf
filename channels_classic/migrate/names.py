"""The names of Channels 1.x and of Channels 2 to 4: which release a name belongs to, and what replaces it here."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from pathlib import Path

import channels_classic
from channels_classic._import_names import MODULES
from channels_classic.asgi import LEGACY_BACKENDS

PACKAGE = Path(channels_classic.__file__).parent

DEEPEST, LONGEST = 8, 200
"""The parts and the characters that names of modules here have at most."""


class Generation(Enum):
    """The releases of Channels that a name belongs to."""

    CLASSIC = "Channels 1.x"
    MODERN = "Channels 2 to 4"
    EITHER = "Channels of any release"


RENAMED_MODULES: Mapping[str, str] = {
    **MODULES,
    "channels.tests": "channels_classic.test",
    "channels.tests.base": "channels_classic.test.base",
    "channels.tests.http": "channels_classic.test.http",
}
"""Module of Channels 1.x → its replacement; other submodules of `channels` keep their names."""

RENAMED_NAMES: Mapping[tuple[str, str], str] = {
    ("channels.test", "HttpClient"): "WSClient",
    ("channels.tests", "HttpClient"): "WSClient",
}
"""Names that Channels 1.x had deprecated, and their present ones."""

CLASSIC_PACKAGES = {"asgi_ipc", "asgi_redis", "asgi_rabbitmq", "asgi_amqp"}
CLASSIC_ASGIREF = {"asgiref.inmemory", "asgiref.base_layer", "asgiref.conformance"}
MODERN_PACKAGES = {"channels_postgres", "channels_rabbitmq", "channels_redis"}

MODERN_MODULES = {
    "channels.checks",
    "channels.consumer",
    "channels.db",
    "channels.generic.http",
    "channels.generic.websocket",
    "channels.http",
    "channels.layers",
    "channels.middleware",
    "channels.security.websocket",
    "channels.testing",
}

MODERN_NAMES: Mapping[str, frozenset[str]] = {
    "channels.auth": frozenset(
        {"AuthMiddleware", "AuthMiddlewareStack", "UserLazyObject", "get_user", "login", "logout"}
    ),
    "channels.exceptions": frozenset({"AcceptConnection", "StopConsumer"}),
    "channels.routing": frozenset({"ChannelNameRouter", "ProtocolTypeRouter", "URLRouter", "get_default_application"}),
    "channels.sessions": frozenset(
        {"CookieMiddleware", "InstanceSessionWrapper", "SessionMiddleware", "SessionMiddlewareStack"}
    ),
    "channels.staticfiles": frozenset({"StaticFilesWrapper", "StaticFilesHandlerMixin"}),
    "channels.utils": frozenset({"await_many_dispatch"}),
}

SHARED_NAMES: Mapping[str, frozenset[str]] = {
    "channels": frozenset({"", "DEFAULT_CHANNEL_LAYER", "__version__", "auth", "exceptions", "routing", "sessions"}),
    "channels.apps": frozenset({"", "ChannelsConfig"}),
    "channels.auth": frozenset({""}),
    "channels.exceptions": frozenset(
        {
            "",
            "ChannelFull",
            "DenyConnection",
            "InvalidChannelLayerError",
            "MessageTooLarge",
            "RequestAborted",
            "RequestTimeout",
        }
    ),
    "channels.management.commands.runserver": frozenset({"", "Command"}),
    "channels.management.commands.runworker": frozenset({"", "Command"}),
    "channels.routing": frozenset({""}),
    "channels.sessions": frozenset({""}),
    "channels.staticfiles": frozenset({"", "StaticFilesHandler"}),
    "channels.utils": frozenset({"", "name_that_thing"}),
    "channels.worker": frozenset({"", "Worker"}),
}
"""Names that both have. The empty name is the module itself, imported as a whole."""


IMPORTERS = {"__import__", "find_spec", "import_module", "importorskip", "modules"}
"""Calls whose argument is the name of a module, and `sys.modules`."""

TAKES_APPS = {"append", "extend", "get_app_config", "insert", "is_installed"}
"""Calls whose argument may be the name of an app."""


def generation_of(module: str, name: str = "") -> Generation | None:
    """Return the releases that have `name` in `module`, or the module itself; None for other packages.

    A name that neither is known to have, in a module that both have, does not tell them apart.
    """
    top = module.partition(".")[0]
    if top in MODERN_PACKAGES:
        return Generation.MODERN
    if top in CLASSIC_PACKAGES or module in CLASSIC_ASGIREF or f"{module}.{name}" in CLASSIC_ASGIREF:
        return Generation.CLASSIC
    if top != "channels":
        return None
    if _is_modern_module(module) or _is_modern_module(f"{module}.{name}") or name in MODERN_NAMES.get(module, ()):
        return Generation.MODERN
    if module not in SHARED_NAMES:
        return Generation.CLASSIC
    here = name not in SHARED_NAMES[module] and name in (names_in(new_module(module) or "") or ())
    return Generation.CLASSIC if here else Generation.EITHER


def _is_modern_module(module: str) -> bool:
    return any(module == modern or module.startswith(modern + ".") for modern in MODERN_MODULES)


def new_module(module: str) -> str | None:
    """Return the module here that replaces a module of Channels 1.x, or None if there is none."""
    if module in RENAMED_MODULES:
        return RENAMED_MODULES[module]
    if module.startswith("channels."):
        renamed = "channels_classic" + module.removeprefix("channels")
        return renamed if names_in(renamed) is not None else None
    return None


def new_path(path: str) -> str | None:
    """Return what a dotted path into Channels 1.x, to a module or a name in one, is here; None for any other text."""
    if path in LEGACY_BACKENDS:
        return LEGACY_BACKENDS[path]
    parts = path.split(".")
    if parts[0] != "channels" or len(parts) < 2 or not all(part.isidentifier() for part in parts):
        return None
    for length in range(min(len(parts), DEEPEST), 0, -1):
        module = new_module(".".join(parts[:length]))
        if module is not None:
            rest = parts[length:]
            return ".".join([module, *rest]) if not rest or rest[0] in (names_in(module) or ()) else None
    return None


@cache
def names_in(module: str) -> frozenset[str] | None:
    """Return the public names of a module of this package, from its source; None if there is no such module."""
    parts = module.split(".")
    if len(parts) > DEEPEST or len(module) > LONGEST:
        return None
    base = PACKAGE.joinpath(*parts[1:])
    folder = (base / "__init__.py").exists()
    path = base / "__init__.py" if folder else base.with_suffix(".py")
    if not path.exists():
        return None
    names = set(_bound(ast.parse(path.read_text()).body))
    if folder:
        names |= {each.stem for each in base.iterdir() if each.suffix == ".py" or each.is_dir()}
    return frozenset(names)


def _bound(body: list[ast.stmt]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield statement.name
        elif isinstance(statement, (ast.Import, ast.ImportFrom)):
            yield from (alias.asname or alias.name for alias in statement.names)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))
        elif isinstance(statement, ast.If):
            yield from _bound(statement.body + statement.orelse)
