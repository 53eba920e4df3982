"""Activations → store by many processes: every slab is a task of Dask.

A slab is a function of its number, written whole and committed last, so it does not matter which worker computes it,
how often, or which of them die on the way: the store has the same bytes in the end.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import torch

from actpipe import __version__
from actpipe.cluster import START_S, dask_client
from actpipe.errors import ActpipeError, Failure, Mismatch, Missing
from actpipe.harvest.activations import Activations, activations
from actpipe.harvest.fill import buffers, slab_rows
from actpipe.harvest.model import LanguageModel, load_model
from actpipe.harvest.naming import recorded_name
from actpipe.harvest.provenance import numeric_versions
from actpipe.harvest.sites import Site
from actpipe.places import Place
from actpipe.store import Store

DEATHS = 5  # of workers at one slab while no other slab is finished: then it is not chance
SLABS_AT_ONCE = 2  # in one worker: the model computes one while the other is written
LOOK_S = 2.0  # between two looks at whether any worker is left

Advance = Callable[..., None]  # (tokens, note="")

# Of this process, where it is a worker.
_places = threading.BoundedSemaphore(SLABS_AT_ONCE)
_model = threading.Lock()
_loaded: dict[str, _Loaded] = {}  # run → what it needs; of one run, because two models would need the memory of two


@dataclass(frozen=True)
class Job:
    """What a worker needs to compute any slab of a store."""

    run: str  # this call of `actpipe harvest`; a worker that serves many keeps nothing from one to the next
    place: Place
    fingerprint: str  # of the store
    model: str
    device: str
    threads: int | None  # of torch in each worker of ours; None: the workers are somebody else's
    sites: tuple[Site, ...]
    versions: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, store: Store, model: LanguageModel, sites: Sequence[Site], threads: int | None) -> Job:
        return cls(
            run=secrets.token_hex(8),
            place=store.place.absolute() if isinstance(store.place, Path) else store.place,
            fingerprint=store.fingerprint,
            model=recorded_name(model.name),
            device=str(model.device),
            threads=threads,
            sites=tuple(sites),
            versions=tuple(_versions().items()),
        )

    @classmethod
    def received(cls, asked: Mapping[str, Any]) -> Job:
        """From plain values; raises Mismatch in a worker whose rows could differ."""
        here, wanted = _versions(), dict(asked["versions"])
        if unlike := [name for name in wanted if here.get(name) != wanted[name]]:
            told = ", ".join(f"{name} {here.get(name)} instead of {wanted[name]}" for name in unlike)
            raise Mismatch(
                f"The worker on {_host()} has {told}, and rows could differ in their last bits. Install the same there."
            )
        return cls(**{**asked, "sites": tuple(Site(**site) for site in asked["sites"])})

    @property
    def is_local(self) -> bool:
        return self.threads is not None


def threads_each(workers: int) -> int:
    """Torch threads of each of `workers` processes on this machine."""
    return max((os.cpu_count() or 1) // workers, 1)


def fill_with_workers(
    job: Job, slabs: Sequence[int], advance: Advance, *, scheduler: str | None, workers: int | None
) -> None:
    """Have all slabs computed and committed by the workers of `scheduler`, or by `workers` new processes here."""
    store = Store.open(job.place)
    try:
        with dask_client(scheduler=scheduler, workers=workers or 1, threads=SLABS_AT_ONCE) as client:
            _Run(client, job, store, advance).fill(slabs)
    finally:
        store.objects.clear_litter()  # of workers that died in the middle of a file


class _Run:
    """The slabs that workers are at, each under a key that is used once."""

    def __init__(self, client: Any, job: Job, store: Store, advance: Advance) -> None:
        self._client, self._job, self._store, self._advance = client, job, store, advance
        self._asked = asdict(job)
        # A future is kept until it ends and no longer: Dask computes again what a held one stands for when the worker
        # that had finished it dies.
        self._pending: dict[str, tuple[int, Any]] = {}
        self._ended: SimpleQueue[str] = SimpleQueue()
        self._died: Counter[int] = Counter()

    def fill(self, slabs: Sequence[int]) -> None:
        self._submit(slabs)
        while self._pending:
            slab, future = self._pending.pop(self._next())
            if self._is_done(slab, future):
                self._died.clear()
                self._advance(self._store.layout.rows_of_slab(slab))
            else:
                self._submit([slab])

    def _submit(self, slabs: Sequence[int]) -> None:
        keys = [f"slab-{self._job.run}-{slab}-{self._died[slab]}" for slab in slabs]
        futures = self._client.map(_task(), slabs, asked=self._asked, pure=False, key=keys)
        for key, slab, future in zip(keys, slabs, futures, strict=True):
            self._pending[key] = (slab, future)
            future.add_done_callback(lambda ended: self._ended.put(ended.key))

    def _next(self) -> str:
        """Key of the next future that ends."""
        seen = time.monotonic()
        while True:
            try:
                return self._ended.get(timeout=LOOK_S)
            except Empty:
                pass
            if self._client.scheduler_info()["workers"]:
                seen = time.monotonic()
            elif not self._job.is_local:
                self._advance(0, "waiting for a worker")
            elif time.monotonic() - seen > START_S:
                raise Failure("The worker processes end as soon as they are started. Harvest without --workers.")

    def _is_done(self, slab: int, future: Any) -> bool:
        """False where the worker died; raises what it raised."""
        from distributed import KilledWorker

        if future.status == "finished":
            return True
        if future.status != "error":
            raise Failure(
                "The Dask scheduler was stopped or restarted. Slabs that are written stay; "
                "run the same command again when it is back."
            )
        error = future.exception()
        if isinstance(error, ModuleNotFoundError):
            raise Missing(str(error))
        if not isinstance(error, KilledWorker):
            raise error
        self._died[slab] += 1
        if self._died[slab] > DEATHS:
            raise Failure(
                f"{self._died[slab]} workers died at slab {slab}, one after the other. They probably have too little "
                "memory for the model and two slabs: use fewer --workers. The same command continues."
            )
        return False


def _task() -> Callable[..., None]:
    """What Dask runs. It travels by value, so that a worker without actpipe can say so, and a scheduler needs none."""

    def compute(slab: int, asked: dict[str, Any]) -> None:
        import socket

        try:
            from actpipe.harvest.workers import Job, harvest_slab
        except ImportError as error:
            raise ModuleNotFoundError(
                f"The worker on {socket.gethostname()} cannot import actpipe ({error}). "
                "Install the same actpipe there as here."
            ) from None
        harvest_slab(slab, Job.received(asked))

    return compute


def harvest_slab(slab: int, job: Job) -> None:
    """Runs in a worker, in any of its threads: compute, write and commit one slab."""
    with _places, ExitStack() as lent:
        with _model:
            mine = _ready(job)
            memory = mine.memory.pop()
            lent.callback(mine.memory.append, memory)
            rows = slab_rows(mine.store, slab, mine.computed, memory, lambda amount: None)
        _require_the_store(job, mine.store)
        mine.store.write_slab(slab, rows, worker=_worker())


@dataclass(frozen=True)
class _Loaded:
    """Model and store, loaded once a worker and kept between its slabs."""

    store: Store
    computed: Activations
    hooked: ExitStack  # the model has its hooks for as long as this is held
    memory: list[dict[str, torch.Tensor]]  # one for each slab that is worked at


def _ready(job: Job) -> _Loaded:
    if job.run not in _loaded:
        _loaded.clear()
        try:
            _loaded[job.run] = _load(job)
        except ActpipeError as error:
            if job.is_local:
                raise
            raise type(error)(f"The worker on {_host()} cannot harvest. {error}") from None
    return _loaded[job.run]


def _load(job: Job) -> _Loaded:
    if job.threads is not None:
        torch.set_num_threads(job.threads)
    store = Store.open(job.place)
    _require_the_store(job, store)
    recorded = store.config["model"]
    model = load_model(job.model, dtype=recorded["dtype"], device=_device(job))
    if model.fingerprint() != recorded["fingerprint"]:
        raise Mismatch(f"It loaded other weights for {job.model!r} than the store was begun with. Copy them there.")
    hooked = ExitStack()
    computed = hooked.enter_context(activations(model, job.sites, store.config["batch_size"]))
    return _Loaded(store, computed, hooked, [buffers(store) for _ in range(SLABS_AT_ONCE)])


def _require_the_store(job: Job, store: Store) -> None:
    """Raise unless what lies at the place now is what this job fills: a worker may outlive its harvest."""
    now = Store.open(job.place)
    if (now.fingerprint, now.layout) != (job.fingerprint, store.layout):
        raise Mismatch(f"Another store lies at {job.place}. Do all machines see the same one?")


def _versions() -> dict[str, str]:
    return {"actpipe": __version__, **numeric_versions()}


def _worker() -> int:
    """Number of this worker: ours are named 0, 1, …; a name that somebody else gave becomes a number."""
    from distributed import get_worker

    name = str(get_worker().name)
    return int(name) if name.isdecimal() else zlib.crc32(name.encode())


def _device(job: Job) -> str:
    """Our own workers take the GPUs of this machine in turn, unless one was named."""
    if job.is_local and job.device == "cuda":
        return f"cuda:{_worker() % torch.cuda.device_count()}"
    return job.device


def _host() -> str:
    return os.uname().nodename
