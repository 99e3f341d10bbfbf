"""Channels: names, messages, order, capacity, expiry, waiting."""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from channels_classic.test.conformance.case import EXPIRY, MARGIN, TIMEOUT, Conformance, Face

WAKE_UP = 0.03
"""Seconds within which a waiting reader receives a message, in the median; a layer that polls takes longer."""

INVALID_CHANNELS = [
    "",
    "\N{POUND SIGN}",
    "x" * 120,
    "one?two?three",
    "four!five!six",
    "seven!eight?nine",
    "some+other!thing",
    "!local",
    "?random",
    "random?",
    "newline\n",
    "newline!\n",
    "digit\N{ARABIC-INDIC DIGIT ONE}",
    "letter!\N{LATIN SMALL LETTER E WITH ACUTE}",
]
VALID_CHANNELS = [
    "http.request",
    "http.response!ab0def",
    "http.request.body?ab0def",
    "0.a_b-c?d_e-f.1",
    "empty.local!",
    "x" * 100,
]


class ChannelConformance(Conformance):
    """Channels: names, messages, order, capacity, expiry, waiting."""

    def test_messages_come_back_with_the_name_of_their_channel(self) -> None:
        face = self.open()
        for value in ("blue", "green", "red"):
            face.send("sr_test", {"value": value})
        face.send("sr_test2", {"value": "other"})
        received = [face.receive("sr_test") for _ in range(3)]
        self.assertEqual({channel for channel, _ in received}, {"sr_test"})
        self.assertEqual({message["value"] for _, message in received}, {"blue", "green", "red"})
        self.assertEqual(face.receive("sr_test", "sr_test2"), ("sr_test2", {"value": "other"}))
        self.assert_nothing(face, "sr_test", "sr_test2")

    def test_a_process_local_message_comes_back_with_its_full_name(self) -> None:
        face = self.open()
        face.send("spr_test!a", {"value": "first"})
        self.assertEqual(face.receive("spr_test!"), ("spr_test!a", {"value": "first"}))
        face.send("spr_test!b", {"value": "second"})
        self.assertEqual(face.receive("spr_test!"), ("spr_test!b", {"value": "second"}))

    def test_an_empty_local_part_is_a_name_of_its_own(self) -> None:
        face = self.open()
        face.send("spr_test!", {"value": 1})
        self.assertEqual(face.receive("spr_test!"), ("spr_test!", {"value": 1}))

    def test_plain_and_process_local_channels_are_received_together(self) -> None:
        face = self.open()
        face.send("plain", {})
        face.send("mixed!a", {})
        received = {face.receive("plain", "mixed!", "empty")[0] for _ in range(2)}
        self.assertEqual(received, {"plain", "mixed!a"})

    def test_another_process_receives_what_this_one_sends(self) -> None:
        face, peer = self.open_pair()
        face.send("between", {"value": 1})
        self.assertEqual(peer.receive("between"), ("between", {"value": 1}))
        self.assert_nothing(face, "between")

    def test_receiving_one_local_name_of_an_inbox_is_refused(self) -> None:
        face = self.open()
        with self.assertRaises(TypeError):
            face.look("spr_test!c")

    def test_receiving_from_no_channels_gives_nothing(self) -> None:
        self.assert_nothing(self.open())

    def test_a_name_instead_of_a_list_of_names_is_refused(self) -> None:
        with self.assertRaises((TypeError, AssertionError)):
            self.open().layer.receive("chat")

    def test_receive_many_still_works_and_says_what_to_call(self) -> None:
        face = self.open()
        face.send("old", {"value": 1})
        with self.assertWarns(DeprecationWarning):
            received = face.layer.receive_many(["old"], True)
        self.assertEqual(received, ("old", {"value": 1}))

    def test_a_new_channel_is_used_beside_another(self) -> None:
        face = self.open()
        first = face.new_channel("test.foo?")
        self.assertIsInstance(first, str)
        self.assertTrue(first.startswith("test.foo?"))
        self.assertEqual(first.count("?"), 1)
        self.assertFalse(first.endswith("?"))
        face.send(first, {"value": 1})
        second = face.new_channel("test.foo?")
        self.assertNotEqual(first, second)
        self.assertEqual(face.receive(first, second), (first, {"value": 1}))

    def test_a_pattern_for_a_new_channel_ends_in_a_question_mark(self) -> None:
        face = self.open()
        for pattern in ("test!", "test.foo", "a?b", "?"):
            with self.subTest(pattern), self.assertRaises((TypeError, AssertionError)):
                face.new_channel(pattern)

    def test_valid_names_carry_messages(self) -> None:
        face = self.open()
        for name in VALID_CHANNELS:
            with self.subTest(name):
                face.send(name, {"value": 1})
                head, mark, _ = name.partition("!")
                self.assertEqual(face.receive(head + mark), (name, {"value": 1}))

    def test_invalid_names_are_refused(self) -> None:
        face = self.open()
        for name in [*INVALID_CHANNELS, 1, b"bytes", None]:
            with self.subTest(name):
                with self.assertRaises(TypeError):
                    face.send(name, {})  # type: ignore[arg-type]  # that is the point
                with self.assertRaises(TypeError):
                    face.look(name)  # type: ignore[arg-type]  # that is the point

    def test_one_invalid_name_among_valid_ones_is_refused(self) -> None:
        face = self.open()
        face.send("valid", {})
        with self.assertRaises(TypeError):
            face.look("valid", "one?two?three")
        self.assertEqual(face.receive("valid"), ("valid", {}))

    def test_text_and_bytes_keep_their_types(self) -> None:
        face = self.open()
        message: dict[str, Any] = {
            "utf8_bytes": b"\xc2\xa3",
            "text": "\N{POUND SIGN}",
            "emoji": "\N{GRINNING FACE}",
            "control": b"\x01\x00\x03\x21",
            "deep": {"list": [b"bytes", "text", [b"", ""]], "dict": {"bytes": b"\xff", "text": "\x00"}},
        }
        face.send("types", message)
        self.assertEqual(face.receive("types"), ("types", message))

    def test_numbers_booleans_and_none_come_back_as_they_went(self) -> None:
        face = self.open()
        values: list[Any] = [0, -1, 2**63 - 1, -(2**63), 1.5, -0.1, True, False, None, [], {}]
        face.send("values", {"values": values})
        _, message = face.receive("values")
        self.assertEqual([(type(value), value) for value in message["values"]], [(type(v), v) for v in values])

    def test_tuples_come_back_as_lists(self) -> None:
        face = self.open()
        face.send("tuples", {"value": (1, (2, 3))})
        self.assertEqual(face.receive("tuples"), ("tuples", {"value": [1, [2, 3]]}))

    def test_changing_a_message_after_it_was_sent_changes_nothing(self) -> None:
        face = self.open()
        message: dict[str, Any] = {"value": [1, 2]}
        face.send("isolated", message)
        message["value"].append(3)
        self.assertEqual(face.receive("isolated"), ("isolated", {"value": [1, 2]}))

    def test_sending_leaves_the_message_as_it_is(self) -> None:
        face = self.open()
        message = {"value": 1}
        face.send("same!a", message)
        face.send("same!b", message)
        self.assertEqual(message, {"value": 1})
        self.assertEqual([face.receive("same!") for _ in range(2)], [("same!a", message), ("same!b", message)])

    def test_a_message_that_no_layer_can_carry_is_refused(self) -> None:
        face = self.open()
        messages: list[Any] = ["text", [], None, {"__asgi_channel__": "x"}, {"value": object()}, {"value": 2**70}]
        for message in messages:
            with self.subTest(message), self.assertRaises((TypeError, ValueError, AssertionError, OverflowError)):
                face.send("refused", message)
        self.assert_nothing(face, "refused")

    def test_a_megabyte_is_carried(self) -> None:
        face = self.open()
        message = {"text": "x" * 500_000, "bytes": b"\x00" * 500_000}
        face.send("large", message)
        self.assertEqual(face.receive("large"), ("large", message))

    def test_the_errors_are_attributes_of_the_layer(self) -> None:
        layer = self.open().layer
        self.assertTrue(issubclass(layer.ChannelFull, Exception))
        self.assertTrue(issubclass(layer.MessageTooLarge, Exception))

    def test_one_writer_and_one_reader_keep_the_order(self) -> None:
        for name, read in (("order!a", "order!"), ("order?a", "order?a")):
            with self.subTest(name):
                face, peer = self.open_pair(capacity=50)
                for number in range(50):
                    face.send(name, {"number": number})
                self.assertEqual([peer.receive(read) for _ in range(50)], [(name, {"number": n}) for n in range(50)])

    def test_the_order_of_an_inbox_spans_its_local_names(self) -> None:
        face = self.open()
        names = [f"span!{number % 4}" for number in range(12)]
        for name in names:
            face.send(name, {})
        self.assertEqual([face.receive("span!")[0] for _ in names], names)

    def test_a_busy_channel_does_not_starve_a_quiet_one(self) -> None:
        face = self.open(capacity=100)
        for _ in range(100):
            face.send("busy", {})
        face.send("quiet", {})
        self.assertIn("quiet", [face.receive("busy", "quiet")[0] for _ in range(60)])

    def test_a_channel_holds_its_capacity_and_no_more(self) -> None:
        face = self.open(capacity=5)
        self.assert_holds(face, "full", 5)
        for _ in range(5 * self.spread):
            face.receive("full")
        face.send("full", {})

    def test_a_full_channel_leaves_others_alone(self) -> None:
        face = self.open(capacity=2)
        self.assert_holds(face, "one", 2)
        self.assert_holds(face, "two", 2)

    def test_capacity_counts_each_client_of_an_inbox_by_itself(self) -> None:
        face = self.open(capacity=3)
        self.assert_holds(face, "capacity!a", 3)
        self.assert_holds(face, "capacity!b", 3)
        face.receive("capacity!")
        face.send("capacity!a", {})
        with self.assertRaises(face.layer.ChannelFull):
            face.send("capacity!b", {})

    def test_patterns_give_channels_capacities_of_their_own(self) -> None:
        face = self.open(capacity=4, channel_capacity={"http.response!*": 1, "http.request": 3})
        self.assert_holds(face, "http.disconnect", 4)
        self.assert_holds(face, "http.request", 3)
        self.assert_holds(face, "http.response!abcdefgh", 1)

    def test_many_senders_never_exceed_the_capacity(self) -> None:
        face = self.open(capacity=20)
        accepted = []

        def send(sender: Face) -> None:
            for number in range(10):
                try:
                    sender.send("crowded", {})
                except sender.layer.ChannelFull:
                    continue
                accepted.append(number)

        self.in_threads(face.layer, [send] * 8)
        self.assertEqual(len(accepted), min(20 * self.spread, 80))
        self.assertEqual([face.receive("crowded")[0] for _ in accepted], ["crowded"] * len(accepted))
        self.assert_nothing(face, "crowded")

    def test_many_readers_get_each_message_exactly_once(self) -> None:
        face = self.open(capacity=1000)
        seen: list[int] = []

        def read(reader: Face) -> None:
            while True:
                _, message = reader.receive("shared")
                if "stop" in message:
                    return
                seen.append(message["number"])

        def write(writer: Face) -> None:
            for number in range(200):
                writer.send("shared", {"number": number})
            deadline = time.monotonic() + TIMEOUT
            while len(seen) < 200 and time.monotonic() < deadline:
                time.sleep(0.01)
            for _ in range(5):
                writer.send("shared", {"stop": True})

        self.in_threads(face.layer, [write, *[read] * 5])
        self.assertEqual(sorted(seen), list(range(200)))

    def test_a_message_older_than_the_expiry_is_gone(self) -> None:
        face = self.open(expiry=EXPIRY)
        for name in ("expired", "expired!a", "expired?a"):
            face.send(name, {})
        time.sleep(EXPIRY + MARGIN)
        self.assert_nothing(face, "expired", "expired!", "expired?a")

    def test_an_expired_message_makes_way_for_a_new_one(self) -> None:
        expiry = 3 * EXPIRY  # the new ones must not expire before a slow machine reads them
        face = self.open(expiry=expiry, capacity=2)
        self.assert_holds(face, "room", 2)
        self.assert_holds(face, "room!a", 2)
        time.sleep(expiry + MARGIN)
        face.send("room", {"value": "new"})
        face.send("room!a", {"value": "new"})
        self.assertEqual(face.receive("room"), ("room", {"value": "new"}))
        self.assertEqual(face.receive("room!"), ("room!a", {"value": "new"}))

    def test_a_reader_that_waits_is_woken_at_once(self) -> None:
        face, peer = self.open_pair(capacity=100)
        deadline = time.monotonic() + TIMEOUT
        median = self._wake_up_time(face, peer)
        while median >= WAKE_UP and time.monotonic() < deadline:  # a busy machine is not busy all the time
            median = self._wake_up_time(face, peer)
        self.assertLess(median, WAKE_UP)

    @staticmethod
    def _wake_up_time(face: Face, peer: Face) -> float:
        """Return the median of the seconds that a waiting reader waits for a message."""
        delays: list[float] = []
        ready = threading.Semaphore(0)

        def read() -> None:
            for _ in range(15):
                ready.release()
                _, message = peer.receive("quiet", "wake")
                delays.append(time.monotonic() - message["sent"])

        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read)
            for number in range(15):
                ready.acquire(timeout=TIMEOUT)
                time.sleep(number / 1000)  # most find the reader asleep, at whatever point of a polling interval
                face.send("wake", {"sent": time.monotonic()})
            reading.result(TIMEOUT)
        return statistics.median(delays)

    def test_a_flush_drops_messages(self) -> None:
        face, peer = self.open_pair()
        self.need(face, "flush")
        self.assert_holds(face, "flushed", 5)
        face.send("flushed!a", {})
        peer.flush()
        self.assert_nothing(face, "flushed", "flushed!")
        self.assert_holds(face, "flushed", 5)

    def test_statistics_survive_an_expired_message(self) -> None:
        face = self.open(expiry=EXPIRY)
        self.need(face, "statistics")
        face.send("counted", {})
        time.sleep(EXPIRY + MARGIN)
        counted = face.layer.channel_statistics("counted")
        self.assertEqual(counted.get("messages_max_age", 0), 0)
        self.assertEqual(counted.get("channel_full_count", 0), 0)
