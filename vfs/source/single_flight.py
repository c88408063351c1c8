"""Single-flight: whatever several readers want at once is fetched once.

**Invariant:** a key is in flight from `start` until its fetch has ended, and never afterwards: who comes later
starts anew, so a failure reaches all who waited for it and nobody else.
**Invariant:** a fetch belongs to the nursery, not to the reader that asked first: a cancelled reader takes nothing
from the others.

Used from the event loop's thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from types import TracebackType
from typing import Generic, TypeVar

import trio

from penstock.errors import PenstockError

from .workers import Workers

__all__ = ["Flight", "SingleFlight"]

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Flight(Generic[_K, _V]):
    """One fetch of one or more keys: an event, then either the values or the error."""

    __slots__ = ("_traceback", "done", "error", "values")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.values: dict[_K, _V] = {}
        # Stands when the nursery is cancelled before the fetch has ended.
        self.error: Exception | None = PenstockError("the file system is closing")
        self._traceback: TracebackType | None = None

    def land(self, values: dict[_K, _V]) -> None:
        """Take the values."""
        self.values = values
        self.error = None

    def crash(self, error: Exception) -> None:
        """Take what the fetch raised."""
        self.error = error
        self._traceback = error.__traceback__

    async def wait(self, key: _K) -> _V:
        """Return the value of one of the keys; raises what the fetch raised."""
        await self.done.wait()
        if self.error is not None:
            # The same error goes to every waiter: without this, each would lengthen its traceback.
            raise self.error.with_traceback(self._traceback)
        return self.values[key]


class SingleFlight(Generic[_K, _V]):
    """Fetches in flight, by key. `landed` is called with each key and value as it comes in."""

    def __init__(self, nursery: trio.Nursery, workers: Workers, landed: Callable[[_K, _V], None] | None = None) -> None:
        self._nursery = nursery
        self._workers = workers
        self._landed = landed
        self._flights: dict[_K, Flight[_K, _V]] = {}

    def __contains__(self, key: _K) -> bool:
        return key in self._flights

    def __len__(self) -> int:
        return len(self._flights)

    def start(self, keys: Sequence[_K], fetch: Callable[[], Sequence[_V]], *, outside: bool = False) -> Flight[_K, _V]:
        """Call `fetch` in a thread; it returns one value a key, in order. No key may be in flight already.

        `outside`: it waits for something else than the data set's store (`Workers.run_outside`).
        """
        assert not any(key in self._flights for key in keys)
        flight: Flight[_K, _V] = Flight()
        self._flights.update(dict.fromkeys(keys, flight))
        self._nursery.start_soon(self._fly, keys, fetch, flight, outside)
        return flight

    def join(self, key: _K) -> Flight[_K, _V] | None:
        """Return the flight that a key is on, to wait for it."""
        return self._flights.get(key)

    async def _fly(
        self, keys: Sequence[_K], fetch: Callable[[], Sequence[_V]], flight: Flight[_K, _V], outside: bool
    ) -> None:
        run = self._workers.run_outside if outside else self._workers.run
        try:
            values = dict(zip(keys, await run(fetch), strict=True))
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to those who wait
            flight.crash(error)
        else:
            flight.land(values)
            if self._landed is not None:
                for key, value in values.items():
                    self._landed(key, value)
        finally:
            for key in keys:
                del self._flights[key]
            flight.done.set()
