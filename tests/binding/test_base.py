"""Declaring bindings, and which groups and payloads a change of a model has."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import transaction

from channels_classic import route
from channels_classic.binding import Binding
from channels_classic.binding.base import CREATE, BindingMetaclass
from channels_classic.binding.websockets import WebsocketBinding, WebsocketBindingWithMembers
from channels_classic.message import Message
from channels_classic.test import Client, WSClient, apply_routes
from tests.inventory.models import Item, Machine
from tests.support.bindings import Permissive, bound, received

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.usefixtures("default_layer", "db")


# Registration


def test_a_binding_without_fields_and_exclude_is_refused_when_its_class_is_created() -> None:
    with pytest.raises(ValueError, match="neither fields nor exclude"):
        bound()


def test_an_abstract_binding_has_model_none_in_its_body() -> None:
    class Abstract(WebsocketBinding):
        model = None

    assert Abstract.get_registered_models() == []
    with pytest.raises(ValueError, match="Inheriting has no model"):

        class Inheriting(Abstract):
            """An abstract binding without `model = None`."""


def test_a_model_can_be_given_by_name(client: WSClient) -> None:
    binding = bound("auth.User", fields=["username"])
    assert binding.model is User
    assert binding.model_label == "auth.user"
    User.objects.create_user("bob")
    assert len(received(client)) == 1


def test_all_bindings_except_the_root_are_kept_and_can_be_registered_twice(client: WSClient) -> None:
    binding = bound(fields=["username"])
    assert BindingMetaclass.binding_classes == [binding]
    assert Binding not in BindingMetaclass.binding_classes
    BindingMetaclass.register_all()
    User.objects.create_user("bob")
    assert len(received(client)) == 1


def test_bindings_defined_before_the_apps_are_ready_are_registered_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BindingMetaclass, "register_immediately", False)
    binding = bound()
    with pytest.raises(ValueError, match="neither fields nor exclude"):
        BindingMetaclass.register_all()
    assert BindingMetaclass.binding_classes == [binding]


def test_a_subclass_of_a_binding_is_one_more_binding(client: WSClient) -> None:
    binding = bound(fields=["username"])
    type("Another", (binding,), {"stream": "another"})
    User.objects.create_user("bob")
    assert sorted(reply["stream"] for reply in received(client)) == ["another", "test"]


def test_methods_that_a_subclass_must_define_name_themselves() -> None:
    class Bare(Binding):
        model = None

    for call in (
        lambda: Bare.group_names(User()),
        lambda: Bare().serialize(User(), CREATE),
        lambda: Bare.encode("stream", {}),
        lambda: Bare().deserialize(Message({}, "test", None)),
        lambda: Bare().has_permission(None, CREATE, None),
        lambda: Bare().create({}),
        lambda: Bare().update(1, {}),
    ):
        with pytest.raises(NotImplementedError, match=r"Bare must define \w+\("):
            call()


# Outbound


def test_a_created_instance_is_sent_once_with_the_fields_listed(client: WSClient) -> None:
    bound(fields=["username", "email", "password", "last_name"])
    user = User.objects.create(username="test", email="test@test.com")
    (reply,) = received(client)
    assert reply["stream"] == "test"
    payload = reply["payload"]
    assert (payload["action"], payload["model"], payload["pk"]) == ("create", "auth.user", user.pk)
    assert payload["data"] == {"username": "test", "email": "test@test.com", "password": "", "last_name": ""}


def test_a_uuid_primary_key_is_sent_as_text(client: WSClient) -> None:
    bound(Item, fields=["name", "added"])
    item = Item.objects.create(name="hammer", added=datetime.date(2017, 1, 1))
    (reply,) = received(client)
    assert reply["payload"]["pk"] == str(item.pk)
    assert reply["payload"]["data"] == {"name": "hammer", "added": "2017-01-01"}


def test_excluded_fields_are_not_sent() -> None:
    client = Client()
    client.join_group("users")
    binding = bound(exclude=["first_name", "last_name"])
    with apply_routes([route("test", binding.consumer)]):
        User.objects.create(username="test")
    (text,) = [client.receive()["text"]]
    data = json.loads(text)["payload"]["data"]
    assert data["username"] == "test"
    assert data.keys() & {"first_name", "last_name", "id"} == set()
    assert client.receive() is None


@pytest.mark.parametrize("fields", ["__all__", ["__all__"], ("__all__",)])
def test_an_updated_instance_is_sent_with_all_its_fields(client: WSClient, fields: Any) -> None:
    bound(fields=fields)
    user = User.objects.create(username="test")
    received(client)
    user.username = "test_new"
    user.save()
    (reply,) = received(client)
    assert (reply["payload"]["action"], reply["payload"]["pk"]) == ("update", user.pk)
    assert reply["payload"]["data"]["username"] == "test_new"
    assert "email" in reply["payload"]["data"]


def test_a_deleted_instance_is_sent_with_its_primary_key_and_data(client: WSClient) -> None:
    bound(fields=["username"])
    user = User.objects.create(username="test")
    pk = user.pk
    received(client)
    user.delete()
    (reply,) = received(client)
    assert reply["payload"] == {"action": "delete", "pk": pk, "data": {"username": "test"}, "model": "auth.user"}


def test_a_name_for_fields_or_exclude_is_that_one_field(client: WSClient) -> None:
    bound(fields="username")
    bound(exclude="username")
    User.objects.create(username="test")
    one, others = (reply["payload"]["data"] for reply in received(client))
    assert one == {"username": "test"}
    assert "email" in others
    assert "username" not in others


def test_nothing_is_sent_without_groups_or_payload(client: WSClient) -> None:
    bound(fields=["username"], group_names=classmethod(lambda cls, instance: []))
    bound(fields=["username"], serialize=lambda self, instance, action: {})
    User.objects.create(username="test")
    assert received(client) == []


def test_a_binding_without_a_stream_cannot_send() -> None:
    bound(fields=["username"], stream=None)
    with pytest.raises(AssertionError, match="TestBinding has no stream"):
        User.objects.create(username="test")


def test_a_binding_of_the_base_class_has_no_stream_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Permissive, "stream")
    bound(base=Binding, fields=["username"], serialize=lambda self, instance, action: {"x": 1})
    with pytest.raises(AttributeError, match="stream"):
        User.objects.create(username="test")


def test_members_are_sent_beside_the_fields(client: WSClient) -> None:
    bound(
        Item, WebsocketBindingWithMembers, fields=["name"], send_members=["title", "label", "owner.username", "added"]
    )
    Item.objects.create(name="hammer", owner=User.objects.create(username="bob"), added=datetime.date(2017, 1, 1))
    (reply,) = received(client)
    assert reply["payload"]["data"] == {
        "name": "hammer",
        "title": "Hammer",
        "label": "hammer (top)",
        "owner__username": "bob",
        "added": "2017-01-01",
    }


def test_the_kwargs_of_the_signal_are_on_the_binding() -> None:
    seen = []

    def serialize(self: Any, instance: Any, action: str) -> Any:
        seen.append((self.instance, self.signal_kwargs))
        return {}

    bound(fields=["username"], serialize=serialize)
    user = User.objects.create(username="test")
    ((instance, kwargs),) = seen
    assert instance is user
    assert kwargs["raw"] is False
    assert "created" not in kwargs


# Groups


def shelves(**attributes: Any) -> Any:
    return bound(
        Item, fields=["name"], group_names=classmethod(lambda cls, item: [f"shelf-{item.shelf}"]), **attributes
    )


@pytest.fixture
def watchers() -> dict[str, WSClient]:
    clients = {name: WSClient() for name in ("top", "low")}
    for name, client in clients.items():
        client.join_group(f"shelf-{name}")
    return clients


def actions(client: WSClient) -> list[str]:
    return [reply["payload"]["action"] for reply in received(client)]


def test_a_move_is_a_deletion_for_the_group_that_is_left_and_a_creation_for_the_other(
    watchers: dict[str, WSClient],
) -> None:
    shelves()
    item = Item.objects.create(name="hammer")
    item.save()
    assert actions(watchers["top"]) == ["create", "update"]
    item.shelf = "low"
    item.save()
    assert actions(watchers["top"]) == ["delete"]
    assert actions(watchers["low"]) == ["create"]
    item.delete()
    assert actions(watchers["top"]) == []
    assert actions(watchers["low"]) == ["delete"]


def test_without_group_moves_an_update_costs_no_further_query(
    watchers: dict[str, WSClient], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    shelves(group_moves=False)
    item = Item.objects.create(name="hammer")
    item.shelf = "low"
    with django_assert_num_queries(1):
        item.save(update_fields=["shelf"])
    assert actions(watchers["top"]) == ["create"]
    assert actions(watchers["low"]) == ["update"]


def test_group_moves_cost_one_query_per_update(
    watchers: dict[str, WSClient], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    shelves()
    with django_assert_num_queries(1):
        item = Item.objects.create(name="hammer")
    with django_assert_num_queries(2):
        item.save(update_fields=["name"])


def test_saving_a_deleted_row_is_sent_as_created(watchers: dict[str, WSClient]) -> None:
    shelves()
    item = Item.objects.create(name="hammer")
    Item.objects.filter(pk=item.pk)._raw_delete("default")
    item.save()
    assert actions(watchers["top"]) == ["create", "create"]


@pytest.fixture
def load(
    tmp_path: Path, django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[Any]]
) -> Callable[..., None]:
    """Load rows, given as (model, primary key, fields), as `loaddata` loads a fixture."""

    def load(*rows: tuple[str, Any, dict[str, Any]]) -> None:
        fixture = tmp_path / "fixture.json"
        fixture.write_text(json.dumps([{"model": model, "pk": pk, "fields": fields} for model, pk, fields in rows]))
        with django_capture_on_commit_callbacks(execute=True):
            call_command("loaddata", fixture, verbosity=0)

    return load


def test_fixtures_are_sent_as_created_when_all_is_loaded(
    watchers: dict[str, WSClient], load: Callable[..., None]
) -> None:
    shelves()
    key = str(uuid.uuid4())
    load(("inventory.item", key, {"name": "hammer", "shelf": "top", "tags": [1]}), ("inventory.tag", 1, {"name": "x"}))
    assert actions(watchers["top"]) == ["create"]
    load(("inventory.item", key, {"name": "hammer", "shelf": "low", "tags": []}))
    assert actions(watchers["low"]) == ["create"]


def test_receivers_that_a_binding_overrides_are_called_for_rows_of_fixtures(load: Callable[..., None]) -> None:
    calls = []

    def before(cls: Any, /, instance: Any, action: str) -> None:
        calls.append(("before", instance.name, action))

    def after(cls: Any, /, instance: Any, action: str, **kwargs: Any) -> None:
        calls.append(("after", instance.name, action))

    shelves(pre_change_receiver=classmethod(before), post_change_receiver=classmethod(after))
    load(("inventory.item", str(uuid.uuid4()), {"name": "hammer", "tags": []}))
    assert calls == [("before", "hammer", "create"), ("after", "hammer", "create")]


def test_a_fixture_may_have_a_child_before_its_parent(client: WSClient, load: Callable[..., None]) -> None:
    bound(
        Machine,
        fields=["number", "power"],
        group_names=classmethod(lambda cls, machine: {"1": ["users"]}[machine.product_ptr.number]),
    )
    load(
        ("inventory.machine", 1, {"power": 3}),
        ("inventory.product", 1, {"number": "1", "created": "2020-01-01T00:00Z", "changed": "2020-01-01T00:00Z"}),
    )
    assert [reply["payload"]["data"] for reply in received(client)] == [{"number": "1", "power": 3}]


def test_a_fixture_may_have_a_row_before_the_one_it_refers_to(client: WSClient, load: Callable[..., None]) -> None:
    bound(
        Item,
        fields=["name"],
        group_names=classmethod(lambda cls, item: {"bob": ["users"]}[item.owner.username]),
    )
    key = str(uuid.uuid4())
    load(("inventory.item", key, {"name": "saw", "owner": 1, "tags": []}), ("auth.user", 1, {"username": "bob"}))
    assert [reply["payload"]["pk"] for reply in received(client)] == [key]


def test_a_fixture_is_loaded_though_its_messages_fail(
    client: WSClient, load: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    def group_names(cls: Any, item: Any) -> list[str]:
        raise ZeroDivisionError("a mistake of the project")

    bound(Item, fields=["name"], group_names=classmethod(group_names))
    load(("inventory.item", str(uuid.uuid4()), {"name": "saw", "tags": []}))
    assert Item.objects.count() == 1
    assert received(client) == []
    assert "a mistake of the project" in caplog.text


# When messages leave


def test_messages_leave_before_the_transaction_is_committed(client: WSClient) -> None:
    bound(fields=["username"])
    with transaction.atomic():
        User.objects.create(username="test")
        assert len(received(client)) == 1


def test_messages_wait_for_the_commit_with_after_commit(
    client: WSClient, django_capture_on_commit_callbacks: Any
) -> None:
    bound(fields=["username"], after_commit=True)
    with django_capture_on_commit_callbacks(execute=True):
        user = User.objects.create(username="test")
        user.delete()
        assert received(client) == []
    assert actions_and_keys(client) == [("create", True), ("delete", True)]


def actions_and_keys(client: WSClient) -> list[tuple[str, bool]]:
    return [(reply["payload"]["action"], reply["payload"]["pk"] is not None) for reply in received(client)]


def test_inside_a_consumer_messages_wait_for_it_to_return(client: WSClient) -> None:
    bound(fields=["username"])

    def consumer(message: Message) -> None:
        User.objects.create(username="test")
        assert client.receive() is None

    with apply_routes([route("test", consumer)]):
        client.send_and_consume("test")
    assert len(received(client)) == 1


def test_changes_without_signals_are_not_sent(client: WSClient) -> None:
    bound(fields=["username"])
    User.objects.bulk_create([User(username="test")])
    User.objects.update(username="new")
    assert received(client) == []
