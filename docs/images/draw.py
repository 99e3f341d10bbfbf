"""Draws the diagrams of the documentation: `python docs/images/draw.py` writes the SVG files beside it.

Each has a background of its own and two sets of colours, so it is legible in light and dark themes. A test compares the
files with what this script draws.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent

STYLE = """
  :root { --paper: #ffffff; --ink: #1b1f24; --faint: #6b7280; --line: #9aa3af; --client: #e3edfb; --server: #e2f3e6;
    --layer: #fdf0d9; --worker: #f3e6f7; --bad: #fbe3e1; --red: #b3261e; }
  @media (prefers-color-scheme: dark) {
    :root { --paper: #16191d; --ink: #e8eaed; --faint: #9aa3af; --line: #6b7280; --client: #1f3350; --server: #1d3b28;
      --layer: #473512; --worker: #3c2645; --bad: #4a201d; --red: #ff8a80; } }
  text { font: 14px system-ui, sans-serif; fill: var(--ink); text-anchor: middle; }
  .small { font-size: 12px; fill: var(--faint); } .left { text-anchor: start; } .bad-text { fill: var(--red); }
  rect { stroke: var(--line); } .paper { fill: var(--paper); stroke: none; }
  .client { fill: var(--client); } .server { fill: var(--server); } .layer { fill: var(--layer); }
  .worker { fill: var(--worker); } .bad { fill: var(--bad); stroke: var(--red); stroke-dasharray: 5 4; }
  .none { fill: none; stroke-dasharray: 3 4; }
  path { stroke: var(--ink); stroke-width: 1.5; fill: none; } .dashed { stroke-dasharray: 5 4; stroke: var(--faint); }
  .head { fill: var(--ink); stroke: none; }
"""


class Drawing:
    """An SVG that grows by boxes, arrows and words."""

    def __init__(self, name: str, width: int, height: int, title: str) -> None:
        self.path = FOLDER / f"{name}.svg"
        self._size = width, height
        self._title = title
        self._parts: list[str] = []

    def box(self, x: int, y: int, width: int, height: int, text: str, kind: str = "server") -> None:
        """Draw a box with lines of text in its middle; those behind the first are small."""
        self._parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="8"/>')
        lines = text.split("\n")
        top = y + height / 2 - 9 * (len(lines) - 1) + 5
        for number, line in enumerate(lines):
            self.words(x + width / 2, top + 18 * number, line, "small" if number else "")

    def words(self, x: float, y: float, text: str, kind: str = "small") -> None:
        """Write a line."""
        self._parts.append(f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(text)}</text>')

    def arrow(self, x1: int, y1: int, x2: int, y2: int, text: str = "", *, dashed: bool = False) -> None:
        """Draw an arrow, with words above its middle."""
        kind = ' class="dashed"' if dashed else ""
        self._parts.append(f'<path{kind} d="M{x1} {y1}L{x2} {y2}" marker-end="url(#head)"/>')
        if text:
            self.words((x1 + x2) / 2, (y1 + y2) / 2 - 7, text)

    def svg(self) -> str:
        """Return the file's content."""
        width, height = self._size
        head = '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" aria-label="{escape(self._title)}">',
            f"<title>{escape(self._title)}</title>",
            f"<style>{STYLE}</style>",
            f'<defs>{head}<path class="head" d="M0 0L8 4L0 8z"/></marker></defs>',
            f'<rect class="paper" width="{width}" height="{height}" rx="10"/>',
            *self._parts,
            "</svg>\n",
        ])  # fmt: skip


def model() -> Drawing:
    """Draw the worker model."""
    drawing = Drawing("model", 860, 260, "The worker model: clients, interface servers, a channel layer, workers")
    for number in range(3):
        drawing.box(20, 30 + 70 * number, 110, 50, ["Browser", "Browser", "App"][number], "client")
    for number in range(2):
        drawing.box(230, 50 + 90 * number, 150, 60, "Interface server\nowns connections", "server")
    drawing.box(480, 50, 120, 150, "Channel layer\nRedis, or\nembedded", "layer")
    for number in range(3):
        drawing.box(700, 30 + 70 * number, 130, 50, "Worker\nruns consumers", "worker")
    for y in (55, 125):
        drawing.arrow(130, y, 228, 80)
    drawing.arrow(130, 195, 228, 170)
    drawing.arrow(380, 72, 478, 90, "messages")
    drawing.arrow(478, 160, 382, 160, "replies", dashed=True)
    for y in (55, 125, 195):
        drawing.arrow(600, 125, 698, y)
    drawing.words(430, 240, "Views, signals, shells, cron and Celery send to groups and channels, too.")
    return drawing


def message() -> Drawing:
    """Draw the way of a message and of its reply."""
    drawing = Drawing("message", 860, 300, "The way of a frame to its consumer, and of the reply back")
    for x, text, kind in [
        (20, "Browser", "client"),
        (200, "Interface server", "server"),
        (400, "Channel layer", "layer"),
        (600, "Worker", "worker"),
    ]:
        drawing.box(x, 20, 140, 40, text, kind)
        drawing.arrow(x + 70, 60, x + 70, 285, dashed=True)
    drawing.box(770, 20, 80, 40, "Consumer", "worker")
    drawing.arrow(810, 60, 810, 285, dashed=True)
    drawing.arrow(90, 90, 268, 90, "frame")
    drawing.arrow(270, 120, 468, 120, "websocket.receive")
    drawing.arrow(470, 150, 668, 150, "taken: gone from the layer")
    drawing.arrow(670, 180, 808, 180, "message")
    drawing.arrow(810, 210, 672, 210, "send(…)")
    drawing.arrow(670, 240, 472, 240, "reply, report, next take")
    drawing.arrow(470, 262, 272, 262, "inbox")
    drawing.arrow(270, 280, 92, 280, "frame")
    return drawing


def ordering() -> Drawing:
    """Draw the gate of a socket."""
    drawing = Drawing("ordering", 860, 240, "One message of each socket is with the workers; the others wait")
    drawing.box(150, 20, 280, 200, "", "server")
    drawing.words(290, 40, "Interface server: a gate for each socket")
    for row, (name, waiting, running) in enumerate(
        [("Socket A", ["4", "3"], "2"), ("Socket B", [], "7"), ("Socket C", ["9"], "8")]
    ):
        y = 55 + 55 * row
        drawing.box(20, y, 90, 40, name, "client")
        drawing.arrow(110, y + 20, 168, y + 20)
        for place, frame in enumerate(waiting):
            drawing.box(170 + 50 * place, y, 40, 40, frame, "layer")
        drawing.words(345, y + 25, "waits for the report" if waiting else "open")
        drawing.arrow(430, y + 20, 618, y + 20, f"frame {running}")
        drawing.box(620, y, 210, 40, f"worker {row + 1} consumes {running}", "worker")
    return drawing


def deploy() -> Drawing:
    """Draw a deploy over time."""
    drawing = Drawing("deploy", 860, 230, "A deploy over time: workers are replaced one by one, the socket stays open")
    drawing.box(150, 25, 680, 36, "open: frames wait at most a moment", "client")
    drawing.words(75, 48, "Socket", "")
    drawing.box(150, 75, 680, 36, "runs on, has none of your code", "server")
    drawing.words(75, 98, "Interface server", "")
    for row, start in enumerate((330, 530)):
        y = 125 + 46 * row
        drawing.words(75, y + 23, f"Worker {row + 1}", "")
        drawing.box(150, y, start - 130, 36, "old code", "bad")
        drawing.box(start, y, 830 - start, 36, "new code", "worker")
        drawing.words(start + 10, y - 3, "both for a moment", "small")
    drawing.arrow(150, 218, 830, 218)
    return drawing


def delivery() -> Drawing:
    """Draw the places where a message can be lost."""
    drawing = Drawing("delivery", 860, 210, "The places where a message can be lost, and how the loss is counted")
    places = [
        ("Sender", "client"),
        ("Channel", "layer"),
        ("Worker", "worker"),
        ("Inbox", "layer"),
        ("Client", "client"),
    ]
    losses = ["full, invalid,\nrefused", "expired,\nfenced", "died,\nretries", "dead,\nexpired", "unknown"]
    for number, ((name, kind), lost) in enumerate(zip(places, losses, strict=True)):
        x = 20 + 168 * number
        drawing.box(x, 30, 120, 50, name, kind)
        if number:
            drawing.arrow(x - 48, 55, x - 2, 55)
            drawing.words(x - 24, 45, "broker" if number in (1, 3) else "")
        drawing.arrow(x + 60, 80, x + 60, 118, dashed=True)
        drawing.box(x, 120, 120, 60, lost, "bad")
    drawing.words(430, 200, "Below: the kinds under which a loss is counted. Nothing is ever delivered twice.")
    return drawing


def groups() -> Drawing:
    """Draw a group send."""
    drawing = Drawing("groups", 860, 250, "A group message: one entry per interface server, one frame per member")
    drawing.box(20, 95, 130, 60, "Group.send\nfrom anywhere", "worker")
    drawing.box(250, 95, 160, 60, "Channel layer\nwho has members?", "layer")
    drawing.arrow(150, 125, 248, 125, "1 message")
    for row in range(2):
        y = 35 + 120 * row
        drawing.box(520, y, 140, 60, "Interface server\nits own index", "server")
        drawing.arrow(410, 125, 518, y + 30, "" if row else "1 entry each")
        for place in range(3):
            drawing.box(760, y - 15 + 32 * place, 80, 26, "member", "client")
            drawing.arrow(660, y + 30, 758, y - 2 + 32 * place)
    drawing.words(430, 240, "10,000 members on two interface servers cost two entries.")
    return drawing


def security() -> Drawing:
    """Draw what stands between a client and a consumer."""
    drawing = Drawing("security", 860, 190, "What a request or a handshake passes before a consumer is called")
    steps = [
        ("Limits\nhead, body, time", "server"),
        ("Syntax\nRFC 9112, 6455", "server"),
        ("Capacity\n503 when full", "layer"),
        ("Origin\n403 if foreign", "worker"),
        ("Consumer\nuser, permission", "worker"),
    ]
    drawing.box(15, 60, 80, 60, "Client", "client")
    for number, (text, kind) in enumerate(steps):
        x = 125 + 147 * number
        drawing.box(x, 60, 125, 60, text, kind)
        drawing.arrow(x - 29 if not number else x - 21, 90, x - 2, 90)
    drawing.words(260, 40, "in the interface server: no code of yours runs")
    drawing.words(720, 40, "in a worker")
    drawing.words(
        430, 160, "Whoever can write to the channel layer has passed all this: keep Redis in a network of its own."
    )
    return drawing


def design() -> Drawing:
    """Draw the levels of a layer."""
    drawing = Drawing("design", 860, 230, "A channel layer in three levels: operations, steps, connections")
    drawing.box(20, 20, 820, 50, "Operations\nsend, receive, group_add, send_group: written once, no I/O", "worker")
    drawing.box(20, 90, 820, 50, "Steps\nPush, Take, Join, Leave, Lookup, Heartbeat: plain data", "layer")
    for number, text in enumerate(
        ["Memory\na store in this process", "Local\nthe store over a Unix socket", "Redis\nLua scripts"]
    ):
        drawing.box(20 + 280 * number, 160, 260, 50, text, "server")
        drawing.arrow(150 + 280 * number, 140, 150 + 280 * number, 158)
    drawing.arrow(430, 70, 430, 88)
    return drawing


DRAWINGS = [model, message, ordering, deploy, delivery, groups, security, design]

if __name__ == "__main__":
    for draw in DRAWINGS:
        drawing = draw()
        drawing.path.write_text(drawing.svg(), encoding="utf-8")
