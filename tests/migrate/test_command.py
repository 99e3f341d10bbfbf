"""The command `channels-classic migrate` as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import scaled

PROGRAM = "from channels_classic.management.cli import main; main()"


def run(*arguments: str, cwd: Path, code: str = PROGRAM) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "migrate", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=scaled(60),
    )


def test_it_shows_a_diff_and_writes_when_told(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from channels import Group\n")
    done = run(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--- a/app.py\n+++ b/app.py\n" in done.stdout
    assert "-from channels import Group\n+from channels_classic import Group\n" in done.stdout
    assert "1 file would change. Write them with --write." in done.stdout
    assert (tmp_path / "app.py").read_text() == "from channels import Group\n"

    assert run(".", "--write", cwd=tmp_path).stdout == "1 file changed.\n"
    assert (tmp_path / "app.py").read_text() == "from channels_classic import Group\n"
    assert run(".", "--write", cwd=tmp_path).stdout == "Nothing to change.\n"


def test_findings_name_file_line_and_page(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("import os\nfrom daphne.server import Server\n")
    done = run(cwd=tmp_path)
    assert done.returncode == 0
    assert "\n  app.py:2: Daphne is not used any more" in done.stdout
    assert "See docs/migrate.md#names-without-a-counterpart\n" in done.stdout


def test_paths_are_those_from_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "app.py").write_text("from channels import Group\nimport daphne\n")
    for path in ("src", "src/app.py"):
        done = run(path, cwd=tmp_path)
        assert "--- a/src/app.py\n+++ b/src/app.py\n" in done.stdout
        assert "\n  src/app.py:2: Daphne is not used any more" in done.stdout


NASTY = "\x1b[31mred\n\u202eevil"


def test_nothing_in_names_and_lines_controls_the_terminal(tmp_path: Path) -> None:
    (tmp_path / f"{NASTY}.py").write_text("from channels import Group\nimport daphne\n")
    (tmp_path / "old.py").write_text("print '\x1b]0;title\x07'  # from channels import Group\n")
    (tmp_path / "app.py").write_text("from channels import Group  # \x1b[2J\n")
    done = run_on_a_terminal(tmp_path)
    assert not {"\x1b", "\x07", "\u202e"} & set(done)
    assert "+from channels_classic import Group  # \\x1b[2J\r\n" in done
    assert "\\x1b[31mred\\n\\u202eevil.py:2: Daphne is not used any more" in done


def test_a_diff_in_a_file_can_be_applied_whatever_the_names_are(tmp_path: Path) -> None:
    names = [f"{NASTY}.py".encode(), b'"quoted".py', b"\xff.py", "ü.py".encode()]
    for name in names:
        Path(tmp_path, os.fsdecode(name)).write_text("from channels import Group  # \x1b\n")
    done = run(cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    diff = done.stdout.partition("\n4 files")[0] + "\n"
    subprocess.run(["git", "apply"], cwd=tmp_path, input=diff, text=True, check=True)
    for path in tmp_path.iterdir():
        assert path.read_text() == "from channels_classic import Group  # \x1b\n"


def run_on_a_terminal(folder: Path) -> str:
    """Return what the command writes to a terminal, which ends lines with CRLF."""
    ours, its = os.openpty()
    with open(ours, "rb", buffering=0) as output:
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, "migrate"], cwd=folder, stdout=its, stderr=its)
        os.close(its)
        written = b""
        with suppress(OSError):  # how a terminal ends
            while part := output.read(65536):
                written += part
        assert process.wait(scaled(60)) == 0
    return written.decode()


def test_a_full_disk_takes_no_file(tmp_path: Path) -> None:
    before = f"from channels import Group  # {'x' * 70}\n"
    (tmp_path / "app.py").write_text(before)
    # No file may grow beyond what this one has. Python ignores the signal that the kernel sends then.
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before)}, {len(before)}))"
    done = run(".", "--write", cwd=tmp_path, code=f"import libcst; {limit}; {PROGRAM}")
    assert done.returncode == 1
    assert "File too large: 'app.py'" in done.stderr and "run this command again" in done.stderr
    assert (tmp_path / "app.py").read_text() == before


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    done = run("nowhere", cwd=tmp_path)
    assert done.returncode == 2 and "'nowhere' does not exist" in done.stderr


def test_a_file_of_no_kind_that_it_reads_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "start2").write_text("daphne mysite.asgi:channel_layer\n")
    done = run("start2", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: start2 is no kind of file that migrate reads: change it by hand as docs/")


def test_without_libcst_it_names_the_extra(tmp_path: Path) -> None:
    done = run(cwd=tmp_path, code=f"import sys; sys.modules['libcst'] = None; {PROGRAM}")
    assert done.returncode == 1
    assert done.stderr == "Error: LibCST is not installed: pip install 'channels-classic[migrate]'.\n"
