"""`channels-classic`: both programs without `manage.py`, and the migration of projects from Channels 1.x.

An interface server needs no project here, only a layer.

A program is imported when its command is used, so that each machine needs only what it runs.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import click

from channels_classic import __version__
from channels_classic._import_names import MODULES
from channels_classic.conf import DEFAULT_CHANNEL_LAYER
from channels_classic.management.options import hyphenated

SETTINGS = click.option(
    "--settings",
    envvar="DJANGO_SETTINGS_MODULE",
    help="The settings module of the project. Default: $DJANGO_SETTINGS_MODULE.",
)
VERBOSITY = click.option(
    "-v",
    "--verbosity",
    type=click.IntRange(0, 3),
    default=1,
    help="0: log warnings, 1: the life of the program too, 2: each message, 3: everything. Default: 1.",
)


def _interface() -> click.Command:
    from channels_classic.management.interface import PARTS
    from channels_classic.management.options import Grouped, click_options

    @click.command("interface", cls=Grouped, help="Serves HTTP and WebSocket, as manage.py runinterface does.")
    @click.option("--layer", help="redis://host:port/db, local:/path/to/socket, or an alias of the project's layers.")
    @SETTINGS
    @VERBOSITY
    @click_options(*PARTS)
    def interface(layer: str | None, settings: str | None, **options: Any) -> None:
        _clean_errors(lambda: _serve(layer, settings, options))

    return interface


def _serve(layer: str | None, settings: str | None, options: Mapping[str, Any]) -> None:
    from channels_classic.management.interface import configured, run

    found, has_project = _bare_layer(layer, settings), layer is None or ":" not in layer
    if has_project:
        from django.conf import settings as project
        from django.utils.log import configure_logging

        configure_logging(project.LOGGING_CONFIG, project.LOGGING)  # as django.setup() does before it loads the apps
    run(found, configured(options, has_project=has_project), options)


def _worker() -> click.Command:
    from channels_classic.management.options import click_options
    from channels_classic.worker.config import WorkerConfig

    @click.command("worker", help="Runs the consumers of a project, as manage.py runworker does.")
    @SETTINGS
    @VERBOSITY
    @click.option("--skip-checks", is_flag=True, help="Run no system checks at the start.")
    @click_options(WorkerConfig)
    def worker(settings: str | None, **options: Any) -> None:
        if settings is None:
            raise click.UsageError("Give --settings, such as mysite.settings: the consumers are found through it.")
        _use(settings)
        _clean_errors(lambda: _work(options))

    return worker


def _work(options: Mapping[str, Any]) -> None:
    import django
    from django.apps import apps
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import call_command

    django.setup()
    if not apps.is_installed("channels_classic"):
        raise ImproperlyConfigured(
            f"'channels_classic' is not in INSTALLED_APPS of {os.environ['DJANGO_SETTINGS_MODULE']}: put it first, "
            "since its commands, templates and system checks are found through it."
        )
    from channels_classic.management.commands.runworker import Command

    # Not by its name, which Channels 2 and later have too. With `skip_checks`, for which `call_command` has a default.
    call_command(Command(), **options)


def _migrate() -> click.Command:
    from pathlib import Path

    @click.command(
        "migrate", help="Moves a project from Channels 1.x to this package. Without --write it shows a diff."
    )
    @click.argument("path", type=click.Path(exists=True, path_type=Path), default=".")
    @click.option("--write", is_flag=True, help="Change the files.")
    @click.option("--alias", is_flag=True, help="Keep the import names of 1.x: add the one line that provides them.")
    def migrate(path: Path, write: bool, alias: bool) -> None:
        try:
            from channels_classic.migrate.command import run
        except ModuleNotFoundError as error:
            if error.name != "libcst":
                raise
            raise click.ClickException(MIGRATE_EXTRA) from error
        run(path, write_changes=write, alias=alias)

    return migrate


MIGRATE_EXTRA = "LibCST is not installed: pip install 'channels-classic[migrate]'."


def _status() -> click.Command:
    from channels_classic.management.options import click_options
    from channels_classic.management.status import StatusConfig

    @click.command("status", help="Shows what runs on a channel layer, as manage.py channels does.")
    @click.option("--layer", help="redis://host:port/db, local:/path/to/socket, or an alias of the project's layers.")
    @SETTINGS
    @VERBOSITY
    @click_options(StatusConfig)
    def status(layer: str | None, settings: str | None, **options: Any) -> None:
        _clean_errors(lambda: _show(layer, settings, options))

    return status


def _show(layer: str | None, settings: str | None, options: Mapping[str, Any]) -> None:
    from channels_classic.management.options import configuration
    from channels_classic.management.status import StatusConfig, run

    try:
        config = configuration(StatusConfig, options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    run(_bare_layer(layer, settings), config, sys.stdout)


def _bare_layer(layer: str | None, settings: str | None) -> Any:
    """Return the layer at a URL, or that of a project."""
    if layer is not None and ":" in layer:
        return _layer_at(layer)
    if settings is None:
        raise click.UsageError(
            "Give --layer, such as redis://localhost:6379/0, or --settings, such as mysite.settings."
        )
    from channels_classic.management.layer import bare_layer_of

    _use(settings)
    return bare_layer_of(layer or DEFAULT_CHANNEL_LAYER)


def _redis(url: str) -> Any:
    from channels_classic.layers.redis import RedisChannelLayer

    return RedisChannelLayer(hosts=[url])


def _local(url: str) -> Any:
    from channels_classic.layers.local import LocalChannelLayer

    return LocalChannelLayer(path=url.partition(":")[2] or None)


LAYERS: Mapping[str, Callable[[str], Any]] = {"redis": _redis, "rediss": _redis, "unix": _redis, "local": _local}
"""Makes a layer from a URL, by the scheme."""


def _layer_at(url: str) -> Any:
    scheme = url.partition(":")[0]  # the rest may hold a password
    if scheme not in LAYERS:
        problem = "--layer has no scheme" if "@" in scheme else f"There is no layer for {scheme!r}"
        raise click.UsageError(f"{problem}: expected a URL with one of {', '.join(LAYERS)}.")
    try:
        return LAYERS[scheme](url)
    except ValueError as error:
        raise click.UsageError(f"--layer cannot be used: {error}") from error


def _use(settings: str) -> None:
    """Set the settings module, and make a project in the current folder importable."""
    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    sys.path.insert(0, os.getcwd())
    try:
        import_module(settings)
    except ModuleNotFoundError as error:
        if not f"{settings}.".startswith(f"{error.name}."):
            raise click.ClickException(_located(error)) from error  # something that the settings import
        raise click.ClickException(
            f"There are no settings {settings!r} in {os.getcwd()} or on Python's path: {error}. Run it in the "
            "folder of manage.py, or name other --settings."
        ) from error


def _clean_errors(run: Callable[[], None]) -> None:
    """Call `run` and turn errors of configuration and environment into a message without a traceback."""
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management.base import CommandError

    from channels_classic.exceptions import ChannelsError

    try:
        run()
    except ImportError as error:
        raise click.ClickException(_located(error)) from error
    except (ChannelsError, CommandError, ImproperlyConfigured) as error:
        click.ClickException(str(error)).show()
        sys.exit(getattr(error, "returncode", 1))


def _located(error: ImportError) -> str:
    """Return the text of an error with the line of the project that imports, and the next step for names of 1.x."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(os.getcwd())]
    ours = [frame for frame in frames if "site-packages" not in frame.filename]
    where = f" ({os.path.relpath(ours[-1].filename)}, line {ours[-1].lineno})" if ours else ""
    is_old = (error.name or "").partition(".")[0] in {name.partition(".")[0] for name in MODULES}
    return f"{error}{where}{f'. {OLD_NAME}' if is_old else ''}"


OLD_NAME = "It is a name of Channels 1.x: run `channels-classic migrate`, which changes it, or with --alias keeps it."


class _Programs(click.Group):
    """The commands by name, each made when it is used."""

    programs: Mapping[str, Callable[[], click.Command]] = {
        "interface": _interface,
        "migrate": _migrate,
        "worker": _worker,
        "status": _status,
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.programs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        make = self.programs.get(cmd_name)
        return make() if make else None


@click.command(
    cls=_Programs, help="The programs of Channels Classic.", context_settings={"token_normalize_func": hyphenated}
)
@click.version_option(__version__)
def main() -> None:
    """Choose a program."""
