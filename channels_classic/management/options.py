"""Converts configuration dataclasses to command line options, for argparse and click, and parsed options back.

Each field provides the name, the default, and in its metadata the help text, further flags and the type, if that is not
the type of the default. A tuple is an option that may be given several times. Names may be given with underscores too,
which help does not show. Nothing here knows what options mean.
"""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any, TypeVar

import click

from channels_classic.conf import DEFAULT_CHANNEL_LAYER

C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])


def add_arguments(parser: ArgumentParser, config: type[Any]) -> None:
    """Add an argparse option for every field of `config`, in the groups that the fields or the class name."""
    groups: dict[str, Any] = {group.title: group for group in parser._action_groups if group.title}
    for option in fields(config):
        title = _group(config, option)
        group = groups.get(title, parser)
        if title and group is parser:
            group = groups[title] = parser.add_argument_group(title)
        kind: dict[str, Any] = {"type": _type(option)}
        if isinstance(option.default, tuple):
            kind = {"action": "append", "metavar": option.name.rstrip("s").upper()}
        elif isinstance(option.default, bool):
            kind = {"action": "store_true"}
        default = None if isinstance(option.default, tuple) else option.default
        flags = _flags(option)
        group.add_argument(*flags, dest=option.name, default=default, help=_help(option).replace("%", "%%"), **kind)
        if f"--{option.name}" not in flags:
            group.add_argument(f"--{option.name}", dest=option.name, default=SUPPRESS, help=SUPPRESS, **kind)


def add_layer(parser: ArgumentParser) -> None:
    """Add the option that chooses a channel layer of the project."""
    default = DEFAULT_CHANNEL_LAYER
    parser.add_argument(
        "--layer", default=default, help=f"Alias of the channel layer, a key of CHANNEL_LAYERS. Default: {default}."
    )


class GroupedOption(click.Option):
    """An option that help lists in a group."""

    def __init__(self, *args: Any, group: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class Grouped(click.Command):
    """A command that lists its options in their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "group", "") or "Options", []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


def click_options(*configs: type[Any]) -> Callable[[F], F]:
    """Return a decorator that adds an option to a click command for every field of each of `configs`."""

    def decorate(function: F) -> F:
        for config, option in reversed([(each, option) for each in configs for option in fields(each)]):
            kind: dict[str, Any] = {"type": _type(option)}
            if isinstance(option.default, tuple):
                kind = {"type": str, "multiple": True}
            elif isinstance(option.default, bool):
                kind = {"is_flag": True}
            elif not isinstance(kind["type"], type):
                kind["metavar"] = option.name.upper()  # click would show the name of the function
            kind["cls"], kind["group"] = GroupedOption, _group(config, option)
            function = click.option(*_flags(option), option.name, default=option.default, help=_help(option), **kind)(
                function
            )
        return function

    return decorate


def configuration(config: type[C], options: Mapping[str, Any]) -> C:
    """Return a `config` from parsed options; those that are missing or None have their default."""
    given = {option.name: options.get(option.name) for option in fields(config)}  # type: ignore[arg-type]  # a dataclass
    return config(
        **{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
            if value is not None
        }
    )


def hyphenated(name: str) -> str:
    """Return the name of an option as help shows it; Channels 1.x and Daphne used hyphens or underscores."""
    return name.replace("_", "-")


def _flags(option: Field[Any]) -> list[str]:
    return list(dict.fromkeys([*option.metadata.get("flags", ()), f"--{hyphenated(option.name)}"]))


def _group(config: type[Any], option: Field[Any]) -> str:
    return str(option.metadata.get("group") or getattr(config, "group", ""))


def _type(option: Field[Any]) -> Callable[[str], Any]:
    kind: Callable[[str], Any] = option.metadata.get("kind") or type(option.default)
    return kind


def _help(option: Field[Any]) -> str:
    text = str(option.metadata["help"])
    if option.default in ((), "", 0, None):
        return text
    values = option.default if isinstance(option.default, tuple) else (option.default,)
    return f"{text} Default: {', '.join(map(str, values))}."
