"""Rewrites settings of Channels 1.x: the entry of INSTALLED_APPS, arguments of layers, and MIDDLEWARE_CLASSES."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import libcst as cst
from libcst import matchers
from libcst.helpers import get_full_name_for_node
from libcst.metadata import ParentNodeProvider, PositionProvider

from channels_classic.asgi import EMBEDDED_BACKEND, LEGACY_BACKENDS

from .report import Finding, Section

RUNSERVER_APPS = {"django.contrib.staticfiles", "whitenoise.runserver_nostatic"}
"""Apps with a `runserver` of their own, before which ours has to come."""

REMOVED_MIDDLEWARE = "django.contrib.auth.middleware.SessionAuthenticationMiddleware"

IPC_ARGUMENTS = {"prefix", "message_memory", "group_memory"}
"""Arguments of asgi_ipc that the embedded layer does not have."""

FINDINGS: Mapping[str, tuple[str, Section]] = {
    "backend": ("There is no layer for RabbitMQ: use Redis, or leave BACKEND out on one machine.", "layers"),
    "config": ("The embedded layer takes no prefix, message_memory and group_memory: leave them out.", "layers"),
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
        setting = self._setting_of(original_node)
        if setting == "MIDDLEWARE_CLASSES" and not value.startswith("django.") and self._renames_middleware:
            self._find(original_node, "middleware")
        if setting.endswith("APPS"):
            if value == "channels.delay":
                self._find(original_node, "delay")
            if value == "channels" != self.app:
                return updated_node.with_changes(value=original_node.value.replace(value, self.app))
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
        if backend.startswith(("asgi_rabbitmq.", "asgi_amqp.")):
            self._find(items["BACKEND"], "backend")
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
        if LEGACY_BACKENDS.get(backend) == EMBEDDED_BACKEND and "CONFIG" in arguments:
            self._find(arguments["CONFIG"], "config")
        return updated_node

    def _rearranged(self, original: Sequence_, updated: Sequence_) -> Sequence_:
        setting = self._setting_of(original)
        elements: Sequence[cst.BaseElement] = updated.elements
        changes: dict[str, object] = {}
        if setting.startswith("MIDDLEWARE"):
            elements = _without(elements, REMOVED_MIDDLEWARE)
        texts = [_text(element.value) for element in elements]
        place: int = texts.index(self.app) if setting.endswith("APPS") and self.app in texts else 0
        if RUNSERVER_APPS.intersection(texts[:place]):
            if place < len(elements) - 1:
                elements = [elements[place], *elements[:place], *elements[place + 1 :]]
            elif (closing := _closing(updated)) and (moved := _last_to_front(elements, closing)):
                elements, changes = moved[0], _with_closing(updated, moved[1])
            else:
                self._find(original.elements[place], "order")
        return updated if elements is updated.elements else updated.with_changes(elements=elements, **changes)

    def _setting_of(self, node: cst.CSTNode) -> str:
        """Return the name of the setting whose value `node` is a part of, or an empty text.

        That is what it is assigned or added to, the keyword it is passed for, or the object of a call such as
        `INSTALLED_APPS.append(…)`; `apps.is_installed(…)` takes the name of an app too.
        """
        while not isinstance(node, (cst.BaseSmallStatement, cst.BaseCompoundStatement, cst.Module)):
            if isinstance(node, cst.Arg) and node.keyword is not None:
                return node.keyword.value
            parent = self.get_metadata(ParentNodeProvider, node)
            if isinstance(parent, cst.Call) and node is not parent.func:
                function = (get_full_name_for_node(parent.func) or "").split(".")
                return "APPS" if function[-1] == "is_installed" else function[-2] if len(function) > 1 else ""
            node = parent
        if isinstance(node, cst.Assign):
            return get_full_name_for_node(node.targets[0].target) or ""
        if isinstance(node, (cst.AugAssign, cst.AnnAssign)):
            return get_full_name_for_node(node.target) or ""
        return ""

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


def _without(elements: Sequence[cst.BaseElement], text: str) -> Sequence[cst.BaseElement]:
    kept = [element for element in elements if _text(element.value) != text]
    if len(kept) == len(elements):
        return elements
    if kept:
        kept[-1] = kept[-1].with_changes(comma=elements[-1].comma)
    return kept


def _without_ipc_arguments(item: cst.BaseDictElement) -> cst.BaseDictElement:
    config = item.value
    if not isinstance(config, cst.Dict):
        return item
    kept = [each for each in config.elements if _key(each) not in IPC_ARGUMENTS]
    if len(kept) == len(config.elements):
        return item
    if not kept:
        return item.with_changes(value=cst.Dict([]))
    kept[-1] = kept[-1].with_changes(comma=config.elements[-1].comma)
    return item.with_changes(value=config.with_changes(elements=kept))


_Closing = cst.RightSquareBracket | cst.RightParen


def _closing(node: cst.List | cst.Tuple) -> _Closing | None:
    return node.rbracket if isinstance(node, cst.List) else node.rpar[0] if node.rpar else None


def _with_closing(node: cst.List | cst.Tuple, closing: _Closing) -> dict[str, object]:
    return {"rbracket": closing} if isinstance(node, cst.List) else {"rpar": [closing, *node.rpar[1:]]}


def _last_to_front(
    elements: Sequence[cst.BaseElement], closing: _Closing
) -> tuple[list[cst.BaseElement], _Closing] | None:
    """Return the elements with the last one first, and the closing bracket; None if a comment would lose its line.

    The white space behind an element, with its comment, belongs to its comma; behind the last one it belongs to the
    bracket. So the last element and the one before it exchange their commas and their ends of line.
    """
    *rest, before, moved = elements
    space, end = getattr(before.comma, "whitespace_after", None), closing.whitespace_before
    swapped = before.with_changes(comma=moved.comma)
    if isinstance(space, cst.ParenthesizedWhitespace) and isinstance(end, cst.ParenthesizedWhitespace):
        after = space.with_changes(first_line=end.first_line, empty_lines=[])
        moved = moved.with_changes(comma=cst.Comma(whitespace_after=after))
        return [moved, *rest, swapped], closing.with_changes(
            whitespace_before=end.with_changes(first_line=space.first_line)
        )
    if matchers.findall(before.comma, matchers.Comment()) or matchers.findall(closing, matchers.Comment()):
        return None
    return [moved.with_changes(comma=before.comma), *rest, swapped], closing
