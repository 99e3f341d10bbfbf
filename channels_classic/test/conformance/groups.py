"""Groups: their members, and which of them receive a message to the group."""

from __future__ import annotations

import time
from typing import Any

from channels_classic.test.conformance.case import EXPIRY, MARGIN, Conformance, Face
from channels_classic.test.conformance.channels import INVALID_CHANNELS

INVALID_GROUPS = ["", "?", "!", "a!b", "\N{POUND SIGN}", "x" * 120, "some+other=thing", "newline\n"]
VALID_GROUPS = ["foo.bar", "0.a_b-c", "x" * 100, "name", "self"]


class GroupConformance(Conformance):
    """Groups, for layers with the extension `groups`."""

    def open(self, **config: Any) -> Face:
        face = super().open(**config)
        self.need(face, "groups")
        return face

    def test_members_receive_and_others_do_not(self) -> None:
        face = self.open()
        for name in ("tg_test", "tg_test2", "tg_test3"):
            face.group_add("tgroup", name)
        face.group_discard("tgroup", "tg_test3")
        face.send_group("tgroup", {"value": 1})
        self.assertEqual(face.receive("tg_test"), ("tg_test", {"value": 1}))
        self.assertEqual(face.receive("tg_test2"), ("tg_test2", {"value": 1}))
        self.assert_nothing(face, "tg_test", "tg_test2", "tg_test3")

    def test_each_member_of_an_inbox_receives_a_copy(self) -> None:
        face = self.open()
        for name in ("tgp!test", "tgp!test2", "tgp!test3"):
            face.group_add("tgroup", name)
        face.group_discard("tgroup", "tgp!test2")
        face.send_group("tgroup", {"value": 1})
        received = [face.receive("tgp!") for _ in range(2)]
        self.assertEqual({channel for channel, _ in received}, {"tgp!test", "tgp!test3"})
        self.assertEqual([message for _, message in received], [{"value": 1}] * 2)
        self.assert_nothing(face, "tgp!")

    def test_members_of_all_kinds_and_of_many_inboxes_receive(self) -> None:
        face = self.open()
        names = ["kind", "kind?a", "kind!a", "other!a", "other!b", "third!"]
        for name in names:
            face.group_add("kinds", name)
        face.send_group("kinds", {})
        received = [face.receive("kind", "kind?a", "kind!", "other!", "third!")[0] for _ in names]
        self.assertEqual(sorted(received), sorted(names))

    def test_the_members_are_those_added_and_not_discarded(self) -> None:
        face = self.open()
        for name in ("m", "m!1", "m!2", "m?3"):
            face.group_add("members", name)
        self.assertEqual(set(face.group_channels("members")), {"m", "m!1", "m!2", "m?3"})
        face.group_discard("members", "m!1")
        face.group_discard("members", "m?3")
        self.assertEqual(set(face.group_channels("members")), {"m", "m!2"})
        self.assertEqual(set(face.group_channels("unknown")), set())

    def test_members_are_counted_without_naming_them(self) -> None:
        face = self.open()
        self.assertEqual(face.group_count("counted"), 0)
        for name in ("m", "m!1", "m!2", "m?3", "m!1"):
            face.group_add("counted", name)
        self.assertEqual(face.group_count("counted"), 4)
        face.group_discard("counted", "m!1")
        self.assertEqual(face.group_count("counted"), 3)

    def test_one_member_can_be_left_out(self) -> None:
        face = self.open()
        names = ["out", "out?a", "out!a", "out!b"]
        for name in names:
            face.group_add("but", name)
        for left_out in [*names, "no.member", "out!c"]:
            with self.subTest(left_out):
                face.send_group("but", {"value": 1}, but=left_out)
                expected = sorted({*names} - {left_out})
                received = [face.receive("out", "out?a", "out!")[0] for _ in expected]
                self.assertEqual(sorted(received), expected)
                self.assert_nothing(face, "out", "out?a", "out!")

    def test_what_cannot_be_a_member_cannot_be_left_out(self) -> None:
        face = self.open()
        for name in INVALID_CHANNELS[1:]:
            with self.subTest(name), self.assertRaises(TypeError):
                face.send_group("but", {}, but=name)

    def test_adding_and_discarding_twice_is_the_same_as_once(self) -> None:
        face = self.open()
        for _ in range(2):
            face.group_add("twice", "one")
            face.group_add("twice", "two!a")
        for _ in range(2):
            face.group_discard("twice", "one")
            face.group_discard("never", "one")
        face.send_group("twice", {})
        self.assertEqual(face.receive("two!")[0], "two!a")
        self.assert_nothing(face, "one", "two!")

    def test_every_sender_sees_a_change_once_the_call_returned(self) -> None:
        face, peer = self.open_pair()
        for number in range(20):
            face.group_add("complete", f"complete!{number}")
            self.assertIn(f"complete!{number}", set(peer.group_channels("complete")))
            face.group_discard("complete", f"complete!{number}")
            self.assertNotIn(f"complete!{number}", set(peer.group_channels("complete")))

    def test_sending_to_a_group_without_members_reaches_nobody(self) -> None:
        face = self.open()
        face.send_group("empty", {"value": 1})
        self.assertEqual(set(face.group_channels("empty")), set())

    def test_a_group_whose_members_are_full_raises_nothing(self) -> None:
        face = self.open(capacity=2)
        for name in ("gfull", "gfull!a"):
            face.group_add("full", name)
        held = 2 * self.spread
        for number in range(held + 1):
            face.send_group("full", {"number": number})
        received = [face.receive("gfull")[1]["number"] for _ in range(held)]
        self.assertEqual(sorted(received), list(range(held)))
        self.assertEqual([face.receive("gfull!")[1] for _ in range(2)], [{"number": 0}, {"number": 1}])
        self.assert_nothing(face, "gfull", "gfull!")

    def test_a_full_member_does_not_keep_others_from_receiving(self) -> None:
        face = self.open(capacity=1)
        face.send("slow", {})
        for name in ("slow", "fast", "inbox!slow", "inbox!fast"):
            face.group_add("speeds", name)
        face.send("inbox!slow", {})
        face.send_group("speeds", {"value": 1})
        self.assertEqual(face.receive("fast"), ("fast", {"value": 1}))
        self.assertEqual([face.receive("inbox!")[0] for _ in range(2)], ["inbox!slow", "inbox!fast"])

    def test_valid_group_names_work(self) -> None:
        face = self.open()
        for name in VALID_GROUPS:
            with self.subTest(name):
                face.group_add(name, name)
                face.send_group(name, {"value": 1})
                self.assertEqual(face.receive(name), (name, {"value": 1}))

    def test_invalid_group_names_are_refused(self) -> None:
        face = self.open()
        for name in [*INVALID_GROUPS, 1, b"bytes", None]:
            with self.subTest(name):
                for act in (face.group_add, face.group_discard):
                    with self.assertRaises(TypeError):
                        act(name, "channel")  # type: ignore[arg-type]  # that is the point
                with self.assertRaises(TypeError):
                    face.send_group(name, {})  # type: ignore[arg-type]  # that is the point
                with self.assertRaises(TypeError):
                    face.group_channels(name)  # type: ignore[arg-type]  # that is the point

    def test_invalid_channels_are_no_members(self) -> None:
        face = self.open()
        for name in INVALID_CHANNELS:
            with self.subTest(name):
                for act in (face.group_add, face.group_discard):
                    with self.assertRaises(TypeError):
                        act("group", name)
        self.assertEqual(set(face.group_channels("group")), set())

    def test_a_message_that_cannot_be_sent_is_refused_for_an_empty_group_too(self) -> None:
        face = self.open()
        face.group_add("one", "member")
        for group in ("one", "none"):
            for message in ("text", None, {"value": object()}):
                with self.subTest((group, message)), self.assertRaises((TypeError, AssertionError)):
                    face.send_group(group, message)  # type: ignore[arg-type]  # that is the point
        self.assert_nothing(face, "member")

    def test_a_membership_ends_after_the_group_expiry(self) -> None:
        face = self.open(group_expiry=EXPIRY)
        self.assertEqual(face.layer.group_expiry, EXPIRY)
        for name in ("lapsed", "lapsed!a"):
            face.group_add("lapse", name)
        time.sleep(EXPIRY + MARGIN)
        face.send_group("lapse", {})
        self.assert_nothing(face, "lapsed", "lapsed!")
        self.assertEqual(set(face.group_channels("lapse")), set())

    def test_adding_again_renews_a_membership(self) -> None:
        face = self.open(group_expiry=6 * EXPIRY)
        face.group_add("renew", "renewed")
        face.group_add("renew", "left")
        time.sleep(4 * EXPIRY)  # most of it: a slow machine must not look after the renewed one has ended too
        face.group_add("renew", "renewed")
        time.sleep(2 * EXPIRY + MARGIN)
        self.assertEqual(set(face.group_channels("renew")), {"renewed"})

    def test_a_flush_ends_memberships_and_drops_what_was_sent(self) -> None:
        face, peer = self.open_pair()
        self.need(face, "flush")
        for name in ("tgf", "tgf!a"):
            face.group_add("tgroup", name)
        face.send_group("tgroup", {})
        peer.flush()
        self.assert_nothing(face, "tgf", "tgf!")
        face.send_group("tgroup", {})
        self.assert_nothing(face, "tgf", "tgf!")
        self.assertEqual(set(face.group_channels("tgroup")), set())
