"""Removes and moves elements of lists, tuples and dicts, and leaves each comment where it belongs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import libcst as cst
from libcst import matchers

Container = TypeVar("Container", cst.List, cst.Tuple, cst.Dict)

NOTHING = cst.SimpleWhitespace("")


def without(node: Container, is_dropped: Callable[[Any], bool]) -> Container:
    """Return the node without some of its elements, and without the comments on their lines."""
    layout = _Layout(node, [*node.elements], _gaps(node))
    for place in reversed(range(len(node.elements))):
        if is_dropped(node.elements[place]):
            layout.remove(place)
    return layout.made() if len(layout.elements) < len(node.elements) else node


def with_first(node: Container, place: int) -> Container | None:
    """Return the node with the element at `place` first; None if a comment would lose its line."""
    layout = _Layout(node, [*node.elements], _gaps(node))
    before, after = layout.gaps[place : place + 2]
    if _has_lines(before) and _has_lines(after):
        space = before.with_changes(first_line=after.first_line, empty_lines=[])
    elif place == len(node.elements) - 1:
        if _has_comment(before) or _has_comment(after) or (_closing(node) is None):
            return None
        space, layout.gaps[place] = before, NOTHING
    else:
        space = after if _has_lines(before) else before
    moved = layout.elements[place]
    layout.remove(place)
    layout.elements.insert(0, moved)
    layout.gaps.insert(1, space)
    return layout.made()


@dataclass
class _Layout(Generic[Container]):
    """The elements of a node and the gaps around them, which are one more.

    The white space behind an element, with the comment on its line and the lines of comments that follow, belongs to
    its comma; behind the last one it belongs to the bracket. Here all of it is a list of gaps.
    """

    node: Container
    elements: list[Any]
    gaps: list[Any]

    def remove(self, place: int) -> None:
        """Take an element away, and make one gap of the two around it."""
        before, after = self.gaps[place : place + 2]
        is_last = place == len(self.elements) - 1
        is_outer = is_last or place == 0
        if _has_lines(before) and _has_lines(after):
            gap = _joined(before, after, closes=is_last)
        elif _has_lines(before) or _has_lines(after):
            lines, plain = (before, after) if _has_lines(before) else (after, before)
            gap = plain if is_outer and not _has_comment(lines) else lines
        else:
            gap = after if is_last else before
        self.gaps[place : place + 2] = [gap]
        del self.elements[place]

    def made(self) -> Container:
        """Return the node with what is here."""
        closing, opening = self.gaps[-1], self.gaps[0] if self.elements else NOTHING
        elements = [
            element.with_changes(comma=_comma(element).with_changes(whitespace_after=gap))
            for element, gap in zip(self.elements, self.gaps[1:-1], strict=False)
        ]
        if self.elements:
            elements.append(self.elements[-1].with_changes(comma=self.node.elements[-1].comma))
        return self.node.with_changes(elements=elements, **_brackets(self.node, opening, closing))


def _gaps(node: Container) -> list[Any]:
    opening, closing = _opening(node), _closing(node)
    between: list[Any] = [_comma(element).whitespace_after for element in node.elements[:-1]]
    first = opening.whitespace_after if opening else NOTHING
    return [first, *between, closing.whitespace_before if closing else NOTHING]


def _joined(before: Any, after: Any, *, closes: bool) -> Any:
    """Return the gap that two leave, without the end of line of the element between them."""
    lines = [*before.empty_lines]
    if closes or after.empty_lines:
        while lines and lines[-1].comment is None:
            lines.pop()
    return before.with_changes(empty_lines=[*lines, *after.empty_lines], last_line=after.last_line)


def _has_lines(gap: Any) -> bool:
    return isinstance(gap, cst.ParenthesizedWhitespace)


def _has_comment(gap: cst.CSTNode) -> bool:
    return bool(matchers.findall(gap, matchers.Comment()))


def _comma(element: Any) -> cst.Comma:
    return element.comma if isinstance(element.comma, cst.Comma) else cst.Comma()


def _opening(node: cst.List | cst.Tuple | cst.Dict) -> Any:
    return (
        node.lbracket if isinstance(node, cst.List) else node.lbrace if isinstance(node, cst.Dict) else _inner(node)[0]
    )


def _closing(node: cst.List | cst.Tuple | cst.Dict) -> Any:
    return (
        node.rbracket if isinstance(node, cst.List) else node.rbrace if isinstance(node, cst.Dict) else _inner(node)[1]
    )


def _inner(node: cst.Tuple) -> Sequence[Any]:
    return (node.lpar[-1], node.rpar[0]) if node.lpar else (None, None)


def _brackets(node: cst.List | cst.Tuple | cst.Dict, before: Any, after: Any) -> dict[str, Any]:
    """Return the brackets with the gaps inside of them, as changes of the node."""
    if _opening(node) is None:
        return {}
    opening = _opening(node).with_changes(whitespace_after=before)
    closing = _closing(node).with_changes(whitespace_before=after)
    if isinstance(node, cst.Tuple):
        return {"lpar": [*node.lpar[:-1], opening], "rpar": [closing, *node.rpar[1:]]}
    names = ("lbracket", "rbracket") if isinstance(node, cst.List) else ("lbrace", "rbrace")
    return dict(zip(names, (opening, closing), strict=True))
