"""Messages as bytes, and the bytes that are none."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_classic.exceptions import InvalidMessage, MessageTooLarge
from channels_classic.layers.codec import (
    RESERVED,
    SIZE_LIMIT,
    EntryKind,
    decode,
    encode,
    encode_group,
    encode_message,
    pack_message,
    seal,
)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner), max_leaves=20
)
messages = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), scalars, max_size=8)


def as_read(value: Any) -> Any:
    """Return the decoded form: tuples are lists."""
    if isinstance(value, (list, tuple)):
        return [as_read(item) for item in value]
    if isinstance(value, dict):
        return {key: as_read(item) for key, item in value.items()}
    return value


@given(messages, st.none() | st.text(max_size=8))
def test_a_message_comes_back_as_it_went_with_its_fields(message: dict[str, Any], token: str | None) -> None:
    assert decode(encode_message("chat", EntryKind.MESSAGE, message, token, "")) == [
        EntryKind.MESSAGE,
        message,
        token,
        "",
    ]


@given(values)
def test_nested_values_keep_their_types(value: Any) -> None:
    _, message, *_ = decode(encode_message("chat", EntryKind.MESSAGE, {"value": value}, None, ""))
    assert repr(message["value"]) == repr(as_read(value))


@given(st.tuples(scalars, st.tuples(scalars)))
def test_tuples_come_back_as_lists(value: Any) -> None:
    _, message, *_ = decode(encode_message("chat", EntryKind.MESSAGE, {"value": value}, None, ""))
    assert message["value"] == as_read(value)


@given(st.binary(max_size=60))
def test_whatever_bytes_come_they_are_fields_or_an_error(payload: bytes) -> None:
    try:
        fields = decode(payload)
    except ValueError:
        return
    assert isinstance(fields, list) and fields


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (EntryKind.MESSAGE, [{"a": 1}, None, "me"]),
        (EntryKind.GROUP, ["g", 7, {"a": 1}]),
        (EntryKind.REPORT, ["me", "7", 0]),
        (EntryKind.JOINED, ["g", "me", 0, 2**53]),
        (EntryKind.LEFT, ["g", "me", 1, 2]),
        (EntryKind.FORGET, []),
        (99, ["of a later release"]),
    ],
)
def test_the_kind_stands_first_and_later_releases_may_append(kind: EntryKind, fields: list[Any]) -> None:
    assert decode(encode(kind, *fields)) == [kind, *fields]
    assert decode(encode(kind, *fields, "more")) == [kind, *fields, "more"]


@pytest.mark.parametrize(
    "fields",
    [
        [EntryKind.MESSAGE],
        [EntryKind.MESSAGE, "text", None, "me"],
        [EntryKind.MESSAGE, {}, 7, "me"],
        [EntryKind.MESSAGE, {}, None, b"me"],
        [EntryKind.GROUP, "g", "7", {}],
        [EntryKind.GROUP, ["g"], 7, {}],
        [EntryKind.REPORT, "me", None, 0],
        [EntryKind.JOINED, "g", "me"],
        [EntryKind.JOINED, "g", "me", 2, 2],
        [EntryKind.LEFT, "g", "me", 5, 2],
        [EntryKind.LEFT, "g", "me", -1, 2],
        [[], "g"],
        ["0", {}],
    ],
    ids=repr,
)
def test_fields_of_other_types_are_an_error(fields: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"a payload|kind of the payload"):
        decode(msgpack.packb(fields))


@given(st.text(max_size=8), st.integers(1, 2**53), messages)
def test_a_group_message_is_packed_once_for_all_inboxes(group: str, version: int, message: dict[str, Any]) -> None:
    packed = pack_message(group, message)
    assert decode(seal(encode_group(group, packed), version)) == [EntryKind.GROUP, group, version, message]
    assert decode(seal(encode_group(group, packed, "me"), version)) == [EntryKind.GROUP, group, version, message, "me"]


@pytest.mark.parametrize("message", ["text", b"bytes", None, [("a", 1)], 1])
def test_what_is_no_dict_is_no_message(message: Any) -> None:
    with pytest.raises(InvalidMessage, match=type(message).__name__) as caught:
        encode_message("chat", EntryKind.MESSAGE, message)
    assert caught.value.channel == "chat"


@pytest.mark.parametrize("value", [object(), {1, 2}, 2**64, -(2**63) - 1, 1j, "\udc80"])
def test_a_value_no_layer_carries_is_refused_wherever_it_stands(value: Any) -> None:
    for message in ({"value": value}, {"deep": [{"value": [value]}]}):
        with pytest.raises(InvalidMessage, match="'chat'"):
            encode_message("chat", EntryKind.MESSAGE, message)


def test_a_message_that_refers_to_itself_is_refused() -> None:
    message: dict[str, Any] = {}
    message["self"] = message
    with pytest.raises(InvalidMessage):
        encode_message("chat", EntryKind.MESSAGE, message)


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ({"a": 1, "b": object()}, r"the key \['b'\] has a value of type object \(can"),
        ({"a": {"rows": [1, {"when": 2**70}]}}, r"the key \['a'\]\['rows'\]\[1\]\['when'\] has a value of type int"),
    ],
)
def test_the_key_of_a_value_no_layer_carries_is_named(message: dict[str, Any], key: str) -> None:
    with pytest.raises(InvalidMessage, match=key):
        encode_message("chat", EntryKind.MESSAGE, message)
    with pytest.raises(InvalidMessage, match=key):
        pack_message("room", message)


def test_content_to_delay_is_what_the_delay_server_can_store() -> None:
    content = {"rows": [{"when": b"now"}]}
    with pytest.raises(
        InvalidMessage, match=r"content the key \['rows'\]\[0\]\['when'\] has .* bytes .*JSON"
    ) as caught:
        encode_message("asgi.delay", EntryKind.MESSAGE, {"channel": "a", "content": content, "delay": 5})
    assert "are bytes" not in str(caught.value)
    encode_message("jobs", EntryKind.MESSAGE, {"channel": "a", "content": content, "delay": 5})
    encode_message("asgi.delay", EntryKind.MESSAGE, {"channel": "a", "content": {"rows": []}, "delay": 5})


def test_the_key_that_the_old_layers_used_is_refused() -> None:
    with pytest.raises(InvalidMessage, match=RESERVED):
        encode_message("chat", EntryKind.MESSAGE, {RESERVED: "x"})


def test_a_message_over_the_limit_is_refused_with_its_size() -> None:
    encode_message("chat", EntryKind.MESSAGE, {"body": b"x" * (SIZE_LIMIT - 100)})
    with pytest.raises(MessageTooLarge) as caught:
        encode_message("chat", EntryKind.MESSAGE, {"body": b"x" * SIZE_LIMIT})
    assert caught.value.size > caught.value.limit == SIZE_LIMIT
    assert str(caught.value).endswith("Its largest key is 'body'.")


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x80", b"\x90", b"\x01", b"\x91\x00\x00", b"\x81\x90\x00"])
def test_what_is_no_payload_raises_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 msgpack says what it likes
        decode(payload)
