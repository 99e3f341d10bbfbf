"""Settings: apps, layers and middleware."""

from __future__ import annotations

import textwrap

import libcst as cst
import pytest
from libcst.metadata import MetadataWrapper

from channels_classic.migrate.settings import SettingsRewriter


def rewrite(code: str, *, alias: bool = False) -> tuple[str, list[str]]:
    """Return the new code and the findings, as line and sentence."""
    rewriter = SettingsRewriter("settings.py", alias=alias)
    module = MetadataWrapper(cst.parse_module(textwrap.dedent(code))).visit(rewriter)
    return module.code, [f"{finding.line}: {finding.sentence}" for finding in rewriter.findings]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("INSTALLED_APPS = ['a', 'channels']", "INSTALLED_APPS = ['a', 'channels_classic']"),
        ("THIRD_PARTY_APPS += ('channels',)", "THIRD_PARTY_APPS += ('channels_classic',)"),
        ("INSTALLED_APPS.append('channels')", "INSTALLED_APPS.append('channels_classic')"),
        ("settings.INSTALLED_APPS.insert(0, u'channels')", "settings.INSTALLED_APPS.insert(0, u'channels_classic')"),
        (
            "with override_settings(INSTALLED_APPS=['channels']): pass",
            "with override_settings(INSTALLED_APPS=['channels_classic']): pass",
        ),
        ("INSTALLED_APPS = tuple(['channels'])", "INSTALLED_APPS = tuple(['channels_classic'])"),
        (
            "INSTALLED_APPS += tuple(list(BASE) + ['channels'])",
            "INSTALLED_APPS += tuple(list(BASE) + ['channels_classic'])",
        ),
        (
            "if 'channels' in settings.INSTALLED_APPS: pass",
            "if 'channels_classic' in settings.INSTALLED_APPS: pass",
        ),
        ("x = 'channels' not in INSTALLED_APPS", "x = 'channels_classic' not in INSTALLED_APPS"),
        ("if apps.is_installed('channels'): pass", "if apps.is_installed('channels_classic'): pass"),
        (
            "modify_settings(INSTALLED_APPS={'append': 'channels'})",
            "modify_settings(INSTALLED_APPS={'append': 'channels_classic'})",
        ),
    ],
)
def test_the_app_is_renamed_where_apps_are_listed(before: str, after: str) -> None:
    assert rewrite(before + "\n") == (after + "\n", [])
    assert rewrite(before + "\n", alias=True) == (before + "\n", [])


def test_an_app_within_channels_is_renamed_too() -> None:
    assert rewrite("APPS = ['channels.delay']\n")[0] == "APPS = ['channels_classic.delay']\n"
    assert rewrite("APPS = ['channels.delay']\n", alias=True)[0] == "APPS = ['channels.delay']\n"


@pytest.mark.parametrize("code", ["x = 'channels' in names", "x = {'channels': 1}", "f('channels')", "'channels'"])
def test_the_word_stays_elsewhere(code: str) -> None:
    assert rewrite(code + "\n") == (code + "\n", [])


@pytest.mark.parametrize(
    "code",
    [
        "THIRD_PARTY = ['a', 'channels']",
        "INSTALLED = ('channels',)",
        "names = {'channels'}",
        "apps.append('channels')",
        "apps.insert(0, 'channels')",
        "return_ = apps + ['channels']",
        "globals()['INSTALLED_APPS'] = ['channels']",
        "apps.get_app_config('channels')",
    ],
)
def test_what_may_be_the_app_is_found_where_no_list_of_apps_is_known(code: str) -> None:
    sentence = "1: Write 'channels_classic' if this is the app."
    assert rewrite(code + "\n") == (code + "\n", [sentence])
    assert rewrite(code + "\n", alias=True) == (code + "\n", [])


def test_the_app_moves_before_those_with_a_runserver_of_their_own() -> None:
    code, findings = rewrite(
        """
        INSTALLED_APPS = [
            'django.contrib.auth',
            'django.contrib.staticfiles',  # files
            'channels',  # sockets
            'chat',
        ]
        """
    )
    assert findings == []
    assert code == textwrap.dedent(
        """
        INSTALLED_APPS = [
            'channels_classic',  # sockets
            'django.contrib.auth',
            'django.contrib.staticfiles',  # files
            'chat',
        ]
        """
    )


@pytest.mark.parametrize("last", ["'channels',\n]", "'channels'\n]", "'channels']"])
def test_it_moves_from_the_end_too(last: str) -> None:
    code, findings = rewrite(f"INSTALLED_APPS = [\n    'django.contrib.staticfiles',\n    {last}\n", alias=True)
    assert findings == []
    assert code.startswith("INSTALLED_APPS = [\n    'channels',\n    'django.contrib.staticfiles'")
    assert rewrite(code, alias=True) == (code, [])


@pytest.mark.parametrize("brackets", ["[]", "()"])
@pytest.mark.parametrize("comma", [",", ""])
def test_it_moves_from_the_end_with_its_comment(brackets: str, comma: str) -> None:
    code, findings = rewrite(
        f"""
        INSTALLED_APPS = {brackets[0]}
            'django.contrib.staticfiles',  # files

            'chat',  # rooms

            'channels'{comma}  # sockets
            # the end
        {brackets[1]}
        """
    )
    assert findings == []
    assert code == textwrap.dedent(
        f"""
        INSTALLED_APPS = {brackets[0]}
            'channels_classic',  # sockets
            'django.contrib.staticfiles',  # files

            'chat'{comma}  # rooms
            # the end
        {brackets[1]}
        """
    )


def test_it_stays_where_a_comment_would_lose_its_line() -> None:
    code, findings = rewrite("INSTALLED_APPS = ['django.contrib.staticfiles',  # files\n    'channels']\n", alias=True)
    assert code == "INSTALLED_APPS = ['django.contrib.staticfiles',  # files\n    'channels']\n"
    assert findings == ["2: Put the channels app first: otherwise another app's runserver runs."]


def test_comments_on_lines_of_their_own_stay_when_an_app_moves() -> None:
    code, findings = rewrite(
        """
        INSTALLED_APPS = (
            'django.contrib.staticfiles',
            # 'debug_toolbar',
            'channels',
            # needs channels:
            'chat',
        )
        """
    )
    assert findings == []
    assert code == textwrap.dedent(
        """
        INSTALLED_APPS = (
            'channels_classic',
            'django.contrib.staticfiles',
            # 'debug_toolbar',
            # needs channels:
            'chat',
        )
        """
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("['gone', 'a']", "['a']"),
        ("['a', 'gone']", "['a']"),
        ("['gone']", "[]"),
        ("('a', 'gone')", "('a',)"),
        ("'a', 'gone', 'b'", "'a', 'b'"),
        ("[\n    # first\n    'gone',  # x\n    # second\n    'a',\n]", "[\n    # first\n    # second\n    'a',\n]"),
        ("[\n    'a',  # one\n    # two\n    'gone',\n    # three\n]", "[\n    'a',  # one\n    # two\n    # three\n]"),
        ("[\n    'a', 'gone',  # both\n    # b\n    'b',\n]", "[\n    'a',  # both\n    # b\n    'b',\n]"),
        ("[\n    'a',  # one\n    'gone']", "[\n    'a'  # one\n    ]"),
        ("[  # all\n    # first\n    'gone',\n]", "[  # all\n    # first\n]"),
    ],
)
def test_comments_stay_when_an_entry_goes(before: str, after: str) -> None:
    old = before.replace("gone", "django.contrib.auth.middleware.SessionAuthenticationMiddleware")
    assert rewrite(f"MIDDLEWARE = {old}\n") == (f"MIDDLEWARE = {after}\n", [])


def test_comments_stay_when_arguments_go() -> None:
    code, _ = rewrite(
        """
        LAYER = {'BACKEND': 'asgi_ipc.IPCChannelLayer', 'ROUTING': 'r', 'CONFIG': {
            'prefix': 'mine',
            # ticket 1234
            'capacity': 20,
            'message_memory': 1024,  # bytes
            # 'expiry': 30,
        }, 'TEST_CONFIG': {
            # all that the tests need
            'prefix': 'test',
        }}
        """
    )
    assert code == textwrap.dedent(
        """
        LAYER = {'BACKEND': 'asgi_ipc.IPCChannelLayer', 'ROUTING': 'r', 'CONFIG': {
            # ticket 1234
            'capacity': 20,
            # 'expiry': 30,
        }, 'TEST_CONFIG': {
            # all that the tests need
        }}
        """
    )


def test_arguments_that_only_asgi_ipc_had_are_removed() -> None:
    code, findings = rewrite(
        """
        CHANNEL_LAYERS = {
            'default': {
                'BACKEND': 'asgi_ipc.IPCChannelLayer',
                'CONFIG': {
                    'prefix': 'mine',
                    'capacity': 50,  # per channel
                    'message_memory': 1024 * 1024,
                },
                'TEST_CONFIG': {'prefix': 'test'},
                'ROUTING': 'mysite.routing.channel_routing',
            },
        }
        """
    )
    assert findings == []
    assert "'capacity': 50" in code and "'TEST_CONFIG': {}" in code
    assert "prefix" not in code and "message_memory" not in code
    assert rewrite(code) == (code, [])


def test_arguments_of_other_layers_stay() -> None:
    code = "CHANNEL_LAYERS = {'default': {'BACKEND': 'asgi_redis.RedisChannelLayer', 'CONFIG': {'prefix': 'mine'}}}\n"
    assert rewrite(code) == (code, [])


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("L = {'BACKEND': 'asgi_rabbitmq.RabbitmqChannelLayer', 'ROUTING': 'r'}", "1: There is no layer for RabbitMQ"),
        ("L = {'BACKEND': 'asgi_ipc.IPCChannelLayer', 'CONFIG': CONFIG}", "1: The embedded layer takes no prefix"),
        (
            "L = dict(BACKEND='asgi_ipc.IPCChannelLayer', CONFIG=CONFIG)",
            "1: The embedded layer takes no prefix",
        ),
        ("L = dict(BACKEND='asgi_ipc.IPCChannelLayer', TEST_CONFIG=CONFIG)", "1: The embedded layer takes no prefix"),
        ("BACKEND = 'asgi_rabbitmq.local.RabbitmqLocalChannelLayer'", "1: There is no layer for RabbitMQ"),
        ("B = 'channels.database_layer.DatabaseChannelLayer'", "1: The layer in the database is gone"),
        ("INSTALLED_APPS = ['channels.delay']", "1: Stop the old rundelay"),
        ("LOGGING = {'loggers': {'daphne.ws_protocol': {}}}", "1: Daphne's loggers are gone"),
        ("LOGGING = {'loggers': {'daphne': {}}}", "1: Daphne's loggers are gone"),
        ("MIDDLEWARE = []\nMIDDLEWARE_CLASSES = MIDDLEWARE", "2: Django reads MIDDLEWARE only"),
        ("MIDDLEWARE_CLASSES = ['app.Mine']", "1: Check that it is new-style middleware"),
    ],
)
def test_a_setting_that_wants_a_person_is_found(code: str, sentence: str) -> None:
    _, findings = rewrite(code + "\n")
    assert len(findings) == 1 and findings[0].startswith(sentence)


@pytest.mark.parametrize("brackets", ["[]", "()"])
def test_middleware_classes_become_middleware(brackets: str) -> None:
    opening, closing = brackets[0], brackets[1]
    code, findings = rewrite(
        f"""
        MIDDLEWARE_CLASSES = {opening}
            'django.middleware.common.CommonMiddleware',
            'django.contrib.auth.middleware.SessionAuthenticationMiddleware',
        {closing}
        if DEBUG:
            MIDDLEWARE_CLASSES += ('django.middleware.csrf.CsrfViewMiddleware',)
        """
    )
    assert findings == []
    assert f"MIDDLEWARE = {opening}\n    'django.middleware.common.CommonMiddleware',\n{closing}" in code
    assert "MIDDLEWARE += ('django" in code
