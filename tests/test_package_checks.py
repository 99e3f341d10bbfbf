"""The releases of other libraries that are too old."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

from channels_classic.hacks import monkeypatch_django
from channels_classic.package_checks import check_all, required_versions


def test_what_is_installed_here_is_new_enough() -> None:
    check_all()


def test_a_library_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(required_versions, "msgpack", "99.1")
    with pytest.raises(RuntimeError, match=r"msgpack .* needs 99\.1 or later"):
        check_all()


def test_a_library_that_is_not_installed_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(required_versions, "no-such-library", "1.0")
    check_all()


@pytest.mark.parametrize(
    ("installed", "minimum", "enough"),
    [("1.10.0", "1.9", True), ("1.9", "1.10.0", False), ("2.0rc1", "2.0", True), ("nightly", "1.0", False)],
)
def test_versions_are_compared_by_their_numbers(
    monkeypatch: pytest.MonkeyPatch, installed: str, minimum: str, enough: bool
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda package: installed)
    for package in required_versions:
        monkeypatch.setitem(required_versions, package, minimum)
    if enough:
        check_all()
    else:
        with pytest.raises(RuntimeError):
            check_all()


def test_the_versions_are_the_lower_bounds_of_setup_cfg() -> None:
    setup = configparser.ConfigParser()
    setup.read(Path(__file__).parent.parent / "setup.cfg")
    told = re.findall(r"^(\w+)(?:\[\w+\])?>=([\d.]+)(?:,<[\d.]+)?$", setup["options"]["install_requires"], re.MULTILINE)
    assert required_versions.items() <= set(told)


def test_django_is_not_patched() -> None:
    monkeypatch_django()
