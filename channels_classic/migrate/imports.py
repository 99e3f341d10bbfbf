"""Rewrites what a Python file imports from Channels 1.x, the uses of those names, and dotted paths in strings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import cast

import libcst as cst
from libcst import matchers
from libcst.helpers import get_full_name_for_node
from libcst.metadata import (
    Access,
    BaseAssignment,
    ClassScope,
    GlobalScope,
    ImportAssignment,
    ParentNodeProvider,
    PositionProvider,
    Scope,
    ScopeProvider,
)

from channels_classic._import_names import NAMES
from channels_classic.asgi import LEGACY_BACKENDS

from .names import CLASSIC_PACKAGES, IMPORTERS, RENAMED_NAMES, Generation, generation_of, names_in, new_module, new_path
from .report import Finding

CHANNEL_CALLS = {
    "Channel",
    "Group",
    "Route",
    "consume",
    "getLogger",
    "get_consumer_by_channel",
    "get_next_message",
    "route",
    "send",
    "send_and_consume",
}
"""Calls whose first argument is the name of a channel, a group or a logger, which may look like a dotted path."""

TAKES_PATHS = {*IMPORTERS, "import_string", "include", "is_installed", "patch", "setattr"}
"""Calls whose argument is the dotted path of a module or of what is in one."""

WITHOUT_COUNTERPART = {
    "asgi_amqp": "There is no layer for RabbitMQ: use Redis, or the embedded layer on one machine.",
    "asgi_rabbitmq": "There is no layer for RabbitMQ: use Redis, or the embedded layer on one machine.",
    "asgiref.base_layer": "Layers of your own derive from channels_classic.layers.base.BaseChannelLayer, which has "
    "another contract.",
    "asgiref.conformance": "The tests for layers of your own are in channels_classic.test.conformance.",
    "daphne": "Daphne is not used any more: runinterface serves, channels_classic.interface_server is its ASGI "
    "application.",
}
"""Module → what to do about an import of it."""


class ImportRewriter(cst.CSTTransformer):
    """Rewrites one module; `findings` are the imports that have no counterpart.

    With `alias` it is there for those findings only, since the names stay. With `exports` the module keeps the name
    `channels`, since other files may use it through this one. Names from a module stay bound for the same reason.
    """

    METADATA_DEPENDENCIES = (ParentNodeProvider, PositionProvider, ScopeProvider)

    def __init__(self, path: str, *, alias: bool = False, exports: bool = False) -> None:
        super().__init__()
        self._alias, self._exports = alias, exports
        self.path = path
        self.findings: list[Finding] = []
        self._found: set[Finding] = set()
        self._uses: dict[cst.CSTNode, str] = {}
        self._kept: set[cst.CSTNode] = set()
        self._exported: set[cst.CSTNode] = set()

    def visit_Module(self, node: cst.Module) -> None:
        """Note the uses of `channels`, where an import binds that name, before anything changes."""
        statements = cast("Sequence[cst.Global]", matchers.findall(node, matchers.Global()))
        is_global = any(item.name.value == "channels" for statement in statements for item in statement.names)
        for scope in {scope for scope in self.metadata[ScopeProvider].values() if isinstance(scope, Scope)}:
            bindings = [each for each in scope.assignments if each.name.partition(".")[0] == "channels"]
            nodes = {each.node for each in bindings if isinstance(each, ImportAssignment)}  # one may bind thousands
            importing = {node for node in nodes if isinstance(node, cst.Import) and _imports_channels(node)}
            imports = [each for each in bindings if isinstance(each, ImportAssignment) and each.node in importing]
            is_rebound = any(_is_rebound(access) for each in imports for access in each.references)
            if is_global or is_rebound or len(imports) < len(bindings):
                self._kept.update(each.node for each in imports)  # bound in another way too, or used elsewhere
                continue
            is_exported = self._exports and isinstance(scope, GlobalScope)
            if is_exported:
                self._exported.update(each.node for each in imports)
            for each in imports:
                for access in each.references:
                    if not _is_shadowed(each, access.scope):
                        self._uses[_root(access.node)] = "channels" if is_exported else "channels_classic"

    def leave_Import(self, original_node: cst.Import, updated_node: cst.Import) -> cst.Import:
        """Rewrite `import channels.routing`."""
        aliases = [
            alias
            for original, updated in zip(original_node.names, updated_node.names, strict=True)
            for alias in self._imported(original_node, original, updated)
        ]
        return updated_node.with_changes(names=aliases)

    def _imported(
        self, statement: cst.Import, original: cst.ImportAlias, updated: cst.ImportAlias
    ) -> list[cst.ImportAlias]:
        name = get_full_name_for_node(original.name) or ""
        restored = [updated.with_changes(name=original.name)]
        if not self._is_classic(original, name):
            return restored
        new = new_module(name)
        if new is None:
            self._find(original, f"`{name}` has no counterpart here.")
            return restored
        made = updated.with_changes(name=_dotted(new))
        if original.asname is not None:
            return [made]
        is_ours = name.partition(".")[0] == "channels"
        if "." in name and is_ours and statement in self._exported:
            comma = cst.Comma(whitespace_after=cst.SimpleWhitespace(" "))
            package = updated.with_changes(name=cst.Name("channels_classic"), asname=_as("channels"))
            return [made.with_changes(comma=comma), package]
        if is_ours and statement not in self._kept | self._exported:
            return [made]
        if "." in name:
            self._find(original, f"Import {new} instead of `{name}`, and rename its uses.")
            return restored
        return [made.with_changes(asname=_as(name))]

    def leave_ImportFrom(self, original_node: cst.ImportFrom, updated_node: cst.ImportFrom) -> cst.ImportFrom:
        """Rewrite `from channels.routing import route`."""
        module = get_full_name_for_node(original_node.module) if original_node.module else ""
        if original_node.relative or not module:
            return updated_node
        restored = updated_node.with_changes(module=original_node.module)
        if isinstance(original_node.names, cst.ImportStar):
            star = new_module(module) if self._is_classic(original_node, module) else None
            return updated_node.with_changes(module=_dotted(star)) if star else restored
        names = [alias.evaluated_name for alias in original_node.names]
        if not any(self._is_classic(original_node, module, name) for name in names):
            return restored
        if module == "asgiref" and names == ["inmemory"]:
            return updated_node.with_changes(module=_dotted("channels_classic.layers"))
        new = new_module(module)
        if new is None:
            self._find(original_node, f"`{module}` has no counterpart here.")
            return restored
        self._check_names(original_node, module, new, names)
        aliases = [_renamed(module, new, alias) for alias in original_node.names]
        return updated_node.with_changes(module=_dotted(new), names=aliases)

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.BaseExpression:
        """Rename a use of `channels`."""
        return _dotted(self._uses[original_node]) if original_node in self._uses else updated_node

    def leave_Attribute(self, original_node: cst.Attribute, updated_node: cst.Attribute) -> cst.BaseExpression:
        """Rename `channels.tests` as a whole, whose last part changes too."""
        package = self._uses.get(_root(original_node))
        if package and get_full_name_for_node(original_node) == "channels.tests":
            return _dotted(f"{package}.test")
        return updated_node

    def leave_SimpleString(self, original_node: cst.SimpleString, updated_node: cst.SimpleString) -> cst.SimpleString:
        """Rewrite a string that is a dotted path into Channels 1.x; list one that may be a name of something else."""
        value = original_node.evaluated_value
        if self._alias or not isinstance(value, str) or self._names_a_channel(original_node):
            return updated_node
        new = "channels_classic" if value == "channels" and self._is_passed_to(original_node, IMPORTERS) else None
        new = new or new_path(value)
        if new is None:
            if value.partition(".")[0] in CLASSIC_PACKAGES and self._is_passed_to(original_node, IMPORTERS):
                self._find(original_node, f"Import {new_module(value) or 'another module'} instead of `{value}`.")
            return updated_node
        if (
            value.startswith("channels.")
            and value.count(".") == 1
            and not self._is_passed_to(original_node, TAKES_PATHS)
        ):
            self._find(
                original_node, f"Write `{new}` if this is that module, and not a name such as that of a channel."
            )
            return updated_node
        return updated_node.with_changes(value=original_node.value.replace(value, new))

    def _is_passed_to(self, node: cst.SimpleString, functions: set[str]) -> bool:
        """Return True for an argument of one of these functions, and for a key of an object of such a name."""
        parent = self.get_metadata(ParentNodeProvider, node)
        while isinstance(parent, (cst.Arg, cst.Index, cst.SubscriptElement)):
            parent = self.get_metadata(ParentNodeProvider, parent)
        called = parent.func if isinstance(parent, cst.Call) else None
        called = parent.value if isinstance(parent, cst.Subscript) else called
        if not isinstance(called, (cst.Name, cst.Attribute)):
            return False
        return not functions.isdisjoint((get_full_name_for_node(called) or "").split("."))

    def _names_a_channel(self, node: cst.SimpleString) -> bool:
        """Return True for a key of a dict, and for the first argument of a call that takes the name of a channel."""
        if node.evaluated_value in LEGACY_BACKENDS:
            return False
        parent = self.get_metadata(ParentNodeProvider, node)
        while isinstance(parent, (cst.List, cst.Tuple, cst.Element)):
            parent = self.get_metadata(ParentNodeProvider, parent)
        if isinstance(parent, cst.DictElement):
            return parent.key is node
        call = self.get_metadata(ParentNodeProvider, parent)
        if not isinstance(parent, cst.Arg) or not isinstance(call, cst.Call):
            return False
        called = (get_full_name_for_node(call.func) or "").rpartition(".")[2]
        return called in CHANNEL_CALLS and call.args[0] is parent

    def _is_classic(self, node: cst.CSTNode, module: str, name: str = "") -> bool:
        """Return True for a name that this package replaces; note those that have no counterpart."""
        for prefix, sentence in WITHOUT_COUNTERPART.items():
            if module == prefix or module.startswith(prefix + "."):
                self._find(node, sentence)
                return False
        return generation_of(module, name) in (Generation.CLASSIC, Generation.EITHER)

    def _check_names(self, node: cst.CSTNode, module: str, new: str, names: Collection[str]) -> None:
        known = names_in(new)
        for name in names:
            there = NAMES.get(new, {}).get(name, name) in (known or ())
            if not there and new_module(f"{module}.{name}") is None:
                self._find(node, f"`{name}` of `{module}` has no counterpart here.")

    def _find(self, node: cst.CSTNode, sentence: str) -> None:
        position = self.get_metadata(PositionProvider, node)
        finding = Finding(self.path, position.start.line, sentence, "names-without-a-counterpart")
        if finding not in self._found:
            self._found.add(finding)
            self.findings.append(finding)


def _imports_channels(statement: cst.Import) -> bool:
    """Return True for `import channels` and `import channels.routing`, which bind `channels`."""
    names = [get_full_name_for_node(alias.name) or "" for alias in statement.names if alias.asname is None]
    return any(name.partition(".")[0] == "channels" for name in names)


def _renamed(module: str, new: str, alias: cst.ImportAlias) -> cst.ImportAlias:
    """Return an imported name as it is called here, bound to the name that it had."""
    name = alias.evaluated_name
    present = RENAMED_NAMES.get((module, name)) or NAMES.get(new, {}).get(name, name)
    if f"{module}.{name}" == "channels.tests":
        present = "test"
    asname = alias.asname or (_as(name) if name != present else None)
    return alias.with_changes(name=cst.Name(present), asname=asname)


def _as(name: str) -> cst.AsName:
    return cst.AsName(name=cst.Name(name))


def _root(node: cst.CSTNode) -> cst.CSTNode:
    while isinstance(node, cst.Attribute):
        node = node.value
    return node


def _is_shadowed(assignment: BaseAssignment, scope: Scope) -> bool:
    """Return True if a function around a use binds the name anew: LibCST compares names with dots as a whole."""
    nearest = scope
    while scope is not assignment.scope and scope is not scope.parent:
        if scope.assignments["channels"] and (scope is nearest or not isinstance(scope, ClassScope)):
            return True
        scope = scope.parent
    return False


def _is_rebound(access: Access) -> bool:
    """Return True in a class that binds the name too: `channels = channels.Group` reads it from outside the class."""
    return isinstance(access.scope, ClassScope) and bool(access.scope.assignments["channels"])


def _dotted(name: str) -> cst.Attribute | cst.Name:
    return cast("cst.Attribute | cst.Name", cst.parse_expression(name))
