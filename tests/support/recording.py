"""The recording in the README: two windows on the live blog, and a worker that is killed between two posts.

`python -m tests.support.recording` runs the demo, takes pictures of the windows while somebody posts, and writes an
animated SVG, which every browser plays in an `img` and which needs no other program to be made.
"""

from __future__ import annotations

import base64
import os
import re
import signal
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.browser import running_browser
from tests.support.processes import Process
from tests.support.redis_server import free_port
from tests.support.site import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

TARGET = ROOT / "docs" / "recording.svg"
WINDOW = {"width": 470, "height": 400}
"""The size of a window in the picture. Pages are laid out a third larger, to show more of them."""

VIEWPORT = {"width": 627, "height": 533}
WIDTH, HEIGHT = 980, 620
TERMINAL_TOP = 456
LINES = 6
"""Lines of the terminal that fit into the picture; the last ones are shown."""

STYLE = """
  .paper { fill: #d9d3c7; } .bar { fill: #f4f1ea; } .dot { fill: #b9b2a4; } .terminal { fill: #1b1f24; }
  text { font: 13px ui-monospace, Menlo, Consolas, monospace; fill: #e8eaed; white-space: pre; }
  .title { font: 12px system-ui, sans-serif; fill: #55504a; text-anchor: middle; }
  .timed { visibility: hidden; } .last { visibility: visible; }
"""


@dataclass(frozen=True)
class Scene:
    """One view for some seconds: a picture of each window (JPEG), and the terminal's text."""

    seconds: float
    windows: tuple[bytes, bytes]
    terminal: str


def animation(scenes: list[Scene]) -> str:
    """Return the scenes as an SVG that repeats. Where motion is not wanted, it shows the last scene."""
    total = sum(scene.seconds for scene in scenes)
    parts = [_background()]
    rules: list[str] = []
    begins = [sum(scene.seconds for scene in scenes[:number]) for number in range(len(scenes))]
    tracks = [[_window(side, scene.windows[side]) for scene in scenes] for side in (0, 1)]
    tracks.append([_terminal(scene.terminal) for scene in scenes])
    for track in tracks:
        for first, last in _runs(track):
            end = begins[last] + scenes[last].seconds
            name = f"t{len(rules)}"
            rules.append(_rule(name, begins[first] / total, end / total, total))
            shown_at_rest = " last" if last == len(scenes) - 1 else ""
            parts.append(f'<g class="timed{shown_at_rest} {name}">{track[first]}</g>')
    title = "Two windows on a live blog: posts reach both while a worker is killed and replaced"
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{title}">',
        f"<title>{title}</title>",
        f"<style>{STYLE}  @media (prefers-reduced-motion: no-preference) {{\n{''.join(rules)}  }}\n</style>",
        *parts,
        "</svg>\n",
    ])  # fmt: skip


def _runs(track: list[str]) -> list[tuple[int, int]]:
    """Return the first and last scene of each part that stays as it is, so that no picture is there twice in a row."""
    runs: list[tuple[int, int]] = []
    for number, content in enumerate(track):
        if runs and track[runs[-1][0]] == content:
            runs[-1] = runs[-1][0], number
        else:
            runs.append((number, number))
    return runs


def _rule(name: str, begin: float, end: float, total: float) -> str:
    frames = [] if begin == 0 else ["0% { visibility: hidden; }"]
    frames.append(f"{begin:.2%} {{ visibility: visible; }}")
    frames += [f"{end:.2%} {{ visibility: hidden; }}"] if end < 1 else ["100% { visibility: visible; }"]
    return (
        f"    @keyframes {name} {{ {' '.join(frames)} }}\n"
        f"    .{name} {{ animation: {name} {total:g}s step-end infinite; }}\n"
    )


def _background() -> str:
    parts = [f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="10"/>']
    for side, title in enumerate(("The editor's window", "A reader's window")):
        x = _left(side)
        parts.append(f'<rect class="bar" x="{x}" y="16" width="{WINDOW["width"]}" height="26" rx="6"/>')
        parts += [f'<circle class="dot" cx="{x + 16 + 16 * dot}" cy="29" r="5"/>' for dot in range(3)]
        parts.append(f'<text class="title" x="{x + WINDOW["width"] / 2:g}" y="33">{title}</text>')
    parts.append(
        f'<rect class="terminal" x="{_left(0)}" y="{TERMINAL_TOP}" width="{WIDTH - 2 * _left(0)}" '
        f'height="{HEIGHT - TERMINAL_TOP - 14}" rx="8"/>'
    )
    return "".join(parts)


def _left(side: int) -> int:
    return 14 + side * (WINDOW["width"] + 12)


def _window(side: int, picture: bytes) -> str:
    data = base64.b64encode(picture).decode()
    return (
        f'<image x="{_left(side)}" y="42" width="{WINDOW["width"]}" height="{WINDOW["height"]}" '
        f'href="data:image/jpeg;base64,{data}"/>'
    )


def _terminal(text: str) -> str:
    lines = [piece for line in text.splitlines() for piece in _wrapped(line)][-LINES:]
    return "".join(
        f'<text x="{_left(0) + 16}" y="{TERMINAL_TOP + 26 + 21 * row}">{escape(line)}</text>'
        for row, line in enumerate(lines)
    )


def _wrapped(line: str) -> list[str]:
    return textwrap.wrap(line, 116) or [""]


class Recorder:
    """Takes scenes from the two windows."""

    def __init__(self, windows: tuple[Page, Page]) -> None:
        self.scenes: list[Scene] = []
        self._windows = windows
        self._terminal = ""

    def show(self, seconds: float, line: str = "") -> None:
        """Take a scene, after a line is added to the terminal."""
        self._terminal += line + "\n" if line else ""
        for window in self._windows:
            window.wait_for_function("document.getAnimations().every(a => a.animationName !== 'arrive')")
        editor, reader = (window.screenshot(type="jpeg", quality=72) for window in self._windows)
        self.scenes.append(Scene(seconds, (editor, reader), self._terminal))

    def post(self, text: str) -> None:
        """Write a post in the first window, and wait until both show it."""
        editor, _ = self._windows
        editor.get_by_label("New update").fill(text)
        self.show(1.6)
        editor.get_by_role("button", name="Post").click()
        for window in self._windows:
            window.get_by_text(text).wait_for()
        editor.wait_for_function("document.querySelector('#post textarea').value === ''")
        self.show(2.6)


def record(demo: Process, port: int) -> list[Scene]:
    """Play the scenes on the running demo."""
    first = demo.wait_for_line("The live blogs are at").strip()
    invitation = demo.wait_for_line("Kill a worker with").strip()
    found = re.search(r"kill -9 (\d+)", invitation)
    assert found is not None
    with running_browser() as browser:
        looks: dict[str, Any] = {"viewport": VIEWPORT, "color_scheme": "light", "reduced_motion": "reduce"}
        editor, reader = (browser.new_page(locale="en-GB", **looks) for _ in range(2))
        blog = f"http://127.0.0.1:{port}/liveblog/total-eclipse/"
        editor.goto(f"http://127.0.0.1:{port}/login/?next=/liveblog/total-eclipse/")
        editor.get_by_label("Username").fill("editor")
        editor.get_by_label("Password").fill("live-blog")
        editor.get_by_role("button", name="Log in").click()
        reader.goto(blog)
        for window in (editor, reader):
            window.get_by_text("2 readers").wait_for()
        recorder = Recorder((editor, reader))
        recorder.show(1, "$ make demo")
        recorder.show(2, f"{first.replace(str(port), '8000')}\n{invitation}")
        recorder.post("Third contact! The first bead of light is back.")
        os.kill(int(found[1]), signal.SIGKILL)
        recorder.show(1.2, f"$ kill -9 {found[1]}")
        recorder.show(2.4, demo.wait_for_line(r"No page notices").strip())
        recorder.post("A cheer goes over the meadow; the band plays on.")
        recorder.show(1.5)
        return recorder.scenes


def main() -> None:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="recording-") as folder:
        environment: dict[str, str | None] = {
            "PORT": str(port),
            "LIVEBLOG_DB": str(Path(folder) / "liveblog.sqlite3"),
            "LIVEBLOG_KEY": folder,
            "REDIS_URL": None,
            "DJANGO_SETTINGS_MODULE": None,
        }
        with Process([sys.executable, ROOT / "examples" / "liveblog" / "demo.py"], env=environment) as demo:
            demo.wait_for_line("Ctrl-C stops everything")
            TARGET.write_text(animation(record(demo, port)), encoding="utf-8")


if __name__ == "__main__":
    main()
