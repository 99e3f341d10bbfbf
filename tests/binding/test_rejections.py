"""Changes that are rejected or not permitted."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from channels_classic.binding._rejections import RejectionLog
from channels_classic.binding.base import CREATE, DELETE, UPDATE
from channels_classic.test import WSClient, apply_routes
from tests.inventory.models import Blob, Country, Moment, Product, Rate, Scan
from tests.support.bindings import ask, bound, demultiplexed, everything, received, rows

pytestmark = pytest.mark.usefixtures("default_layer", "db")


# Permission


def asking(model: Any) -> tuple[Any, list[tuple[str, Any]]]:
    """Return a binding that permits everything, and the list of its `has_permission` calls."""
    asked: list[tuple[str, Any]] = []

    def has_permission(self: Any, user: Any, action: str, pk: Any) -> bool:
        asked.append((action, pk))
        return True

    return bound(model, fields="__all__", has_permission=has_permission), asked


@pytest.mark.parametrize("pk", [1, "1", " 1 ", "01", 1.0, "\uff11"])
def test_permission_is_asked_with_the_key_that_outbound_messages_contain(pk: Any) -> None:
    User.objects.create(pk=1, username="bob")
    binding, asked = asking(User)
    ask(binding, action=UPDATE, pk=pk, data={"first_name": "Bob"})
    ask(binding, action=DELETE, pk=pk)
    assert asked == [(UPDATE, 1), (DELETE, 1)]
    assert [type(key) for _, key in asked] == [int, int]
    assert rows(User) == []


AT = datetime(2026, 11, 29, 12, 0, 0, 123456, timezone.utc)

SPELLINGS: dict[str, tuple[Any, Any, list[Any]]] = {
    "decimal": (Rate(value=Decimal("1.10"), name="a"), "1.10", ["1.1", "1.100", "11e-1", 1.1, " 1.10"]),
    "zero": (Rate(value=Decimal("0.00"), name="a"), "0.00", ["-0", "0", 0, -0.0, "0e5"]),
    "time": (
        Moment(at=AT, name="a"),
        "2026-11-29T12:00:00.123456+00:00",
        ["2026-11-29T13:00:00.123456+01:00", "2026-11-29 12:00:00.123456Z"],
    ),
    "bytes": (Blob(digest=b"1"), "MQ==", ["MR=="]),
    "file": (Scan(file="a.pdf", name="a"), "a.pdf", []),
}


@pytest.mark.parametrize("kind", SPELLINGS)
def test_every_spelling_of_a_key_is_the_one_that_outbound_messages_contain(kind: str, client: WSClient) -> None:
    row, key, others = SPELLINGS[kind]
    binding, asked = asking(type(row))
    row.save(force_insert=True)
    (created,) = received(client)
    assert created["payload"]["pk"] == key
    for pk in [key, *others]:
        ask(binding, action=UPDATE, pk=pk, data={})
    assert asked == [(UPDATE, key)] * (1 + len(others))
    assert [reply["payload"]["action"] for reply in received(client)] == [UPDATE] * len(asked)
    ask(binding, action=DELETE, pk=[key, *others][-1])
    assert rows(type(row)) == []


@pytest.mark.parametrize(
    ("model", "pk"),
    [
        (Rate, "1.101"),
        (Rate, "123456"),
        (Rate, "1E+1000000"),
        (Rate, "1E-1000000"),
        (Rate, "sNaN"),
        (Moment, "0001-01-01T00:00:00+14:00"),
        (Moment, "2026-02-30"),
        (Blob, 5),
        (Blob, "x"),
        (Scan, 5),
    ],
)
def test_a_key_that_no_row_can_have_is_rejected(model: Any, pk: Any, rejected: Callable[[], str]) -> None:
    binding, asked = asking(model)
    for action in (UPDATE, DELETE):
        ask(binding, action=action, pk=pk, data={})
        assert "pk: " in rejected()
    assert asked == []


def test_a_time_with_an_offset_is_stored_without_time_zones(settings: Any, client: WSClient) -> None:
    settings.USE_TZ = False
    settings.TIME_ZONE = "UTC"
    binding, _ = asking(Moment)
    ask(binding, action=CREATE, data={"at": "2026-11-29T13:00:00+01:00", "name": "a"})
    ask(binding, action=UPDATE, pk="2026-11-29T12:00:00", data={"name": "b"})
    assert [row["name"] for row in rows(Moment)] == ["b"]


@pytest.mark.parametrize("pk", [None, True, 1.5, [1], {"pk": 1}, "x", "", "1\0", "\ud800", "9" * 5000])
@pytest.mark.parametrize("action", [UPDATE, DELETE])
def test_permission_is_not_asked_for_an_invalid_key(pk: Any, action: str, rejected: Callable[[], str]) -> None:
    User.objects.create(pk=1, username="bob")
    binding, asked = asking(User)
    before = everything()
    ask(binding, action=action, pk=pk, data={"first_name": "Bob"})
    assert "pk: " in rejected()
    assert asked == []
    assert everything() == before


def test_permission_to_create_is_asked_without_a_key() -> None:
    User.objects.create(pk=1, username="bob")
    binding, asked = asking(User)
    ask(binding, action=CREATE, pk=1, data={"username": "eve"})
    assert asked == [(CREATE, None)]
    assert set(User.objects.values_list("username", flat=True)) == {"bob", "eve"}


def test_a_row_is_not_found_by_a_key_that_is_equal_in_the_collation_only(rejected: Callable[[], str]) -> None:
    Country.objects.create(code="is", name="Iceland")
    binding, asked = asking(Country)
    ask(binding, action=UPDATE, pk="IS", data={"name": "Taken"})
    assert "has no row" in rejected()
    ask(binding, action=DELETE, pk="IS")
    assert asked == [(UPDATE, "IS"), (DELETE, "IS")]
    assert rows(Country) == [{"code": "is", "name": "Iceland"}]


def test_a_row_that_is_missing_is_not_created_by_an_update(rejected: Callable[[], str]) -> None:
    ask(bound(Country, fields="__all__"), action=UPDATE, pk="is", data={"code": "is", "name": "Iceland"})
    assert "has no row" in rejected()
    ask(bound(exclude=[]), action=UPDATE, pk=10**30, data={"username": "eve"})
    assert "has no row" in rejected()
    assert rows(Country) == rows(User) == []


# Invalid changes


def test_an_invalid_change_raises_a_validation_error_where_it_is_called() -> None:
    binding = bound(Product, fields="__all__")()
    with pytest.raises(ValidationError) as caught:
        binding.create({"number": ""})
    assert caught.value.message_dict == {"number": ["This field cannot be blank."]}
    with pytest.raises(Product.DoesNotExist):
        binding.update(1, {"number": "1"})


def test_a_binding_may_answer_a_client_whose_change_is_invalid(client: WSClient) -> None:
    def run_action(self: Any, action: str, pk: Any, data: Any) -> None:
        try:
            super(binding, self).run_action(action, pk, data)
        except ValidationError as error:
            self.kwargs["multiplexer"].send({"errors": error.message_dict})

    binding = bound(Product, fields="__all__", run_action=run_action)
    ask(binding, client, action=CREATE, data={"number": ""})
    assert received(client) == [{"stream": "users", "payload": {"errors": {"number": ["This field cannot be blank."]}}}]


def test_an_error_in_the_code_of_the_project_is_raised() -> None:
    def has_permission(self: Any, user: Any, action: str, pk: Any) -> bool:
        raise KeyError("a mistake")

    with pytest.raises(KeyError, match="a mistake"):
        ask(bound(Product, fields="__all__", has_permission=has_permission), action=CREATE, data={})


def test_strict_ordering_continues_after_an_invalid_change() -> None:
    binding = bound(Product, fields=["number"])
    client = WSClient(ordered=True)
    with apply_routes([demultiplexed(binding).as_route({"strict_ordering": True})]):
        client.send_and_consume("websocket.connect")
        for number in ("", "1"):
            text = {"stream": "users", "payload": {"action": CREATE, "data": {"number": number}}}
            client.send_and_consume("websocket.receive", text=text)
    assert [product.number for product in Product.objects.all()] == ["1"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "5",
        "null",
        "{}",
        '{"action": ["create"]}',
        '{"action": null}',
        '{"action": "create"}',
        '{"action": "create", "data": [1]}',
        '{"action": "create", "data": {"number": NaN}}',
        '{"action": "create", "data": {"details": [1e999]}}',
        '{"action": "create", "data": {"details": ' + "9" * 5000 + "}}",
        '{"action": "create", "data": {"details": ' + "[" * 100_000 + "]" * 100_000 + "}}",
        '{"action": "create", "data": {"nonsense": 1}}',
        '{"action": "create", "data": {"nonsense\\n\\u001b[31m": 1}}',
        '{"action": "explode"}',
    ],
)
def test_an_invalid_frame_is_one_line_in_the_log(text: str, rejected: Callable[[], str]) -> None:
    from channels_classic.message import Message

    binding = bound(Product, fields="__all__")
    binding.consumer(Message({"reply_channel": "a", "text": text}, "websocket.receive", None))
    line = rejected()
    assert "TestBinding" in line
    assert line.isprintable()
    assert len(line) < 1000
    assert rows(Product) == []


def test_lines_about_rejected_changes_are_bounded_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    log = RejectionLog(clock=lambda: now)
    binding = bound(Product, fields="__all__")
    for _ in range(100):
        log.add(binding, CREATE, None, ValidationError("invalid"))
    assert len(caplog.records) == 10
    now += 1
    log.add(binding, CREATE, None, ValidationError("invalid"))
    log.add(binding, CREATE, None, ValidationError("invalid"))
    lines = [record.getMessage() for record in caplog.records[10:]]
    assert ["90 more were not logged" in line for line in lines] == [True, False]
