"""The configuration files of `docs/deploy` in the real programs, with only names and paths changed."""

from __future__ import annotations

import getpass
import http.client
import os
import re
import shutil
import socketserver
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import load_command_class

from channels_classic.interface_server import InterfaceConfig
from tests.hosting.test_asgi_hosts import ROOT, get
from tests.support.liveblog_site import FOLDER, LiveBlog
from tests.support.processes import Process
from tests.support.redis_server import free_port
from tests.support.waiting import eventually, scaled

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

DEPLOY = ROOT / "docs" / "deploy"
SOCKET = "/run/mysite/interface.sock"
UNITS = ["mysite-interface.socket", "mysite-interface.service", "mysite-worker@.service", "mysite-delay.service"]
BIN = Path(sys.executable).parent
BLOG = "/liveblog/total-eclipse/"
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


class Deployed(LiveBlog):
    """The live blog, of which this test starts the interface servers."""

    def __init__(self, redis_url: str) -> None:
        super().__init__(redis_url)
        self.environment |= {"PYTHONPATH": str(FOLDER), "DJANGO_SETTINGS_MODULE": "liveblog.settings"}
        self.configuration = Path(self._temporary.name)
        self.configuration.chmod(0o755)

    def start_interface(self) -> None:
        """Left to the test."""

    def start_workers(self, count: int = 2) -> None:
        """Workers only: nobody can be asked for a page yet."""
        self.workers = [self.run("runworker") for _ in range(count)]
        for worker in self.workers:
            worker.wait_for_line("Listening on channels")

    def collect_static(self) -> Path:
        """Copy the static files of all apps to one folder; return it."""
        settings = "from liveblog.settings import *\nSTATIC_ROOT = __file__.replace('.py', '')\n"
        (self.configuration / "static.py").write_text(settings)
        self.manage(
            *("collectstatic", "--noinput", "--verbosity=0"), f"--pythonpath={self.configuration}", "--settings=static"
        )
        return self.configuration / "static"

    def configured(self, name: str, changes: Mapping[str, str]) -> Path:
        """A configuration file with our names and paths."""
        text = (DEPLOY / name).read_text()
        for theirs, ours in changes.items():
            assert theirs in text, f"{name} does not say {theirs}"
            text = text.replace(theirs, ours)
        path = self.configuration / Path(name).name
        path.write_text(text)
        return path


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
            f"unix:{SOCKET}": f"unix:{unix_socket}",
            "listen 80;": f"listen 127.0.0.1:{port};",
            "/srv/mysite/static/": f"{site.collect_static()}/",
        },
    )
    main = site.configuration / "main.conf"
    temporary = "".join(
        f"{kind}_temp_path {site.configuration}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    main.write_text(
        f"daemon off; pid {site.configuration}/nginx.pid; error_log stderr; worker_processes 1; {_user()}"
        f"events {{}} http {{ include /etc/nginx/mime.types; access_log off; {temporary} include {path}; }}"
    )
    nginx = site.start(NGINX, "-c", str(main), "-p", str(site.configuration))
    nginx.wait_for_port(port)
    return port


def _user() -> str:
    return f"user {getpass.getuser()};" if os.getuid() == 0 else ""


@contextmanager
def recorded_requests(unix_socket: str) -> Iterator[SimpleQueue[Mapping[str, str]]]:
    """Listen where the interface server would, answer with 204, and note the headers of each request."""
    requests: SimpleQueue[Mapping[str, str]] = SimpleQueue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.put({name.lower(): value for name, value in self.headers.items()})
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Write nothing: a client on a Unix socket has no address to write."""

    with socketserver.ThreadingUnixStreamServer(unix_socket, Handler) as server:
        os.chmod(unix_socket, 0o666)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield requests
        finally:
            server.shutdown()
            thread.join()


def visit(site: Deployed, browser: Browser, port: int) -> None:
    """Read a blog in a browser while it grows."""
    page = browser.new_page()
    page.set_default_timeout(scaled(20) * 1000)
    page.goto(f"http://127.0.0.1:{port}{BLOG}")
    page.wait_for_selector("#status:has-text('Live')")
    site.post("total-eclipse", "The moon has begun to cover the sun.")
    page.wait_for_selector("text=The moon has begun to cover the sun.")
    page.close()


needs_nginx = pytest.mark.skipif(NGINX is None, reason="`scripts/provide nginx` installs it")


def test_the_files_agree_on_socket_folder_and_user() -> None:
    assert f"server unix:{SOCKET};" in (DEPLOY / "nginx.conf").read_text()
    assert f"ListenStream={SOCKET}\n" in (DEPLOY / "mysite-interface.socket").read_text()
    assert f"socket=unix://{SOCKET}\n" in (DEPLOY / "supervisor.conf").read_text()
    for name in UNITS[1:]:
        text = (DEPLOY / name).read_text()
        assert "\nWorkingDirectory=/srv/mysite\n" in text, name
        assert "\nUser=mysite\n" in text, name
        assert "\nEnvironmentFile=-/etc/mysite.env\n" in text, name
        assert "\nExecStart=/srv/mysite/venv/bin/python manage.py run" in text, name


@needs_nginx
def test_nginx_on_a_unix_socket_serves_the_live_blog(site: Deployed, browser: Browser) -> None:
    unix_socket = f"{site.configuration}/interface.sock"
    log = f"{site.configuration}/access"
    command = re.search(r"^# +manage\.py (runinterface .*)$", (DEPLOY / "nginx.conf").read_text(), re.M)
    assert command is not None
    arguments = command[1].replace(SOCKET, unix_socket).split()
    site.start(sys.executable, "manage.py", *arguments, "--access-log", log)
    eventually(lambda: os.path.exists(unix_socket), timeout=20)
    port = start_nginx(site, unix_socket)
    eventually(lambda: get(port, path=BLOG)[0] == 200, timeout=20)
    visit(site, browser, port)
    assert {line.partition(":")[0] for line in Path(log).read_text().splitlines()} == {"127.0.0.1"}
    assert "Traceback" not in site.output


def claimed(port: int, requests: SimpleQueue[Mapping[str, str]]) -> Mapping[str, str]:
    """Return the headers that come through a proxy to the interface server when a client claims to be one."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    claims = {"X-Forwarded-For": "9.9.9.9", "X-Forwarded-Port": "1", "X-Forwarded-Proto": "https"}
    client.request("POST", "/", b"x", {**claims, "Daphne-Root-Path": "/claimed", "Host": "mysite.example"})
    assert client.getresponse().status == 204
    client.close()
    return requests.get(timeout=scaled(20))


@needs_nginx
def test_nginx_passes_its_own_port_and_nothing_that_the_client_claims(site: Deployed) -> None:
    unix_socket = f"{site.configuration}/recorder.sock"
    with recorded_requests(unix_socket) as requests:
        port = start_nginx(site, unix_socket)
        headers = claimed(port, requests)
    assert headers["host"] == "mysite.example"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-port"] == str(port)
    assert headers["x-forwarded-proto"] == "http"
    assert "daphne-root-path" not in headers


@pytest.mark.skipif(shutil.which("caddy") is None, reason="`scripts/provide caddy` installs it")
def test_caddy_passes_its_own_port_and_nothing_that_the_client_claims(site: Deployed) -> None:
    unix_socket = f"{site.configuration}/recorder.sock"
    port = free_port()
    changes = {"mysite.example {": "http://mysite.example {", f"unix/{SOCKET}": f"unix/{unix_socket}"}
    path = site.configured("Caddyfile", changes)
    # Caddy 2.6, which Debian 12 has, lacks one option of the file.
    lines = [line for line in path.read_text().splitlines() if "stream_close_delay" not in line]
    options = ["{", "admin off", f"http_port {port}", f"storage file_system {site.configuration}/caddy", "}"]
    path.write_text("\n".join([*options, *lines, ""]))
    with recorded_requests(unix_socket) as requests:
        caddy = site.start(str(shutil.which("caddy")), "run", "--adapter", "caddyfile", "--config", str(path))
        caddy.wait_for_port(port)
        headers = claimed(port, requests)
    assert headers["host"] == "mysite.example"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-port"] == "443"  # that of the site, as the file says
    assert headers["x-forwarded-proto"] == "http"
    assert "daphne-root-path" not in headers


@needs_nginx
def test_nginx_receives_a_body_before_it_passes_the_request_on(site: Deployed) -> None:
    unix_socket = f"{site.configuration}/recorder.sock"
    with recorded_requests(unix_socket) as requests:
        port = start_nginx(site, unix_socket)
        slow, quick = (http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(2))
        slow.putrequest("POST", "/slow")
        slow.putheader("Content-Length", "2")
        slow.endheaders(b"a")
        quick.request("POST", "/quick", b"x")
        assert quick.getresponse().status == 204  # a request that came later was passed on before
        assert requests.get(timeout=scaled(20))["content-length"] == "1"
        with pytest.raises(Empty):
            requests.get_nowait()
        slow.send(b"b")
        assert slow.getresponse().status == 204
        assert requests.get(timeout=scaled(20))["content-length"] == "2"
        slow.close()
        quick.close()


@pytest.mark.skipif(shutil.which("supervisord") is None, reason="`scripts/provide supervisor` installs it")
@needs_nginx
def test_everything_under_supervisor_serves_the_live_blog(site: Deployed, browser: Browser) -> None:
    unix_socket = f"{site.configuration}/interface.sock"
    user = getpass.getuser()
    site.stop_workers()
    path = site.configured(
        "supervisor.conf",
        {
            f"socket=unix://{SOCKET}": f"socket=unix://{unix_socket}",
            "socket_owner=mysite:www-data": f"socket_owner={user}",
            "/srv/mysite/venv/bin/": f"{BIN}/",
            "directory=/srv/mysite": f"directory={FOLDER}",
            "user=mysite": f"user={user}",
            "/var/log/mysite/": f"{site.configuration}/",
            # The live blog delays nothing.
            "[program:delay]": "[program:delay]\nautostart=false",
        },
    )
    main = site.configuration / "supervisord.conf"
    main.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={site.configuration}/supervisord.log\npidfile={site.configuration}/supervisord.pid\n"
        f"{'user=root' if os.getuid() == 0 else ''}\n[include]\nfiles={path}\n"
    )
    supervisor = site.start(str(shutil.which("supervisord")), "-c", str(main))
    for name in ("interface", "worker-1"):
        supervisor.wait_for_line(f"success: {name} entered RUNNING state")
    port = start_nginx(site, unix_socket)
    eventually(lambda: get(port, path=BLOG)[0] == 200, timeout=20)
    logs = [site.configuration / "interface.log"]
    eventually(lambda: logs[0].read_text().count(" listens.") == 4, timeout=20)
    visit(site, browser, port)
    logs += [site.configuration / f"worker-{number}.log" for number in range(2)]
    assert not [log for log in logs if "Traceback" in log.read_text()]


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="systemd-socket-activate is not here")
@needs_nginx
def test_a_socket_of_systemd_serves_the_live_blog(site: Deployed, browser: Browser) -> None:
    unix_socket = f"{site.configuration}/interface.sock"
    found = re.search(
        r"^ExecStart=\S+/python manage\.py (.*)$", (DEPLOY / "mysite-interface.service").read_text(), re.M
    )
    assert found is not None
    kept = ["PATH", "LIVEBLOG_DB", "REDIS_URL", "LIVEBLOG_KEY", "PYTHONPATH", "HOME"]
    environment = [argument for name in kept for argument in ("--setenv", name)]
    activate = ["systemd-socket-activate", "--listen", unix_socket, *environment]
    site.start(*activate, sys.executable, "manage.py", *found[1].split())
    eventually(lambda: os.path.exists(unix_socket), timeout=20)
    os.chmod(unix_socket, 0o666)
    port = start_nginx(site, unix_socket)
    eventually(lambda: get(port, path=BLOG)[0] == 200, timeout=20)
    visit(site, browser, port)
    assert "Traceback" not in site.output


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_the_unit(unit: str) -> None:
    with Process(["systemd-analyze", "verify", str(DEPLOY / unit.replace("@", "@1"))]) as program:
        program.wait()
    # The program of the unit is on the host of the site, not here.
    assert [line for line in program.output.splitlines() if "venv/bin/python is not executable" not in line] == []


DRAIN, STOP = 30.0, 20.0
"""Seconds that the files give to a drain, and that a program takes to end besides."""


def test_the_time_to_stop_is_longer_than_a_drain() -> None:
    times = {
        "mysite-interface.service": r"TimeoutStopSec=(\d+)",
        "supervisor.conf": r"--drain 30\n(?:.*\n)+?stopwaitsecs=(\d+)",
        "docker/compose.yaml": r"--drain=30\n(?:.*\n)+?    stop_grace_period: (\d+)s",
    }
    for name, pattern in times.items():
        found = re.search(pattern, (DEPLOY / name).read_text())
        assert found is not None, name
        assert int(found[1]) > DRAIN + STOP, name


@needs_nginx
def test_nginx_understands_the_file_of_the_containers(site: Deployed) -> None:
    path = site.configured("docker/nginx.conf", {"listen 80;": f"listen 127.0.0.1:{free_port()};"})
    main = site.configuration / "main.conf"
    main.write_text(
        f"pid {site.configuration}/nginx.pid; {_user()} events {{}} http {{ access_log off; include {path}; }}"
    )
    assert NGINX is not None
    with Process([NGINX, "-t", "-c", str(main), "-p", str(site.configuration)]) as program:
        assert program.wait() == 0, program.output


def test_the_containers_are_a_valid_compose_file_whose_services_are_there() -> None:
    yaml = pytest.importorskip("yaml")
    models = pytest.importorskip("compose_spec").models
    content = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
    models.ComposeSpecification.model_validate(content)
    services = content["services"]
    assert set(services) == {"nginx", "interface", "worker", "redis"}
    assert services["worker"]["deploy"]["replicas"] == 2
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text()
    assert f"uid {10001} " in dockerfile
    # What collectstatic writes is what nginx serves; and no image has the secrets of the site in it.
    assert "static:/srv/mysite/static" in services["worker"]["volumes"]
    assert "static:/srv/mysite/static:ro" in services["nginx"]["volumes"]
    assert "alias /srv/mysite/static/;" in (DEPLOY / "docker" / "nginx.conf").read_text()
    assert "**/.env\n" in (DEPLOY / "docker" / "Dockerfile.dockerignore").read_text()


def manifests() -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml")
    found = []
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        found += list(yaml.safe_load_all(path.read_text()))
    return found


def test_the_manifests_are_those_of_kubernetes() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for manifest in manifests():
        kubernetes_validate.validate(manifest, "1.32", strict=True)


def test_the_manifests_fit_together() -> None:
    found = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests()}
    for part in ("interface", "worker"):
        deployment = found["Deployment", f"mysite-{part}"]["spec"]
        template = deployment["template"]
        budget = found["PodDisruptionBudget", f"mysite-{part}"]["spec"]
        assert deployment["selector"] == budget["selector"] == {"matchLabels": template["metadata"]["labels"]}
        assert deployment["replicas"] >= 2
        (container,) = template["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe, path in (("startupProbe", "/live"), ("readinessProbe", "/ready"), ("livenessProbe", "/live")):
            assert container[probe]["httpGet"]["path"] == path
            assert container[probe]["httpGet"]["port"] in ports
        assert f"--health=0.0.0.0:{ports['health']}" in container["args"]
    service = found["Service", "mysite"]["spec"]
    assert service["selector"] == found["Deployment", "mysite-interface"]["spec"]["template"]["metadata"]["labels"]
    pod = found["Deployment", "mysite-interface"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = int(next(argument.partition("=")[2] for argument in container["args"] if argument.startswith("--drain=")))
    assert pod["terminationGracePeriodSeconds"] >= pause + drain + STOP


MIB = 2**20


def limit(arguments: Sequence[str], option: str, default: int) -> int:
    """Return the number of bytes that a command line gives to an option."""
    found = [argument.partition("=")[2] for argument in arguments if argument.startswith(f"--{option}=")]
    return int(found[0]) if found else default


def test_the_limits_of_an_interface_server_fit_into_its_container() -> None:
    """Otherwise the whole container ends, with all of its sockets, where one slow client should have been cut off."""
    yaml = pytest.importorskip("yaml")
    service = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())["services"]["interface"]
    (temporary,) = service["tmpfs"]
    assert re.fullmatch(r"/tmp:size=\dg", temporary)
    # Bodies and responses have a limit each, and while a successor starts there are two processes.
    disk = limit(service["command"], "spool-disk", InterfaceConfig().spool_disk)
    assert 4 * disk <= int(temporary[-2]) * 1024 * MIB

    found = {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in manifests()}
    deployment = found["Deployment", "mysite-interface"]
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (volume,) = pod["volumes"]
    disk = limit(container["args"], "spool-disk", InterfaceConfig().spool_disk)
    assert 4 * disk <= int(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 1024 * MIB
    memory = limit(container["args"], "socket-memory", InterfaceConfig().socket_memory)
    memory += 2 * limit(container["args"], "spool-memory", InterfaceConfig().spool_memory)
    assert memory <= int(container["resources"]["limits"]["memory"].removesuffix("Gi")) * 1024 * MIB / 2


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Every command of this package in the files, with the file it is in."""
    yaml = pytest.importorskip("yaml")
    for path in [*DEPLOY.glob("*.service"), DEPLOY / "supervisor.conf"]:
        for found in re.findall(r"manage\.py (.*)", path.read_text()):
            yield path.name, found.split()
    for service in yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())["services"].values():
        if "manage.py" in service.get("command", ()):
            yield "compose.yaml", service["command"][2:]
    for manifest in manifests():
        if manifest["kind"] == "Deployment":
            (container,) = manifest["spec"]["template"]["spec"]["containers"]
            yield manifest["metadata"]["name"], [*container["command"], *container["args"]][2:]


def test_the_options_of_every_file_are_understood() -> None:
    found = list(command_lines())
    assert {words[0] for _, words in found} == {"runinterface", "runworker", "rundelay"}
    assert len(found) == 10
    for name, (command, *arguments) in found:
        parser = load_command_class("channels_classic", command).create_parser("manage.py", command)
        assert parser.parse_args(arguments), name
