"""The values that clients send, validated by the model."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError

from channels_classic.binding.base import CREATE, UPDATE
from channels_classic.test import WSClient
from tests.inventory.models import (
    Club,
    Item,
    Membership,
    Part,
    Product,
    Tag,
)
from tests.support.bindings import ask, bound, received, rows

pytestmark = pytest.mark.usefixtures("default_layer", "db")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"number": "13"}, "No product has the number 13."),
        ({"number": "12345678901"}, "number: "),
        ({"number": ""}, "number: This field cannot be blank."),
        ({"number": None}, "number: This field cannot be null."),
        ({"price": -1}, "price_is_not_negative"),
        ({"price": 123456789}, "price: "),
    ],
)
def test_the_validation_of_the_model_applies(data: dict[str, Any], problem: str, rejected: Callable[[], str]) -> None:
    binding = bound(Product, fields="__all__")
    product = Product.objects.create(number="1", price=1)
    ask(binding, action=CREATE, data={"number": "2", **data})
    assert problem in rejected()
    ask(binding, action=UPDATE, pk=product.pk, data=data)
    assert problem in rejected()
    assert [(row["number"], row["price"]) for row in rows(Product)] == [("1", Decimal(1))]


def test_fields_stay_unique_together(rejected: Callable[[], str]) -> None:
    bob = User.objects.create(username="bob")
    club, other = Club.objects.create(name="chess"), Club.objects.create(name="go")
    binding = bound(Membership, fields=["club", "user", "role"])
    ask(binding, action=CREATE, data={"club": club.pk, "user": bob.pk, "role": "chair"})
    ask(binding, action=CREATE, data={"club": club.pk, "user": bob.pk})
    assert "already exists" in rejected()
    ask(binding, action=CREATE, data={"club": other.pk, "user": bob.pk})
    ask(
        bound(Membership, fields=["club"]),
        action=UPDATE,
        pk=Membership.objects.get(club=other).pk,
        data={"club": club.pk},
    )
    assert rejected()
    ask(binding, action=CREATE, data={"club": other.pk, "user": bob.pk, "role": "king"})
    assert "role: " in rejected()
    assert [(row["club_id"], row["role"]) for row in rows(Membership)] == [(club.pk, "chair"), (other.pk, "member")]


def test_fields_that_clients_do_not_send_keep_their_value_and_are_not_validated() -> None:
    product = Product.objects.create(number="1", price=5)
    Product.objects.update(number="")  # from before the field was required
    ask(bound(Product, fields=["price"]), action=UPDATE, pk=product.pk, data={"price": "7.50"})
    assert [(row["number"], row["price"]) for row in rows(Product)] == [("", Decimal("7.50"))]
    ask(bound(Item, fields=["name"]), action=CREATE, data={"name": "saw"})
    assert Item.objects.get().shelf == "top"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("number", [1]),
        ("number", {"a": 1}),
        ("number", "a\0b"),
        ("number", "\ud800"),
        ("price", [0, [1, 2], -1]),
        ("price", "NaN"),
        ("weight", "inf"),
        ("weight", "nan"),
        ("weight", 10**400),
        ("weight", [1]),
        ("stock", 1.5),
        ("stock", 10**30),
        ("stock", None),
        ("checked", 5),
        ("checked", ["2020-01-01T00:00:00Z"]),
        ("checked", "yesterday"),
    ],
)
def test_a_value_of_another_type_is_refused(field: str, value: Any, rejected: Callable[[], str]) -> None:
    product = Product.objects.create(number="1")
    before = rows(Product)
    binding = bound(Product, fields="__all__")
    ask(binding, action=CREATE, data={"number": "2", field: value})
    assert f"{field}: " in rejected()
    ask(binding, action=UPDATE, pk=product.pk, data={field: value})
    assert f"{field}: " in rejected()
    assert rows(Product) == before


@pytest.mark.parametrize("value", [10**30, -(10**30), [1], {"id": 1}, "x", "1\0", 999, 1.5])
def test_a_foreign_key_without_a_row_is_refused(value: Any, rejected: Callable[[], str]) -> None:
    User.objects.create(pk=1, username="bob")
    ask(bound(Item, fields="__all__"), action=CREATE, data={"name": "saw", "owner": value})
    assert "owner: " in rejected()
    assert rows(Item) == []


def test_a_foreign_key_to_another_field_is_set_by_that_field(rejected: Callable[[], str]) -> None:
    Product.objects.create(number="A1")
    binding = bound(Part, fields="__all__")
    ask(binding, action=CREATE, data={"name": "screw", "product": "A1"})
    ask(binding, action=CREATE, data={"name": "screw", "product_id": "B2"})
    assert "product: " in rejected()
    assert [row["product_id"] for row in rows(Part)] == ["A1"]


def test_a_field_of_json_takes_any_json() -> None:
    binding = bound(Product, fields="__all__")
    for number, details in enumerate(([1, [2]], {"a": {"b": None}}, "text", 5, True)):
        ask(binding, action=CREATE, data={"number": str(number), "details": details})
        assert Product.objects.get(number=str(number)).details == details


def test_a_naive_time_is_in_the_time_zone_of_the_project(settings: Any) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    ask(bound(Product, fields="__all__"), action=CREATE, data={"number": "1", "checked": "2020-01-01T12:00"})
    checked = Product.objects.get().checked
    assert checked is not None
    assert checked == datetime.datetime(2020, 1, 1, 11, tzinfo=datetime.timezone.utc)


def test_clients_cannot_set_the_name_of_a_file() -> None:
    product = Product.objects.create(number="1", picture="mine.png")
    binding = bound(Product, fields="__all__")
    ask(binding, action=UPDATE, pk=product.pk, data={"number": "2", "picture": "secret/contract.pdf"})
    product.refresh_from_db()
    assert (product.number, product.picture.name) == ("2", "mine.png")


def test_a_custom_save_is_called_once_for_each_change(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[str] = []
    saving = Item.save

    def save(item: Item, **kwargs: Any) -> None:
        saved.append(item.name)
        saving(item, **kwargs)

    monkeypatch.setattr(Item, "save", save)
    binding = bound(Item, fields=["name"])
    ask(binding, action=CREATE, data={"name": "saw"})
    ask(binding, action=UPDATE, pk=str(Item.objects.get().pk), data={"name": "axe"})
    assert saved == ["saw", "axe"]


# Many-to-many


def test_many_to_many_fields_are_set_on_create_and_on_update(client: WSClient) -> None:
    sharp, heavy = (Tag.objects.create(name=name) for name in ("sharp", "heavy"))
    binding = bound(Item, fields="__all__")
    ask(binding, action=CREATE, data={"name": "saw", "tags": [sharp.pk]})
    item = Item.objects.get()
    assert list(item.tags.all()) == [sharp]
    ask(binding, action=UPDATE, pk=str(item.pk), data={"tags": [heavy.pk, str(sharp.pk), heavy.pk]})
    assert set(item.tags.all()) == {sharp, heavy}
    ask(binding, action=UPDATE, pk=str(item.pk), data={"name": "axe"})
    assert item.tags.count() == 2
    ask(binding, action=UPDATE, pk=str(item.pk), data={"tags": []})
    assert item.tags.count() == 0
    sent = [sorted(reply["payload"]["data"]["tags"]) for reply in received(client)]
    assert sent == [[sharp.pk], [sharp.pk, heavy.pk], [sharp.pk, heavy.pk], []]


@pytest.mark.parametrize("value", [None, 1, "1", {"1": 1}, [None], [[1]], [True], ["x"], [999], [10**30], [1, 999]])
def test_invalid_many_to_many_values_change_nothing(value: Any, rejected: Callable[[], str]) -> None:
    tag = Tag.objects.create(pk=1, name="sharp")
    item = Item.objects.create(name="saw")
    item.tags.add(tag)
    binding = bound(Item, fields="__all__")
    ask(binding, action=CREATE, data={"name": "new", "tags": value})
    assert "tags: " in rejected()
    ask(binding, action=UPDATE, pk=str(item.pk), data={"name": "new", "tags": value})
    assert "tags: " in rejected()
    item.refresh_from_db()
    assert (Item.objects.count(), item.name, list(item.tags.all())) == (1, "saw", [tag])


def test_many_to_many_values_are_limited_as_the_field_is(rejected: Callable[[], str]) -> None:
    public, secret = Tag.objects.create(name="public"), Tag.objects.create(name="secret")
    binding = bound(Product, fields="__all__")
    ask(binding, action=CREATE, data={"number": "1", "tags": [public.pk, secret.pk]})
    assert "tags: " in rejected()
    ask(binding, action=CREATE, data={"number": "1", "tags": [public.pk]})
    assert list(Product.objects.get().tags.all()) == [public]


def test_a_relation_through_a_model_is_refused(rejected: Callable[[], str]) -> None:
    bob = User.objects.create(username="bob")
    ask(bound(Club, fields="__all__"), action=CREATE, data={"name": "chess", "members": [bob.pk]})
    assert "members: " in rejected()
    assert rows(Club) == rows(Membership) == []


def test_a_change_that_fails_after_save_is_rolled_back_and_not_sent(
    client: WSClient, rejected: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = Tag.objects.create(name="sharp")
    item = Item.objects.create(name="saw")
    saving = Item.save

    def save(self: Item, **kwargs: Any) -> None:
        saving(self, **kwargs)
        raise IntegrityError("refused afterwards")

    monkeypatch.setattr(Item, "save", save)
    binding = bound(Item, fields="__all__")
    ask(binding, action=CREATE, data={"name": "axe", "tags": [tag.pk]})
    assert "refused afterwards" in rejected()
    ask(binding, action=UPDATE, pk=str(item.pk), data={"name": "axe", "tags": [tag.pk]})
    assert "refused afterwards" in rejected()
    item.refresh_from_db()
    assert (Item.objects.count(), item.name, item.tags.count()) == (1, "saw", 0)
    assert received(client) == []
