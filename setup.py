"""Gives the package index a README whose links lead into the repository: relative ones mean nothing there.

The address of the repository is `url` in setup.cfg, and nowhere else.
"""

from __future__ import annotations

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def absolute_links(text: str, url: str) -> str:
    """Return Markdown in which relative links, and sources of pictures, are below `url`."""
    text = re.sub(r"(!\[[^\]]*\]\()(?![a-z]+:|#)", rf"\1{url}/raw/main/", text)
    return re.sub(r"((?<!!)\[[^\]]*\]\()(?![a-z]+:|#)", rf"\1{url}/blob/main/", text)


if __name__ == "__main__":
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    setup(
        long_description=absolute_links((ROOT / "README.md").read_text(encoding="utf-8"), config["metadata"]["url"]),
        long_description_content_type="text/markdown",
    )
