"""Rewrites settings of Channels 1.x: the entry of INSTALLED_APPS, arguments of layers, and MIDDLEWARE_CLASSES."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import libcst as cst
from libcst import matchers
from libcst.helpers import get_full_name_for_node
from libcst.metadata import ParentNodeProvider, PositionProvider

from channels_classic.asgi import EMBEDDED_BACKEND, LEGACY_BACKENDS

from .layout import with_first, without
from .names import TAKES_APPS, new_path
from .report import Finding, Section

RUNSERVER_APPS = {"django.contrib.staticfiles", "whitenoise.runserver_nostatic"}
"""Apps with a `runserver` of their own, before which ours has to come."""

REMOVED_MIDDLEWARE = "django.contrib.auth.middleware.SessionAuthenticationMiddleware"

COPIES = {"frozenset", "list", "set", "sorted", "tuple"}
"""Functions that return the elements they are given."""

IPC_ARGUMENTS = {"prefix", "message_memory", "group_memory"}
"""Arguments of asgi_ipc that the embedded layer does not have."""

FINDINGS: Mapping[str, tuple[str, Section]] = {
    "app": ("Write 'channels_classic' if this is the app.", "settings"),
    "backend": ("There is no layer for RabbitMQ: use Redis, or leave BACKEND out on one machine.", "layers"),
    "config": ("The embedded layer takes no prefix, message_memory and group_memory: leave them out.", "layers"),
    "database": ("The layer in the database is gone: leave BACKEND out on one machine, or use Redis.", "layers"),
    "delay": ("Stop the old rundelay, then run manage.py migrate channels_delay.", "delayed-messages"),
    "logger": ("Daphne's loggers are gone: the interface server logs to channels_classic.interface_server.", "logs"),
    "middleware": ("Check that it is new-style middleware, as MIDDLEWARE needs it.", "django"),
    "order": ("Put the channels app first: otherwise another app's runserver runs.", "settings"),
    "two lists": ("Django reads MIDDLEWARE only: merge MIDDLEWARE_CLASSES into it.", "django"),
}
"""Findings: the sentence and the section of the page."""

Sequence_ = TypeVar("Sequence_", cst.List, cst.Tuple)


class SettingsRewriter(cst.CSTTransformer):
    """Rewrites one module; with `alias` the app keeps its name."""

    METADATA_DEPENDENCIES = (ParentNodeProvider, PositionProvider)

    def __init__(self, path: str, *, alias: bool) -> None:
        super().__init__()
        self.path = path
        self.app = "channels" if alias else "channels_classic"
        self.findings: list[Finding] = []
        self._renames_middleware = False

    def visit_Module(self, node: cst.Module) -> None:
        """Find out whether MIDDLEWARE_CLASSES can be renamed."""
        old = matchers.findall(node, matchers.Name("MIDDLEWARE_CLASSES"))
        both = bool(matchers.findall(node, matchers.Name("MIDDLEWARE")))
        self._renames_middleware = bool(old) and not both
        if old and both:
            self._find(old[0], "two lists")

    def leave_Name(self, original_node: cst.Name, updated_node: cst.Name) -> cst.Name:
        """Rename MIDDLEWARE_CLASSES wherever it stands."""
        if updated_node.value == "MIDDLEWARE_CLASSES" and self._renames_middleware:
            return updated_node.with_changes(value="MIDDLEWARE")
        return updated_node

    def leave_SimpleString(self, original_node: cst.SimpleString, updated_node: cst.SimpleString) -> cst.SimpleString:
        """Rename the app in lists of apps."""
        value = original_node.evaluated_value
        if not isinstance(value, str):
            return updated_node
        if value.partition(".")[0] == "daphne" and self._is_key(original_node):
            self._find(original_node, "logger")
        if value.startswith(("asgi_rabbitmq.", "asgi_amqp.")):
            self._find(original_node, "backend")
        if value == "channels.database_layer.DatabaseChannelLayer":
            self._find(original_node, "database")
        setting = self._setting_of(original_node)
        if setting == "MIDDLEWARE_CLASSES" and not value.startswith("django.") and self._renames_middleware:
            self._find(original_node, "middleware")
        if setting.endswith("APPS"):
            if value == "channels.delay":
                self._find(original_node, "delay")
            new = self.app if value == "channels" else new_path(value)
            if new is not None and self.app != "channels":
                return updated_node.with_changes(value=original_node.value.replace(value, new))
        elif value == "channels" and self.app != "channels" and self._may_be_app(original_node):
            self._find(original_node, "app")
        return updated_node

    def leave_List(self, original_node: cst.List, updated_node: cst.List) -> cst.List:
        """Put the app first, and drop middleware that is gone."""
        return self._rearranged(original_node, updated_node)

    def leave_Tuple(self, original_node: cst.Tuple, updated_node: cst.Tuple) -> cst.Tuple:
        """Put the app first, and drop middleware that is gone."""
        return self._rearranged(original_node, updated_node)

    def leave_Dict(self, original_node: cst.Dict, updated_node: cst.Dict) -> cst.Dict:
        """Remove the arguments of asgi_ipc from the definition of a layer."""
        items = {_key(item): item.value for item in original_node.elements}
        backend = _text(items.get("BACKEND")) or ""
        if LEGACY_BACKENDS.get(backend, backend) != EMBEDDED_BACKEND:
            return updated_node
        for key in ("CONFIG", "TEST_CONFIG"):
            if key in items and not isinstance(items[key], cst.Dict):
                self._find(items[key], "config")
        elements = [
            _without_ipc_arguments(item) if _key(item) in ("CONFIG", "TEST_CONFIG") else item
            for item in updated_node.elements
        ]
        return updated_node.with_changes(elements=elements)

    def leave_Call(self, original_node: cst.Call, updated_node: cst.Call) -> cst.Call:
        """Find the definition of a layer that is written as `dict(BACKEND=…)`."""
        arguments = {each.keyword.value: each.value for each in original_node.args if each.keyword is not None}
        backend = _text(arguments.get("BACKEND")) or ""
        if LEGACY_BACKENDS.get(backend) == EMBEDDED_BACKEND:
            for key in {"CONFIG", "TEST_CONFIG"}.intersection(arguments):
                self._find(arguments[key], "config")
        return updated_node

    def _rearranged(self, original: Sequence_, updated: Sequence_) -> Sequence_:
        setting = self._setting_of(original)
        if setting.startswith("MIDDLEWARE"):
            return without(updated, lambda element: _text(element.value) == REMOVED_MIDDLEWARE)
        texts = [_text(element.value) for element in updated.elements]
        place = texts.index(self.app) if setting.endswith("APPS") and self.app in texts else 0
        if not RUNSERVER_APPS.intersection(texts[:place]):
            return updated
        moved = with_first(updated, place)
        if moved is None:
            self._find(original.elements[place], "order")
        return moved or updated

    def _setting_of(self, node: cst.CSTNode) -> str:
        """Return the name of the setting whose value `node` is a part of, or an empty text.

        That is what it is assigned, added or compared to, the keyword it is passed for, or the object of a call such
        as `INSTALLED_APPS.append(…)`; `apps.is_installed(…)` takes the name of an app too.
        """
        while not isinstance(node, (cst.BaseSmallStatement, cst.BaseCompoundStatement, cst.Module)):
            if isinstance(node, cst.Arg) and node.keyword is not None:
                return node.keyword.value
            parent = self.get_metadata(ParentNodeProvider, node)
            if isinstance(parent, cst.Comparison) and node is parent.left:
                return (get_full_name_for_node(parent.comparisons[0].comparator) or "").rpartition(".")[2]
            if isinstance(parent, cst.Call) and node is not parent.func:
                function = (get_full_name_for_node(parent.func) or "").split(".")
                if function[0] in COPIES:
                    node = parent
                    continue
                return "APPS" if function[-1] == "is_installed" else function[-2] if len(function) > 1 else ""
            node = parent
        if isinstance(node, cst.Assign):
            return get_full_name_for_node(node.targets[0].target) or ""
        if isinstance(node, (cst.AugAssign, cst.AnnAssign)):
            return get_full_name_for_node(node.target) or ""
        return ""

    def _may_be_app(self, node: cst.CSTNode) -> bool:
        """Return True for an element of a list, a tuple or a set, and for an argument of a call that takes apps."""
        parent = self.get_metadata(ParentNodeProvider, node)
        call = self.get_metadata(ParentNodeProvider, parent)
        if isinstance(parent, cst.Arg) and isinstance(call, cst.Call):
            return (get_full_name_for_node(call.func) or "").rpartition(".")[2] in TAKES_APPS
        return isinstance(parent, cst.Element)

    def _is_key(self, node: cst.CSTNode) -> bool:
        parent = self.get_metadata(ParentNodeProvider, node)
        return isinstance(parent, cst.DictElement) and parent.key is node

    def _find(self, node: cst.CSTNode, kind: str) -> None:
        position = self.get_metadata(PositionProvider, node)
        self.findings.append(Finding(self.path, position.start.line, *FINDINGS[kind]))


def _text(node: cst.CSTNode | None) -> str | None:
    value = node.evaluated_value if isinstance(node, cst.SimpleString) else None
    return value if isinstance(value, str) else None


def _key(item: cst.BaseDictElement) -> str | None:
    return _text(item.key) if isinstance(item, cst.DictElement) else None


def _without_ipc_arguments(item: cst.BaseDictElement) -> cst.BaseDictElement:
    config = item.value
    if not isinstance(config, cst.Dict):
        return item
    return item.with_changes(value=without(config, lambda each: _key(each) in IPC_ARGUMENTS))
