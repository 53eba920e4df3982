"""Work on items with bounded concurrency; what is kept is the beginning of their order, so a stop biases nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any, Generic, TypeVar

from actpipe.errors import ActpipeError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Done(Generic[Result]):
    results: list[Result]  # of the first items, up to the first that was not finished
    stopped: ActpipeError | None = None  # why the others were not


def in_order(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    threads: int = 1,
    finished: Callable[[Result], Any] = lambda result: None,
    interrupted: Callable[[], Any] = lambda: None,
) -> Done[Result]:
    """The first error stops the rest: items not begun are left, those under way end by themselves.

    If the order of items is random, the results are an unbiased sample of them. Items that happened to be quick, behind
    the first unfinished one, are dropped for that reason: what was bought for them is in the cache. `finished` is
    called in this thread, in order; `interrupted` must make the work under way end.
    """
    halt = Event()

    def one(item: Item) -> Result | None:
        if halt.is_set():
            return None
        try:
            return work(item)
        except BaseException:
            halt.set()
            raise

    with ThreadPoolExecutor(threads, thread_name_prefix="judge") as pool:
        try:
            return _collected([pool.submit(one, item) for item in items], finished)
        except BaseException:
            halt.set()
            interrupted()
            raise


def _collected(futures: list[Future[Result | None]], finished: Callable[[Result], Any]) -> Done[Result]:
    results: list[Result] = []
    for future in futures:
        error = future.exception()
        if error is not None and not isinstance(error, ActpipeError):
            raise error
        found = None if error is not None else future.result()
        if found is None:
            return Done(results, error or _first_error(futures))
        results.append(found)
        finished(found)
    return Done(results)


def _first_error(futures: list[Future[Result | None]]) -> ActpipeError | None:
    """An item was not begun because a later one, on another thread, had halted the rest."""
    errors = (future.exception() for future in futures)
    return next((e for e in errors if isinstance(e, ActpipeError)), None)
