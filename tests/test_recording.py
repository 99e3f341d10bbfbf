"""The recording in the README: what it shows when, and that it is small enough for a page."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from tests.support.recording import TARGET, Scene, animation

SVG = "{http://www.w3.org/2000/svg}"


def test_a_picture_that_stays_is_there_once_and_as_long_as_it_is_shown() -> None:
    svg = animation([
        Scene(1, (b"one", b"two"), "$ start"),
        Scene(1, (b"other", b"two"), "$ start"),
        Scene(2, (b"one", b"three"), "$ stop"),
    ])  # fmt: skip
    shown = re.findall(r"@keyframes \w+ \{ (.*) \}\n", svg)
    hidden, visible = "visibility: hidden;", "visibility: visible;"
    assert shown == [
        f"0.00% {{ {visible} }} 25.00% {{ {hidden} }}",
        f"0% {{ {hidden} }} 25.00% {{ {visible} }} 50.00% {{ {hidden} }}",
        f"0% {{ {hidden} }} 50.00% {{ {visible} }} 100% {{ {visible} }}",
        f"0.00% {{ {visible} }} 50.00% {{ {hidden} }}",
        f"0% {{ {hidden} }} 50.00% {{ {visible} }} 100% {{ {visible} }}",
        f"0.00% {{ {visible} }} 50.00% {{ {hidden} }}",
        f"0% {{ {hidden} }} 50.00% {{ {visible} }} 100% {{ {visible} }}",
    ]


def test_without_motion_the_last_scene_is_shown() -> None:
    svg = animation([Scene(1, (b"one", b"two"), "before"), Scene(1, (b"three", b"two"), "after")])
    at_rest = [group for group in ElementTree.fromstring(svg).iter(f"{SVG}g") if "last" in group.attrib["class"]]
    assert len(at_rest) == 3
    assert [text.text for group in at_rest for text in group.iter(f"{SVG}text")] == ["after"]


def test_the_recording_shows_a_killed_worker_and_fits_on_a_page() -> None:
    svg = TARGET.read_text()
    words = " ".join(text.text or "" for text in ElementTree.fromstring(svg).iter(f"{SVG}text"))
    assert "kill -9" in words
    assert "No page notices" in words
    assert len(svg) < 600_000
