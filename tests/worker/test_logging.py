"""Logging belongs to the project: its handlers get every record, and ours only what they do not."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from channels_classic.layers.redis import RedisChannelLayer
from channels_classic.layers.steps import Length
from channels_classic.worker import failure_log
from channels_classic.worker.failure_log import FailureLog
from tests.support.clock import Clock
from tests.support.processes import Process
from tests.support.waiting import eventually
from tests.worker.harness import drain
from tests.worker.programs import ROOT, TIMEOUT

SETTINGS = """
from tests.projects.worker.settings import *

DEBUG = False
ADMINS = [("Alice", "alice@example.com")] if {old_admins} else ["alice@example.com"]
EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
EMAIL_FILE_PATH = {mails!r}
LOGGING = {logging!r}
"""

ON_ROOT: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(levelname)s|%(name)s|%(message)s"}},
    "handlers": {"root": {"class": "logging.FileHandler", "filename": "", "formatter": "plain"}},
    "root": {"handlers": ["root"], "level": "WARNING"},
}


DJANGO = ("-m", "django", "runworker")
CHANNELS_CLASSIC = ("-c", "from channels_classic.management.cli import main; main()", "worker")


@pytest.fixture
def project(tmp_path: Path, redis_url: str) -> Any:
    """Gives a function that starts `runworker` with a `LOGGING` setting, and with more settings as text."""
    import django

    def start(logging: dict[str, Any], *options: str, program: tuple[str, ...] = DJANGO, extra: str = "") -> Process:
        text = SETTINGS.format(mails=str(tmp_path / "mails"), logging=logging, old_admins=django.VERSION < (6, 0))
        (tmp_path / "logging_settings.py").write_text(text + extra)
        environment = {
            "DJANGO_SETTINGS_MODULE": "logging_settings",
            "REDIS_URL": redis_url,
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
        }
        return Process([sys.executable, *program, *options], cwd=ROOT, env=environment)

    return start


def consumed(redis: RedisChannelLayer) -> None:
    """Return when the worker has consumed what was sent to `fail` before: it takes from channels in any order."""
    eventually(lambda: redis.channel_statistics("fail")["messages_pending"] == 0, TIMEOUT)
    redis.send("echo", {"number": 1, "answer": "answers"})
    drain(redis, "answers", 1, TIMEOUT)


def on_root(tmp_path: Path) -> dict[str, Any]:
    handler = {**ON_ROOT["handlers"]["root"], "filename": str(tmp_path / "root.log")}
    return {**ON_ROOT, "handlers": {"root": handler}}


def test_a_handler_on_root_gets_every_record_and_nothing_else_is_written(
    project: Any, tmp_path: Path, redis: RedisChannelLayer
) -> None:
    with project(on_root(tmp_path)) as worker:
        redis.send("fail", {})
        consumed(redis)
        assert worker.stop() == 0
    lines = [line.split("|") for line in (tmp_path / "root.log").read_text().splitlines() if line.count("|") == 2]
    found = {(level, name, text.partition(" ")[0]) for level, name, text in lines}
    assert {
        ("INFO", "django.channels", "Running"),
        ("INFO", "channels_classic.worker", "Listening"),
        ("ERROR", "django.channels", "The"),
    } <= found
    assert not re.search("INFO|ERROR", worker.output), worker.output


def test_a_handler_with_a_level_gets_that_and_the_command_writes_the_rest(
    project: Any, tmp_path: Path, redis: RedisChannelLayer
) -> None:
    configuration = on_root(tmp_path)
    configuration["handlers"]["root"]["level"] = "ERROR"
    with project(configuration) as worker:
        redis.send("fail", {})
        consumed(redis)
        assert worker.stop() == 0
    lines = (tmp_path / "root.log").read_text()
    assert "ERROR|django.channels|The consumer" in lines
    assert "INFO" not in lines
    assert "INFO - channels_classic.worker - Listening" in worker.output
    assert "ERROR" not in worker.output


@pytest.mark.parametrize(
    "logger", [{"level": "INFO"}, {"level": "DEBUG"}, {"handlers": ["pager"]}], ids=["info", "debug", "pager"]
)
def test_an_error_that_a_configured_logger_gives_to_no_handler_is_written(
    project: Any, tmp_path: Path, redis: RedisChannelLayer, logger: dict[str, Any]
) -> None:
    pager = {"class": "logging.FileHandler", "filename": str(tmp_path / "pager.log"), "level": "CRITICAL"}
    loggers = {"django.channels": logger, "channels_classic": logger}
    logging = {"version": 1, "disable_existing_loggers": False, "handlers": {"pager": pager}, "loggers": loggers}
    with project(logging) as worker:
        redis.send("fail", {})
        consumed(redis)
        assert worker.stop() == 0
    assert worker.output.count("ERROR - django.channels - The consumer") == 1
    assert ("INFO - channels_classic.worker - Listening" in worker.output) is ("level" in logger)


@pytest.mark.parametrize("logging", [{}, "root"])
def test_an_error_of_a_consumer_is_mailed_to_the_admins_as_that_of_a_view_is(
    project: Any, tmp_path: Path, redis: RedisChannelLayer, logging: Any
) -> None:
    with project(on_root(tmp_path) if logging else {}) as worker:
        redis.send("fail", {})
        consumed(redis)
        assert worker.stop() == 0
    (mail,) = (tmp_path / "mails").glob("*")
    text = mail.read_text()
    assert "The consumer tests.projects.worker.consumers.fail of fail failed" in text.replace("\n", "")
    assert "Traceback" in text


def test_without_handlers_of_the_project_the_command_writes_with_names(project: Any, redis: RedisChannelLayer) -> None:
    with project({}) as worker:
        redis.send("fail", {})
        consumed(redis)
        assert worker.stop() == 0
    assert re.search(r" - INFO - channels_classic\.worker - Listening on channels", worker.output)
    assert worker.output.count("ERROR - django.channels - The consumer") == 1


DISABLING = {key: value for key, value in ON_ROOT.items() if key != "disable_existing_loggers"}
"""As many projects write it: Python then switches off the loggers of modules that were imported before."""


@pytest.mark.parametrize("program", ["channels-classic", "manage.py"])
def test_a_project_that_disables_existing_loggers_still_gets_our_records(
    tmp_path: Path, redis: RedisChannelLayer, redis_url: str, program: str
) -> None:
    handler = {**ON_ROOT["handlers"]["root"], "filename": str(tmp_path / "root.log")}
    text = SETTINGS.format(mails="", logging={**DISABLING, "handlers": {"root": handler}}, old_admins=False)
    text = f"{text}\nADMINS = []\n"
    (tmp_path / "disabling_settings.py").write_text(text)
    environment = {
        "DJANGO_SETTINGS_MODULE": "disabling_settings",
        "REDIS_URL": redis_url,
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
    }
    command = [sys.executable, "-m", "django", "runworker"]
    if program == "channels-classic":
        command = [str(Path(sys.executable).with_name(program)), "worker"]
    with Process(command, cwd=ROOT, env=environment) as worker:
        redis.send("fail", {})
        consumed(redis)
        assert worker.stop() == 0
    lines = (tmp_path / "root.log").read_text()
    assert "ERROR|django.channels|The consumer" in lines
    assert "INFO|channels_classic.worker|Listening on channels" in lines


CONFIGURES = """
from logging.config import dictConfig

def configure(**kwargs):
    dictConfig({configuration!r})
"""

WHEN = {
    "a process is ready": "import channels_classic.signals as s\ns.worker_process_ready.connect(configure)\n",
    "the routing is imported": "configure()\nfrom tests.projects.worker.consumers import channel_routing\n",
}


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("program", [(*DJANGO, "--skip-checks"), CHANNELS_CLASSIC])
def test_a_project_that_configures_logging_after_the_start_still_gets_our_records(
    project: Any, tmp_path: Path, redis: RedisChannelLayer, program: tuple[str, ...], when: str
) -> None:
    """With Python's default for `disable_existing_loggers`, which is to switch off all that exist by then."""
    handler = {**ON_ROOT["handlers"]["root"], "filename": str(tmp_path / "root.log")}
    code = CONFIGURES.format(configuration={**DISABLING, "handlers": {"root": handler}})
    (tmp_path / "configuring.py").write_text(code + WHEN[when])
    module = "configuring.channel_routing" if "routing" in when else "tests.projects.worker.consumers.channel_routing"
    extra = f"""
CHANNEL_LAYERS["default"]["ROUTING"] = {module!r}
if "ready" in {when!r}:
    import configuring
"""
    with project({}, program=program, extra=extra) as worker:
        redis.send("fail", {})
        consumed(redis)
        assert worker.stop() == 0
    lines = (tmp_path / "root.log").read_text()
    assert "INFO|channels_classic.worker|Listening on channels" in lines
    assert "ERROR|django.channels|The consumer" in lines
    assert "ERROR" not in worker.output


@pytest.mark.parametrize("late", [False, True])
def test_a_level_that_the_project_gives_to_our_loggers_silences_them(
    project: Any, tmp_path: Path, redis: RedisChannelLayer, late: bool
) -> None:
    loggers = {"django.channels": {"level": "CRITICAL"}, "channels_classic": {"level": "ERROR"}}
    configuration = {**on_root(tmp_path), "loggers": loggers}
    (tmp_path / "configuring.py").write_text(
        CONFIGURES.format(configuration=configuration) + WHEN["a process is ready"]
    )
    with project({} if late else configuration, extra="import configuring\n" if late else "") as worker:
        redis.send("fail", {})
        consumed(redis)
        assert worker.stop() == 0
    lines = (tmp_path / "root.log").read_text()
    assert not re.search("Listening|The consumer", lines), lines
    assert "ERROR" not in worker.output


def test_the_layer_in_an_asgi_module_logs_whatever_was_imported_first(tmp_path: Path) -> None:
    text = SETTINGS.format(mails="", logging={**DISABLING, "handlers": {}, "root": {}}, old_admins=False)
    (tmp_path / "asgi_settings.py").write_text(text)
    program = """
import logging
from channels_classic.asgi import get_channel_layer
from channels_classic.interface_server import InterfaceServer
get_channel_layer()
names = ["channels_classic.interface_server", "channels_classic.layers", "django.channels"]
print([name for name in names if logging.getLogger(name).disabled])
"""
    environment = {
        "DJANGO_SETTINGS_MODULE": "asgi_settings",
        "REDIS_URL": "redis://localhost",
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
    }
    with Process([sys.executable, "-c", program], cwd=ROOT, env=environment) as process:
        assert process.wait() == 0, process.output
    assert process.output.strip() == "[]"


RAISING = """
import logging

class Handler(logging.Handler):
    def emit(self, record):
        raise RuntimeError("the handler is broken")
"""


def test_a_handler_that_raises_costs_no_message_its_outcome(
    project: Any, tmp_path: Path, redis: RedisChannelLayer
) -> None:
    (tmp_path / "raising.py").write_text(RAISING)
    handlers = {"raising": {"class": "raising.Handler", "level": "ERROR"}}
    logging = {**ON_ROOT, "handlers": handlers, "root": {"handlers": ["raising"]}}
    with project(logging) as worker:
        for _ in range(3):
            redis.send("fail", {})
        consumed(redis)
        assert worker.stop() == 0
    assert "the handler is broken" in worker.output
    assert "a consumer's own mistake" in worker.output
    assert "The worker's loop failed" not in worker.output
    assert re.search(r"consumers\.fail +3 +3 ", worker.output), worker.output


STATEFUL = """
import logging

class OnceInARow(logging.Filter):
    last = None

    def filter(self, record):
        last, self.last = self.last, (record.name, record.getMessage())
        return self.last != last
"""


def test_a_filter_of_the_project_is_asked_once_for_each_record(
    project: Any, tmp_path: Path, redis: RedisChannelLayer
) -> None:
    (tmp_path / "stateful.py").write_text(STATEFUL)
    configuration = on_root(tmp_path)
    configuration["filters"] = {"once": {"()": "stateful.OnceInARow"}}
    configuration["handlers"]["root"]["filters"] = ["once"]
    with project(configuration) as worker:
        redis.send("fail", {})
        consumed(redis)
        assert worker.stop() == 0
    lines = (tmp_path / "root.log").read_text()
    assert lines.count("INFO|django.channels|Running") == 1
    assert lines.count("ERROR|django.channels|The consumer") == 1
    assert not re.search("INFO|ERROR", worker.output), worker.output


def test_a_handler_for_the_names_of_others_leaves_our_records_to_the_command(
    project: Any, tmp_path: Path, redis: RedisChannelLayer
) -> None:
    configuration = on_root(tmp_path)
    configuration["filters"] = {"site": {"name": "site"}}
    configuration["handlers"]["root"]["filters"] = ["site"]
    with project(configuration) as worker:
        redis.send("fail", {})
        consumed(redis)
        assert worker.stop() == 0
    assert (tmp_path / "root.log").read_text() == ""
    assert worker.output.count("ERROR - django.channels - The consumer") == 1


@pytest.mark.parametrize("debug", [True, False])
def test_with_the_recipe_of_the_how_to_every_line_is_written_once(
    project: Any, tmp_path: Path, redis: RedisChannelLayer, debug: bool
) -> None:
    _, _, recipe = (ROOT / "docs/howto/logging.md").read_text().partition("```python\n")
    with project({}, extra=f"{recipe.partition('```')[0]}\nDEBUG = {debug}\n") as worker:
        redis.send("fail", {})
        consumed(redis)
        assert worker.stop() == 0
    for logger, text in (("django.channels", "Running"), ("django.channels", "The consumer"), (".worker", "Listening")):
        assert len(re.findall(f'{logger}", "message": "{text}', worker.output)) == 1, worker.output
        assert len(re.findall(text, worker.output)) == 1, worker.output
    assert len(list((tmp_path / "mails").glob("*"))) == (0 if debug else 1)


def test_the_formatter_that_the_project_gives_to_our_handler_is_kept(project: Any) -> None:
    extra = """
import logging
from channels_classic.log import handler
handler.setFormatter(logging.Formatter("mine: %(levelname)s %(message)s"))
"""
    with project({}, extra=extra) as worker:
        worker.wait_for_line("^mine: INFO Listening on channels")
        assert worker.stop() == 0
    assert " - INFO - " not in worker.output


def test_no_logger_is_named_after_its_file() -> None:
    sources = [
        path for room in ("channels_classic", "worker", "interface_server") for path in (ROOT / room).rglob("*.py")
    ]
    assert len(sources) > 100
    assert [str(path) for path in sources if "getLogger(__name__)" in path.read_text()] == []


@pytest.mark.parametrize(
    ("verbosity", "expected"),
    [
        ("0", (False, False, False)),
        ("1", (True, False, False)),
        ("2", (True, True, False)),
        ("3", (True, True, True)),
    ],
)
def test_verbosity_is_what_django_means_by_it(
    project: Any, redis: RedisChannelLayer, verbosity: str, expected: tuple[bool, bool, bool]
) -> None:
    with project({}, "-v", verbosity) as worker:
        for _ in range(3):
            redis.send("work", {"number": 1, "seconds": 0.1, "answer": "answers"})
        drain(redis, "answers", 3, TIMEOUT)
        consumed(redis)
        assert worker.stop() == 0
    output = worker.output
    levels = ("INFO" in output, "DEBUG - django.channels" in output, "DEBUG - channels_classic" in output)
    assert levels[:2] == expected[:2]
    assert expected[2] or not levels[2]


def test_a_flood_of_failures_is_bounded_and_counted(project: Any, redis: RedisChannelLayer) -> None:
    with project({}) as worker:
        worker.wait_for_line("Listening")
        for _ in range(1000):
            redis.send("fail", {})
        eventually(lambda: redis.run([Length("fail")]) == [0], TIMEOUT)
        assert worker.stop() == 0
    logged = worker.output.count("of fail failed after")
    left_out = sum(int(number) for number in re.findall(r"of fail: (\d+) more failures within a second", worker.output))
    assert logged + left_out == 1000
    assert logged < 500


def test_each_key_and_second_is_counted_alone(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    failures = FailureLog(clock)
    for _ in range(7):
        failures.error("one", "one failed")
    failures.error("two", "two failed")
    assert [caplog.messages.count(text) for text in ("one failed", "two failed")] == [failure_log.PER_SECOND, 1]
    assert failures.is_waiting
    clock.now += 1.0
    failures.error("one", "one failed")
    assert caplog.messages[-2:] == ["one: 2 more failures within a second were not logged.", "one failed"]
    failures.flush()
    assert not failures.is_waiting
    failures.flush()


def test_very_many_keys_do_not_fill_the_memory(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure_log, "_KEYS", 3)
    failures = FailureLog(Clock())
    for number in range(20):
        failures.error(str(number), "failed")
    failures.flush()
    assert caplog.messages.count("failed") == 3 + failure_log.PER_SECOND
    assert caplog.messages[-1] == "other consumers: 12 more failures within a second were not logged."
