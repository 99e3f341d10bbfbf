"""Exceptions: their facts, and the sentences made of them."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

from channels_classic import exceptions


@pytest.mark.parametrize("code", [None, 1000, 3000, 3001, 4999])
def test_a_close_exception_takes_the_codes_left_to_applications(code: int | None) -> None:
    assert exceptions.WebsocketCloseException(code)._code == code


@pytest.mark.parametrize("code", [0, 999, 1001, 2000, 2999, 5000, "code", "a", 1000.0, True])
def test_a_close_exception_refuses_any_other_code(code: object) -> None:
    with pytest.raises(ValueError, match="3000 to 4999"):
        exceptions.WebsocketCloseException(code)  # type: ignore[arg-type]


def test_a_channel_socket_exception_must_say_what_to_run() -> None:
    with pytest.raises(NotImplementedError, match="run"):
        exceptions.ChannelSocketException().run(None)


def test_an_unknown_layer_is_caught_as_value_error_and_key_error_and_reads_as_a_sentence() -> None:
    error = exceptions.UnknownChannelLayer("There is no layer 'x'.", alias="x")
    assert isinstance(error, ValueError) and isinstance(error, KeyError)
    assert str(error) == "There is no layer 'x'."
    assert error.alias == "x"


def test_channel_full_names_channel_and_capacity() -> None:
    error = exceptions.ChannelFull("http.request", 100)
    assert (error.channel, error.capacity) == ("http.request", 100)
    assert "'http.request'" in str(error) and "100" in str(error)


def test_channel_full_takes_a_ready_sentence_as_in_channels_1() -> None:
    assert str(exceptions.ChannelFull("Nothing fits any more.")) == "Nothing fits any more."


ERRORS = [
    exceptions.InvalidChannelLayerError("No.", alias="default", key="BACKEND"),
    exceptions.UnknownChannelLayer("No.", alias="default"),
    exceptions.ChannelFull("a", 1),
    exceptions.MessageTooLarge("a", 2, 1),
    exceptions.MessageTooLarge("a", 2, 1, "'text'"),
    exceptions.InvalidChannelName("a b", "a space"),
    exceptions.InvalidGroupName(b"x"),
    exceptions.InvalidMessage("a", "a set is in it"),
    exceptions.InvalidMessage("a", "a set is in it", "a list"),
    exceptions.LayerUnavailable("/run/x.sock", "connection refused", "Start runinterface."),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_survive_pickling_with_their_facts(error: exceptions.ChannelsError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("error", [exceptions.ChannelFull, exceptions.MessageTooLarge])
def test_a_layer_of_a_project_may_raise_errors_without_facts(error: type[exceptions.ChannelsError]) -> None:
    assert str(error()).endswith("full." if error is exceptions.ChannelFull else "too large.")
    assert str(error("No room.")) == "No room."


@pytest.mark.parametrize(
    ("error", "bases"),
    [
        (exceptions.InvalidChannelLayerError, (ValueError,)),
        (exceptions.MessageTooLarge, (ValueError,)),
        (exceptions.InvalidChannelName, (TypeError,)),
        (exceptions.InvalidGroupName, (TypeError,)),
        (exceptions.InvalidMessage, (TypeError, ValueError, AssertionError)),
        (exceptions.LayerUnavailable, (ConnectionError,)),
    ],
)
def test_errors_are_also_what_a_caller_would_already_catch(error: type, bases: tuple[type, ...]) -> None:
    assert issubclass(error, (exceptions.ChannelsError, *bases))
    assert all(issubclass(error, base) for base in bases)


@pytest.mark.parametrize(
    "error",
    [value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, Exception)],
)
def test_every_error_says_when_it_is_raised(error: type) -> None:
    assert (error.__doc__ or "").startswith("Raised when ")


def test_the_errors_module_does_not_import_django() -> None:
    code = "import sys, channels_classic.exceptions; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
