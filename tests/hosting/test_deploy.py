"""The configuration files of `docs/deploy` in the real programs, with only names and paths changed."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hosting.test_asgi_hosts import ROOT, get
from tests.support.liveblog_site import FOLDER, Site
from tests.support.processes import Process
from tests.support.redis_server import free_port
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser

DEPLOY = ROOT / "docs" / "deploy"
BIN = Path(sys.executable).parent
BLOG = "/liveblog/total-eclipse/"
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


class Deployed(Site):
    """The live blog, of which this test starts the interface servers."""

    def __init__(self, redis_url: str) -> None:
        super().__init__(redis_url)
        self.front: list[Process] = []
        self.folder = Path(self._folder.name)
        self.folder.chmod(0o755)

    def start_interface(self) -> None:
        """Left to the test."""

    def start_workers(self) -> None:
        """Workers only: nobody can be asked for a page yet."""
        self.workers = [self.run("runworker"), self.run("runworker")]

    def start(self, *arguments: str | os.PathLike[str]) -> Process:
        """Start another program."""
        environment = {**self.environment, "PYTHONPATH": str(FOLDER), "DJANGO_SETTINGS_MODULE": "liveblog.settings"}
        program = Process(arguments, cwd=FOLDER, env=environment)
        self.front.append(program)
        return program

    def configured(self, name: str, changes: Mapping[str, str]) -> Path:
        """A configuration file with our names and paths."""
        text = (DEPLOY / name).read_text()
        for theirs, ours in changes.items():
            assert theirs in text, f"{name} does not say {theirs}"
            text = text.replace(theirs, ours)
        path = self.folder / name
        path.write_text(text)
        return path

    def stop(self) -> None:
        for program in reversed(self.front):
            program.stop()
        super().stop()

    @property
    def output(self) -> str:
        return "".join(program.output for program in (*self.front, *self.workers))


@pytest.fixture
def site(redis_url: str) -> Iterator[Deployed]:
    with Deployed(redis_url) as running:
        yield running


def start_nginx(site: Deployed, unix_socket: str) -> int:
    """Run nginx in front of a Unix socket; gives its port."""
    assert NGINX is not None
    port = free_port()
    path = site.configured(
        "nginx.conf",
        {
            "unix:/run/mysite/interface.sock": f"unix:{unix_socket}",
            "listen 80;": f"listen 127.0.0.1:{port};",
            "/srv/mysite/static/": f"{FOLDER}/blog/static/",
        },
    )
    main = site.folder / "main.conf"
    temporary = "".join(
        f"{kind}_temp_path {site.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main.write_text(
        f"daemon off; pid {site.folder}/nginx.pid; error_log stderr; worker_processes 1; {_user()}"
        f"events {{}} http {{ include /etc/nginx/mime.types; access_log off; {temporary} include {path}; }}"
    )
    nginx = site.start(NGINX, "-c", str(main), "-p", str(site.folder))
    nginx.wait_for_port(port)
    return port


def _user() -> str:
    return f"user {getpass.getuser()};" if os.getuid() == 0 else ""


def visit(site: Deployed, browser: Browser, port: int) -> None:
    """Read a blog in a browser while it grows."""
    page = browser.new_page()
    page.set_default_timeout(20_000)
    page.goto(f"http://127.0.0.1:{port}{BLOG}")
    page.wait_for_selector("#status:has-text('Live')")
    site.post("total-eclipse", "The moon has begun to cover the sun.")
    page.wait_for_selector("text=The moon has begun to cover the sun.")
    page.close()


@pytest.mark.skipif(NGINX is None, reason="`scripts/provide nginx` installs it")
def test_nginx_on_a_unix_socket_serves_the_live_blog(site: Deployed, browser: Browser) -> None:
    unix_socket = f"{site.folder}/interface.sock"
    log = f"{site.folder}/access"
    command = re.search(r"^# +manage\.py (runinterface .*)$", (DEPLOY / "nginx.conf").read_text(), re.M)
    assert command is not None
    arguments = command[1].replace("/run/mysite/interface.sock", unix_socket).split()
    site.start(sys.executable, FOLDER / "manage.py", *arguments, "--access-log", log)
    eventually(lambda: os.path.exists(unix_socket), timeout=20)
    port = start_nginx(site, unix_socket)
    eventually(lambda: get(port, path=BLOG)[0] == 200, timeout=20)
    visit(site, browser, port)
    assert {line.partition(":")[0] for line in Path(log).read_text().splitlines()} == {"127.0.0.1"}
    assert "Traceback" not in site.output


@pytest.mark.skipif(shutil.which("supervisord") is None, reason="`scripts/provide supervisor` installs it")
@pytest.mark.skipif(NGINX is None, reason="`scripts/provide nginx` installs it")
def test_four_processes_under_supervisor_serve_the_live_blog(site: Deployed, browser: Browser) -> None:
    unix_socket = f"{site.folder}/interface.sock"
    path = site.configured(
        "supervisor.conf",
        {
            "socket=tcp://127.0.0.1:8000": f"socket=unix://{unix_socket}",
            "/srv/mysite/venv/bin/": f"{BIN}/",
            "directory=/srv/mysite": f"directory={FOLDER}",
            "user=mysite": f"user={getpass.getuser()}",
            "mysite.settings": "liveblog.settings",
            "/var/log/mysite/": f"{site.folder}/",
        },
    )
    main = site.folder / "supervisord.conf"
    main.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={site.folder}/supervisord.log\npidfile={site.folder}/supervisord.pid\n"
        f"{'user=root' if os.getuid() == 0 else ''}\n[include]\nfiles={path}\n"
    )
    supervisor = site.start(str(shutil.which("supervisord")), "-c", str(main))
    supervisor.wait_for_line("success: interface-3 entered RUNNING state")
    port = start_nginx(site, unix_socket)
    eventually(lambda: get(port, path=BLOG)[0] == 200, timeout=20)
    logs = [site.folder / f"interface-{number}.log" for number in range(4)]
    eventually(lambda: all("Serving" in log.read_text() for log in logs), timeout=20)
    visit(site, browser, port)
    assert not [log for log in logs if "Traceback" in log.read_text()]


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is not here")
def test_a_socket_of_systemd_serves_the_live_blog(site: Deployed, browser: Browser) -> None:
    port = free_port()
    service = (DEPLOY / "mysite-interface.service").read_text()
    listen = (DEPLOY / "mysite-interface.socket").read_text()
    assert "ListenStream=127.0.0.1:8000" in listen
    found = re.search(r"^ExecStart=/srv/mysite/venv/bin/(.*)$", service, re.M)
    assert found is not None
    command = found[1].replace("mysite.settings", "liveblog.settings").split()
    kept = ["PATH", "LIVEBLOG_DB", "REDIS_URL", "LIVEBLOG_KEY", "PYTHONPATH", "HOME"]
    environment = [argument for name in kept for argument in ("--setenv", name)]
    activate = ["systemd-socket-activate", "--listen", f"127.0.0.1:{port}", *environment]
    site.start(*activate, str(BIN / command[0]), *command[1:]).wait_for_port(port)
    eventually(lambda: get(port, path=BLOG)[0] == 200, timeout=20)
    visit(site, browser, port)
    assert "Traceback" not in site.output


def test_systemd_understands_the_units() -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    for unit in ("mysite-interface.socket", "mysite-interface.service"):
        text = (DEPLOY / unit).read_text()
        assert re.findall(r"^\[\w+\]$", text, re.M)
    with Process(["systemd-analyze", "verify", str(DEPLOY / "mysite-interface.socket")]) as program:
        program.wait()
    wrong = [line for line in program.output.splitlines() if "docs/deploy" in line and "is not executable" not in line]
    assert not wrong
