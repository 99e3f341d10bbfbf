"""The commands of process managers."""

from __future__ import annotations

import pytest

from channels_classic.migrate.command_lines import NamedSettings, rewrite


def settings_of(module: str) -> NamedSettings | None:
    forced = {"mysite.asgi": "mysite.settings", "asgi": "settings"}
    if module == "default.asgi":
        return NamedSettings("mysite.local")
    return NamedSettings(forced[module], forced=True) if module in forced else None


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
            "exec daphne -p 80 mysite.asgi:channel_layer>>/var/log/d.log 2>&1",
            "exec channels-classic interface --settings mysite.settings -p 80 >>/var/log/d.log 2>&1",
        ),
        ("(daphne asgi:channel_layer)", "(channels-classic interface --settings settings)"),
        ("X=`daphne asgi:channel_layer`", "X=`channels-classic interface --settings settings`"),
        (
            "web: {command: daphne -b 0.0.0.0 asgi:channel_layer}",
            "web: {command: channels-classic interface --settings settings -b 0.0.0.0}",
        ),
        (
            'daphne -b $(hostname -i) -u /run/%(name)s -p "${PORT}" "asgi:channel_layer"',
            'channels-classic interface --settings settings -b $(hostname -i) -u /run/%(name)s -p "${PORT}"',
        ),
        (
            "daphne -p 1 asgi:channel_layer & daphne -p 2 asgi:channel_layer",
            "channels-classic interface --settings settings -p 1 & channels-classic interface --settings settings -p 2",
        ),
        (
            'command: ["daphne", "asgi:channel_layer"]  # see ["x"]',
            'command: ["channels-classic", "interface", "--settings", "settings"]  # see ["x"]',
        ),
        (
            "ENV DJANGO_SETTINGS_MODULE=x\nCMD daphne default.asgi:channel_layer -p 80",
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
        ("web: {command: daphne asgi:channel_layer, restart: always}", "This command of Daphne has a form"),
        ("daphne asgi:channel_layer -b `hostname -i` -e ssl:443", "This command of Daphne has a form"),
        ("daphne asgi:channel_layer} && echo", "This command of Daphne has a form"),
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


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("web: daphne default.asgi:channel_layer", True),
        ("# DJANGO_SETTINGS_MODULE=x\nweb: daphne default.asgi:channel_layer", True),
        ("web: DJANGO_SETTINGS_MODULE=x daphne default.asgi:channel_layer", False),
        ("DJANGO_SETTINGS_MODULE=x python manage.py migrate\ndaphne default.asgi:channel_layer", True),
        ("export DJANGO_SETTINGS_MODULE=x\ndaphne default.asgi:channel_layer", False),
        ("if x\n  export DJANGO_SETTINGS_MODULE=x\ndaphne default.asgi:channel_layer", True),
        ('[Service]\nEnvironment="A=b" "DJANGO_SETTINGS_MODULE=x"\nExecStart=daphne default.asgi:channel_layer', False),
        ("[a]\nenvironment=DJANGO_SETTINGS_MODULE=x\n[b]\ncommand=daphne default.asgi:channel_layer", True),
        ("[a]\ncommand=daphne default.asgi:channel_layer\nenvironment=A=b,DJANGO_SETTINGS_MODULE=x", False),
        (
            "a:\n  environment:\n    - DJANGO_SETTINGS_MODULE=x\nb:\n  command: daphne default.asgi:channel_layer",
            True,
        ),
        ("b:\n  command: daphne default.asgi:channel_layer\n  environment:\n    DJANGO_SETTINGS_MODULE: x", False),
    ],
)
def test_settings_that_were_only_a_default_are_not_written_and_are_listed_if_the_service_sets_none(
    text: str, listed: bool
) -> None:
    result = rewrite(text + "\n", settings_of)
    assert "--settings" not in result.text
    assert result.text == text.replace("daphne default.asgi:channel_layer", "channels-classic interface") + "\n"
    assert ["--settings mysite.local" in sentence for _, sentence, _ in result.findings] == [True] * listed


def test_settings_that_the_layer_forces_are_written_whatever_the_environment_says() -> None:
    text = "ENV DJANGO_SETTINGS_MODULE=x\nCMD daphne asgi:channel_layer\n"
    assert "interface --settings settings\n" in rewrite(text, settings_of).text
