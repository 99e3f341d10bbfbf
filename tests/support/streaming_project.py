"""A user's project for tests of large and slow requests and responses: interface server and workers are real."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.support.own_project import HOST, Project, own_project
from tests.support.processes import Process
from tests.support.waiting import scaled

SETTINGS = """
import os
DEBUG = False
SESSION_ENGINE = "django.contrib.sessions.backends.file"
SESSION_FILE_PATH = str(Path(__file__).parent.parent / "run")
MIDDLEWARE = []
DATA_UPLOAD_MAX_MEMORY_SIZE = None
if os.environ.get("REDIS_URL"):
    CHANNEL_LAYERS["default"]["BACKEND"] = "channels_classic.layers.redis.RedisChannelLayer"
    CHANNEL_LAYERS["default"]["CONFIG"] = {"hosts": [os.environ["REDIS_URL"]]}
"""

URLS = '''
import asyncio, hashlib, io, time
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.http import condition
from channels_classic.handler import AsgiRequest

def digest(request):
    """The size of the body and its checksum, read in small pieces."""
    size, found = 0, hashlib.sha256()
    while part := request.read(65536):
        size += len(part)
        found.update(part)
    return HttpResponse(f"{size} {found.hexdigest()}")

def twice(request):
    """The same, after another request object has read the same message."""
    AsgiRequest(request.message).body
    return digest(request)

def form(request):
    files = ",".join(f"{name}={file.size}" for name, file in request.FILES.items())
    fields = ",".join(f"{name}={value}" for name, value in request.POST.items())
    return HttpResponse(f"{fields};{files};{request.META.get('CONTENT_LENGTH')}")

def witnessed(name, parts):
    """Parts of a response, with lines in the worker's output about their beginning and end."""
    print(name, "begins", flush=True)
    try:
        yield from parts
    finally:
        print(name, "is closed", flush=True)

def every(seconds, part, count=None):
    number = 0
    while count is None or number < count:
        yield part
        number += 1
        time.sleep(seconds)

def in_time(seconds, count):
    for number in range(count):
        yield number
        time.sleep(seconds)

def ticks(request):
    return StreamingHttpResponse(witnessed("ticks", every(0.1, b"tick\\n")))

def three(request):
    return StreamingHttpResponse(witnessed("three", (f"tick {number}\\n" for number in in_time(0.4, 3))))

def soon(request):
    return StreamingHttpResponse(witnessed("soon", (f"tick {number}\\n" for number in in_time(0.1, 3))))

def torrent(request):
    return StreamingHttpResponse(witnessed("torrent", every(0, b"x" * 65536)))

def large(request, megabytes):
    return StreamingHttpResponse(witnessed("large", (b"x" * 1_000_000 for _ in range(megabytes))))

def whole(request, megabytes):
    return HttpResponse(b"x" * 1_000_000 * megabytes)

def empty(request, status):
    return StreamingHttpResponse(witnessed("empty", every(0, b"x" * 65536)), status=status)

class WitnessedFile(io.BytesIO):
    def close(self):
        if not self.closed:
            print("file is closed", flush=True)
        super().close()

def file(request):
    return FileResponse(WitnessedFile(b"f" * 5_000_000), filename="file.bin")

def part_of_file(request):
    response = FileResponse(WitnessedFile(b"f" * 3_000_000), status=206)
    response["Content-Range"] = "bytes 0-2999999/5000000"
    return response

@condition(etag_func=lambda request: '"one"')
def conditional(request):
    return StreamingHttpResponse(witnessed("conditional", every(0.01, b"part", 3)))

async def async_witnessed(pause, count=None):
    print("async begins", flush=True)
    try:
        number = 0
        while count is None or number < count:
            yield f"tick {number}\\n"
            number += 1
            await asyncio.sleep(pause)
    except asyncio.CancelledError:
        print("async is cancelled", flush=True)
        raise
    finally:
        print("async is closed", flush=True)

def async_ticks(request):
    return StreamingHttpResponse(async_witnessed(0.1))

async def async_rare(request):
    return StreamingHttpResponse(async_witnessed(3600))

async def async_three(request):
    return StreamingHttpResponse(async_witnessed(0.5, 3))

async def async_soon(request):
    return StreamingHttpResponse(async_witnessed(0.1, 3))

def long(request):
    print("long begins", flush=True)
    for _ in range(1000):
        if request.is_disconnected():
            print("long sees that the client left", flush=True)
            return HttpResponse("nobody reads this")
        time.sleep(0.05)
    return HttpResponse("nobody left")

urlpatterns = [
    path("", lambda request: HttpResponse("a page")),
    path("digest", digest), path("twice", twice), path("form", form), path("ticks", ticks), path("torrent", torrent),
    path("large/<int:megabytes>", large), path("whole/<int:megabytes>", whole), path("empty/<int:status>", empty),
    path("three", three), path("soon", soon), path("file", file), path("part-of-file", part_of_file),
    path("async-ticks", async_ticks), path("async-rare", async_rare), path("async-three", async_three),
    path("async-soon", async_soon), path("conditional", conditional),
    path("long", long), path("session", digest), path("passed-on", digest), path("put-back", digest),
]
'''

ROUTING = """
from channels_classic import Channel, route
from channels_classic.exceptions import ConsumeLater
from channels_classic.handler import AsgiRequest, ViewConsumer
from channels_classic.sessions import http_session

views = ViewConsumer()

@http_session
def with_session(message):
    assert message.http_session is None
    views(message)

def pass_on(message):
    AsgiRequest(message).body
    Channel("later").send(message.content)

def put_back(message):
    if not message.get("__retries__"):
        AsgiRequest(message).body
        raise ConsumeLater
    views(message)

channel_routing = [
    route("http.request", with_session, path="^/session$"),
    route("http.request", pass_on, path="^/passed-on$"),
    route("http.request", put_back, path="^/put-back$"),
    route("later", views),
    route("http.request", views),
]
"""


class StreamingSite:
    """The project while it runs."""

    def __init__(self, project: Project, interface: Process, workers: list[Process]) -> None:
        self.project = project
        self.interface = interface
        self.workers = workers

    @property
    def port(self) -> int:
        return self.project.port

    @property
    def output(self) -> str:
        return self.interface.output + "".join(worker.output for worker in self.workers)

    def get(self, path: str = "/") -> tuple[int, str]:
        return self.project.get(path)

    def ask(
        self, method: str, path: str, body: object = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """A response and its content."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=scaled(30))
        try:
            connection.request(method, path, body, headers)  # type: ignore[arg-type]  # iterables are sent in chunks
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def connect(self, request: bytes = b"") -> socket.socket:
        """A connection on which `request` was sent."""
        client = socket.create_connection((HOST, self.port), timeout=scaled(30))
        client.sendall(request)
        return client

    def request(self, path: str, method: str = "GET") -> socket.socket:
        """A connection on which a request without a body was sent."""
        return self.connect(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


@contextmanager
def streaming_site(
    redis_url: str | None = None, *, workers: int = 1, options: tuple[str, ...] = (), settings: str = ""
) -> Iterator[StreamingSite]:
    """The project with an interface server and workers, on the embedded layer or Redis."""
    with own_project(SETTINGS + settings) as project, ExitStack() as stack:
        project.environment["REDIS_URL"] = redis_url
        project.write("mysite/urls.py", URLS)
        project.write("mysite/routing.py", ROUTING)
        interface = stack.enter_context(project.run("runinterface", "--port", str(project.port), *options))
        interface.wait_for_port(project.port)
        running = [stack.enter_context(project.run("runworker")) for _ in range(workers)]
        for worker in running:
            worker.wait_for_line("Listening on channels")
        yield StreamingSite(project, interface, running)
