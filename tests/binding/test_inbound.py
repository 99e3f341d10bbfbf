"""Changes that clients ask for: which are made, and who may ask for them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User

from channels_classic.asgi import ChannelLayerWrapper
from channels_classic.binding.base import CREATE, DELETE, UPDATE
from channels_classic.message import Message
from channels_classic.test import WSClient, apply_routes
from tests.inventory.models import Item, Tag
from tests.support.bindings import ask, bound, demultiplexed, received

pytestmark = pytest.mark.usefixtures("default_layer", "db")


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


def test_a_client_gets_no_answer_to_a_change_nor_to_connecting_and_disconnecting() -> None:
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
def test_every_spelling_of_all_fields_allows_all_fields(fields: Any) -> None:
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


def test_the_column_name_of_an_excluded_foreign_key_is_excluded_too() -> None:
    binding = bound(Item, exclude=["owner"])
    bob, eve = (User.objects.create(username=name) for name in ("bob", "eve"))
    item = Item.objects.create(name="hammer", owner=bob)
    ask(binding, action=UPDATE, pk=str(item.pk), data={"owner_id": eve.pk, "owner": eve.pk, "name": "saw"})
    item.refresh_from_db()
    assert (item.owner, item.name) == (bob, "saw")


def test_a_reverse_relation_cannot_be_set() -> None:
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


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ({"action": CREATE, "data": {"username": "test", "nonsense": 1}}, "User has no field named 'nonsense'"),
        ({"action": UPDATE, "pk": 1, "data": {"username": "test"}}, "auth.user has no row with the primary key 1"),
        ({"action": "explode"}, "Unknown action 'explode'"),
        ({"pk": 1}, "Expected the action 'create', 'update' or 'delete'"),
        ({"action": CREATE}, "The data is of type NoneType: expected an object of field to value"),
        ({"action": CREATE, "data": [1]}, "The data is of type list"),
    ],
)
def test_an_unknown_field_row_or_action_is_logged(
    payload: dict[str, Any], problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    ask(bound(fields=["username"]), **payload)
    assert problem in caplog.text
    assert not User.objects.exists()


def test_deleting_sends_signals_and_a_missing_row_is_no_error(client: WSClient) -> None:
    binding = bound(fields=["username"])
    user = User.objects.create(username="test")
    received(client)
    ask(binding, action=DELETE, pk=user.pk)
    assert [reply["payload"]["action"] for reply in received(client)] == ["delete"]
    ask(binding, action=DELETE, pk=user.pk)


def test_permission_is_asked_first_and_refused_without_a_log_line() -> None:
    asked: list[Any] = []

    def has_permission(self: Any, user: Any, action: str, pk: Any) -> bool:
        asked.append((user, action, pk))
        return False

    binding = bound(fields=["username"], has_permission=has_permission)
    ask(binding, action="explode", pk=7)
    ask(binding, action=CREATE, data={"username": "test"})
    assert asked == [(AnonymousUser(), "explode", 7), (AnonymousUser(), CREATE, None)]
    assert not User.objects.exists()


def test_has_permission_receives_the_user_of_the_demultiplexer() -> None:
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
def test_the_flags_decide_on_the_session_and_the_user_of_the_message(
    flags: dict[str, bool], session: bool, user: bool
) -> None:
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
