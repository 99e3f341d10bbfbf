"""The page about migration shows what the command really prints."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

from channels_classic.migrate.report import Section
from tests.support.site import ROOT

PAGE = (ROOT / "docs" / "migrate.md").read_text()
PROJECT = ROOT / "tests" / "projects" / "migration" / "presence"
COMMAND = [sys.executable, "-c", "from channels_classic.management.cli import main; main()"]


def test_the_output_on_the_page_is_that_of_the_command(tmp_path: Path) -> None:
    shutil.copytree(PROJECT, tmp_path / "presence")
    shown = re.findall(r"^```\n\$ channels-classic (migrate .*)\n((?:.*\n)*?)```$", PAGE, re.M)
    assert len(shown) == 2
    for arguments, output in shown:
        done = subprocess.run(
            [*COMMAND, *shlex.split(arguments)], cwd=tmp_path / "presence", capture_output=True, text=True, check=True
        )
        assert done.stdout == output


def test_every_section_that_findings_name_is_on_the_page() -> None:
    headings = re.findall(r"^#+ (.*)$", PAGE, re.M)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(get_args(Section)) - anchors == set()
