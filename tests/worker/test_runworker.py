"""The command: what it makes of its options, and what it says when it cannot run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from channels_classic.asgi import channel_layers
from channels_classic.handler import ViewConsumer
from channels_classic.layers.inmemory import ChannelLayer
from channels_classic.signals import worker_process_ready
from channels_classic.staticfiles import StaticFilesConsumer
from channels_classic.worker.config import WorkerConfig

COMMAND = "channels_classic.management.commands.runworker"


class ReachableLayer(ChannelLayer):
    """A layer whose module's name does not tell that it lives in one process."""


def settings(**config: Any) -> override_settings:
    return override_settings(
        CHANNEL_LAYERS={"default": {"BACKEND": f"{__name__}.ReachableLayer", "ROUTING": [], **config}}
    )


@pytest.fixture(autouse=True)
def fresh_layers() -> Iterator[None]:
    """No layer that others made, and none for others."""
    with mock.patch.object(channel_layers, "backends", {}):
        yield


@pytest.fixture
def workers() -> Iterator[tuple[mock.Mock, mock.Mock]]:
    """The object that is made instead of `Worker` and `WorkerGroup`."""
    with mock.patch(f"{COMMAND}.Worker") as worker, mock.patch(f"{COMMAND}.WorkerGroup") as group:
        yield worker, group


@settings()
def test_a_worker_is_made_with_the_arguments_of_1_x(workers: tuple[mock.Mock, mock.Mock]) -> None:
    call_command("runworker", "--prefetch", "3", "--grace", "5")
    worker, group = workers
    worker.assert_called_once_with(
        callback=None, only_channels=None, exclude_channels=None, channel_layer=channel_layers["default"]
    )
    worker.return_value.configure.assert_called_once_with(WorkerConfig(prefetch=3, grace=5.0))
    assert not group.called


@settings()
def test_threads_make_a_group(workers: tuple[mock.Mock, mock.Mock]) -> None:
    call_command("runworker", "--threads", "4", "--only-channels", "a*", "--only-channels", "b", verbosity=2)
    (arguments,) = [dict(call.kwargs) for call in workers[1].call_args_list]
    assert arguments.pop("callback") is not None
    assert arguments == {
        "only_channels": ["a*", "b"],
        "exclude_channels": None,
        "channel_layer": channel_layers["default"],
        "n_threads": 4,
    }


@settings()
def test_the_process_says_that_it_is_ready_before_the_worker_does(workers: tuple[mock.Mock, mock.Mock]) -> None:
    order: list[Any] = []

    def receiver(sender: Any, **kwargs: Any) -> None:
        order.append(sender)

    worker = workers[0].return_value
    worker.ready.side_effect = lambda: order.append("ready")
    worker.run.side_effect = lambda: order.append("run")
    worker_process_ready.connect(receiver)
    try:
        call_command("runworker")
    finally:
        worker_process_ready.disconnect(receiver)
    assert order == [worker, "ready", "run"]


@settings()
@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize(("debug", "kind"), [(True, StaticFilesConsumer), (False, ViewConsumer)])
def test_static_files_are_served_while_debugging(debug: bool, kind: type) -> None:
    with override_settings(DEBUG=debug):
        call_command("runworker")
    assert type(channel_layers["default"].router.root.routing[0].consumer) is kind


@settings()
@pytest.mark.usefixtures("workers")
def test_static_files_are_not_served_without_the_app() -> None:
    with override_settings(
        DEBUG=True,
        STATIC_URL=None,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "channels_classic"],
    ):
        call_command("runworker", skip_checks=True)
    assert type(channel_layers["default"].router.root.routing[0].consumer) is ViewConsumer


def test_the_memory_layer_is_refused() -> None:
    with pytest.raises(CommandError, match="lives in one process"):
        call_command("runworker")


@override_settings(CHANNEL_LAYERS={})
def test_without_layers_it_says_which_lines_to_add() -> None:
    with pytest.raises(CommandError) as caught:
        call_command("runworker")
    assert str(caught.value).splitlines()[-3:] == [
        "CHANNEL_LAYERS = {",
        '    "default": {"ROUTING": "mysite.routing.channel_routing"},',
        "}",
    ]


@settings()
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--layer", "other"], "defines no layer 'other'"),
        (["--only-channels", "nothing.*"], "No channel to listen on"),
        (["--threads", "0"], "--threads is 0: expected a number from 1"),
        (["--processes", "-1"], "--processes is -1"),
        (["--grace=-1"], "--grace is -1: expected a number from 0"),
        (["--reload", "--processes", "2"], "--reload works with one process only"),
    ],
)
def test_options_that_fit_nothing_are_refused(options: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        call_command("runworker", *options)


@settings(ROUTING={"mail.send": print, "thumbnails.make": print})
def test_a_glob_that_has_no_effect_is_named_with_the_channels_there_are(
    workers: tuple[mock.Mock, mock.Mock], caplog: pytest.LogCaptureFixture
) -> None:
    call_command("runworker", "--only-channels", "mail.*", "--limit", "mail.*=2", "--exclude-channels", "thumb")
    (line,) = [record.getMessage() for record in caplog.records if "no effect" in record.getMessage()]
    assert line.startswith("--exclude-channels thumb has no effect: no channel matches it")
    assert "http.request, mail.send, thumbnails.make, websocket.connect" in line


@settings(ROUTING={"not a channel": print})
def test_a_channel_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(CommandError, match="'not a channel' is not a valid channel name"):
        call_command("runworker")


@settings(ROUTING="nowhere.routing")
def test_a_routing_that_cannot_be_imported_is_refused() -> None:
    with pytest.raises(CommandError, match=r"'nowhere\.routing' cannot be imported"):
        call_command("runworker")
