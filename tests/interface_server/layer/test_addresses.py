"""The number of sockets of each address."""

from __future__ import annotations

import pytest

from channels_classic.interface_server.layer.addresses import Addresses


def test_sockets_are_counted_by_address() -> None:
    addresses = Addresses(2)
    assert [addresses.admit("a"), addresses.admit("a"), addresses.admit("a"), addresses.admit("b")] == [
        *(True, True, False, True),
    ]
    addresses.release("a")
    assert addresses.admit("a")


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:0:0:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_addresses_of_one_ipv6_network_are_one_client(first: str, second: str, is_same: bool) -> None:
    addresses = Addresses(1)
    assert addresses.admit(first)
    assert addresses.admit(second) is not is_same
    addresses.release(first)
    assert addresses.admit(second) is is_same


def test_clients_without_an_address_are_not_limited() -> None:
    addresses = Addresses(1)
    assert all(addresses.admit(None) for _ in range(5))
    addresses.release(None)


def test_without_a_limit_every_socket_is_admitted() -> None:
    addresses = Addresses(0)
    assert all(addresses.admit("a") for _ in range(5))
    addresses.release("a")
