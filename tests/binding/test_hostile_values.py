"""Hostile values in every field of every shape of model: no error, no other row touched, no field beyond `fields`."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.serializers.json import DjangoJSONEncoder

from channels_classic.binding._inbound import pk_to_json
from channels_classic.binding.base import CREATE, DELETE, UPDATE
from channels_classic.message import Message
from channels_classic.test import WSClient
from tests.inventory.models import (
    Blob,
    Charge,
    Club,
    Country,
    Item,
    Kingdom,
    Machine,
    Membership,
    Moment,
    Note,
    Page,
    Part,
    Product,
    Profile,
    Rate,
    Robot,
    Scan,
    Seat,
    Slot,
    Tag,
)
from tests.support.bindings import MODELS, bound, received

pytestmark = pytest.mark.usefixtures("default_layer", "db")

STEP = 1 if "HOSTILE" in os.environ else 5


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, 1.5, 1e308, 2**63, 10**30, -(10**30), "", " ", "1", " 1", "１", "1_0", "0x1",
    "1e5", "-0", "NaN", "Infinity", "sNaN", "\0", "a\0b", "\ud800", "a" * 10_000, "9" * 5000, [], [1], ["1", 1], [[1]],
    [None], {}, {"a": 1}, {"pk": 1}, nested(50), nested(400), {"a": "\0"}, {"a": "\ud800"},
    "9999-12-31T23:59:59.999999-14:00", "0001-01-01T00:00:00+14:00", "2026-02-30", "2026-11-28T25:00", "true", "pk",
    "00000000-0000-0000-0000-000000000000", "../../etc/passwd", "%s", "{0}", "';--", "chair", "CHAIR", -(2**31) - 1,
    1.0000000000000002, 1e-400,
]  # fmt: skip


def change(binding: Any, **payload: Any) -> None:
    """Ask for a change, without a socket around it."""
    binding.trigger_inbound(Message({"text": json.dumps(payload)}, "websocket.receive", None))


def fill() -> dict[Any, Any]:
    """Make a row of every model; return one primary key of each, as clients write it."""
    user = User.objects.create_user("admin", password="secret", is_superuser=True)
    other = User.objects.create_user("bob")
    tag, club = Tag.objects.create(name="p"), Club.objects.create(name="chess")
    Item.objects.create(name="spoon", owner=user).tags.add(tag)
    country = Country.objects.create(code="is", name="Iceland")
    kingdom = Kingdom.objects.create(code="no", name="Norway", king="Harald")
    product = Product.objects.create(number="1")
    machine, robot = Machine.objects.create(number="2", power=1), Robot.objects.create(number="3", power=1)
    blob, rate = Blob.objects.create(digest=b"1"), Rate.objects.create(value=Decimal("1.1"), name="a")
    at = datetime(2026, 11, 29, 12, 0, 0, 123456, timezone.utc)
    item = Item.objects.create(name="fork", owner=user)
    found = {
        Blob: blob,
        Charge: Charge.objects.create(rate=rate, blob=blob),
        Club: club,
        Country: country,
        Item: Item.objects.create(name="knife", owner=user),
        Kingdom: kingdom,
        Machine: machine,
        Membership: Membership.objects.create(club=club, user=user),
        Moment: Moment.objects.create(at=at, name="a"),
        Note: Note.objects.create(text="a", content_type=ContentType.objects.get_for_model(User), object_id="1"),
        Page: Page.visible.create(title="a"),
        Part: Part.objects.create(product=product, name="wheel"),
        Product: product,
        Profile: Profile.objects.create(user=user, nickname="a"),
        Rate: rate,
        Robot: robot,
        Scan: Scan.objects.create(file="a.pdf", name="a"),
        Seat: Seat.objects.create(row=1, number=2, guest="a"),
        Slot: Slot.objects.create(day=at.date(), hour=at.time(), address="10.0.0.1", item=item, guest="a"),
        Tag: tag,
        User: other,
    }
    Seat.objects.create(row=1, number=1, guest="b")
    Page.visible.create(title="hidden", hidden=True)
    Membership.objects.create(club=Club.objects.create(name="go"), user=user)
    Moment.objects.create(at=at.replace(microsecond=123000), name="b")
    for instance in found.values():
        instance.refresh_from_db()
    return {model: json.loads(shown(instance.pk)) for model, instance in found.items()}


def shown(pk: Any) -> str:
    return json.dumps(pk_to_json(pk), cls=DjangoJSONEncoder)


def state() -> dict[tuple[str, str], dict[str, Any]]:
    """Return every row of every table, and of every many-to-many relation, by table and key."""
    found = {}
    tables: list[Any] = [
        *MODELS,
        Item.tags.through,
        Product.tags.through,
        User.groups.through,
        User.user_permissions.through,
    ]
    for model in tables:
        for row in model._base_manager.values():
            found[model.__name__, shown(tuple(row[field.attname] for field in model._meta.pk_fields))] = row
    return found


def names_of(model: Any) -> list[str]:
    """Return every name that could stand for a field: also columns, reverse relations and names of no field."""
    found = {"pk", "id", "_state", "objects", "__class__", "save", "content_object"}
    for field in model._meta.get_fields(include_hidden=True):
        found |= {field.name, getattr(field, "attname", field.name)}
    return sorted(found)


def names_and_values(model: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield each name with some of the values, other ones for each name; with all of them in `make hostile`."""
    for number, name in enumerate(names_of(model)):
        yield name, VALUES[number % STEP :: STEP]


def tables_of(model: Any) -> set[str]:
    return {model.__name__, *(parent.__name__ for parent in model._meta.all_parents)}


def kept(before: dict[Any, Any], after: dict[Any, Any]) -> dict[Any, Any]:
    """Return the rows that were there before, as they are now."""
    return {key: after.get(key) for key in before}


@pytest.mark.parametrize("model", MODELS)
def test_creating_never_changes_a_row_that_exists(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    fill()
    binding = bound(model, fields="__all__")
    before, required = state(), minimal(model)
    for name, values in names_and_values(model):
        for value in values:
            change(binding, action=CREATE, pk=value, data={**required, name: value})
    assert kept(before, state()) == before
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("model", MODELS)
def test_updating_changes_only_the_row_that_is_named(model: Any, caplog: pytest.LogCaptureFixture) -> None:
    pk = fill()[model]
    if model is Product:
        Part.objects.all().delete()  # they refer to its number; the database would refuse the change at the commit
    binding = bound(model, fields="__all__")
    before = state()
    for name, values in names_and_values(model):
        for value in values:
            change(binding, action=UPDATE, pk=pk, data={name: value})
    after = state()
    own = json.dumps(pk if isinstance(pk, list) else [pk])
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    changed = {(table, key) for table, key in changed if "_" not in table}  # without many-to-many relations
    assert {key for _, key in changed} <= {own}
    assert {table for table, _ in changed} <= tables_of(model)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("action", [UPDATE, DELETE])
@pytest.mark.parametrize("model", MODELS)
def test_a_row_is_changed_only_by_its_own_key_and_after_permission_for_that_key(
    model: Any, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    pk = fill()[model]
    asked: list[Any] = []

    def has_permission(self: Any, user: Any, action: str, pk: Any) -> bool:
        asked.append(pk)
        return False

    binding = bound(model, fields="__all__", has_permission=has_permission)
    before = state()
    for value in [*VALUES, [pk], {"pk": pk}, [pk, pk]]:
        change(binding, action=action, pk=value, data={})
    assert state() == before
    assert all(type(key) in (int, str, list) for key in asked), asked
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("model", MODELS)
def test_no_field_is_set_that_is_not_listed(model: Any) -> None:
    pk = fill()[model]
    binding = bound(model, fields=["nothing_of_this_model"])
    before = state()
    for name, values in names_and_values(model):
        for value in values:
            change(binding, action=UPDATE, pk=pk, data={name: value})
    after = state()
    for row in (*before.values(), *after.values()):
        row.pop("changed", None)  # the model sets it at each save
    assert after == before


def minimal(model: Any) -> dict[str, Any]:
    """Return what a new row must have."""
    user, club, tag = User.objects.last(), Club.objects.last(), ContentType.objects.get_for_model(User)
    item = Item.objects.last()
    assert user and club and item
    found: dict[Any, dict[str, Any]] = {
        Blob: {"digest": "Ynk="},
        Charge: {"rate": "1.1"},
        Club: {"name": "a"},
        Country: {"code": "x", "name": "a"},
        Item: {"name": "a"},
        Kingdom: {"code": "y", "name": "a", "king": "b"},
        Machine: {"number": "4", "power": 1},
        Membership: {"club": club.pk, "user": user.pk},
        Moment: {"at": "2026-11-29T00:00:00Z", "name": "a"},
        Note: {"text": "a", "content_type": tag.pk, "object_id": "1"},
        Page: {"title": "b"},
        Part: {"product": "1", "name": "a"},
        Product: {"number": "5"},
        Profile: {"user": user.pk, "nickname": "b"},
        Rate: {"value": "2.5", "name": "a"},
        Robot: {"number": "6", "power": 1},
        Scan: {"name": "b"},
        Seat: {"row": 5, "number": 5, "guest": "a"},
        Slot: {"day": "2026-11-29", "hour": "10:00", "address": "::1", "item": str(item.pk), "guest": "a"},
        Tag: {"name": "b"},
        User: {"username": "carl", "password": "a"},
    }
    return found[model]


def test_json_of_any_depth_is_stored_or_rejected(caplog: pytest.LogCaptureFixture, client: WSClient) -> None:
    product = Product.objects.create(number="1")
    binding = bound(Product, fields="__all__")
    for depth in range(500, 1100, 5):
        data = '{"details": ' + "[" * depth + "]" * depth + "}"
        text = f'{{"action": "update", "pk": {product.pk}, "data": {data}}}'
        binding.trigger_inbound(Message({"text": text}, "websocket.receive", None))
        received(client)
    assert not [record for record in caplog.records if record.exc_info]


def test_the_values_are_what_json_can_say() -> None:
    assert all(json.loads(json.dumps(value)) == value for value in VALUES)
    assert not any(isinstance(value, float) and math.isnan(value) for value in VALUES)
