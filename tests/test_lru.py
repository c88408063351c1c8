"""What was used last, within a bound."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from penstock.lru import Lru


def test_what_was_used_longest_ago_goes_first() -> None:
    values: Lru[str, int] = Lru(2)
    values.put("a", 1)
    values.put("b", 2)
    assert values.get("a") == 1
    values.put("c", 3)
    assert (values.get("a"), values.get("b"), values.get("c")) == (1, None, 3)


def test_a_look_is_no_use() -> None:
    values: Lru[str, int] = Lru(2)
    values.put("a", 1)
    values.put("b", 2)
    assert values.peek("a") == 1
    assert "a" in values
    values.put("c", 3)
    assert "a" not in values
    assert values.peek("a") is None


def test_weights_are_what_is_bounded() -> None:
    values: Lru[str, str] = Lru(10)
    values.put("a", "first", 6)
    values.put("a", "second", 2)  # in its place
    values.put("b", "b", 8)
    assert (values.peek("a"), values.peek("b")) == ("second", "b")
    values.drop("b")
    values.drop("b")
    values.put("c", "c", 8)
    assert (values.peek("a"), values.peek("c")) == ("second", "c")
    values.put("d", "heavier than all", 100)
    assert [key for key in "abcd" if key in values] == ["d"]


def test_threads_leave_it_whole() -> None:
    values: Lru[int, int] = Lru(50)

    def work(seed: int) -> None:
        for number in range(3000):
            key = (number * seed) % 97
            values.put(key, key, 1 + key % 3)
            if number % 5 == 0:
                values.drop((key * 7) % 97)
            assert values.get(key) in (key, None)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, (3, 5, 7, 11)))
    held = [key for key in range(97) if key in values]
    assert 0 < sum(1 + key % 3 for key in held) <= 50
    for key in held:
        values.drop(key)
    values.put(1, 1, 50)
    values.put(2, 2, 0)
    assert 1 in values  # nothing of what went still weighs
