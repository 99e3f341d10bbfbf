"""Changes of models of many shapes: the rows that a client can create, update and delete, and what is sent."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import models

from channels_classic.binding.base import CREATE, DELETE, UPDATE
from channels_classic.test import WSClient
from tests.inventory.models import (
    Blob,
    Country,
    Item,
    ItemProxy,
    Kingdom,
    Machine,
    Note,
    Page,
    Part,
    Product,
    Profile,
    Robot,
    Seat,
)
from tests.support.bindings import ask, bound, everything, received, rows

pytestmark = pytest.mark.usefixtures("default_layer", "db")


# Inbound


def test_a_natural_key_does_not_lead_to_the_row_that_has_it(rejected: Callable[[], str]) -> None:
    User.objects.create_user("admin", password="secret", is_superuser=True)
    before = everything()
    binding = bound(exclude=[], has_permission=lambda self, user, action, pk: action == CREATE)
    ask(binding, action=CREATE, data={"username": "admin", "password": "mine", "is_superuser": False})
    assert everything() == before
    assert "username: A user with that username already exists." in rejected()


def test_a_primary_key_from_a_client_is_new_or_refused(rejected: Callable[[], str]) -> None:
    binding = bound(Country, fields="__all__")
    ask(binding, action=CREATE, data={"code": "is", "name": "Iceland"})
    assert rows(Country) == [{"code": "is", "name": "Iceland"}]
    ask(binding, action=CREATE, data={"code": "is", "name": "Taken"})
    assert "already exists" in rejected()
    ask(binding, action=CREATE, data={"name": "Nameless"})
    ask(binding, action=CREATE, data={"code": "", "name": "Nameless"})
    assert rows(Country) == [{"code": "is", "name": "Iceland"}]


def test_a_primary_key_is_never_changed() -> None:
    Country.objects.create(code="is", name="Iceland")
    Country.objects.create(code="fo", name="Faroes")
    ask(bound(Country, fields="__all__"), action=UPDATE, pk="is", data={"code": "fo", "name": "Ísland"})
    assert rows(Country) == [{"code": "fo", "name": "Faroes"}, {"code": "is", "name": "Ísland"}]


def test_a_child_does_not_take_over_the_row_of_its_parent(rejected: Callable[[], str]) -> None:
    Country.objects.create(code="no", name="Norway")
    before = everything()
    binding = bound(Kingdom, fields="__all__")
    for key in ({"code": "no"}, {"country_ptr": "no"}, {"country_ptr_id": "no"}, {"code": "no", "country_ptr": "no"}):
        ask(binding, action=CREATE, data={**key, "name": "Taken", "king": "Harald"})
        assert rejected()
        assert everything() == before
    ask(binding, action=CREATE, data={"code": "dk", "name": "Denmark", "king": "Frederik"})
    assert rows(Kingdom) == [{"code": "dk", "name": "Denmark", "country_ptr_id": "dk", "king": "Frederik"}]


def test_a_child_of_a_concrete_model_is_created_with_the_fields_of_its_parents() -> None:
    Product.objects.create(number="1")
    for model in (Machine, Robot):
        binding = bound(model, fields=["number", "power"])
        ask(binding, action=CREATE, data={"id": 1, "product_ptr": 1, "number": model.__name__, "power": 3})
        (row,) = model._base_manager.filter(number=model.__name__)
        assert (row.power, row.created.tzinfo) == (3, datetime.timezone.utc)
    assert Product.objects.count() == 3


def test_a_child_is_updated_in_all_its_tables() -> None:
    robot = Robot.objects.create(number="1", power=1, arms=2)
    ask(bound(Robot, fields="__all__"), action=UPDATE, pk=robot.pk, data={"number": "2", "power": 3, "arms": 4})
    robot.refresh_from_db()
    assert (robot.number, robot.power, robot.arms) == ("2", 3, 4)
    assert Product.objects.count() == Machine.objects.count() == 1


def test_clients_cannot_set_the_dates_that_the_model_sets() -> None:
    binding = bound(Product, fields="__all__")
    ask(binding, action=CREATE, data={"number": "1", "created": "1999-01-01T00:00:00Z"})
    product = Product.objects.get()
    assert product.created.year > 2000
    ask(binding, action=UPDATE, pk=product.pk, data={"number": "2", "created": "1999-01-01T00:00:00Z"})
    product.refresh_from_db()
    assert product.created.year > 2000
    assert product.changed > product.created


def test_a_relation_as_the_primary_key_is_that_of_a_new_row(rejected: Callable[[], str]) -> None:
    bob, eve = (User.objects.create(username=name) for name in ("bob", "eve"))
    binding = bound(Profile, fields="__all__")
    ask(binding, action=CREATE, data={"user": bob.pk, "nickname": "b"})
    ask(binding, action=CREATE, data={"user": bob.pk, "nickname": "stolen"})
    assert "user: " in rejected()
    ask(binding, action=CREATE, data={"user": 999, "nickname": "nobody"})
    assert "user: " in rejected()
    ask(binding, action=UPDATE, pk=bob.pk, data={"user": eve.pk, "nickname": "bobby"})
    assert rows(Profile) == [{"user_id": bob.pk, "nickname": "bobby"}]


def test_a_primary_key_of_two_fields_is_new_or_refused_and_never_changed(rejected: Callable[[], str]) -> None:
    binding = bound(Seat, fields="__all__")
    ask(binding, action=CREATE, data={"row": 1, "number": 1, "guest": "bob"})
    ask(binding, action=CREATE, data={"row": 1, "number": 2, "guest": "eve"})
    ask(binding, action=CREATE, data={"row": 1, "number": 1, "guest": "stolen"})
    assert rejected()
    ask(binding, action=UPDATE, pk=[1, 1], data={"number": 2, "guest": "bobby"})
    assert rows(Seat) == [{"row": 1, "number": 1, "guest": "bobby"}, {"row": 1, "number": 2, "guest": "eve"}]
    ask(binding, action=UPDATE, pk=[1], data={"guest": "x"})
    assert "pk: " in rejected()
    ask(binding, action=DELETE, pk=[1, 2])
    assert [row["guest"] for row in rows(Seat)] == ["bobby"]


def test_unique_fields_stay_unique(rejected: Callable[[], str]) -> None:
    first, second = Product.objects.create(number="1"), Product.objects.create(number="2")
    binding = bound(Product, fields="__all__")
    ask(binding, action=CREATE, data={"number": "1"})
    assert "number: Product with this Number already exists." in rejected()
    ask(binding, action=UPDATE, pk=second.pk, data={"number": "1"})
    assert "number: " in rejected()
    assert [product.number for product in (first, second)] == ["1", "2"]
    assert Product.objects.count() == 2


def test_a_row_that_the_manager_hides_is_not_overwritten_either(rejected: Callable[[], str]) -> None:
    hidden = Page(title="secret", hidden=True)
    hidden.save()
    binding = bound(Page, fields="__all__")
    ask(binding, action=CREATE, data={"title": "secret"})
    assert "UNIQUE" in rejected()
    ask(binding, action=UPDATE, pk=hidden.pk, data={"title": "found"})
    assert "has no row" in rejected()
    ask(binding, action=DELETE, pk=hidden.pk)
    assert rows(Page) == [{"id": hidden.pk, "title": "secret", "hidden": True}]


def test_a_model_without_objects_is_created_updated_and_deleted() -> None:
    binding = bound(Page, fields="__all__")
    ask(binding, action=CREATE, data={"title": "one"})
    page = Page.visible.get()
    ask(binding, action=UPDATE, pk=page.pk, data={"title": "two"})
    assert rows(Page) == [{"id": page.pk, "title": "two", "hidden": False}]
    ask(binding, action=DELETE, pk=page.pk)
    assert rows(Page) == []


def test_a_proxy_is_created_updated_and_deleted(client: WSClient) -> None:
    binding = bound(ItemProxy, fields=["name"])
    ask(binding, action=CREATE, data={"name": "saw"})
    item = ItemProxy.objects.get()
    ask(binding, action=UPDATE, pk=str(item.pk), data={"name": "axe"})
    item.refresh_from_db()
    assert item.name == "axe"
    ask(binding, action=DELETE, pk=str(item.pk))
    assert rows(Item) == []
    payloads = [reply["payload"] for reply in received(client)]
    assert [payload["action"] for payload in payloads] == ["create", "update", "delete"]
    assert {payload["model"] for payload in payloads} == {"inventory.itemproxy"}


def test_a_generic_relation_is_set_by_its_two_fields(rejected: Callable[[], str]) -> None:
    bob = User.objects.create(username="bob")
    kind = ContentType.objects.get_for_model(User)
    binding = bound(Note, fields="__all__")
    ask(binding, action=CREATE, data={"text": "hi", "content_type": kind.pk, "object_id": bob.pk, "content_object": 1})
    assert Note.objects.get().content_object == bob
    ask(binding, action=CREATE, data={"text": "hi", "content_type": 10**6, "object_id": bob.pk})
    assert "content_type: " in rejected()
    assert Note.objects.count() == 1


# Outbound


def test_fields_of_parents_are_sent_when_they_are_listed(client: WSClient) -> None:
    bound(Robot, fields=["number", "power", "arms", "tags"])
    robot = Robot.objects.create(number="1", power=1)
    robot.number = "2"
    robot.save()
    robot.delete()
    data = [reply["payload"]["data"] for reply in received(client)]
    assert data[0] == {"number": "1", "power": 1, "arms": 2, "tags": []}
    assert [entry["number"] for entry in data] == ["1", "2", "2"]


@pytest.mark.parametrize("rule", [{"fields": "__all__"}, {"exclude": ["power"]}])
def test_fields_of_parents_are_not_sent_unless_they_are_listed(client: WSClient, rule: dict[str, Any]) -> None:
    bound(Robot, **rule)
    Robot.objects.create(number="1", power=1)
    assert [reply["payload"]["data"] for reply in received(client)] == [{"arms": 2}]


def test_every_shape_is_sent_when_it_is_created_updated_and_deleted(client: WSClient) -> None:
    bob = User.objects.create(username="bob")
    product = Product.objects.create(number="0")
    instances: list[models.Model] = [
        Country(code="is", name="Iceland"),
        Kingdom(code="no", name="Norway", king="Harald"),
        Machine(number="1", power=1),
        Page(title="one"),
        Profile(user=bob, nickname="b"),
        Seat(row=1, number=2, guest="bob"),
        Note(text="hi", content_object=bob),
        Part(product=product, name="screw"),
        ItemProxy(name="saw"),
    ]
    for instance in instances:
        bound(type(instance), fields="__all__")
        instance.save()
        key = json.loads(json.dumps(instance.pk, default=str))
        instance.save()
        instance.delete()
        payloads = [reply["payload"] for reply in received(client)]
        label = instance._meta.label_lower
        assert [(payload["action"], payload["pk"]) for payload in payloads if payload["model"] == label] == [
            ("create", key),
            ("update", key),
            ("delete", key),
        ]


def test_a_field_that_the_database_computes_is_sent_as_it_is_stored(client: WSClient) -> None:
    binding = bound(Blob, fields="__all__")
    ask(binding, action=CREATE, data={"digest": "MQ==", "content": "YQ==", "size": 99})
    ask(binding, action=UPDATE, pk="MQ==", data={"content": "YWFh", "size": 99})
    assert [reply["payload"]["data"] for reply in received(client)] == [
        {"content": "YQ==", "size": 1},
        {"content": "YWFh", "size": 3},
    ]
