"""Inbound and outbound changes of models of many shapes."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models

from channels_classic.binding.base import CREATE, DELETE, UPDATE
from channels_classic.test import WSClient, apply_routes
from tests.inventory.models import (
    Club,
    Country,
    Item,
    ItemProxy,
    Kingdom,
    Machine,
    Membership,
    Note,
    Page,
    Part,
    Product,
    Profile,
    Robot,
    Seat,
    Tag,
)
from tests.support.bindings import ask, bound, demultiplexed, received

pytestmark = pytest.mark.usefixtures("default_layer", "db")


@pytest.fixture
def rejected(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """Return the only line of the log, which is about a rejected change."""

    def line() -> str:
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert record.exc_info is None
        message = record.getMessage()
        assert "\n" not in message
        caplog.clear()
        return message

    return line


def rows(model: Any) -> list[dict[str, Any]]:
    """Return all rows of a model."""
    return list(model._base_manager.order_by("pk").values())


def everything() -> Any:
    """Return all rows of all models."""
    shapes = (Country, Kingdom, Machine, Page, Part, Product, Profile, Seat, User, Club, Membership, Note, Item)
    return {model.__name__: rows(model) for model in shapes}


# Rows


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


# Validation


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


def test_fields_unique_together_stay_so(rejected: Callable[[], str]) -> None:
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


# Permission


def asking(model: Any) -> tuple[Any, list[tuple[str, Any]]]:
    """Return a binding that allows everything, and what it was asked."""
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
    binding = bound(Product, fields="__all__")
    client = WSClient()
    for _ in range(100):
        ask(binding, client, action=CREATE, data={"number": ""})
    lines = [record.getMessage() for record in caplog.records]
    assert 10 <= len(lines) < 100
    time.sleep(1)  # the limit is that of a second
    caplog.clear()
    ask(binding, client, action=CREATE, data={"number": ""})
    (line,) = [record.getMessage() for record in caplog.records]
    assert "more were not logged before" in line
