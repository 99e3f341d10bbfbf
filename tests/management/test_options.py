"""Options made from configuration classes."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from dataclasses import dataclass, field
from typing import Any

import click
import pytest
from click.testing import CliRunner

from channels_classic.management.cli import main
from channels_classic.management.options import add_arguments, click_options, configuration
from channels_classic.worker.config import WorkerConfig, cores


@dataclass(frozen=True, slots=True)
class Config:
    name: str = field(default="x", metadata={"help": "A name."})
    how_many: int = field(default=3, metadata={"help": "A number, at most 100%.", "flags": ("-n",)})
    seconds: float = field(default=1.5, metadata={"help": "A time."})
    loud: bool = field(default=False, metadata={"help": "A switch."})
    globs: tuple[str, ...] = field(default=(), metadata={"help": "Several."})


ARGUMENTS = ["--name", "y", "-n", "5", "--seconds", "2", "--loud", "--globs", "a", "--globs", "b"]


def parsed_by_argparse(arguments: list[str]) -> Any:
    parser = ArgumentParser()
    add_arguments(parser, Config)
    parser.format_help()
    return configuration(Config, vars(parser.parse_args(arguments)))


def parsed_by_click(arguments: list[str]) -> Any:
    seen: list[Any] = []

    @click.command()
    @click_options(Config)
    def command(**options: Any) -> None:
        seen.append(configuration(Config, options))

    CliRunner().invoke(command, ["--help"], catch_exceptions=False)
    CliRunner().invoke(command, arguments, catch_exceptions=False)
    return seen[0]


@pytest.mark.parametrize("parsed", [parsed_by_argparse, parsed_by_click])
def test_options_are_parsed_into_a_configuration(parsed: Any) -> None:
    assert parsed([]) == Config()
    assert parsed(ARGUMENTS) == Config("y", 5, 2.0, True, ("a", "b"))


def test_names_with_underscores_are_known_as_in_channels_1_and_shown_with_hyphens_alone() -> None:
    parser = ArgumentParser()
    add_arguments(parser, WorkerConfig)
    given = ["--max_messages", "5", "--only_channels", "a", "--only-channels", "b"]
    assert configuration(WorkerConfig, vars(parser.parse_args(given))) == WorkerConfig(
        max_messages=5, only_channels=("a", "b")
    )
    run = CliRunner(env={"DJANGO_SETTINGS_MODULE": None}).invoke
    assert "Give --settings" in run(main, ["worker", *given]).output
    for shown in (parser.format_help(), run(main, ["worker", "--help"]).output):
        assert "--max-messages" in shown
        assert re.findall(r"--\w+_\w+", shown) == []


def test_options_may_be_given_as_call_command_does() -> None:
    assert configuration(Config, {"globs": ["a"], "how_many": None, "verbosity": 1}) == Config(globs=("a",))


def test_every_option_of_the_worker_has_a_default_and_a_help_text() -> None:
    parser = ArgumentParser()
    add_arguments(parser, WorkerConfig)
    assert configuration(WorkerConfig, vars(parser.parse_args([]))) == WorkerConfig()


def test_processes_may_be_as_many_as_there_are_processors() -> None:
    parser = ArgumentParser()
    add_arguments(parser, WorkerConfig)
    config = configuration(WorkerConfig, vars(parser.parse_args(["--processes", "auto"])))
    assert config.processes == cores() >= 1
