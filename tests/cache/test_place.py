"""Which disks are a network's."""

from __future__ import annotations

import pytest

from penstock.cache import network_disk
from penstock.cache.place import file_system_of

TABLE = b"""\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:45 / /home rw,relatime shared:20 master:1 - nfs4 server:/home rw,vers=4.2
41 22 0:46 / /mnt/a\\040b rw - fuse.sshfs host: rw
42 22 0:47
broken line
"""


@pytest.mark.parametrize(
    ("device", "kind"), [((8, 1), "ext4"), ((0, 45), "nfs4"), ((0, 46), "fuse.sshfs"), ((0, 47), ""), ((9, 9), "")]
)
def test_the_type_of_a_file_system_is_found_by_its_device(device: tuple[int, int], kind: str) -> None:
    assert file_system_of(TABLE, *device) == kind


def test_kernel_tables_are_no_network_disk() -> None:
    assert network_disk("/proc") == ""
    assert network_disk("/there/is/none") == ""
