"""Sphinx builds these pages into a site: `make docs`."""

from __future__ import annotations

import os
import re
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django  # noqa: E402

django.setup()

from channels_classic import __version__  # noqa: E402

config = ConfigParser()
config.read(ROOT / "setup.cfg", encoding="utf-8")
REPOSITORY = config["metadata"]["url"]

project = "channels_classic"
author = "channels_classic contributors"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
default_role = "code"
suppress_warnings = ["misc.highlighting_failure"]  # an example may leave something out, with …

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_default_options = {"members": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_preserve_defaults = True

html_theme = "furo"
pygments_dark_style = "github-dark"  # that of the theme underlines names and paints doctypes as errors
html_title = f"channels_classic {release}"
html_show_sourcelink = False
html_show_copyright = False

# Only `make links` follows links to other sites.
linkcheck_timeout = 20
linkcheck_ignore = [r"https://example\.(com|org)", r"http://localhost"]

CONTENTS = {
    "index": {
        "Learn": ["three-minutes", "tutorial/index", "howto/index", "migrate", "move/index", "channels-4", "faq"],
        "Run": ["worker", "tasks", "deploy", "deploy/README", "logs", "metrics", "checks", "troubleshooting"],
        "Look up": ["messages", "reference/README", "api", "compatibility", "glossary"],
        "Understand": [
            "delivery",
            "ordering",
            "groups",
            "security",
            "performance",
            "figures",
            "architecture",
            "design",
        ],
    },
    "tutorial/index": {"": ["1", "2", "3", "4"]},
    "howto/index": {"": ["*"]},
    "move/index": {"": ["*"]},
    "reference/README": {"": ["*"]},
}
"""The tables of contents. They are not on the pages, because a forge would show them as code."""

STARTS_FROM_README = "<!-- starts from: ../../README.md -->"
STARTING_POINT = "*This page starts from the project of [Three minutes](../three-minutes.md).*"
"""A comment for the tests, and what the reader of the site needs to know in its place."""


def three_minutes() -> str:
    """Return the page with the section of the README, which is not among the pages."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.split("\n## Three minutes\n")[1].split("\n## ")[0]
    return "# Three minutes\n" + section.replace("\n### ", "\n## ").replace("](docs/", "](")


def prepare(app: Any, page: str, source: list[str]) -> None:
    """Add its table of contents to a page, and lead links that leave this folder into the repository."""
    folder = (Path(app.srcdir) / page).parent
    source[0] = three_minutes() if page == "three-minutes" else source[0].replace(STARTS_FROM_README, STARTING_POINT)
    for caption, entries in CONTENTS.get(page, {}).items():
        there = "\n".join(entry for entry in entries if "*" in entry or (folder / f"{entry}.md").exists())
        option = f":caption: {caption}\n" if caption else ""
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:glob:\n{option}\n{there}\n```\n"

    def absolute(link: re.Match[str]) -> str:
        target = Path(os.path.normpath(folder / link[1]))
        return f"]({REPOSITORY}/blob/main/{target.relative_to(ROOT)}" if app.srcdir not in target.parents else link[0]

    source[0] = re.sub(r"\]\((\.\./[^)#\s]*)", absolute, source[0])


def setup(app: Any) -> None:
    """Register the hook."""
    app.connect("source-read", prepare)
