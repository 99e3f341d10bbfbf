from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core import serializers
from django.core.exceptions import FieldDoesNotExist
from django.db import transaction
from django.db.models.signals import post_delete, post_save, pre_delete, pre_save

from channels_classic import route
from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.binding import Binding
from channels_classic.binding.base import CREATE, DELETE, UPDATE, BindingMetaclass
from channels_classic.binding.websockets import WebsocketBinding, WebsocketBindingWithMembers
from channels_classic.generic.websockets import WebsocketDemultiplexer
from channels_classic.message import Message
from channels_classic.test import Client, WSClient, apply_routes
from tests.inventory.models import Item, Tag

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.usefixtures("default_layer", "db")


@pytest.fixture(autouse=True)
def _own_bindings() -> Iterator[None]:
    """Bindings of one test must not hear what models do in the next."""
    before, BindingMetaclass.binding_classes = BindingMetaclass.binding_classes, []
    signals = (pre_save, post_save, pre_delete, post_delete)
    receivers = [signal.receivers.copy() for signal in signals]
    yield
    BindingMetaclass.binding_classes = before
    for signal, heard in zip(signals, receivers, strict=True):
        signal.receivers = heard
        signal.sender_receivers_cache.clear()


@pytest.fixture
def client() -> WSClient:
    """A socket that is a member of the group that bindings of these tests tell."""
    client = WSClient()
    client.join_group("users")
    return client


class Allowing:
    """What bindings need besides: groups, and permission for everybody."""

    stream = "test"

    @classmethod
    def group_names(cls, instance: Any) -> list[str]:
        return ["users"]

    def has_permission(self, user: Any, action: str, pk: Any) -> bool:
        return True


def bound(model: Any = User, base: Any = WebsocketBinding, **attributes: Any) -> Any:
    """A binding class made now."""
    return type("TestBinding", (Allowing, base), {"model": model, **attributes})


def received(client: WSClient) -> list[Any]:
    found = []
    while (reply := client.receive()) is not None:
        found.append(reply)
    return found


# Registration


def test_a_binding_without_fields_and_exclude_is_refused_where_its_class_is_made() -> None:
    with pytest.raises(ValueError, match="neither fields nor exclude"):
        bound()


def test_an_abstract_binding_says_so_in_its_body() -> None:
    class Abstract(WebsocketBinding):
        model = None

    assert Abstract.get_registered_models() == []
    with pytest.raises(ValueError, match="Inheriting has no model"):

        class Inheriting(Abstract):
            """Has none and does not say so."""


def test_a_model_may_be_named(client: WSClient) -> None:
    binding = bound("auth.User", fields=["username"])
    assert binding.model is User
    assert binding.model_label == "auth.user"
    User.objects.create_user("bob")
    assert len(received(client)) == 1


def test_all_bindings_but_the_root_are_kept_and_registered_twice_without_harm(client: WSClient) -> None:
    binding = bound(fields=["username"])
    assert BindingMetaclass.binding_classes == [binding]
    assert Binding not in BindingMetaclass.binding_classes
    BindingMetaclass.register_all()
    User.objects.create_user("bob")
    assert len(received(client)) == 1


def test_bindings_made_before_the_apps_are_ready_are_registered_then(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_a_subclass_must_say_is_said_to_who_forgets_it() -> None:
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
    monkeypatch.delattr(Allowing, "stream")
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


def test_an_instance_that_moves_is_deleted_for_the_group_it_leaves_and_created_for_the_other(
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


def test_moves_go_unnoticed_where_the_query_is_not_wanted(
    watchers: dict[str, WSClient], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    shelves(group_moves=False)
    item = Item.objects.create(name="hammer")
    item.shelf = "low"
    with django_assert_num_queries(1):
        item.save(update_fields=["shelf"])
    assert actions(watchers["top"]) == ["create"]
    assert actions(watchers["low"]) == ["update"]


def test_noticing_moves_costs_one_query_per_update(
    watchers: dict[str, WSClient], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    shelves()
    with django_assert_num_queries(1):
        item = Item.objects.create(name="hammer")
    with django_assert_num_queries(2):
        item.save(update_fields=["name"])


def test_a_row_that_is_gone_is_created_anew(watchers: dict[str, WSClient]) -> None:
    shelves()
    item = Item.objects.create(name="hammer")
    Item.objects.filter(pk=item.pk)._raw_delete("default")
    item.save()
    assert actions(watchers["top"]) == ["create", "create"]


def test_fixtures_are_sent_as_created(watchers: dict[str, WSClient]) -> None:
    shelves()
    item = Item.objects.create(name="hammer")
    fixture = serializers.serialize("json", [item])
    for loaded in serializers.deserialize("json", fixture):
        loaded.save()
    assert actions(watchers["top"]) == ["create", "create"]


# When they leave


def test_messages_leave_before_the_transaction_is_committed(client: WSClient) -> None:
    bound(fields=["username"])
    with transaction.atomic():
        User.objects.create(username="test")
        assert len(received(client)) == 1


def test_messages_wait_for_the_commit_if_told_so(client: WSClient, django_capture_on_commit_callbacks: Any) -> None:
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


def test_changes_without_signals_are_not_noticed(client: WSClient) -> None:
    bound(fields=["username"])
    User.objects.bulk_create([User(username="test")])
    User.objects.update(username="new")
    assert received(client) == []


# Inbound


def demultiplexed(binding: Any) -> Any:
    class Demultiplexer(WebsocketDemultiplexer):
        consumers: ClassVar[dict[str, Any]] = {"users": binding.consumer}
        groups = ("inbound",)

    return Demultiplexer


def ask(binding: Any, client: WSClient | None = None, **payload: Any) -> Any:
    """Ask for a change as a browser does."""
    with apply_routes([demultiplexed(binding).as_route(path=r"^/(?P<id>\d*)")]):
        return (client or WSClient()).send_and_consume(
            "websocket.receive", text={"stream": "users", "payload": payload}, path="/123"
        )


def test_a_client_creates_updates_and_deletes() -> None:
    binding = bound(fields=["username", "email"])
    consumer = ask(binding, action=CREATE, data={"username": "test", "email": "test@test.com"})
    assert consumer.kwargs == {"id": "123"}
    user = User.objects.get()
    assert (user.username, user.email) == ("test", "test@test.com")
    ask(binding, action=UPDATE, pk=user.pk, data={"username": "new"})
    user.refresh_from_db()
    assert (user.username, user.email) == ("new", "test@test.com")
    ask(binding, action=DELETE, pk=user.pk)
    assert not User.objects.exists()


def test_a_client_gets_no_answer_and_opening_and_closing_is_silent() -> None:
    binding = bound(fields=["username"])
    client = WSClient()
    with apply_routes([demultiplexed(binding).as_route()]):
        client.send_and_consume("websocket.connect")
        ask(binding, client, action=CREATE, data={"username": "test"})
        client.send_and_consume("websocket.disconnect")
    assert client.receive() is None


def test_fields_that_are_not_listed_cannot_be_updated() -> None:
    binding = bound(fields=["username"])
    user = User.objects.create(username="test", email="old@test.com")
    ask(binding, action=UPDATE, pk=user.pk, data={"username": "new", "email": "new@test.com"})
    user.refresh_from_db()
    assert (user.username, user.email) == ("new", "old@test.com")


@pytest.mark.parametrize("rule", [{"fields": ["username"]}, {"exclude": ["is_superuser", "is_staff"]}])
def test_fields_that_are_not_listed_cannot_be_set_on_create(rule: dict[str, Any]) -> None:
    ask(bound(**rule), action=CREATE, data={"username": "test", "is_superuser": True, "is_staff": True})
    user = User.objects.get()
    assert (user.username, user.is_superuser, user.is_staff) == ("test", False, False)


@pytest.mark.parametrize("fields", ["__all__", ["__all__"], ("__all__",)])
def test_all_fields_are_all_in_any_spelling(fields: Any) -> None:
    binding = bound(fields=fields)
    ask(binding, action=CREATE, data={"username": "test", "email": "old@test.com"})
    user = User.objects.get()
    ask(binding, action=UPDATE, pk=user.pk, data={"email": "new@test.com"})
    user.refresh_from_db()
    assert (user.username, user.email) == ("test", "new@test.com")


def test_a_client_cannot_set_the_primary_key() -> None:
    binding = bound(Item, fields="__all__")
    item = Item.objects.create(name="hammer")
    ask(binding, action=CREATE, data={"id": str(item.pk), "name": "saw"})
    ask(binding, action=UPDATE, pk=str(item.pk), data={"id": str(uuid.UUID(int=1)), "name": "axe"})
    assert set(Item.objects.values_list("name", flat=True)) == {"saw", "axe"}
    assert Item.objects.get(name="axe").pk == item.pk


def test_the_other_name_of_a_foreign_key_opens_no_door() -> None:
    binding = bound(Item, exclude=["owner"])
    bob, eve = (User.objects.create(username=name) for name in ("bob", "eve"))
    item = Item.objects.create(name="hammer", owner=bob)
    ask(binding, action=UPDATE, pk=str(item.pk), data={"owner_id": eve.pk, "owner": eve.pk, "name": "saw"})
    item.refresh_from_db()
    assert (item.owner, item.name) == (bob, "saw")


def test_the_far_side_of_a_relation_is_no_field() -> None:
    binding = bound(exclude=["email"])
    ask(binding, action=CREATE, data={"username": "test", "item": [1], "logentry": [1]})
    assert User.objects.get().username == "test"


def test_a_foreign_key_and_many_to_many_are_set_on_create() -> None:
    bob = User.objects.create(username="bob")
    tag = Tag.objects.create(name="sharp")
    ask(bound(Item, fields="__all__"), action=CREATE, data={"name": "saw", "owner": bob.pk, "tags": [tag.pk]})
    item = Item.objects.get()
    assert item.owner == bob
    assert list(item.tags.all()) == [tag]


def test_create_goes_past_the_models_save_and_update_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[str] = []
    raws: list[bool] = []
    saving = Item.save

    def save(self: Item, **kwargs: Any) -> None:
        saved.append(self.name)
        saving(self, **kwargs)

    def receiver(sender: type, raw: bool, **kwargs: Any) -> None:
        raws.append(raw)

    monkeypatch.setattr(Item, "save", save)
    post_save.connect(receiver, sender=Item)
    binding = bound(Item, fields=["name"])
    try:
        ask(binding, action=CREATE, data={"name": "saw"})
        ask(binding, action=UPDATE, pk=str(Item.objects.get().pk), data={"name": "axe"})
    finally:
        post_save.disconnect(receiver, sender=Item)
    assert saved == ["axe"]
    assert raws == [True, False]


def test_unknown_fields_rows_and_actions_are_errors() -> None:
    binding = bound(fields=["username"])
    with pytest.raises(FieldDoesNotExist):
        ask(binding, action=CREATE, data={"username": "test", "nonsense": 1})
    with pytest.raises(User.DoesNotExist):
        ask(binding, action=UPDATE, pk=1, data={"username": "test"})
    with pytest.raises(ValueError, match="asked for the action 'explode'"):
        ask(binding, action="explode")
    with pytest.raises(KeyError, match="action"):
        ask(binding, pk=1)
    for data in (None, [1]):
        with pytest.raises(ValueError, match="expected a dict of field to value"):
            ask(binding, action=CREATE, data=data)


def test_deleting_a_row_that_is_not_there_is_no_error_and_signals_fire(client: WSClient) -> None:
    binding = bound(fields=["username"])
    user = User.objects.create(username="test")
    received(client)
    ask(binding, action=DELETE, pk=user.pk)
    assert [reply["payload"]["action"] for reply in received(client)] == ["delete"]
    ask(binding, action=DELETE, pk=user.pk)


def test_permission_is_asked_first_and_refused_in_silence() -> None:
    asked: list[Any] = []

    def has_permission(self: Any, user: Any, action: str, pk: Any) -> bool:
        asked.append((user, action, pk))
        return False

    binding = bound(fields=["username"], has_permission=has_permission)
    ask(binding, action="explode", pk=7)
    ask(binding, action=CREATE, data={"username": "test"})
    assert asked == [(AnonymousUser(), "explode", 7), (AnonymousUser(), CREATE, None)]
    assert not User.objects.exists()


def test_a_binding_knows_the_user_that_its_demultiplexer_let_in() -> None:
    users = []
    bob = User.objects.create(username="bob")
    binding = bound(fields=["username"], has_permission=lambda self, user, action, pk: users.append(user))
    client = WSClient()
    client.force_login(bob)
    routed = demultiplexed(binding).as_route({"http_user": True})
    with apply_routes([routed]):
        client.send_and_consume("websocket.connect")
        client.send_and_consume("websocket.receive", text={"stream": "users", "payload": {"action": "create"}})
    assert users == [bob]


@pytest.mark.parametrize(
    ("flags", "session", "user"),
    [
        ({}, True, True),
        ({"channel_session_user": False}, False, False),
        ({"channel_session_user": False, "channel_session": True}, True, False),
    ],
)
def test_the_flags_say_what_the_message_is_given(flags: dict[str, bool], session: bool, user: bool) -> None:
    binding = bound(fields=["username"], has_permission=lambda *args: False, **flags)
    message = Message({"reply_channel": "a", "text": '{"action": "create"}'}, "websocket.receive", None)
    assert binding.consumer(message) is None
    assert (hasattr(message, "channel_session"), hasattr(message, "user")) == (session, user)


def test_strict_ordering_keeps_frames_in_order(default_layer: ChannelLayerWrapper) -> None:
    binding = bound(fields=["username"], strict_ordering=True)
    with apply_routes([demultiplexed(binding).as_route()]):
        client = WSClient(ordered=True)
        client.order = 1
        text = {"stream": "users", "payload": {"action": "create", "data": {"username": "test"}}}
        client.send_and_consume("websocket.receive", text=text)
    assert not User.objects.exists()
    assert default_layer.receive([f"__wait__.{client.reply_channel}"])[0] is not None


def test_slight_ordering_is_refused() -> None:
    binding = bound(fields=["username"], slight_ordering=True)
    with pytest.raises(ValueError, match="slight"):
        ask(binding, action=CREATE, data={})
