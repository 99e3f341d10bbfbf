"""Imports, their uses and dotted paths in strings."""

from __future__ import annotations

import textwrap

import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper

from channels_classic.migrate.imports import ImportRewriter


def rewrite(code: str, *, exports: bool = False) -> tuple[str, list[str]]:
    """Return the new code and the findings, as line and sentence."""
    rewriter = ImportRewriter("app.py", exports=exports)
    module = MetadataWrapper(cst.parse_module(textwrap.dedent(code))).visit(rewriter)
    return module.code, [f"{finding.line}: {finding.sentence}" for finding in rewriter.findings]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("from channels import Group", "from channels_classic import Group"),
        (
            "from channels.routing import route, include as inc",
            "from channels_classic.routing import route, include as inc",
        ),
        ("from channels.tests import ChannelTestCase", "from channels_classic.test import ChannelTestCase"),
        ("from channels.tests import *", "from channels_classic.test import *"),
        ("from channels import tests", "from channels_classic import test as tests"),
        ("from channels import asgi", "from channels_classic import asgi"),
        ("import channels.routing as r", "import channels_classic.routing as r"),
        ("import channels, os", "import channels_classic, os"),
        ("from asgi_redis import RedisChannelLayer", "from channels_classic.layers.redis import RedisChannelLayer"),
        (
            "from asgi_ipc import IPCChannelLayer",
            "from channels_classic.layers.local import LocalChannelLayer as IPCChannelLayer",
        ),
        (
            "from asgi_ipc import IPCChannelLayer as L",
            "from channels_classic.layers.local import LocalChannelLayer as L",
        ),
        ("import asgi_redis", "import channels_classic.layers.redis as asgi_redis"),
        ("from asgiref import inmemory", "from channels_classic.layers import inmemory"),
        ("from asgiref.inmemory import ChannelLayer", "from channels_classic.layers.inmemory import ChannelLayer"),
        (
            "from channels.test import HttpClient, WSClient\nHttpClient()",
            "from channels_classic.test import WSClient as HttpClient, WSClient\nHttpClient()",
        ),
        ("from channels.tests import HttpClient", "from channels_classic.test import WSClient as HttpClient"),
        (
            "from channels.delay.models import DelayedMessage",
            "from channels_classic.delay.models import DelayedMessage",
        ),
    ],
)
def test_an_import_is_rewritten(before: str, after: str) -> None:
    assert rewrite(before + "\n") == (after + "\n", [])


@pytest.mark.parametrize(
    "code",
    [
        "from .channels import Group",
        "from app.channels import Group",
        "from channels_classic import Group",
        "from asgiref.sync import async_to_sync",
        "from django import channels",
    ],
)
def test_other_imports_stay(code: str) -> None:
    assert rewrite(code + "\n") == (code + "\n", [])


def test_uses_of_an_imported_module_are_renamed_and_nothing_else_of_that_name() -> None:
    code, findings = rewrite(
        """
        import channels
        import channels.tests  # for the clients

        def work(other):
            channels.Group("channels").send({"channels": other.channels}, channels=channels.tests.WSClient)

        def shadow(channels):
            return channels.Group

        def bind():
            channels = {}
            channels.tests = 5

        class Holder:
            channels = 1

            def client(self):
                return channels.tests.WSClient()
        """
    )
    assert "    channels = {}\n    channels.tests = 5\n" in code
    assert "        return channels_classic.test.WSClient()" in code
    assert 'channels_classic.Group("channels").send({"channels": other.channels}, channels=' in code
    assert "channels=channels_classic.test.WSClient)" in code
    assert "import channels_classic.test  # for the clients" in code
    assert "def shadow(channels):\n    return channels.Group" in code
    assert "    channels = 1" in code
    assert findings == []


def test_the_old_name_of_a_client_stays_bound() -> None:
    code, _ = rewrite("from channels.tests import (\n    HttpClient,\n    apply_routes,\n)\nc = HttpClient()\n")
    assert code == (
        "from channels_classic.test import (\n    WSClient as HttpClient,\n    apply_routes,\n)\nc = HttpClient()\n"
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import channels\nchannels.Group", "import channels_classic as channels\nchannels.Group"),
        (
            "import channels.routing, os\nchannels.routing.route",
            "import channels_classic.routing, channels_classic as channels, os\nchannels.routing.route",
        ),
        (
            "import channels.tests\nchannels.tests.WSClient",
            "import channels_classic.test, channels_classic as channels\nchannels.test.WSClient",
        ),
        (
            "def work():\n    import channels\n    channels.Group",
            "def work():\n    import channels_classic\n    channels_classic.Group",
        ),
    ],
)
def test_a_module_that_others_may_use_keeps_its_name(before: str, after: str) -> None:
    assert rewrite(before + "\n", exports=True) == (after + "\n", [])


def test_a_name_that_is_bound_in_another_way_too_stays() -> None:
    code, findings = rewrite(
        """
        try:
            import channels
            from channels.tests import HttpClient
        except ImportError:
            channels = HttpClient = None
        """
    )
    assert "    import channels_classic as channels\n" in code
    assert "    from channels_classic.test import WSClient as HttpClient\n" in code
    assert "    channels = HttpClient = None\n" in code
    assert findings == []


@pytest.mark.parametrize(
    "code",
    [
        "import channels\nclass Names:\n    channels = channels.Group\n    other = channels\n",
        "def load():\n    global channels\n    import channels\n    return channels.Group\n",
    ],
)
def test_a_name_that_a_class_or_a_function_binds_for_others_stays(code: str) -> None:
    assert rewrite(code) == (code.replace("import channels\n", "import channels_classic as channels\n"), [])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            'patch("channels.handler.AsgiHandler.chunk_bytes")',
            'patch("channels_classic.handler.AsgiHandler.chunk_bytes")',
        ),
        ("BACKEND = u'asgi_redis.RedisChannelLayer'", "BACKEND = u'channels_classic.layers.redis.RedisChannelLayer'"),
        ('B = {"asgi_ipc.IPCChannelLayer": 1}', 'B = {"channels_classic.layers.local.LocalChannelLayer": 1}'),
        ('patch("channels.worker")', 'patch("channels_classic.worker")'),
        ('importlib.import_module("channels")', 'importlib.import_module("channels_classic")'),
        ('pytest.importorskip("channels")', 'pytest.importorskip("channels_classic")'),
        ('sys.modules["channels"]', 'sys.modules["channels_classic"]'),
        ('__import__("channels").Group', '__import__("channels_classic").Group'),
        ("r = include('channels.tests.routing')", "r = include('channels.tests.routing')"),
        (
            'x = route("http.request", "channels.routing.null_consumer")',
            'x = route("http.request", "channels_classic.routing.null_consumer")',
        ),
    ],
)
def test_a_dotted_path_in_a_string_is_rewritten_if_it_leads_somewhere(before: str, after: str) -> None:
    assert rewrite(before + "\n") == (after + "\n", [])


@pytest.mark.parametrize(
    "code",
    [
        'Channel("channels.message").send({})',
        'Group("channels.log").add(x)',
        'routing = {"channels.message": consumer}',
        'route(["channels.message", "x"], consumer)',
        'log = logging.getLogger("channels.log")',
        'import_module("channel")("channels")',
        'text = "channels.org"',
        'text = "see channels.routing"',
        'text = b"channels.routing"',
        'path = "channels/js/websocketbridge.js"',
        'x = "channels.layers.InMemoryChannelLayer"',
    ],
)
def test_names_of_channels_and_other_texts_stay(code: str) -> None:
    assert rewrite(code + "\n") == (code + "\n", [])


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (
            "from channels.worker import StopWorkerGroupLoop",
            "1: `StopWorkerGroupLoop` of `channels.worker` has no counterpart here.",
        ),
        ("from channels.nothing import x", "1: `channels.nothing` has no counterpart here."),
        ("from daphne.server import Server", "1: Daphne is not used any more"),
        ("import asgi_rabbitmq", "1: There is no layer for RabbitMQ"),
        ("from asgiref.base_layer import BaseChannelLayer", "1: Layers of your own derive from"),
        ("open('channels.log')", "1: Write `channels_classic.log` if this is that module"),
        ("HANDLER = {'filename': 'channels.log'}", "1: Write `channels_classic.log` if this is that module"),
        ("JOBS = 'channels.worker'", "1: Write `channels_classic.worker` if this is that module"),
        ("importorskip('asgi_redis')", "1: Import channels_classic.layers.redis instead of `asgi_redis`"),
        ("import asgi_redis.core", "1: Import channels_classic.layers.redis instead of `asgi_redis.core`"),
    ],
)
def test_a_name_without_a_counterpart_is_found(code: str, sentence: str) -> None:
    text, findings = rewrite(code + "\n")
    assert ("'" not in code) or text == code + "\n"
    assert len(findings) == 1 and findings[0].startswith(sentence)
