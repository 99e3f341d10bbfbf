"""The number of sockets of each address."""

from __future__ import annotations

from channels_classic.interface_server.layer.addresses import Addresses


def test_sockets_are_counted_by_address() -> None:
    addresses = Addresses(2)
    assert [addresses.admit("a"), addresses.admit("a"), addresses.admit("a"), addresses.admit("b")] == [
        *(True, True, False, True),
    ]
    addresses.release("a")
    assert addresses.admit("a")


def test_clients_without_an_address_are_not_limited() -> None:
    addresses = Addresses(1)
    assert all(addresses.admit(None) for _ in range(5))
    addresses.release(None)


def test_without_a_limit_every_socket_is_admitted() -> None:
    addresses = Addresses(0)
    assert all(addresses.admit("a") for _ in range(5))
    addresses.release("a")
