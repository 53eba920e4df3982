"""Activations → store by many processes: every slab is a task of Dask.

A slab is a function of its number, written whole and committed last, so it does not matter which worker computes it,
how often, or which of them die on the way: the store has the same bytes in the end.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from actpipe.errors import Failure, Mismatch
from actpipe.harvest.activations import Activations, activations
from actpipe.harvest.fill import buffers, slab_rows
from actpipe.harvest.model import LanguageModel, load_model
from actpipe.harvest.provenance import numeric_versions
from actpipe.harvest.sites import Site
from actpipe.places import Place
from actpipe.store import Store

DEATHS = 10  # of workers at one slab before the slab is blamed; a task that kills every worker must end


@dataclass(frozen=True)
class Job:
    """What a worker needs to compute any slab of a store."""

    place: Place
    model: str
    device: str | None
    threads: int | None  # of torch in each worker; None: its own default
    sites: tuple[Site, ...]

    @classmethod
    def of(cls, store: Store, model: LanguageModel, sites: Sequence[Site], threads: int | None) -> Job:
        place = store.place.absolute() if isinstance(store.place, Path) else store.place
        name = str(Path(model.name).absolute()) if Path(model.name).is_dir() else model.name
        return cls(place, name, model.device.type, threads, tuple(sites))


def fill_with_workers(
    job: Job, slabs: Sequence[int], advance: Callable[[float], None], *, scheduler: str | None, workers: int | None
) -> None:
    """Have all slabs computed and committed by the workers of `scheduler`, or by `workers` new processes here."""
    from distributed import KilledWorker, as_completed

    with _client(scheduler, workers) as client:
        futures = client.map(harvest_slab, slabs, job=job, pure=False, key=[f"slab-{slab}" for slab in slabs])
        try:
            for _, rows in as_completed(futures, loop=client.loop, with_results=True):
                advance(rows)
        except KilledWorker as error:
            raise Failure(
                f"{DEATHS} workers died at the same slab; their memory is probably too small for the model and a slab. "
                "Use fewer --workers, or smaller slabs by fewer hooks. The same command continues."
            ) from error


def harvest_slab(slab: int, job: Job) -> int:
    """Runs in a worker: compute, write and commit one slab; returns its rows."""
    from distributed import get_worker

    store, computed, memory = _state(job)
    rows = slab_rows(store, slab, computed, memory, lambda amount: None)
    name = str(get_worker().name)
    store.write_slab(slab, rows, worker=int(name) if name.isdecimal() else zlib.crc32(name.encode()))
    return store.layout.rows_of_slab(slab)


@lru_cache(maxsize=1)  # one harvest at a time holds memory in a worker
def _state(job: Job) -> tuple[Store, Activations, dict[str, torch.Tensor]]:
    """Model and store, loaded once a worker and kept between its slabs."""
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    store = Store.open(job.place)
    recorded = store.config["model"]
    model = load_model(job.model, dtype=recorded["dtype"], device=job.device)
    _require_the_same(store, model)
    opened = ExitStack()  # never closed: the hooks stay as long as the worker
    computed = opened.enter_context(activations(model, job.sites, store.config["batch_size"]))
    return store, computed, buffers(store, computed)


def _require_the_same(store: Store, model: LanguageModel) -> None:
    host = os.uname().nodename
    if model.fingerprint() != store.config["model"]["fingerprint"]:
        raise Mismatch(f"The worker on {host} loaded other weights for {model.name!r} than this harvest began with.")
    here = numeric_versions()
    if unlike := [name for name, version in store.config["versions"].items() if here[name] != version]:
        told = ", ".join(f"{name} {here[name]} instead of {store.config['versions'][name]}" for name in unlike)
        raise Mismatch(f"The worker on {host} has {told}; rows could differ in their last bits. Install the same.")


@contextmanager
def _client(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=10, set_as_default=False)
        except (OSError, ValueError) as error:
            raise Failure(
                f"There is no Dask scheduler at {scheduler}: {error}. Start it, or use --workers N."
            ) from None
        with client:
            if not client.scheduler_info()["workers"]:
                raise Failure(
                    f"The Dask scheduler at {scheduler} has no workers. Start some: `dask worker {scheduler}`."
                )
            yield client
        return
    settings = {"distributed.scheduler.allowed-failures": DEATHS, "distributed.worker.daemon": True}
    with (
        dask.config.set(settings),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,  # a task uses torch's threads
            processes=True,
            memory_limit=0,  # a slab is memory that is asked for; the kernel is the judge
            dashboard_address=None,
            silence_logs=50,  # CRITICAL: a worker that dies is replaced, and that is all there is to say
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def threads_each(workers: int) -> int:
    """Torch threads of each of `workers` processes on this machine."""
    return max((os.cpu_count() or 1) // workers, 1)
