"""The forms in which `hosts` names Redis servers, and the errors for all others."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
import redis

from channels_classic.exceptions import LayerUnavailable
from channels_classic.layers.redis import RedisChannelLayer, RedisClusterChannelLayer, RedisSentinelChannelLayer
from channels_classic.layers.redis.hosts import parse_hosts
from tests.support.certificates import with_passphrase
from tests.support.descriptors import without_descriptors


@pytest.mark.parametrize(
    ("host", "url", "options"),
    [
        ("redis://localhost:6379/1", "redis://localhost:6379/1", {}),
        ("rediss://:secret@db:6380", "rediss://:secret@db:6380", {}),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2", {}),
        ("redis://:%23secret@db:6379/0", "redis://:%23secret@db:6379/0", {}),
        (("localhost", 6379), "redis://localhost:6379", {}),
        (["localhost", "6379"], "redis://localhost:6379", {}),
        (("::1", 6379), "redis://[::1]:6379", {}),
        ({"address": "redis://db:6379/3"}, "redis://db:6379/3", {}),
        ({"address": ("db", 6379), "db": 3, "password": "#"}, "redis://db:6379", {"db": 3, "password": "#"}),
        ({"host": "db"}, "redis://db:6379", {}),
        ({"host": "db", "port": 6380, "ssl": True}, "rediss://db:6380", {}),
        ({"unix_socket_path": "/run/a b.sock"}, "unix:///run/a%20b.sock", {}),
        ({"unix_socket_path": "/run/a#1@b.sock"}, "unix:///run/a%231%40b.sock", {}),
        ("unix:///run/a@b.sock", "unix:///run/a@b.sock", {}),
        ("unix://:secret@/run/redis.sock", "unix://:secret@/run/redis.sock", {}),
    ],
)
def test_every_form_of_the_neighbours_is_understood(host: Any, url: str, options: dict[str, Any]) -> None:
    (found,) = parse_hosts([host])
    assert (found.url, found.options) == (url, options)


def test_databases_of_a_server_are_shards_of_their_own() -> None:
    RedisChannelLayer(
        hosts=["redis://x/0", "redis://x/1", "redis://x:6380/0", "unix:///x", "unix:///X", "unix:///x?db=1"]
    )


def test_a_node_of_a_cluster_may_be_named_twice() -> None:
    RedisClusterChannelLayer(hosts=["redis://x", "redis://x"])


def test_no_host_is_the_one_on_this_machine() -> None:
    assert [host.url for host in parse_hosts(None)] == ["redis://localhost:6379"]
    assert [host.url for host in parse_hosts([])] == ["redis://localhost:6379"]


@pytest.mark.parametrize(
    ("host", "options"),
    [
        ("redis://db/3", {}),
        ("redis://db//3", {}),
        ("redis://db?db=3", {}),
        ({"host": "db", "db": 3}, {}),
        ({"address": ("db", 6379), "db": "3"}, {}),
        (("db", 6379), {"db": 3}),
        ("redis://db/3", {"db": 3}),
    ],
)
def test_the_database_is_used_wherever_it_is_named(host: Any, options: dict[str, Any]) -> None:
    layer = RedisChannelLayer(hosts=[host], connection_kwargs=options)
    assert [connector.where for connector, _ in layer._connectors()] == ["db:6379/3"]


MISTAKES = [
    ("redis://x", r"write \['redis://x'\]"),
    ({"address": "redis://x"}, r"is a single host"),
    ("redis://a:6379,redis://b:6379", r"is text with several URLs: expected a list"),
    ("", r"`hosts` is empty: expected a list"),
    ([("[::1]", 6379)], r"'\[::1\]' in `hosts` is not a name or an address: expected '::1'"),
    (["redis:localhost:6379"], r"'redis:localhost:6379' in `hosts` is not a URL: expected a URL"),
    (("localhost", 6379), r"write \[\('localhost', 6379\)\]"),
    (6379, r"of type int: expected a list"),
    (["127.0.0.1:6379"], r"write 'redis://127.0.0.1:6379/0'"),
    (["localhost"], r"'localhost' in `hosts` is not a URL"),
    (["http://x"], r"begins with 'http': expected one of redis, rediss, unix"),
    (["redis+sentinel://x"], r"use RedisSentinelChannelLayer"),
    (["redis://:a#b@x:6379"], r"'#' is '%23'"),
    (["redis://:a/b@x:6379"], r"percent-encode"),
    (["unix:///run/my#1.sock"], r"'#' is '%23'"),
    (["unix://run/redis.sock"], r"no absolute path of a socket"),
    (["redis://x:70000"], r"no valid port"),
    (["redis://x", "redis://:secret@x:6379/0"], r"names x:6379/0 twice: expected each server once"),
    ([("x", 6379), {"host": "X", "db": "0"}], r"names x:6379/0 twice"),
    (["unix:///run/x.sock", {"path": "/run/x.sock", "db": 0}], r"names /run/x.sock twice"),
    (["redis://a..b:6379"], r"names the host 'a..b': expected one name"),
    ([(f"{'a' * 64}.example.com", 6379)], r"'a{64}.example.com' in `hosts` is not a name"),
    ([{"address": "redis://x", "path": "/run/redis.sock"}], r"'path' is for Unix sockets"),
    (["redis://x:0"], r"port 0"),
    (["redis://x:6379/first"], r"the database 'first'"),
    ([("localhost", 0)], r"The port 0 .* from 1 to 65535"),
    ([("localhost", None)], r"The port None"),
    ([(1, 2)], r"The host 1 .* expected text"),
    ([5], r"of type int: expected a URL"),
    ([b"redis://x"], r"of type bytes"),
    ([{"db": 1}], r"has 'db': expected 'address' or 'host'"),
    ([{}], r"has nothing"),
    ([{"sentinels": [("x", 1)], "master_name": "m"}], r"use RedisSentinelChannelLayer"),
]


@pytest.mark.parametrize(("hosts", "sentence"), MISTAKES)
def test_a_form_that_cannot_work_is_refused_with_the_one_that_does(hosts: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        RedisChannelLayer(hosts=hosts)


@pytest.mark.parametrize("hosts", ["redis://x", {"sentinels": []}, ["sentinel1:26379"], [("s", 1, 2)], [("s", "x")]])
def test_sentinels_are_pairs(hosts: Any) -> None:
    with pytest.raises(ValueError, match="`hosts`"):
        RedisSentinelChannelLayer(hosts=hosts)


@pytest.mark.parametrize(
    "hosts",
    [["redis://user@x:6379/0?password=secret"], [{"address": "redis://:secret@x", "password": "secret"}]],
)
def test_no_representation_shows_a_password(hosts: Any) -> None:
    layer = RedisChannelLayer(hosts=hosts)
    assert "secret" not in f"{layer} {layer!r} {layer._hosts}"


@pytest.mark.parametrize(
    "arguments",
    [
        {"hosts": ["redis://:sec#ret@secret:6379"]},
        {"hosts": "redis://:secret@x"},
        {"hosts": ["redis://:secret@x:port"]},
        {"hosts": ["redis:/:secret@x:6379"]},
        {"hosts": ["secret@redis://x"]},
        {"hosts": ["redis://:secret@x?password=secret"]},
        {"hosts": ["redis://x?password=other&secret"]},
        {"hosts": ["redis://x?password=other&secret=1"]},
        {"hosts": ["unix://:secret/word@/run/redis.sock"]},
        {"hosts": ["unix://:secret#word@/run/redis.sock"]},
        {"hosts": ["unix://:secret?word@/run/redis.sock"]},
        {"hosts": ["unix://:secret[word@/run/redis.sock"]},
        {"hosts": ["unix://:secret/run/redis.sock"]},
        {"hosts": ["/run/redis.sock?password=secret"]},
        {"hosts": ("redis://:secret@x", 6379)},
        {"hosts": [(b":secret@x", 6379)]},
        {"hosts": [("x", "6379?password=secret")]},
        {"hosts": [{"redis://:secret@x": 1}]},
        {"hosts": [("x", 6379, 0, "secret")]},
        {"hosts": [{"address": "redis://:other@x", "password": "secret"}]},
        {"connection_kwargs": "password=secret"},
        {"connection_kwargs": {"password": "secret", "db": "x"}},
        {"symmetric_encryption_keys": "secret"},
    ],
)
def test_no_error_shows_a_password(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"`(hosts|connection_kwargs|symmetric_encryption_keys)`") as caught:
        RedisChannelLayer(**arguments)
    assert "secret" not in str(caught.value)


def test_no_error_about_sentinels_shows_a_password() -> None:
    with pytest.raises(ValueError, match="names sentinels") as caught:
        RedisSentinelChannelLayer(hosts=[{"sentinels": ["redis://:secret@x"], "master_name": "m"}])
    assert "secret" not in str(caught.value)


def test_a_layer_is_shown_with_what_keeps_it_apart_from_others() -> None:
    hosts = ["redis://:secret@db.example.com:6379/3"]
    assert str(RedisChannelLayer(hosts=hosts)) == "RedisChannelLayer (redis://db.example.com:6379/3)"
    assert str(RedisChannelLayer(hosts=hosts, prefix="shop:")).endswith("(redis://db.example.com:6379/3, prefix shop:)")


def test_a_private_key_with_a_passphrase_is_refused_unless_that_is_given(tmp_path: Path) -> None:
    certificate, key = with_passphrase(tmp_path)
    options = {"ssl_certfile": certificate, "ssl_keyfile": key}
    with pytest.raises(ValueError, match="has a passphrase: give it as 'ssl_password'"):
        RedisChannelLayer(hosts=["rediss://localhost"], connection_kwargs=options)
    RedisChannelLayer(hosts=["rediss://localhost"], connection_kwargs={**options, "ssl_password": "secret"})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ssl_keyfile": "key"}, "'ssl_keyfile' is given without 'ssl_certfile'"),
        ({"ssl_certfile": "nothing"}, r"'ssl_certfile' is refused \(.*PEM lib.*\), expected a PEM file"),
        ({"ssl_certfile": "certificate", "ssl_keyfile": "key", "ssl_password": "wrong"}, "'ssl_certfile' is refused"),
        ({"ssl_ca_certs": "nothing"}, r"'ssl_ca_certs' is refused \(.*no certificate.*\), expected a PEM file"),
    ],
)
def test_files_from_which_tls_cannot_be_made_are_refused(tmp_path: Path, options: Any, sentence: str) -> None:
    certificate, key = with_passphrase(tmp_path)
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    paths = {"certificate": certificate, "key": key, "nothing": str(nothing)}
    options = {name: paths.get(value, value) for name, value in options.items()}
    with pytest.raises(ValueError, match=sentence) as caught:
        RedisChannelLayer(hosts=["rediss://localhost"], connection_kwargs=options)
    assert "wrong" not in str(caught.value) and "_ssl.c" not in str(caught.value)
    with pytest.raises(ValueError, match=sentence):
        RedisSentinelChannelLayer(hosts=[("localhost", 1)], connection_kwargs=options)


@pytest.mark.parametrize(
    "options",
    [
        {"ssl_ca_data": "x"},
        {"ssl_cert_reqs": 5},
        {"ssl_ciphers": "NOPE"},
        {"ssl_include_verify_flags": ["x"]},
        {"ssl_password": 5},
    ],
)
def test_values_from_which_tls_cannot_be_made_are_refused(tmp_path: Path, options: Any) -> None:
    certificate, key = with_passphrase(tmp_path)
    options = {"ssl_certfile": certificate, "ssl_keyfile": key, "ssl_password": "secret", **options}
    with pytest.raises(ValueError, match=r"'ssl_\w+' is refused \(.*\), expected "):
        RedisChannelLayer(hosts=["rediss://localhost"], connection_kwargs=options)


def test_values_of_tls_that_redis_py_takes_are_accepted() -> None:
    options = {
        "ssl_cert_reqs": "none",
        "ssl_ciphers": "ECDHE+AESGCM",
        "ssl_include_verify_flags": [ssl.VerifyFlags.VERIFY_X509_STRICT],
        "ssl_min_version": ssl.TLSVersion.TLSv1_3,
    }
    RedisChannelLayer(hosts=["rediss://localhost"], connection_kwargs=options)
    RedisChannelLayer(hosts=["rediss://localhost?ssl_cert_reqs=optional"])


def test_values_of_the_socket_that_redis_py_takes_are_accepted() -> None:
    options = {
        "client_name": "my-app",
        "credential_provider": redis.UsernamePasswordCredentialProvider("user", "secret"),
        "socket_keepalive_options": {socket.TCP_KEEPINTVL: 5},
        "socket_type": socket.AF_INET,
    }
    RedisChannelLayer(hosts=["redis://localhost"], connection_kwargs=options)


def test_a_process_without_descriptors_is_told_so_and_not_to_look_for_the_server() -> None:
    layer = RedisChannelLayer(hosts=["redis://127.0.0.1:1"])
    with without_descriptors(), pytest.raises(LayerUnavailable, match="no descriptor left for a connection"):
        layer.send("jobs", {})

    async def send() -> None:
        with without_descriptors(), pytest.raises(LayerUnavailable, match="no descriptor left for a connection"):
            await layer.send_async("jobs", {})

    asyncio.run(send())
