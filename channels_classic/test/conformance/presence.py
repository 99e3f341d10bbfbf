"""Presence: who is in a group, by what was said of its members."""

from __future__ import annotations

import time
from typing import Any

from channels_classic.test.conformance.case import EXPIRY, MARGIN, Conformance, Face


class PresenceConformance(Conformance):
    """Presence, for layers with the extension `presence`."""

    def open(self, **config: Any) -> Face:
        face = super().open(**config)
        self.need(face, "presence")
        return face

    def assert_present(self, face: Face, group: str, expected: dict[str, list[dict[str, Any]]]) -> None:
        found = face.group_presence(group)
        self.assertEqual({who: sorted(infos, key=repr) for who, infos in found.items()}, expected)

    def test_each_person_is_one_entry_with_an_item_for_each_socket(self) -> None:
        face = self.open()
        self.assert_present(face, "room", {})
        face.group_add("room", "p", who="ada", info={"tab": 1})
        face.group_add("room", "p!1", who="ada", info={"tab": 2})
        face.group_add("room", "p!2", who="bob")
        face.group_add("room", "p!3")
        face.group_add("other", "p!4", who="eve")
        self.assert_present(face, "room", {"ada": [{"tab": 1}, {"tab": 2}], "bob": [{}]})
        self.assertEqual(face.group_count("room"), 4)
        self.assertEqual(set(face.group_channels("room")), {"p", "p!1", "p!2", "p!3"})

    def test_who_leaves_is_gone_with_the_last_socket(self) -> None:
        face = self.open()
        for name in ("p", "p!1"):
            face.group_add("room", name, who="ada", info={"name": name})
        face.group_discard("room", "p")
        self.assert_present(face, "room", {"ada": [{"name": "p!1"}]})
        face.group_discard("room", "p")
        face.group_discard("room", "p!1")
        self.assert_present(face, "room", {})

    def test_adding_again_says_who_it_is_now(self) -> None:
        face = self.open()
        face.group_add("room", "p")
        face.group_add("room", "p", who="ada", info={"n": 1})
        face.group_add("room", "p", who="ada", info={"n": 2})
        self.assert_present(face, "room", {"ada": [{"n": 2}]})
        face.group_add("room", "p")
        self.assert_present(face, "room", {"ada": [{"n": 2}]})
        face.group_add("room", "p", who="bob")
        self.assert_present(face, "room", {"bob": [{}]})

    def test_what_is_said_comes_back_as_it_was_given(self) -> None:
        face = self.open()
        who = "\N{GREEK SMALL LETTER ALPHA}\x00 +-:!" + "x" * 200
        info = {"name": "Ada \N{SNOWMAN}", "bytes": b"\xff\x00", "deep": [1, None, {"a": 1.5}], "large": 2**63}
        face.group_add("room", "p", who=who, info=info)
        face.group_add("room", "p!1", who="x" * 255, info={"text": "x" * 4000})
        self.assertEqual(face.group_presence("room"), {who: [info], "x" * 255: [{"text": "x" * 4000}]})

    def test_what_cannot_be_kept_is_refused_with_the_reason(self) -> None:
        face = self.open()
        refused: list[tuple[Any, Any, str]] = [
            (1, None, "expected text"),
            ("", {}, "expected text"),
            (None, {"name": "Ada"}, "expected text"),
            (b"ada", None, "expected text"),
            ("\ud800", None, "cannot be encoded"),
            ("x" * 256, None, "at most 255"),
            ("ada", "name", "expected a dict"),
            ("ada", {"name": object()}, "cannot be encoded"),
            ("ada", {"name": 2**64}, "cannot be encoded"),
            ("ada", {"name": "x" * 5000}, "at most 4096"),
        ]
        for who, info, reason in refused:
            with self.subTest(who=who, info=info), self.assertRaisesRegex(ValueError, reason):
                face.group_add("room", "p", who=who, info=info)
        self.assert_present(face, "room", {})
        self.assertEqual(set(face.group_channels("room")), set())

    def test_every_process_sees_the_same(self) -> None:
        face, peer = self.open_pair()
        face.group_add("room", "p!1", who="ada")
        self.assert_present(peer, "room", {"ada": [{}]})
        peer.group_discard("room", "p!1")
        self.assert_present(face, "room", {})

    def test_a_flush_ends_it(self) -> None:
        face = self.open()
        self.need(face, "flush")
        face.group_add("room", "p!1", who="ada")
        face.layer.flush()
        self.assert_present(face, "room", {})
        face.group_add("room", "p!2", who="ada")
        self.assert_present(face, "room", {"ada": [{}]})

    def test_it_ends_with_the_membership(self) -> None:
        face = self.open(group_expiry=EXPIRY)
        face.group_add("room", "p!1", who="ada")
        time.sleep(EXPIRY + MARGIN)
        self.assert_present(face, "room", {})

    def test_group_names_are_checked(self) -> None:
        face = self.open()
        with self.assertRaises(TypeError):
            face.group_presence("no group")
        with self.assertRaises(TypeError):
            face.group_add("no group", "p", who="ada")
