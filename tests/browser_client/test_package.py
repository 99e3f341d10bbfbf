"""The ES module as a package: small, typed, described, and packed by npm."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from channels_classic import __version__
from tests.browser_client.test_connection import script
from tests.support.node import node
from tests.support.site import ROOT
from tests.support.waiting import scaled

MOST_BYTES = 6 * 1024
"""The limit of what a page loads, compressed as web servers do."""

FOLDER = script().parent
PACKAGE = json.loads((FOLDER / "package.json").read_text())
TYPES = (FOLDER / "connection.d.ts").read_text()
PAGE = (ROOT / "docs" / "reference" / "browser.md").read_text()

MEMBERS = """
import * as found from "MODULE";
const names = (type) => Object.getOwnPropertyNames(type.prototype).filter((name) => name !== "constructor");
const fields = { Connection: ["cursors"], Presence: ["people"] };
console.log(JSON.stringify(Object.fromEntries(
    Object.entries(found).map(([name, type]) => [name, [...names(type), ...fields[name]].sort()]))));
"""


def run(*command: str | Path, folder: Path = FOLDER) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=scaled(60), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def options() -> dict[str, str]:
    """The options of a connection with their defaults, as the script has them."""
    (table,) = re.findall(r"^const DEFAULTS = \{\n(.*?)^\};", script().read_text(), re.M | re.S)
    return {name: value.replace("_", "") for name, value in re.findall(r"^  (\w+): (.*),$", table, re.M)}


def test_a_page_loads_at_most_six_kilobytes() -> None:
    assert len(gzip.compress(script().read_bytes(), 6)) <= MOST_BYTES


def test_the_types_have_the_classes_and_members_of_the_script() -> None:
    found = json.loads(run(node(), "--input-type=module", "--eval", MEMBERS.replace("MODULE", script().as_uri())))
    typed = {
        name: sorted(set(re.findall(r"^  (?:readonly )?(\w+)[(:]", body, re.M)) - {"constructor"})
        for name, body in re.findall(r"^export class (\w+).*?\{\n(.*?)^\}", TYPES, re.M | re.S)
    }
    assert typed == found


def test_the_types_have_the_options_of_the_script_with_their_defaults() -> None:
    typed = {
        name: default.replace(",", "") for default, name in re.findall(r"Default: (\S+)\.\s+\*/\n  (\w+)\?:", TYPES)
    }
    assert typed == options()


def test_the_reference_has_the_options_and_members_of_the_types() -> None:
    for name, default in options().items():
        assert f"| `{name}` | `{default}` |" in PAGE
    for name in re.findall(r"^  (?:readonly )?(\w+)(?:<[^>]*>)?[(:]", TYPES, re.M):
        assert re.search(rf"`(?:[\w.]+\.)?{name}\b", PAGE), f"{name} is not on the page"


def test_the_package_has_the_version_and_the_licence_of_the_project() -> None:
    assert PACKAGE["version"] == __version__
    assert (FOLDER / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed: `scripts/provide npm` installs it")
def test_the_package_is_packed_installed_and_imported(tmp_path: Path) -> None:
    (packed,) = json.loads(run("npm", "pack", "--json", "--pack-destination", tmp_path))
    files = {entry["path"] for entry in packed["files"]}
    assert files == {"LICENSE", "README.md", "connection.d.ts", "connection.js", "package.json"}
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    run("npm", "install", "--offline", "--no-audit", "--no-fund", f"./{packed['filename']}", folder=tmp_path)
    (tmp_path / "program.js").write_text(MEMBERS.replace("MODULE", PACKAGE["name"]))
    assert "Connection" in json.loads(run(node(), "program.js", folder=tmp_path))
