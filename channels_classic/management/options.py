"""Command line options made from configuration dataclasses, for argparse and for click, and back again.

Each field gives its name, its type by its default, and in its metadata the help text, further flags, and the type where
the default does not tell. A tuple is an option that may be given several times. Nothing here knows what options mean.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, TypeVar

import click

C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])


def add_arguments(parser: ArgumentParser, config: type[Any]) -> None:
    """Add an argparse option for every field of `config`."""
    for option in fields(config):
        kind: dict[str, Any] = {"type": _type(option)}
        if isinstance(option.default, tuple):
            kind = {"action": "append", "metavar": option.name.rstrip("s").upper()}
        elif isinstance(option.default, bool):
            kind = {"action": "store_true"}
        default = None if isinstance(option.default, tuple) else option.default
        parser.add_argument(
            *_flags(option), dest=option.name, default=default, help=_help(option).replace("%", "%%"), **kind
        )


def click_options(config: type[Any]) -> Callable[[F], F]:
    """A decorator that gives a click command an option for every field of `config`."""

    def decorate(function: F) -> F:
        for option in reversed(fields(config)):
            kind: dict[str, Any] = {"type": _type(option)}
            if isinstance(option.default, tuple):
                kind = {"type": str, "multiple": True}
            elif isinstance(option.default, bool):
                kind = {"is_flag": True}
            function = click.option(*_flags(option), option.name, default=option.default, help=_help(option), **kind)(
                function
            )
        return function

    return decorate


def configuration(config: type[C], options: Mapping[str, Any]) -> C:
    """A `config` from parsed options; what is missing or None has its default."""
    given = {option.name: options.get(option.name) for option in fields(config)}  # type: ignore[arg-type]  # a dataclass
    return config(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
            if value is not None
        }
    )


def _flags(option: Field[Any]) -> list[str]:
    """The flags of an option. Both spellings of a name are understood: Channels 1.x and Daphne used either."""
    hyphens, underscores = (f"--{name}" for name in (option.name.replace("_", "-"), option.name))
    return list(dict.fromkeys([*option.metadata.get("flags", ()), hyphens, underscores]))


def _type(option: Field[Any]) -> Callable[[str], Any]:
    kind: Callable[[str], Any] = option.metadata.get("kind") or type(option.default)
    return kind


def _help(option: Field[Any]) -> str:
    text = str(option.metadata["help"])
    return text if option.default in ((), "", 0, None) else f"{text} Default: {option.default}."
