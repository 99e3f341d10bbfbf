"""The live server test case: real processes beside each test, and what becomes of them when something goes wrong."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import unittest
from pathlib import Path
from typing import Any, ClassVar
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
import redis
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from websockets.sync.client import connect

from channels_classic import Group, route
from channels_classic.asgi import channel_layers
from channels_classic.exceptions import InvalidChannelLayerError, LiveServerFailed, UnknownChannelLayer
from channels_classic.message import Message
from channels_classic.test import ChannelLiveServerTestCase
from channels_classic.test import child as children
from channels_classic.test.child import Child
from channels_classic.test.liveserver import ProtocolServerProcess, WorkerProcess
from tests.support.waiting import eventually, scaled

LOCAL = {"default": {"ROUTING": f"{__name__}.channel_routing"}}

here = override_settings(CHANNEL_LAYERS=LOCAL, ROOT_URLCONF=__name__)


def users(request: HttpRequest) -> HttpResponse:
    return HttpResponse(", ".join(User.objects.values_list("username", flat=True)))


def host(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.get_host())


def join(message: Message) -> None:
    Group("room").add(message.reply_channel)  # type: ignore[arg-type]
    message.reply_channel.send({"accept": True})  # type: ignore[union-attr]


def create_user(message: Message) -> None:
    User.objects.create_user(message["text"])
    message.reply_channel.send({"text": f"created {message['text']}"})  # type: ignore[union-attr]


def end_worker(message: Message) -> None:
    print("the consumer says goodbye")  # noqa: T201 this is what the test looks for
    os._exit(3)


urlpatterns = [path("users/", users), path("host/", host)]
channel_routing = [
    route("websocket.connect", join),
    route("websocket.receive", create_user),
    route("end.worker", end_worker),
]


def get(url: str) -> tuple[int, str]:
    try:
        with urlopen(url, timeout=scaled(10)) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        with error:
            return error.code, ""


@here
class SiteTests(ChannelLiveServerTestCase):
    def test_a_view_sees_what_the_test_wrote_into_the_database(self) -> None:
        User.objects.create_user("horse")
        assert get(self.live_server_url + "/users/") == (200, "horse")

    def test_the_test_sees_what_a_consumer_wrote_into_the_database(self) -> None:
        with connect(self.live_server_ws_url + "/", open_timeout=scaled(10)) as socket:
            socket.send("horse")
            assert socket.recv(timeout=scaled(10)) == "created horse"
        assert User.objects.get().username == "horse"

    def test_the_test_can_send_to_the_sockets_of_its_site(self) -> None:
        with connect(self.live_server_ws_url + "/", open_timeout=scaled(10)) as socket:
            Group("room").send({"text": "hello"})
            assert socket.recv(timeout=scaled(10)) == "hello"

    def test_nothing_of_the_tests_before_is_there(self) -> None:
        assert channel_layers["default"].group_channels("room") == []
        assert get(self.live_server_url + "/users/") == (200, "")

    def test_static_files_are_served(self) -> None:
        assert get(self.live_server_url + "/static/admin/css/base.css")[0] == 200

    @unittest.skip("Its processes end all the same.")
    def test_which_is_skipped(self) -> None:
        raise AssertionError


@here
@override_settings(ALLOWED_HOSTS=["example.com"])
class HostTests(ChannelLiveServerTestCase):
    host = "127.0.0.1"
    worker_threads = 2
    serve_static = False

    def test_the_host_of_the_test_is_allowed(self) -> None:
        assert self.live_server_url.startswith("http://127.0.0.1:")
        assert get(self.live_server_url + "/host/") == (200, self.live_server_url.removeprefix("http://"))

    def test_static_files_are_not_served_unless_wanted(self) -> None:
        assert get(self.live_server_url + "/static/admin/css/base.css")[0] == 404


@pytest.mark.django_db(transaction=True)
def test_a_layer_on_redis_gets_a_prefix_of_its_own(redis_url: str, settings: Any) -> None:
    backend = "asgi_redis.RedisChannelLayer"
    config = {"hosts": [redis_url], "prefix": "test:"}
    settings.CHANNEL_LAYERS = {"default": {**LOCAL["default"], "BACKEND": backend, "TEST_CONFIG": config}}
    prefixes = []

    @override_settings(ROOT_URLCONF=__name__)
    class RedisTests(ChannelLiveServerTestCase):
        def test_1(self) -> None:
            prefixes.append(channel_layers["default"].prefix)
            with connect(self.live_server_ws_url + "/", open_timeout=scaled(10)) as socket:
                Group("room").send({"text": "hello"})
                assert socket.recv(timeout=scaled(10)) == "hello"

        test_2 = test_1

    passes(RedisTests)
    assert len(set(prefixes)) == 2
    assert all(prefix.startswith("test:") for prefix in prefixes)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("prefix", ["test:", "t*[st]?\\:"])
def test_nothing_of_a_test_is_left_in_redis(redis_url: str, settings: Any, prefix: str) -> None:
    config = {"hosts": [redis_url], "prefix": prefix}
    backend = "asgi_redis.RedisChannelLayer"
    settings.CHANNEL_LAYERS = {"default": {**LOCAL["default"], "BACKEND": backend, "TEST_CONFIG": config}}

    @override_settings(ROOT_URLCONF=__name__)
    class RedisTests(ChannelLiveServerTestCase):
        def test(self) -> None:
            with connect(self.live_server_ws_url + "/", open_timeout=scaled(10)) as socket:
                Group("room").send({"text": "hello"})
                assert socket.recv(timeout=scaled(10)) == "hello"

    with redis.Redis.from_url(redis_url) as client:
        client.set("t-other", "stays")
        passes(RedisTests)
        assert client.keys("*") == [b"t-other"]


# What cannot work


class _Idle(ChannelLiveServerTestCase):
    __test__ = False
    urls: ClassVar[list[str]] = []

    def test(self) -> None:
        self.urls.append(self.live_server_url)


def case(**attributes: Any) -> Any:
    """A live server test case with one test that does nothing, unless told otherwise."""
    return here(type("Case", (_Idle,), attributes))


def run(test_case: Any) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(test_case).run(result)
    return result


def passes(test_case: Any) -> None:
    result = run(test_case)
    assert result.wasSuccessful(), (result.errors, result.failures)


def error_of(test_case: Any) -> str:
    result = run(test_case)
    assert len(result.errors) == 1, result
    return result.errors[0][1]


def is_running(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_does_not_start_fails_the_test_with_its_output() -> None:
    class BrokenWorker(WorkerProcess):
        def main(self) -> None:
            raise RuntimeError("this worker is broken")

    servers: list[ProtocolServerProcess] = []

    class KnownServer(ProtocolServerProcess):
        def start(self) -> str:
            servers.append(self)
            return super().start()

    error = error_of(case(WorkerProcess=BrokenWorker, ProtocolServerProcess=KnownServer))
    assert LiveServerFailed.__name__ in error
    assert "ended with status 1 before it was ready" in error
    assert "RuntimeError: this worker is broken" in error
    assert servers[0].status == 0 and not is_running(servers[0].pid)


@pytest.mark.django_db(transaction=True)
def test_an_interface_server_that_does_not_start_fails_the_test_with_its_output() -> None:
    error = error_of(case(host="nowhere.invalid"))
    assert "The interface server of the live server test ended with status 1 before it was ready" in error
    assert "CannotListen" in error


@pytest.mark.django_db(transaction=True)
def test_a_process_that_does_not_get_ready_in_time_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    class SlowWorker(WorkerProcess):
        def start(self) -> str:
            monkeypatch.setattr(children, "START_TIMEOUT", 2.0)  # for the worker, not for the server before it
            return super().start()

        def main(self) -> None:
            print("thinking")  # noqa: T201 this is what the test looks for
            time.sleep(60)

    error = error_of(case(WorkerProcess=SlowWorker))
    assert "was not ready after 2 seconds" in error and "thinking" in error


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_ends_during_a_test_fails_it_with_its_output() -> None:
    workers: list[WorkerProcess] = []

    class KnownWorker(WorkerProcess):
        def start(self) -> str:
            workers.append(self)
            return super().start()

    def test(self: Any) -> None:
        channel_layers["default"].send("end.worker", {})
        assert eventually(lambda: workers[0]._wait(0))

    error = error_of(case(WorkerProcess=KnownWorker, test=test))
    assert "The worker of the live server test ended with status 3 during the test" in error
    assert "the consumer says goodbye" in error


@pytest.mark.django_db(transaction=True)
def test_processes_end_with_their_test_also_when_that_is_skipped_or_fails() -> None:
    started: list[Child] = []

    class KnownServer(ProtocolServerProcess):
        def start(self) -> str:
            started.append(self)
            return super().start()

    class KnownWorker(WorkerProcess):
        def start(self) -> str:
            started.append(self)
            return super().start()

    def test(self: Any) -> None:
        self.skipTest("for once") if len(started) < 4 else self.fail("for once")

    test_case = case(
        ProtocolServerProcess=KnownServer,
        WorkerProcess=KnownWorker,
        test=unittest.skip("It is the first.")(test),
        test_2=test,
        test_3=test,
    )
    result = run(test_case)
    assert len(result.skipped) == 2 and len(result.failures) == 1, (result, result.errors)
    assert len(started) == 4
    assert [child.status for child in started] == [0, 0, 0, 0], [child.output for child in started]
    assert not any(is_running(child.pid) for child in started)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ({}, UnknownChannelLayer),
        ({**LOCAL, "other": LOCAL["default"]}, ImproperlyConfigured),
        ({"default": {**LOCAL["default"], "BACKEND": "asgiref.inmemory.ChannelLayer"}}, ImproperlyConfigured),
        ({"default": {**LOCAL["default"], "BACKEND": "asgi_redis.RedisChannelLayer"}}, InvalidChannelLayerError),
    ],
    ids=["no layer", "two layers", "the memory layer", "Redis without TEST_CONFIG"],
)
def test_layers_that_cannot_serve_are_refused(layers: Any, expected: type[Exception]) -> None:
    error = error_of(override_settings(CHANNEL_LAYERS=layers)(type("Case", (_Idle,), {})))
    assert expected.__name__ in error


@pytest.mark.django_db(transaction=True)
def test_the_layer_of_the_test_process_returns_after_the_test(default_layer: Any) -> None:
    passes(case())
    assert channel_layers["default"] is default_layer


PROJECT = {
    "site_settings.py": """
SECRET_KEY = "a key for tests, and for nothing else"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "channels_classic"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3", "TEST": {"NAME": TEST_NAME}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "site_urls"
CHANNEL_LAYERS = {"default": {"ROUTING": []}}
""",
    "site_urls.py": """
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path
urlpatterns = [path("", lambda request: HttpResponse(", ".join(User.objects.values_list("username", flat=True))))]
""",
    "tests/__init__.py": "",
    "tests/test_one.py": """
from urllib.request import urlopen
from django.contrib.auth.models import User
from channels_classic.test import ChannelLiveServerTestCase

class OneTests(ChannelLiveServerTestCase):
    name = "one"

    def test_a(self):
        User.objects.create_user(self.name)
        with urlopen(self.live_server_url + "/", timeout=60) as response:
            self.assertEqual(response.read().decode(), self.name)

    test_b = test_c = test_a
""",
    "tests/test_two.py": """
from .test_one import OneTests as Base

class TwoTests(Base):
    name = "two"

del Base
""",
}


def test_run(tmp_path: Path, test_name: str, *options: str) -> subprocess.CompletedProcess[str]:
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text.replace("TEST_NAME", repr(test_name)))
    root = str(Path(__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "django", "test", "--settings=site_settings", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), root])},
        capture_output=True,
        text=True,
        check=False,
        timeout=scaled(60),
    )


test_run.__test__ = False  # type: ignore[attr-defined]  # no test: it runs some


def test_live_server_tests_run_side_by_side(tmp_path: Path) -> None:
    done = test_run(tmp_path, "test.sqlite3", "--parallel", "2", "-v", "2")
    assert done.returncode == 0, done.stderr
    assert "Cloning test database" in done.stderr and "Ran 6 tests" in done.stderr


def test_a_database_in_memory_is_refused(tmp_path: Path) -> None:
    done = test_run(tmp_path, ":memory:", "tests.test_one")
    assert done.returncode == 1
    assert "is in memory: its worker is another process." in done.stderr


def test_processes_end_when_the_test_process_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        """
import os, signal, sys, time
from django.conf import settings
settings.configure()
from channels_classic.test.child import Child

class Sleeper(Child):
    def main(self):
        self.report_ready()
        time.sleep(60)

first, second = Sleeper(), Sleeper()
first.start(), second.start()
print(first.pid, second.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    eventually(lambda: not any(is_running(int(pid)) for pid in done.stdout.split()))
