"""The import names of Channels 1.x, each time in a process of its own: they stay once they are there."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support.processes import Process
from tests.support.redis_server import free_port
from tests.support.site import HOST

ROOT = Path(__file__).parent.parent

PROJECT = {
    "manage.py": """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
""",
    "mysite/__init__.py": "import channels_classic.compat\n",
    "mysite/settings.py": """
SECRET_KEY = __file__  # the address of the embedded layer follows from it
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions", "channels", "room"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "mysite.urls"
CHANNEL_LAYERS = {
    "default": {"BACKEND": "asgi_ipc.IPCChannelLayer", "ROUTING": "mysite.routing.channel_routing"},
}
""",
    "mysite/urls.py": "urlpatterns = []\n",
    "mysite/routing.py": """
from channels.routing import route
channel_routing = [route("http.request", "room.consumers.hello")]
""",
    "mysite/asgi.py": """
import os
from channels.asgi import get_channel_layer
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
channel_layer = get_channel_layer()
""",
    "mysite/wsgi.py": """
import os
from channels import Group
from django.core.wsgi import get_wsgi_application
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
application = get_wsgi_application()
""",
    "room/__init__.py": "",
    "room/models.py": "from channels import Group\n",
    "room/consumers.py": """
from channels import Channel
from channels.message import Message
from channels.sessions import channel_session
import channels_classic.message

def hello(message):
    assert isinstance(message, Message) and Message is channels_classic.message.Message
    message.reply_channel.send({"status": 200, "content": b"hello", "headers": []})
""",
    "room/tests.py": """
from channels.test import ChannelTestCase, Client

class HelloTests(ChannelTestCase):
    def test_hello(self):
        client = Client()
        client.send_and_consume("http.request", {"path": "/"})
        self.assertEqual(client.receive()["content"], b"hello")

class MoreTests(HelloTests):
    pass
""",
    "pytest.ini": "[pytest]\nDJANGO_SETTINGS_MODULE = mysite.settings\npythonpath = .\npython_files = tests.py\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def environment(*paths: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return {**inherited, "PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT]))}


def python(*arguments: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=cwd,
        env=environment(*([path] if path else [])),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def succeeds(*arguments: str, cwd: Path) -> str:
    done = python(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def script(text: str, cwd: Path) -> str:
    return succeeds("-c", "import channels_classic.compat\n" + textwrap.dedent(text), cwd=cwd)


def test_both_names_are_the_same_modules_and_classes(tmp_path: Path) -> None:
    script(
        """
        import importlib, pkgutil, warnings
        import channels, channels_classic
        from django.conf import settings
        settings.configure(
            INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "channels", "channels.delay"]
        )
        import django
        django.setup()
        warnings.simplefilter("ignore", DeprecationWarning)
        assert channels is channels_classic
        for module in pkgutil.walk_packages(channels_classic.__path__, "channels_classic."):
            try:
                ours = importlib.import_module(module.name)
            except ImportError as error:
                assert str(error).startswith("channels_classic.tasks needs Django 6"), (module, error)
                continue
            assert importlib.import_module(module.name.replace("channels_classic", "channels", 1)) is ours
            assert ours.__name__ == ours.__spec__.name == module.name
        """,
        tmp_path,
    )


def test_whichever_name_is_imported_first(tmp_path: Path) -> None:
    script(
        """
        from channels.routing import Route
        from channels.exceptions import ChannelFull
        import channels.layers.inmemory, channels_classic.routing, channels_classic.exceptions
        assert Route is channels_classic.routing.Route
        assert ChannelFull is channels_classic.exceptions.ChannelFull
        assert channels_classic.routing.__spec__.name == "channels_classic.routing"
        assert channels_classic.__spec__.name == "channels_classic"
        """,
        tmp_path,
    )


def test_the_modules_of_the_old_package_of_tests_can_be_imported(tmp_path: Path) -> None:
    script(
        """
        import warnings
        from django.conf import settings
        settings.configure()
        warnings.simplefilter("ignore", DeprecationWarning)
        import channels_classic.test as test
        from channels.tests.base import ChannelTestCase, Client, TransactionChannelTestCase
        from channels.tests.http import HttpClient
        assert (ChannelTestCase, Client) == (test.ChannelTestCase, test.Client)
        assert issubclass(HttpClient, Client)
        """,
        tmp_path,
    )


def test_the_packages_of_the_layers_can_be_imported(tmp_path: Path) -> None:
    script(
        """
        import asgi_ipc, asgi_redis, asgi_redis.core, asgiref.inmemory, asgiref.sync
        from channels_classic.layers import inmemory, local, redis
        assert asgi_redis.RedisChannelLayer is asgi_redis.core.RedisChannelLayer is redis.RedisChannelLayer
        assert asgi_ipc.IPCChannelLayer is local.LocalChannelLayer
        assert asgiref.inmemory.ChannelLayer is inmemory.ChannelLayer
        """,
        tmp_path,
    )


def test_what_is_not_there_cannot_be_imported_under_the_old_name_either(tmp_path: Path) -> None:
    script(
        """
        import importlib
        for name in ("channels.nope", "channels.routing.nope", "asgi_redis.nope", "asgi_rabbitmq", "asgiref.nope"):
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:
                assert error.name == name, error
            else:
                raise AssertionError(name)
        """,
        tmp_path,
    )


def test_the_names_are_not_there_unless_wanted(tmp_path: Path) -> None:
    done = python("-c", "import channels_classic\nimport channels", cwd=tmp_path)
    assert "No module named 'channels'" in done.stderr


def test_the_app_keeps_its_label(project: Path) -> None:
    code = "from django.apps import apps; print(apps.get_app_config('channels').name)"
    assert "channels_classic" in succeeds("manage.py", "shell", "-c", code, cwd=project)


def test_the_delay_app_has_its_migrations_under_a_label_of_its_own(project: Path) -> None:
    settings = project / "mysite" / "settings.py"
    settings.write_text(settings.read_text().replace('"channels", ', '"channels", "channels.delay", '))
    assert "[ ] 0001_initial" in succeeds("manage.py", "showmigrations", "channels_delay", cwd=project)
    assert "No changes detected" in succeeds("manage.py", "makemigrations", "--check", "--dry-run", cwd=project)
    succeeds("manage.py", "migrate", "channels_delay", cwd=project)
    code = "from channels.delay.models import DelayedMessage; print(DelayedMessage.objects.count())"
    assert "0" in succeeds("manage.py", "shell", "-c", code, cwd=project)


def test_a_project_passes_its_checks(project: Path) -> None:
    assert "no issues" in succeeds("manage.py", "check", cwd=project)


def test_its_tests_pass(project: Path) -> None:
    assert "Ran 2 tests" in succeeds("manage.py", "test", cwd=project)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_its_tests_pass_side_by_side(project: Path, method: str) -> None:
    (project / "parallel.py").write_text(
        f"""
import multiprocessing
if __name__ == "__main__":
    multiprocessing.set_start_method({method!r})
    exec(open("manage.py").read())
"""
    )
    assert "Ran 2 tests" in succeeds("parallel.py", "test", "--parallel", "2", cwd=project)


def test_its_tests_pass_under_pytest(project: Path) -> None:
    assert "2 passed" in succeeds("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", cwd=project)


def test_wsgi_and_asgi_modules_can_be_imported(project: Path) -> None:
    succeeds("-c", "import mysite.wsgi", cwd=project)
    code = "import mysite.asgi; print(type(mysite.asgi.channel_layer).__name__)"
    assert "LocalChannelLayer" in succeeds("-c", code, cwd=project)


COMMAND = ["-c", "from channels_classic.management.cli import main; main()"]
SETTINGS = ["--settings", "mysite.settings"]


@pytest.mark.parametrize(
    ("interface", "worker"),
    [
        (["manage.py", "runinterface"], ["manage.py", "runworker"]),
        ([*COMMAND, "interface", *SETTINGS], [*COMMAND, "worker", *SETTINGS]),
    ],
    ids=["manage.py", "channels-classic"],
)
def test_it_is_served_by_real_processes(project: Path, interface: list[str], worker: list[str]) -> None:
    port = free_port()
    env = {**environment(), "DJANGO_SETTINGS_MODULE": None}
    interface = [sys.executable, *interface, "--port", str(port)]
    with Process(interface, cwd=project, env=env) as server, Process([sys.executable, *worker], cwd=project, env=env):
        server.wait_for_port(port)
        connection = http.client.HTTPConnection(HOST, port, timeout=30)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello"
        connection.close()


def package(folder: Path, version: str | None = None) -> Path:
    """A folder with a package called channels, installed or not."""
    (folder / "channels").mkdir(parents=True)
    (folder / "channels" / "__init__.py").write_text("")
    if version is not None:
        (folder / f"channels-{version}.dist-info").mkdir()
        metadata = f"Metadata-Version: 2.1\nName: channels\nVersion: {version}\n"
        (folder / f"channels-{version}.dist-info" / "METADATA").write_text(metadata)
    return folder


def test_a_real_channels_is_named_and_not_hidden(tmp_path: Path) -> None:
    site = package(tmp_path / "site", "4.3.1")
    done = python("-c", "import channels_classic.compat", cwd=tmp_path, path=site)
    assert done.returncode == 1
    assert f"Channels 4.3.1 is installed, at {site}/channels/__init__.py. Uninstall that, or remove" in done.stderr
    assert (
        "A library that requires 'channels' installs it: pip install --no-deps keeps it from doing so." in done.stderr
    )


def test_so_is_a_package_of_the_project_that_has_the_name(tmp_path: Path) -> None:
    done = python("-c", "import channels_classic.compat", cwd=tmp_path, path=package(tmp_path / "site"))
    assert done.returncode == 1 and "there is another package 'channels', at" in done.stderr


def test_a_channels_1_that_was_left_behind_gives_way(tmp_path: Path) -> None:
    code = "import channels_classic.compat, channels; print(channels.__name__)"
    done = python("-c", code, cwd=tmp_path, path=package(tmp_path / "site", "1.1.8"))
    assert done.stdout == "channels_classic\n", done.stderr


def test_a_folder_that_happens_to_have_the_name_gives_way(tmp_path: Path) -> None:
    (tmp_path / "channels").mkdir()
    assert script("import channels; print(channels.__name__)", tmp_path) == "channels_classic\n"
