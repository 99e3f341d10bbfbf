"""The commands of process managers."""

from __future__ import annotations

import pytest

from channels_classic.migrate.command_lines import rewrite


def settings_of(module: str) -> str | None:
    return {"mysite.asgi": "mysite.settings", "asgi": "settings"}.get(module)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "web: daphne mysite.asgi:channel_layer --port $PORT -b 0.0.0.0 -v2",
            "web: channels-classic interface --settings mysite.settings --port $PORT -b 0.0.0.0 -v2",
        ),
        (
            "command=/srv/venv/bin/daphne -u /run/d.sock mysite.asgi:channel_layer",
            "command=/srv/venv/bin/channels-classic interface --settings mysite.settings -u /run/d.sock",
        ),
        (
            'CMD ["daphne", "-p", "8000", "mysite.asgi:channel_layer"]',
            'CMD ["channels-classic", "interface", "--settings", "mysite.settings", "-p", "8000"]',
        ),
        (
            "    command: daphne -b 0.0.0.0 mysite.asgi:channel_layer",
            "    command: channels-classic interface --settings mysite.settings -b 0.0.0.0",
        ),
        (
            "exec daphne --bind=0.0.0.0 asgi:channel_layer >> /var/log/d.log 2>&1",
            "exec channels-classic interface --settings settings --bind=0.0.0.0 >> /var/log/d.log 2>&1",
        ),
        (
            "ExecStart=daphne --ws-protocol a b --force-sync mysite.asgi:channel_layer",
            "ExecStart=channels-classic interface --settings mysite.settings --ws-protocol a --ws-protocol b",
        ),
        (
            """command: bash -c "sleep 1 && daphne  mysite.asgi:channel_layer" # go""",
            """command: bash -c "sleep 1 && channels-classic interface --settings mysite.settings" # go""",
        ),
        (
            "command: ['bin/daphne', 'asgi:channel_layer']",
            "command: ['bin/channels-classic', 'interface', '--settings', 'settings']",
        ),
        (
            "if ! pgrep daphne; then daphne -p 80 asgi:channel_layer; fi",
            "if ! pgrep daphne; then channels-classic interface --settings settings -p 80; fi",
        ),
        (
            "daphne asgi:channel_layer&& echo ended # or not",
            "channels-classic interface --settings settings&& echo ended # or not",
        ),
        (
            "daphne asgi:channel_layer -p 80  # the public port",
            "channels-classic interface --settings settings -p 80  # the public port",
        ),
        (
            "ENV DJANGO_SETTINGS_MODULE=x\nCMD daphne mysite.asgi:channel_layer -p 80",
            "ENV DJANGO_SETTINGS_MODULE=x\nCMD channels-classic interface -p 80",
        ),
    ],
)
def test_daphne_becomes_the_interface_server(before: str, after: str) -> None:
    result = rewrite(before + "\n", settings_of)
    assert (result.text, result.findings, result.modern) == (after + "\n", [], [])
    again = rewrite(result.text, settings_of)
    assert again.text == result.text


@pytest.mark.parametrize(
    "line",
    [
        "# daphne mysite.asgi:channel_layer",
        "[program:daphne]",
        "directory=/srv/daphne",
        "web: python manage.py runworker",
        "    image: daphne:1",
        "RUN pip install daphne",
        "depends_on: [daphne, redis]",
        "worker: python manage.py rundelay",
    ],
)
def test_other_lines_stay(line: str) -> None:
    result = rewrite(line + "\n", settings_of)
    assert (result.text, result.findings, result.modern) == (line + "\n", [], [])


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("daphne -e ssl:443 mysite.asgi:channel_layer", "`-e` of Daphne has no counterpart"),
        ("daphne asgi:channel_layer 8000", "`8000` of Daphne has no counterpart"),
        ("    mysite.asgi:channel_layer", "This command of Daphne has a form that is not rewritten"),
        ("      - mysite.asgi:channel_layer", "This command of Daphne has a form that is not rewritten"),
        ('CMD ["sh", "-c", "daphne asgi:channel_layer"]', "This command of Daphne has a form"),
        ("command: [daphne, asgi:channel_layer]", "This command of Daphne has a form"),
        ("python -m daphne asgi:channel_layer", "This command of Daphne has a form"),
        ("daphne asgi:channel_layer \\", "This command of Daphne has a form"),
        ("python manage.py runworker --disable-graceful-stop", "Workers always stop gracefully"),
        ("web: python manage.py runserver 0.0.0.0:80", "runserver is for development"),
        ('command: ["python", "manage.py", "runserver"]', "runserver is for development"),
    ],
)
def test_a_line_that_wants_a_person_is_found_and_stays(line: str, sentence: str) -> None:
    result = rewrite(f"first\n{line}\n", settings_of)
    assert result.text == f"first\n{line}\n"
    assert [(number, text.startswith(sentence)) for number, text, _ in result.findings] == [(2, True)]


def test_the_server_of_channels_2_to_4_stays() -> None:
    result = rewrite("web: daphne other.asgi:application\n", settings_of)
    assert result.text == "web: daphne other.asgi:application\n"
    assert result.modern == [(1, "daphne other.asgi:application")]


def test_proxies_are_named() -> None:
    result = rewrite("daphne --proxy-headers mysite.asgi:channel_layer\n", settings_of)
    assert "--proxy-headers" in result.text
    assert ["--forwarded-allow-ips" in sentence for _, sentence, _ in result.findings] == [True]


def test_a_layer_whose_settings_are_not_known_asks_for_them() -> None:
    result = rewrite("daphne elsewhere:channel_layer\n", settings_of)
    assert result.text == "channels-classic interface\n"
    assert ["--settings" in sentence for _, sentence, _ in result.findings] == [True]
