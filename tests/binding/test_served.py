"""A site with a binding as real processes, and a client that asks for changes that must be refused."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.support.own_project import Project, own_project
from tests.support.processes import Process
from tests.support.waiting import scaled

pytestmark = pytest.mark.timeout(120)

SETTINGS = """
INSTALLED_APPS += ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "site.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""

ROUTING = """
from channels_classic.binding.websockets import WebsocketBinding
from channels_classic.generic.websockets import WebsocketDemultiplexer
from django.contrib.auth.models import User

class UserBinding(WebsocketBinding):
    model = User
    stream = "users"
    fields = "__all__"

    @classmethod
    def group_names(cls, instance):
        return ["users"]

    def has_permission(self, user, action, pk):
        return action == "create"

class Demultiplexer(WebsocketDemultiplexer):
    consumers = {"users": UserBinding.consumer}
    groups = ["users"]

channel_routing = [Demultiplexer.as_route()]
"""


@pytest.fixture
def project() -> Iterator[Project]:
    with own_project(SETTINGS) as project:
        project.write("mysite/routing.py", ROUTING)
        with project.run("migrate", "--verbosity", "0") as migrating:
            assert migrating.wait(60) == 0, migrating.output
        yield project


def users(project: Project) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(project.folder / "mysite" / "site.sqlite3")) as database:
        return database.execute("SELECT username, password, is_superuser FROM auth_user ORDER BY id").fetchall()


def test_hostile_frames_change_no_row_and_leave_a_short_log_and_a_socket_that_works(project: Project) -> None:
    with closing(sqlite3.connect(project.folder / "mysite" / "site.sqlite3")) as database:
        database.execute(
            "INSERT INTO auth_user (username, password, is_superuser, is_staff, is_active, first_name, last_name, "
            "email, date_joined) VALUES ('admin', 'secret', 1, 1, 1, '', '', '', '2020-01-01')"
        )
        database.commit()
    hostile: list[Any] = [
        {"action": "create", "data": {"username": "admin", "password": "mine"}},
        {"action": "create", "pk": 1, "data": {"id": 1, "username": "admin", "password": "mine"}},
        {"action": "create", "data": {"username": ["admin"]}},
        {"action": "create", "data": {"username": "x" * 100_000}},
        {"action": "create", "data": {"username": "\ud800"}},
        {"action": "create", "data": {"username": "eve", "groups": [10**30]}},
        {"action": "create", "data": {"username": "eve", "nonsense\n\x1b[31mforged": 1}},
        {"action": "create", "data": None},
        {"action": "update", "pk": 1, "data": {"username": "eve"}},
        {"action": "delete", "pk": [1]},
        {"action": ["create"]},
        {},
    ]
    with (
        project.run("runinterface", "--bind", "127.0.0.1", "--port", str(project.port)) as interface,
        project.run("runworker") as worker,
    ):
        interface.wait_for_port(project.port)
        worker.wait_for_line("Listening on channels")
        with project.socket() as socket:
            for payload in hostile * 10:
                socket.send(json.dumps({"stream": "users", "payload": payload}))
            honest = {"action": "create", "data": {"username": "bob"}}
            socket.send(json.dumps({"stream": "users", "payload": honest}))
            sent = json.loads(socket.recv(timeout=scaled(30)))
        assert (sent["payload"]["action"], sent["payload"]["data"]["username"]) == ("create", "bob")
        assert users(project) == [("admin", "secret", 1), ("bob", "", 0)]
        assert_short_and_clean(worker)


def assert_short_and_clean(worker: Process) -> None:
    worker.wait_for_line("UserBinding rejected a change")
    assert "Traceback" not in worker.output
    assert "\x1b" not in worker.output
    assert "\nforged" not in worker.output
    assert len(worker.output) < 50_000
