"""Processes of Dask: new ones on this machine, or those of a scheduler that somebody else runs."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any

from actpipe.errors import Failure

CONNECT_S = 10.0  # to a scheduler
START_S = 60.0  # for a process to import Dask and say that it is there, on a busy machine
END_S = 0.5  # for a worker to end by itself


@contextmanager
def dask_client(*, scheduler: str | None, workers: int, threads: int) -> Iterator[Any]:
    """Of the workers of `scheduler`, or of `workers` new processes here with `threads` tasks at a time each."""
    opened = _here(workers, threads) if scheduler is None else _elsewhere(scheduler)
    with _quiet_dask(), opened as client:
        yield client


@contextmanager
def _elsewhere(scheduler: str) -> Iterator[Any]:
    from distributed import Client

    try:
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise Failure(f"There is no Dask scheduler at {scheduler}: {error}. Start it, or use --workers N.") from None
    with client:
        if not client.scheduler_info()["workers"]:
            raise Failure(f"The Dask scheduler at {scheduler} has no workers. Start some: `dask worker {scheduler}`.")
        yield client


@contextmanager
def _here(workers: int, threads: int) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": 0,  # we count
        "distributed.deploy.lost-worker-timeout": "1 day",  # a worker that takes long to come back still does
    }
    with dask.config.set(settings), ExitStack() as opened:
        with _without_interrupts():
            cluster = LocalCluster(
                n_workers=0,
                threads_per_worker=threads,
                processes=True,
                memory_limit=0,  # what a task holds is asked for; the kernel is the judge
                dashboard_address="127.0.0.1:0",  # a free port: another cluster may have the usual one
                silence_logs=logging.CRITICAL,
            )
        opened.enter_context(cluster)
        opened.callback(cluster.sync, _end, cluster)
        client = opened.enter_context(Client(cluster, set_as_default=False))
        cluster.scale(workers)
        with suppress(TimeoutError):
            client.wait_for_workers(workers, timeout=START_S)
        yield client


async def _end(cluster: Any) -> None:
    """End the worker processes without waiting for their tasks: at any moment they may."""
    await asyncio.gather(*(each.close(timeout=END_S) for each in cluster.workers.values()), return_exceptions=True)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Threads and processes that are started inside never see Ctrl-C, which a terminal sends to all of them."""
    resource_tracker.ensure_running()  # its start would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _quiet_dask() -> Iterator[None]:
    """Workers that die are replaced, and what ends the work is raised: there is nothing for Dask to say."""
    import distributed  # noqa: F401  (gives the loggers their handlers)

    handlers = logging.getLogger("distributed").handlers
    before = [handler.level for handler in handlers]
    for handler in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in zip(handlers, before, strict=True):
            handler.setLevel(level)
