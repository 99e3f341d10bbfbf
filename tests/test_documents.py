"""Names in the documents exist: targets of links, verbs of the Makefile, files of the rooms, pictures."""

from __future__ import annotations

import ast
import re
from configparser import ConfigParser
from pathlib import Path
from runpy import run_path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ["", "docs", "docs/deploy", "docs/howto", "docs/move", "docs/reference", "docs/tutorial"]
FOLDERS += ["examples/at_most_once", "examples/htmx", "examples/liveblog"]
DOCUMENTS = sorted(path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
ROOMS = ["channels_classic", "interface_server", "worker", "tests"]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
VERBS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_to_a_file(document: str) -> None:
    text = (ROOT / document).read_text()
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = {target for target in targets if target and ":" not in target}
    assert [target for target in sorted(local) if not (ROOT / document).parent.joinpath(target).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_verb_is_in_the_makefile(document: str) -> None:
    text = (ROOT / document).read_text()
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S))
    code = [*re.findall(r"`([^`\n]+)`", text), *blocks.splitlines()]
    commands = [found[1] for line in code if (found := re.match(r"(?:\w+=\S+ )*make((?: [\w-]+)+)(?!\S)", line))]
    assert [verb for command in commands for verb in command.split() if verb not in VERBS] == []


def test_every_verb_is_in_the_list() -> None:
    assert set(re.findall(r"^([a-z-]+):.*  ## \w", (ROOT / "Makefile").read_text(), re.M)) == VERBS


def test_the_address_of_the_repository_is_the_one_in_the_metadata() -> None:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    url = config["metadata"]["url"]
    texts = [(document, (ROOT / document).read_text()) for document in DOCUMENTS]
    for document in ("README.md", "CONTRIBUTING.md"):
        assert re.findall(r"git clone (\S+)", (ROOT / document).read_text()) == [url]
    links = [
        (document, found) for document, text in texts for found in re.findall(r"https://[^)\s]*/blob/[^)\s]*", text)
    ]
    assert [entry for entry in links if not entry[1].startswith(f"{url}/blob/main/")] == []


def test_the_links_of_the_readme_are_absolute_on_a_package_index() -> None:
    absolute_links = run_path(str(ROOT / "setup.py"))["absolute_links"]
    text = absolute_links((ROOT / "README.md").read_text(), "https://example.net/repo")
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert "https://example.net/repo/raw/main/docs/liveblog.png" in targets
    assert "https://example.net/repo/blob/main/docs/security.md#origins" in targets
    assert [target for target in targets if not target.startswith("https://")] == []


def test_the_pictures_are_those_that_the_script_draws() -> None:
    drawings = [draw() for draw in run_path(str(ROOT / "docs/images/draw.py"))["DRAWINGS"]]
    assert [drawing.path.name for drawing in drawings if drawing.path.read_text() != drawing.svg()] == []


def test_the_files_that_a_contributor_is_sent_to_are_there() -> None:
    named = re.findall(r"`([\w./-]+(?:/|\.cfg|\.py|\.md))`", CONTRIBUTING)
    assert [name for name in named if not _is_there(name) and name not in ("common.py", "helpers.py")] == []


def test_the_files_that_explain_an_upper_bound_are_there() -> None:
    comments = re.findall(r"^ +#(.*)$", (ROOT / "setup.cfg").read_text(), re.M)
    named = re.findall(r"[\w/]+\.py", "\n".join(comments))
    assert named != []
    assert [name for name in named if not _is_there(name)] == []


def test_docstrings_begin_with_what_is_there_and_not_with_a_question() -> None:
    """The Python documentation writes "Return True if …", not "Whether …"."""
    sources = [path for room in [*ROOMS, "benchmarks", "examples"] for path in (ROOT / room).rglob("*.py")]
    question = re.compile(r'"""(?:What|Whether|How|Who|Where|Whose) .*')
    assert len(sources) > 100
    assert [f"{path}: {found[0]}" for path in sources for found in question.finditer(path.read_text())] == []


def test_every_module_says_what_it_is_about() -> None:
    projects = ROOT / "tests/projects"  # of users, some of them old
    sources = [path for room in [*ROOMS, "benchmarks"] for path in (ROOT / room).rglob("*.py")]
    texts = {path: path.read_text() for path in sources if projects not in path.parents}
    assert [path for path, text in texts.items() if text and ast.get_docstring(ast.parse(text)) is None] == []


def _is_there(name: str) -> bool:
    return (ROOT / name).exists() or any(list((ROOT / room).glob(f"**/{name}")) for room in ROOMS)
