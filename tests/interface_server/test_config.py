"""Options that make no sense are refused with their name, what was given and what is expected."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import pytest

from channels_classic.interface_server.config import ClientLimits, InterfaceConfig
from channels_classic.interface_server.server.listen import Listen
from channels_classic.interface_server.server.server import Program
from channels_classic.management.status import StatusConfig
from channels_classic.worker.config import WorkerConfig


@pytest.mark.parametrize(
    ("config", "name", "value", "sentence"),
    [
        (InterfaceConfig, "http_timeout", 0.0, "--http-timeout is 0: expected a number above 0."),
        (InterfaceConfig, "stall_timeout", -1.0, "--stall-timeout is -1: expected a number above 0."),
        (InterfaceConfig, "max_body", -5, "--max-body is -5: expected a number from 0."),
        (InterfaceConfig, "ping_interval", math.nan, "--ping-interval is nan: expected a number from 0."),
        (InterfaceConfig, "ping_timeout", math.inf, "--ping-timeout is inf: expected a number above 0."),
        (InterfaceConfig, "websocket_connect_timeout", -7.0, "--websocket-connect-timeout is -7: expected a number"),
        (InterfaceConfig, "waiting_frames", 0, "--waiting-frames is 0: expected a number from 1."),
        (InterfaceConfig, "sockets_per_address", -1, "--sockets-per-address is -1: expected a number from 0."),
        (InterfaceConfig, "root_path", "site", "--root-path, or FORCE_SCRIPT_NAME, is 'site': expected a path"),
        (InterfaceConfig, "root_path", "//evil.example", "is '//evil.example': expected a path that begins with one"),
        (InterfaceConfig, "root_path_header", "a b", "--root-path-header is 'a b': expected ASCII letters"),
        (InterfaceConfig, "ws_protocols", ("chat", "a\r\nb"), r"--ws-protocol is 'a\\r\\nb': expected ASCII letters"),
        (
            InterfaceConfig,
            "event_streams",
            ("chat",),
            "--event-streams is 'chat': expected a path, which begins with /",
        ),
        (InterfaceConfig, "health_path", "healthz", "--health-path is 'healthz': expected a path, which begins with /"),
        (InterfaceConfig, "health_path", "/health?x", "--health-path is '/health\\?x': expected a path"),
        (InterfaceConfig, "ws_protocols", ("",), "--ws-protocol is '': expected ASCII letters"),
        (InterfaceConfig, "forwarded_allow_ips", ("10.0.0.0/8",), "--forwarded-allow-ips is given without --proxy"),
        (InterfaceConfig, "ping_timeout", 1e300, r"--ping-timeout is 1e\+300: expected a number above 0 to 1e\+09."),
        (InterfaceConfig, "http_timeout", math.nan, "--http-timeout is nan: expected a number above 0."),
        (InterfaceConfig, "max_body", 10**30, r"--max-body is 1e\+30: expected a number from 0 to 1e\+15."),
        (
            InterfaceConfig,
            "ws_protocols",
            ["chat"],
            "ws_protocols is .'chat'., of type list: expected a tuple of texts",
        ),
        (
            InterfaceConfig,
            "ws_protocols",
            "chat",
            "ws_protocols is 'chat', of type str: expected a tuple of texts",
        ),
        (
            InterfaceConfig,
            "event_streams",
            (1,),
            "event_streams is .1,., of type tuple: expected a tuple of texts",
        ),
        (InterfaceConfig, "proxy_headers", "no", "InterfaceConfig.proxy_headers is 'no', of type str: expected bool"),
        (InterfaceConfig, "max_body", "1000", "InterfaceConfig.max_body is '1000', of type str: expected int"),
        (
            InterfaceConfig,
            "http_timeout",
            None,
            "http_timeout is None, of type NoneType: expected float",
        ),
        (InterfaceConfig, "root_path", 5, "InterfaceConfig.root_path is 5, of type int: expected str"),
        (ClientLimits, "max_message", True, "ClientLimits.max_message is True, of type bool: expected int"),
        (ClientLimits, "max_message", 0, "--max-message is 0: expected a number from 1."),
        (ClientLimits, "head_timeout", 0.0, "--head-timeout is 0: expected a number above 0."),
        (ClientLimits, "max_connections", -1, "--max-connections is -1: expected a number from 0."),
        (Listen, "fd", -3, "--fd is -3: expected a number from 0."),
        (Listen, "backlog", 0, "--backlog is 0: expected a number from 1."),
        (Listen, "fd", 10**12, r"--fd is 1e\+12: expected a number from 0 to 2.14748e\+09."),
        (Listen, "backlog", 10**12, r"--backlog is 1e\+12: expected a number from 1 to 2.14748e\+09."),
        (Program, "access_log_format", "json", "--access-log-format is given without --access-log"),
        (Program, "drain", -1.0, "--drain is -1: expected a number from 0."),
        (Program, "processes", 100_000, "--processes is 100000: expected a number from 1 to 1000."),
        (WorkerConfig, "threads", 100_000, "--threads is 100000: expected a number from 1 to 1000."),
        (WorkerConfig, "grace", 1e300, r"--grace is 1e\+300: expected a number from 0 to 1e\+09."),
        (WorkerConfig, "prefetch", 10**30, r"--prefetch is 1e\+30: expected a number from 1 to 1e\+15."),
        (
            WorkerConfig,
            "only_channels",
            ("[http.request",),
            r"--only-channels has the pattern '\[http.request', which has '\['",
        ),
        (WorkerConfig, "exclude_channels", ("",), "--exclude-channels has the pattern '', which is empty"),
        (WorkerConfig, "limit", ("a, b=1",), "--limit has the pattern 'a, b', which has ','"),
        (WorkerConfig, "limit", ("a=1", "a=2"), "--limit is given twice for 'a': write it once."),
        (WorkerConfig, "threads", 0, "--threads is 0: expected a number from 1 to 1000."),
    ],
)
def test_an_option_that_makes_no_sense_is_named(config: Any, name: str, value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        config(**{name: value})


@pytest.mark.parametrize("root_path", ["", "/", "/site", "/a/b/", "/caf%C3%A9"])
def test_a_path_is_taken_as_root_path(root_path: str) -> None:
    assert InterfaceConfig(root_path=root_path).root_path == root_path


def test_unlimited_is_a_value() -> None:
    assert InterfaceConfig(websocket_timeout=-1, max_body=0, ping_interval=0).ping_interval == 0
    assert Listen(fd=None, port=None).fd is None


@pytest.mark.parametrize("config", [ClientLimits, InterfaceConfig, Listen, Program, StatusConfig, WorkerConfig])
def test_every_number_says_how_small_it_may_be(config: Any) -> None:
    numbers = [found for found in fields(config) if found.type in ("int", "float")]
    assert [
        found.name for found in numbers if found.metadata["least"] is None and found.metadata["above"] is None
    ] == []
