"""Requirements files."""

from __future__ import annotations

import pytest

from channels_classic.migrate.requirements import install_findings, packaging_findings, rewrite


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("channels==1.1.8\n", "channels-classic\n"),
        ("channels>=1.1,<2.0  # sockets\r\n", "channels-classic  # sockets\r\n"),
        ("Channels[tests]~=1.1; sys_platform != 'win32'\n", "channels-classic; sys_platform != 'win32'\n"),
        ("channels==1.1.8 ; python_version < '3'\nchannels==1.1.8 ; python_version >= '3'\n", "channels-classic\n"),
        (
            "channels==1.1.8; python_version < '3' and sys_platform == 'linux'\n",
            "channels-classic; sys_platform == 'linux'\n",
        ),
        ("channels==1.1.8; python_version < '3' or sys_platform == 'linux'\n", "channels-classic\n"),
        (
            "channels==1.1.8; sys_platform == 'linux'\nchannels==1.1.6; sys_platform == 'win32'\n",
            "channels-classic; sys_platform == 'linux'\nchannels-classic; sys_platform == 'win32'\n",
        ),
        ("channels==1.1.8\nchannels==1.1.6; sys_platform == 'win32'\n", "channels-classic\n"),
        ("channels\n", "channels-classic\n"),
        ("a==1\ndaphne==1.4.2\nasgi_redis\nasgi.ipc==1.4\nasgiref>=1.1,<2\nb\n", "a==1\nb\n"),
        ("channels-classic\nchannels==1.1.8\n", "channels-classic\n"),
        ("channels==1.1.8", "channels-classic"),
    ],
)
def test_what_channels_1_needed_is_replaced(before: str, after: str) -> None:
    result = rewrite(before, modern_project=False)
    assert (result.text, result.findings, result.modern) == (after, [], [])
    assert rewrite(after, modern_project=False).text == after


@pytest.mark.parametrize(
    "text",
    [
        "# channels==1.1.8\n",
        "-r base.txt\n",
        "asgiref>=3.5\n",
        "Django>=5.2\n",
        "redis>=8\n",
        "channels_redis==4.2\n",
        "\n",
    ],
)
def test_other_lines_stay(text: str) -> None:
    result = rewrite(text, modern_project=False)
    assert (result.text, result.findings, result.modern) == (text, [], [])


@pytest.mark.parametrize("requirement", ["channels==4.3.1", "channels[daphne]>=3,<5", "daphne~=4.1"])
def test_channels_2_to_4_stays_and_is_named(requirement: str) -> None:
    result = rewrite(requirement + "\n", modern_project=True)
    assert result.text == requirement + "\n"
    assert [line for line, _ in result.modern] == [1]


@pytest.mark.parametrize(
    ("requirement", "sentence"),
    [
        ("Django==1.11.29", "Django ==1.11.29 is too old"),
        ("django>=1.8,<2.0", "Django >=1.8,<2.0 is too old"),
        ("redis==2.10.6", "redis ==2.10.6 is too old"),
        ("twisted==17.5", "`twisted` was needed by Channels 1.x"),
        ("msgpack-python", "`msgpack-python` was needed by Channels 1.x"),
        ("asgi_rabbitmq==0.5", "There is no layer for RabbitMQ"),
        ("channels-api==0.4", "If `channels-api` was written for Channels 1.x"),
        ("django-channels-presence", "If `django-channels-presence` was written for Channels 1.x"),
        ("channels==1.1.8 \\", "`channels` has hashes"),
        ("-e git+https://github.com/django/channels.git@1.1.8#egg=channels", "Require channels-classic instead"),
    ],
)
def test_a_requirement_that_wants_a_person_is_found_and_stays(requirement: str, sentence: str) -> None:
    result = rewrite(f"a\n{requirement}\n", modern_project=False)
    assert result.text == f"a\n{requirement}\n"
    assert [(line, text.startswith(sentence)) for line, text, _ in result.findings] == [(2, True)]


def test_an_extra_that_encrypted_messages_is_asked_for_again() -> None:
    result = rewrite("channels==1.1.8\nasgi_redis[cryptography]>=1.0\n", modern_project=False)
    assert result.text == "channels-classic\n"
    ((line, sentence, _),) = result.findings
    assert line == 2 and "channels-classic[encryption]" in sentence


@pytest.mark.parametrize(
    ("name", "versions", "too_old"),
    [
        ("Django", ["==5.1", "==5.1.*", "~=5.1.0", "<5.2", "<=5.1.9", "<5", "==5", ">=4.2,<5.2.0"], True),
        (
            "Django",
            [">=5.2,<5.3", "==5.2", "==5.2.4", "==5.2.*", "==5.*", "~=5.1", "~=5.2.1", "<6", "<=5.2", ">=2"],
            False,
        ),
        ("redis", ["<8", "==7.4.0", "~=7.1", "<=7"], True),
        ("redis", ["<8.1", ">=8,<9", "~=8.0", "==8"], False),
    ],
)
def test_a_version_is_too_old_only_if_no_release_that_it_allows_will_do(
    name: str, versions: list[str], too_old: bool
) -> None:
    found = {version: bool(rewrite(f"{name}{version}\n", modern_project=False).findings) for version in versions}
    assert found == dict.fromkeys(versions, too_old)


def test_a_name_without_a_version_is_left_to_people_in_a_project_that_uses_both() -> None:
    result = rewrite("channels\n", modern_project=True)
    assert result.text == "channels\n" and len(result.findings) == 1


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("        'channels>=1.1.6,<2.0',", True),
        ("install_requires=['channels', 'six']", True),
        ("    asgi_redis", True),
        ('channels = "^1.1"', True),
        ('channels = "^4.0"', False),
        ('dependencies = ["channels[daphne]>=4"]', False),
        ('channels = "==1.1.8"', True),
        ('dependencies = ["asgi_redis==1.4.3"]', True),
        ("    daphne~=1.3", True),
        ("    'channels>=4',", False),
        ("    - asgi_redis", True),
        ("    pip install channels", True),
        ("name = 'my-channels'", False),
        ("packages = channels", False),
    ],
)
def test_requirements_in_other_files_are_found(line: str, found: bool) -> None:
    assert bool(packaging_findings(line + "\n", modern_project=False)) is found


def test_names_without_a_version_belong_to_a_modern_project() -> None:
    assert packaging_findings("    'channels', 'daphne',\n", modern_project=True) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("RUN pip install channels==1.1.8 asgi_redis daphne", True),
        ("RUN pip3 install --no-cache-dir 'channels<2'", True),
        ('RUN ["pip", "install", "channels"]', True),
        ("    channels~=1.1 \\", True),
        ("  - run: python -m pip install asgi_redis", True),
        ("RUN pip install channels==4.0 daphne", False),
        ("RUN pip install 'channels>=2,<5'", False),
        ("# pip install channels==1.1.8", False),
        ("pip install -r channels/requirements.txt && daphne x", False),
        ("pip install channels_redis django-channels", False),
        ("web: channels-classic interface", False),
    ],
)
def test_what_commands_install_is_found(line: str, found: bool) -> None:
    assert bool(install_findings(line + "\n", modern_project=False)) is found


def test_names_that_are_installed_without_a_version_belong_to_a_modern_project() -> None:
    assert install_findings("RUN pip install channels daphne\n", modern_project=True) == []
