"""The grammar of channel and group names."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from channels_classic.exceptions import InvalidChannelName, InvalidGroupName
from channels_classic.layers import names

LEGAL = string.ascii_letters + string.digits + "-_."
text = st.text(LEGAL, min_size=1, max_size=30)
channels = st.one_of(
    text,
    st.builds("{}?{}".format, text, text),
    st.builds("{}!{}".format, text, st.text(LEGAL, max_size=30)),
)


@given(channels)
def test_every_name_of_the_grammar_is_given_back(name: str) -> None:
    assert names.check_channel(name) == name


@given(channels)
def test_a_name_falls_into_its_list_and_its_local_part_and_together_they_are_the_name(name: str) -> None:
    queue, local = names.split(name)
    assert queue + local == name
    assert names.inbox_of(name) == queue
    assert names.check_receivable(queue) == queue
    assert ("!" in name) == queue.endswith("!")


@given(st.text(max_size=120))
def test_text_outside_the_grammar_is_refused(name: str) -> None:
    marks = name.count("!") + name.count("?")
    head = name.replace("?", "!").split("!")[0]
    legal = 0 < len(name) <= names.MAX_LENGTH and marks <= 1 and head and not name.endswith("?")
    legal = legal and set(name) <= {*LEGAL, "!", "?"}
    assume(not legal)
    with pytest.raises(InvalidChannelName) as caught:
        names.check_channel(name)
    assert caught.value.name == name
    with pytest.raises(TypeError):
        names.check_receivable(name)


@given(st.text(max_size=120))
def test_a_group_name_is_legal_exactly_when_it_is_made_of_legal_characters(name: str) -> None:
    if 0 < len(name) <= names.MAX_LENGTH and set(name) <= set(LEGAL):
        assert names.check_group(name) == name
    else:
        with pytest.raises(InvalidGroupName):
            names.check_group(name)


@pytest.mark.parametrize("name", ["a\n", "a!b\n", "a?b\n", "\N{ARABIC-INDIC DIGIT ONE}", "a!\N{SUPERSCRIPT TWO}"])
def test_what_python_would_take_for_a_digit_or_an_end_is_refused(name: str) -> None:
    with pytest.raises(InvalidChannelName):
        names.check_channel(name)


@pytest.mark.parametrize("name", [None, 1, b"bytes", 1.5, ("a",)])
def test_what_is_no_text_is_refused_with_its_type(name: Any) -> None:
    with pytest.raises(InvalidChannelName, match=type(name).__name__):
        names.check_channel(name)
    with pytest.raises(InvalidGroupName, match=type(name).__name__):
        names.check_group(name)


@pytest.mark.parametrize("name", [["a"], {"a": 1}])
def test_what_cannot_be_hashed_is_refused_as_well(name: Any) -> None:
    with pytest.raises(TypeError):
        names.check_channel(name)


def test_a_name_has_a_hundred_characters_and_no_more() -> None:
    assert names.check_channel("x" * 100) == "x" * 100
    with pytest.raises(InvalidChannelName, match="101 characters"):
        names.check_channel("x" * 101)


def test_receiving_one_client_names_the_inbox_to_ask_for() -> None:
    with pytest.raises(InvalidChannelName, match="'inbox!'"):
        names.check_receivable("inbox!client")


def test_a_new_inbox_is_legal_managed_and_never_the_same() -> None:
    made = {names.new_inbox() for _ in range(50)}
    assert len(made) == 50
    assert all(names.is_managed(name) and names.is_owned(name) and names.check_receivable(name) for name in made)


@given(channels)
def test_inboxes_of_others_are_not_taken_for_managed_ones(name: str) -> None:
    assume(not name.startswith("interface.v"))
    assert not names.is_managed(names.inbox_of(name))


def test_an_inbox_of_another_release_is_owned_but_not_managed() -> None:
    for name in ("interface.v1.abc!", "interface.v12.abc!"):
        assert names.is_owned(name)
        assert not names.is_managed(name)
    assert not names.is_owned("interface.v12.abc!client")
    assert not names.is_owned("interface.v.abc!")


def test_a_channel_that_can_be_sent_to_has_a_hundred_characters_and_no_more() -> None:
    assert names.is_channel("x" * 100)
    assert not names.is_channel("x" * 101)
