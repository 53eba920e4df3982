"""Request → reply: from the cache, else bought once, within the budget, with retries."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock, Semaphore

from actpipe.errors import Failure

from .call_cache import CallCache, Row
from .ledger import Ledger
from .requests import Refused, Reply, Request, TextModel, Transient

_ABOUT_THE_CALLER = {401, 402, 403}  # key, credit, permission: no request will fare better


class Unanswered(Failure):
    """One request, after all its retries. Others may still be answered."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """The k-th retry waits first_s · 2ᵏ · U(½, 1) seconds, or what the server asked for and a little more."""

    retries: int = 6
    first_s: float = 1.0
    longest_s: float = 60.0
    longest_asked_s: float = 600.0  # a server that asks for more is as good as gone
    errors_in_a_row: int = 20  # over all threads; then the endpoint is taken for broken


class Calls:
    """One of all threads."""

    def __init__(
        self, model: TextModel, cache: CallCache, ledger: Ledger, patience: Patience | None = None, *, seed: int = 0
    ) -> None:
        self.model, self.cache, self.ledger = model, cache, ledger
        self.patience = patience or Patience()
        self._errors, self._lock, self._random = 0, Lock(), random.Random(seed)
        self._being_bought: dict[str, Lock] = {}
        self._wanted: Counter[str] = Counter()
        self._slots, self._stopped, self._reason = Semaphore(model.concurrency), Event(), ""

    def ask(self, request: Request) -> Reply:
        """Raises Unanswered or Refused for this request alone; any other Failure, such as BudgetSpent, is the end."""
        key = request.key(self.model.identity)
        with self._alone(key):  # two threads with one request buy it once
            known = self.cache.get(key)
            if known is not None:
                self.ledger.found_in_cache()
                return self.model.read(request, known)
            return self._buy(request, key)

    def stop(self, reason: str) -> None:
        """Requests under way end; waiting ones and further ones fail."""
        self._reason = self._reason or reason
        self._stopped.set()

    def _buy(self, request: Request, key: str) -> Reply:
        for attempt in range(self.patience.retries + 1):
            if self._stopped.is_set():
                raise Failure(f"Nothing more is sent to {self.model.identity.model}: {self._reason}")
            try:
                with self._slots:
                    raw, reply = self._sent(request)
            except Transient as error:
                self._count_error(error)
                if attempt == self.patience.retries:
                    attempts = "1 attempt" if attempt == 0 else f"{attempt + 1} attempts"
                    raise Unanswered(
                        f"{self.model.identity.model} did not answer in {attempts}; the last: {error}."
                    ) from error
                self._stopped.wait(self._wait_s(attempt, error))
                continue
            except Refused as error:
                if error.status in _ABOUT_THE_CALLER:
                    self.stop(str(error))
                self._count_error(error)
                raise
            self._errors = 0
            self._keep(request, key, raw, reply)
            return reply
        raise AssertionError("the loop returns or raises")

    def _keep(self, request: Request, key: str, raw: str, reply: Reply) -> None:
        of = self.model.identity
        if not self.model.is_rehearsal:
            self.cache.put(Row(key, of.backend, of.model, request.kind, raw, reply.input_tokens, reply.output_tokens))

    def _sent(self, request: Request) -> tuple[str, Reply]:
        self.ledger.reserve(request)
        try:
            raw = self.model.send(request)
            reply = self.model.read(request, raw)
        except Transient as error:
            if error.billed:
                self.ledger.settle(request, None)
            else:
                self.ledger.release(request)
            raise
        except BaseException:
            self.ledger.release(request)
            raise
        self.ledger.settle(request, reply)
        return raw, reply

    def _count_error(self, error: Transient | Refused) -> None:
        with self._lock:
            self._errors += 1
            broken = self._errors >= self.patience.errors_in_a_row
        if broken:
            text = (
                f"{self.model.identity.model} failed {self.patience.errors_in_a_row} times in a row; the last: "
                f"{error}. What was answered is in the cache: run again when the endpoint works."
            )
            self.stop(text)
            raise Failure(text) from error

    def _wait_s(self, attempt: int, error: Transient) -> float:
        asked = error.wait_s or 0.0
        if asked > self.patience.longest_asked_s:
            raise Failure(
                f"{self.model.identity.model} asks to wait {asked:.0f} s ({error}); run again then."
            ) from error
        with self._lock:
            jitter = self._random.uniform(0.5, 1.0)
        if asked:  # not all threads at the same instant
            return asked + jitter * self.patience.first_s
        return jitter * min(self.patience.longest_s, self.patience.first_s * 2.0**attempt)

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        with self._lock:
            lock = self._being_bought.setdefault(key, Lock())
            self._wanted[key] += 1
        try:
            with lock:
                yield
        finally:
            with self._lock:
                self._wanted[key] -= 1
                if not self._wanted[key]:
                    del self._wanted[key], self._being_bought[key]
