"""Bytes that wait: memory first, files behind it, a quota over all."""

from __future__ import annotations

import os
import random

import pytest

from channels_classic.interface_server.http.spool import FILE_SIZE, MEMORY_EACH, NoSpace, ResponseSpool, SpoolQuota

PIECE = 65536


def filled(quota: SpoolQuota, *sizes: int) -> ResponseSpool:
    spool = ResponseSpool(quota)
    for size in sizes:
        spool.write(b"x" * size)
    return spool


def test_bytes_come_out_in_the_order_in_which_they_went_in_wherever_they_waited() -> None:
    rng = random.Random(1)
    quota = SpoolQuota(memory=MEMORY_EACH // 2, disk=10**9)
    spool, written, read = ResponseSpool(quota), bytearray(), bytearray()
    for _ in range(400):
        part = rng.randbytes(rng.choice([0, 1, 1000, 100_000]))
        spool.write(part)
        written += part
        for _ in range(rng.choice([0, 1, 5])):
            read += spool.read(rng.choice([1, 1000, PIECE]))
        assert spool.size == len(written) - len(read)
    while piece := spool.read(PIECE):
        read += piece
    assert read == written
    assert (quota.take_memory(MEMORY_EACH // 2), quota.has_disk(10**9)) == (True, True), "everything is free again"


def test_what_one_response_may_not_hold_in_memory_goes_to_a_file() -> None:
    spool = filled(SpoolQuota(memory=10 * MEMORY_EACH, disk=MEMORY_EACH), MEMORY_EACH)
    assert not spool.has_files
    spool.write(b"y")
    assert spool.has_files
    spool.close()


def test_what_others_hold_in_memory_sends_the_next_to_a_file() -> None:
    quota = SpoolQuota(memory=100, disk=100)
    first, second = filled(quota, 90), filled(quota, 20)
    assert (first.has_files, second.has_files) == (False, True)
    assert second.read(PIECE) == b"x" * 20
    assert not second.has_files
    second.close()
    first.close()
    assert quota.take_memory(100)


def test_a_file_that_was_read_makes_room_while_the_next_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("channels_classic.interface_server.http.spool.FILE_SIZE", 1000)
    quota = SpoolQuota(memory=0, disk=3000)
    spool = filled(quota, 1000, 1000)
    assert not quota.has_disk(1001)
    assert spool.read(1000)
    assert quota.has_disk(2000)
    spool.close()
    assert FILE_SIZE > 1000


def test_without_room_nothing_is_written() -> None:
    quota = SpoolQuota(memory=0, disk=100)
    spool = filled(quota, 90)
    with pytest.raises(NoSpace, match="--spool-disk"):
        spool.write(b"x" * 11)
    assert spool.size == 90
    spool.close()


class Owner:
    def __init__(self, quota: SpoolQuota, size: int, rank: float) -> None:
        self.spool = filled(quota, size)
        self._rank = rank
        quota.reclaimables.add(self)

    @property
    def disk_size(self) -> int:
        return self.spool.disk_size

    def rank(self) -> float:
        return self._rank

    def reclaim(self) -> None:
        self.spool.close()


def test_the_lowest_in_rank_lose_their_files_first_and_only_as_many_as_needed() -> None:
    quota = SpoolQuota(memory=0, disk=100)
    fast, slow, slowest = (Owner(quota, 30, rank) for rank in (3.0, 2.0, 1.0))
    spool = filled(quota, 40)
    assert (fast.spool.size, slow.spool.size, slowest.spool.size) == (30, 30, 0)
    for one in (spool, fast.spool, slow.spool):
        one.close()


def test_the_one_that_asks_may_be_the_one_that_loses() -> None:
    quota = SpoolQuota(memory=0, disk=100)
    slowest = Owner(quota, 90, 1.0)
    with pytest.raises(NoSpace):
        slowest.spool.write(b"x" * 20)
    assert quota.has_disk(100)


def test_who_has_no_files_loses_nothing() -> None:
    quota = SpoolQuota(memory=0, disk=100, files=2)
    reader, slow = Owner(quota, 0, 1.0), Owner(quota, 90, 2.0)
    lost: list[Owner] = []
    reader.reclaim = lambda: lost.append(reader)  # type: ignore[method-assign]
    spool = filled(quota, 50, 1)
    assert (lost, slow.spool.size, spool.size) == ([], 0, 51)
    assert not quota.has_disk(60)
    assert not lost
    spool.close()


def test_nobody_loses_files_for_what_has_no_room_even_without_them() -> None:
    quota = SpoolQuota(memory=0, disk=100)
    owner = Owner(quota, 30, 1.0)
    assert not quota.has_disk(101)
    assert owner.spool.size == 30
    assert quota.has_disk(100)
    assert owner.spool.size == 0


def test_files_are_bounded_and_the_first_in_rank_lose_theirs() -> None:
    quota = SpoolQuota(memory=0, disk=10**6, files=2)
    first, second = Owner(quota, 10, 1.0), Owner(quota, 10, 2.0)
    third = filled(quota, 10)
    assert (first.spool.size, second.spool.size, third.size) == (0, 10, 10)
    quota.reclaimables.clear()
    with pytest.raises(NoSpace, match="ulimit -n"):
        filled(quota, 10)
    for one in (second.spool, third):
        one.close()
    filled(quota, 10).close()


def test_a_disk_that_fails_is_like_one_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    spool = filled(SpoolQuota(memory=0, disk=100), 10)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(NoSpace, match="No space left on device"):
        spool.write(b"x")
    spool.close()
