import json
from urllib.request import urlopen

from channels import Channel, Group, route
from channels.delay.models import DelayedMessage
from channels.exceptions import DenyConnection
from channels.generic.websockets import WebsocketDemultiplexer
from channels.message import Message
from channels.sessions import session_for_reply_channel
from channels.test import (
    ChannelLiveServerTestCase,
    ChannelTestCase,
    Client,
    TransactionChannelTestCase,
    WSClient,
    apply_routes,
)
from channels.tests import HttpClient
from django.contrib.auth.models import User

from .bindings import RoomBinding
from .consumers import Demultiplexer, store_message
from .models import ChatMessage, Room


class ChatTests(ChannelTestCase):
    def setUp(self):
        self.room = Room.objects.create(label="lobby", topic="Anything")
        self.user = User.objects.create_user("alice", password="secret")

    def connect(self, user=None, path="/chat/lobby/", **kwargs):
        client = WSClient(ordered=True)
        client.set_header("origin", b"http://localhost:8000")
        if user is not None:
            client.force_login(user)
        client.send_and_consume("websocket.connect", path=path, **kwargs)
        return client

    def test_message_reaches_everybody_in_the_room(self):
        alice = self.connect(self.user)
        bob = self.connect(User.objects.create_user("bob"))
        alice.send_and_consume("websocket.receive", text={"text": "hello"}, path="/chat/lobby/")
        alice.consume("chat-messages")
        self.assertEqual(alice.receive(), {"handle": "alice", "text": "hello"})
        self.assertEqual(bob.receive(), {"handle": "alice", "text": "hello"})
        self.assertIsNone(bob.receive())
        self.assertEqual(ChatMessage.objects.get().room, self.room)

    def test_message_is_sent_when_consumer_has_returned(self):
        alice = self.connect(self.user)
        alice.send_and_consume("websocket.receive", text={"text": "hello"}, path="/chat/lobby/")
        message = self.get_next_message("chat-messages", require=True)
        self.assertIsInstance(message, Message)
        self.assertEqual(message.content, {"room": "lobby", "handle": "alice", "text": "hello"})

    def test_disconnect_leaves_the_room(self):
        alice = self.connect(self.user)
        alice.send_and_consume("websocket.disconnect", path="/chat/lobby/")
        Group("room-lobby").send({"text": "{}"})
        self.assertIsNone(alice.receive())

    def test_room_is_remembered_in_the_channel_session(self):
        alice = self.connect(self.user)
        self.assertEqual(session_for_reply_channel(alice.reply_channel)["room"], "lobby")

    def test_anonymous_user_is_not_accepted(self):
        with self.assertRaises(AssertionError):
            self.connect()
        client = self.connect(check_accept=False)
        self.assertEqual(client.receive(), {"close": True})

    def test_unknown_room_is_not_accepted(self):
        client = self.connect(self.user, path="/chat/nowhere/", check_accept=False)
        self.assertEqual(client.receive(), {"close": True})

    def test_foreign_origin_is_denied(self):
        client = WSClient(ordered=True)
        client.set_header("origin", b"http://evil.example.com")
        client.login(username="alice", password="secret")
        with self.assertRaises(DenyConnection):
            client.send_and_consume("websocket.connect", path="/chat/lobby/")

    def test_messages_out_of_order_wait(self):
        alice = self.connect(self.user)
        alice.order = 2
        alice.send_and_consume("websocket.receive", text={"text": "second"}, path="/chat/lobby/")
        self.assertIsNone(self.get_next_message("chat-messages"))
        alice.order = 1
        alice.send_and_consume("websocket.receive", text={"text": "first"}, path="/chat/lobby/")
        alice.consume("websocket.receive")
        self.assertEqual(self.get_next_message("chat-messages")["text"], "first")
        self.assertEqual(self.get_next_message("chat-messages")["text"], "second")

    def test_reminder_goes_to_the_delay_server(self):
        alice = self.connect(self.user)
        alice.send_and_consume("websocket.receive", text={"text": "/remind 100 tea"}, path="/chat/lobby/")
        delayed = self.get_next_message("asgi.delay", require=True)
        self.assertEqual(
            (delayed["channel"], delayed["delay"], delayed["content"]["text"]), ("chat-messages", 100, "tea")
        )
        message = DelayedMessage(channel_name="chat-messages", content=json.dumps(delayed["content"]), delay=0)
        message.save()
        message.send()
        self.assertFalse(DelayedMessage.objects.exists())
        alice.consume("chat-messages")
        self.assertEqual(alice.receive()["text"], "tea")

    @apply_routes([route("other", store_message)])
    def test_routes_can_be_replaced(self):
        client = Client()
        self.assertIsNone(client.get_consumer_by_channel("chat-messages"))
        client.send_and_consume("other", {"room": "lobby", "handle": "bob", "text": "hi"})
        self.assertEqual(str(ChatMessage.objects.get()), "bob: hi")


class RoomTests(ChannelTestCase):
    def setUp(self):
        self.room = Room.objects.create(label="lobby", topic="Anything")

    def connect(self, **attributes):
        client = HttpClient(ordered=True)
        client.force_login(User.objects.create_user("alice", **attributes))
        client.send_and_consume("websocket.connect", path="/rooms/")
        self.assertEqual(client.receive(), {"stream": "who", "payload": {"you": "alice"}})
        return client

    def send(self, client, stream, payload):
        client.send_and_consume("websocket.receive", text={"stream": stream, "payload": payload}, path="/rooms/")

    def test_change_of_a_room_is_sent(self):
        client = self.connect()
        self.room.topic = "Trains"
        self.room.save()
        received = client.receive()
        self.assertEqual(received["stream"], "rooms")
        self.assertEqual(
            received["payload"],
            {
                "action": "update",
                "pk": self.room.pk,
                "data": {"label": "lobby", "topic": "Trains", "loud": "TRAINS"},
                "model": "chat.room",
            },
        )
        self.assertIsNone(client.receive())

    def test_staff_can_change_a_room(self):
        client = self.connect(is_staff=True)
        self.send(
            client, "rooms", {"action": "update", "pk": self.room.pk, "data": {"topic": "Ships", "password": "x"}}
        )
        self.room.refresh_from_db()
        self.assertEqual((self.room.topic, self.room.password), ("Ships", ""))
        self.assertEqual(client.receive()["payload"]["data"]["topic"], "Ships")

    def test_others_cannot(self):
        client = self.connect()
        self.send(client, "rooms", {"action": "delete", "pk": self.room.pk})
        self.assertTrue(Room.objects.exists())

    def test_stream_answers_on_the_stream(self):
        client = self.connect()
        self.send(client, "who", {"ask": "me"})
        self.assertEqual(client.receive(), {"stream": "who", "payload": {"you": "alice", "asked": "me"}})

    def test_single_routes(self):
        class Other(WebsocketDemultiplexer):
            consumers = {"rooms": RoomBinding.consumer}
            groups = ["rooms"]

        with apply_routes([Other.as_route(path=r"^/other/(?P<id>\d+)/$")]):
            client = WSClient()
            consumer = client.send_and_consume("websocket.connect", path="/other/7/")
            self.assertEqual(consumer.kwargs["id"], "7")
            Room.objects.create(label="attic")
            self.assertEqual(client.receive()["payload"]["action"], "create")

    def test_demultiplexer_is_what_consumes(self):
        self.assertIsInstance(HttpClient().channel_layer.router.channels, (set, frozenset))
        self.assertIn("rooms", Demultiplexer.consumers)


class StoreTests(TransactionChannelTestCase):
    def test_stored_message_is_committed(self):
        Room.objects.create(label="lobby")
        Channel("chat-messages").send({"room": "lobby", "handle": "bob", "text": "hi"})
        Client().consume("chat-messages")
        self.assertEqual(ChatMessage.objects.count(), 1)


class LiveTests(ChannelLiveServerTestCase):
    def test_login_page_is_served(self):
        with urlopen(self.live_server_url + "/login/", timeout=10) as response:
            self.assertIn("csrfmiddlewaretoken", response.read().decode())
        self.assertTrue(self.live_server_ws_url.startswith("ws://"))

    def test_bridge_is_served(self):
        with urlopen(self.live_server_url + "/static/channels/js/websocketbridge.js", timeout=10) as response:
            self.assertIn("WebSocketBridge", response.read().decode())
