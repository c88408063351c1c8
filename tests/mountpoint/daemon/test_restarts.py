"""When a serving process that died is followed by another, and what a kernel's greeting tells."""

from __future__ import annotations

import struct

from penstock.mountpoint.daemon.device import can_resend
from penstock.mountpoint.daemon.restart_policy import MOST, Faults, Restarts


def test_the_first_follow_at_once_and_later_ones_after_pauses_that_grow() -> None:
    restarts = Restarts()
    pauses = [restarts.next(100.0) or 0.0 for _ in range(MOST)]
    pauses = [at - 100.0 for at in pauses]
    assert pauses[:4] == [0, 0, 0, 0]
    assert pauses[4:] == sorted(pauses[4:])
    assert 0 < pauses[4] < pauses[-1] <= 1
    assert restarts.next(101.0) is None
    assert restarts.total == MOST


def test_what_is_long_ago_does_not_count() -> None:
    restarts = Restarts()
    for hour in range(MOST * 3):
        assert restarts.next(hour * 3600.0) == hour * 3600.0
    assert restarts.total == MOST * 3


def greeting(flags: int, more: int) -> bytes:
    return bytes(40) + struct.pack("=IIIII", 7, 45, 131072, flags, more) + bytes(44)


def test_what_a_kernel_can_do() -> None:
    assert can_resend(greeting(1 << 30, 1 << 7))
    assert not can_resend(greeting(1 << 30, 0))
    assert not can_resend(greeting(0, 1 << 7))  # before Linux 5.17 there were no more flags there
    assert not can_resend(greeting(1 << 30, 1 << 7)[:56])
    assert not can_resend(b"")


def test_the_second_fault_in_a_row_is_put_down_to_the_cache() -> None:
    faults = Faults()
    assert not faults.note(100.0, fault=True)
    assert not faults.note(101.0, fault=False), "it was killed"
    assert faults.note(102.0, fault=True)
    assert not Faults().note(0.0, fault=True)


def test_faults_that_are_long_apart_are_not() -> None:
    faults = Faults()
    assert not any(faults.note(hour * 3600.0, fault=True) for hour in range(1, 50))
