from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.cache import record as r

keys = st.binary(min_size=32, max_size=32)
nonces = st.binary(min_size=16, max_size=16)


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**40), nonces, st.integers(0, 64 * 8 - 1))
def test_segment_header_round_trips_and_knows_damage(number: int, size: int, nonce: bytes, bit: int) -> None:
    header = r.SegmentHeader(number, size, nonce)
    data = r.encode_segment_header(header)
    assert len(data) == r.SEGMENT_HEADER_BYTES == 64
    assert r.decode_segment_header(data) == header
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    found = r.decode_segment_header(bytes(damaged))
    assert found is None or (found == header and bit >= 48 * 8), "only padding may differ unnoticed"
    assert r.decode_segment_header(data[:-1]) is None


@given(nonces, nonces, st.integers(0, 2**31), keys, st.integers(1, 2**22), st.integers(0, 44 * 8 - 1))
def test_record_header_holds_only_where_it_was_written(
    nonce: bytes, other: bytes, position: int, key: bytes, length: int, bit: int
) -> None:
    data = r.encode_record_header(nonce, position, key, length)
    assert len(data) == r.RECORD_HEADER_BYTES == 48
    expected = r.BlockRecord(key, position + 48, length)
    assert r.decode_record_header(nonce, position, data) == expected
    assert r.decode_record_header(nonce, position + 8, data) is None
    assert other == nonce or r.decode_record_header(other, position, data) is None
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    assert r.decode_record_header(nonce, position, bytes(damaged)) is None


def test_zeros_are_the_end_of_a_chain() -> None:
    assert r.decode_record_header(bytes(16), 64, bytes(48)) is None


@given(nonces, st.lists(st.tuples(keys, st.integers(64, 2**20), st.integers(1, 2**20)), max_size=20), st.data())
def test_table_round_trips_and_knows_damage(
    nonce: bytes, rows: list[tuple[bytes, int, int]], data: st.DataObject
) -> None:
    records = [r.BlockRecord._make(row) for row in rows]
    size = 1 << 22
    table = r.encode_table(nonce, size, records)
    assert len(table) == r.table_bytes(len(records))
    trailer = table[-r.TRAILER_BYTES :]
    extent = r.decode_trailer(size, trailer)
    assert extent == (size - len(table), len(table) - r.TRAILER_BYTES)
    assert r.decode_table(nonce, size, table[: extent[1]], trailer) == records
    if records:
        bit = data.draw(st.integers(0, extent[1] * 8 - 1))
        damaged = bytearray(table[: extent[1]])
        damaged[bit // 8] ^= 1 << bit % 8
        assert r.decode_table(nonce, size, bytes(damaged), trailer) is None


@given(st.integers(1, 1 << 22))
def test_records_are_aligned_and_hold_their_block(length: int) -> None:
    assert r.record_bytes(length) % 8 == 0
    assert 0 <= r.record_bytes(length) - r.RECORD_HEADER_BYTES - length < 8
