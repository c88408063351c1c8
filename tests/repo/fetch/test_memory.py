"""Budgets that follow what a control group allows: how its limit is found, how it is divided."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from penstock.repo.fetch.memory import Shares, limit_of

MIB = 1 << 20
MOUNTS = """\
22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:26 / /sys/fs/cgroup ro shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
35 30 0:31 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
36 30 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
"""
V1, V2 = "/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified"
NONE = "9223372036854771712\n"


def found(groups: str, files: Mapping[str, str], mounts: str = MOUNTS) -> int | None:
    return limit_of(groups, mounts, lambda path: files.get(path))


def test_the_smallest_limit_on_the_way_up_counts() -> None:
    groups = "0::/user.slice/job/step\n"
    files = {
        f"{V2}/user.slice/job/step/memory.max": "max\n",
        f"{V2}/user.slice/job/step/memory.high": "700000000\n",
        f"{V2}/user.slice/job/memory.max": "500000000\n",
        f"{V2}/user.slice/memory.max": "900000000\n",
    }
    assert found(groups, files) == 500_000_000
    assert found(groups, {**files, f"{V2}/user.slice/job/step/memory.high": "400000000\n"}) == 400_000_000
    assert found(groups, {}) is None
    assert found(groups, dict.fromkeys(files, "max\n")) is None


def test_version_1_is_read_as_well() -> None:
    groups = "5:cpu,cpuacct:/\n4:memory:/docker/abc\n0::/\n"
    files = {f"{V1}/docker/abc/memory.limit_in_bytes": "268435456\n", f"{V1}/memory.limit_in_bytes": NONE}
    assert found(groups, files) == 256 * MIB
    assert found(groups, {f"{V1}/memory.limit_in_bytes": NONE}) is None


def test_a_container_sees_its_own_group_as_the_root_of_the_mount() -> None:
    mounts = MOUNTS.replace("0:32 / /sys/fs/cgroup/memory", "0:32 /docker/abc /sys/fs/cgroup/memory")
    files = {f"{V1}/memory.limit_in_bytes": "268435456\n"}
    assert found("4:memory:/docker/abc\n", files, mounts) == 256 * MIB
    assert found("4:memory:/\n", files, mounts) == 256 * MIB, "with a namespace of its own"
    assert found("0::/../../other\n", {f"{V2}/memory.max": "100\n"}) == 100, "moved out of its namespace's root"


@pytest.mark.parametrize("text", ["", "nonsense\n", "-5\n", "max"])
def test_what_makes_no_sense_is_no_limit(text: str) -> None:
    assert found("0::/a\n", {f"{V2}/a/memory.max": text}) is None
    assert found(text, {}, text) is None


def test_memory_that_is_ample_is_used_as_ever_and_a_scarce_one_sparingly() -> None:
    assert Shares.of(None) == Shares(128 * MIB, 256 * MIB, 128 * MIB, 32 * MIB)
    assert Shares.of(4096 * MIB) == Shares.of(None)
    last = Shares(0, 0, 0, 0)
    for limit in range(0, 3000 * MIB, 50 * MIB):
        now = Shares.of(limit)
        assert now.reading >= last.reading
        assert now.sending >= last.sending
        assert now.fetching >= last.fetching >= 0
        assert now.packing >= last.packing
        assert now.packing % MIB == 0
        assert min(now.reading, now.sending, now.fetching) >= 8 * MIB
        last = now
    assert sum((Shares.of(192 * MIB).reading, Shares.of(192 * MIB).sending)) <= 48 * MIB
