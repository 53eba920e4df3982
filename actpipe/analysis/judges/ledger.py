"""Budgets, checked before a request leaves: what is on the way counts with the most it can cost."""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from actpipe.errors import Failure, Misuse

from .requests import Reply, Request


class BudgetSpent(Failure):
    pass


@dataclass(frozen=True, kw_only=True)
class Budget:
    """None: no limit. Prices in dollars for a million tokens."""

    max_calls: int | None = None
    max_input_tokens: int | None = None
    max_usd: float | None = None
    input_price: float | None = None
    output_price: float | None = None

    def __post_init__(self) -> None:
        if self.max_usd is not None and (self.input_price is None or self.output_price is None):
            raise Misuse(
                f"A budget of {self.max_usd} dollars cannot be kept without prices; give the price of a million input "
                "tokens and of a million output tokens (0 for a server of your own)."
            )
        for name, value in vars(self).items():
            if value is not None and not value >= 0:
                raise Misuse(f"The judge's {name} is {value}; give a number that is not negative.")

    def usd(self, input_tokens: float, output_tokens: float) -> float:
        return ((self.input_price or 0) * input_tokens + (self.output_price or 0) * output_tokens) / 1e6


@dataclass
class Spent:
    calls: int = 0  # requests sent, retries too
    input_tokens: int = 0
    output_tokens: int = 0
    cached: int = 0  # answers that cost nothing
    estimated: int = 0  # calls whose tokens the server did not tell: counted with an estimate

    def add(self, input_tokens: int, output_tokens: int) -> None:
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens


class Ledger:
    """One of all threads. Each `reserve` is followed by one `settle` or `release`."""

    def __init__(self, budget: Budget) -> None:
        self.budget, self.spent = budget, Spent()
        self._under_way = Spent()
        self._lock = Lock()

    @property
    def usd(self) -> float:
        return self.budget.usd(self.spent.input_tokens, self.spent.output_tokens)

    def reserve(self, request: Request) -> None:
        limits = self.budget
        with self._lock:
            calls = self.spent.calls + 1
            taken = self.spent.input_tokens + self._under_way.input_tokens + request.most_input_tokens
            given = self.spent.output_tokens + self._under_way.output_tokens + request.max_tokens
            _check("calls", calls, limits.max_calls)
            _check("input tokens", taken, limits.max_input_tokens)
            _check("dollars", limits.usd(taken, given), limits.max_usd)
            self.spent.calls = calls
            self._under_way.add(request.most_input_tokens, request.max_tokens)

    def settle(self, request: Request, reply: Reply | None) -> None:
        """`reply` None: it may have been carried out, but nobody says what it took."""
        told = reply is not None and reply.input_tokens is not None and reply.output_tokens is not None
        with self._lock:
            self._under_way.add(-request.most_input_tokens, -request.max_tokens)
            if told and reply is not None:
                self.spent.add(reply.input_tokens or 0, reply.output_tokens or 0)
            else:
                self.spent.add(request.likely_input_tokens, request.max_tokens)
                self.spent.estimated += 1

    def release(self, request: Request) -> None:
        with self._lock:
            self._under_way.add(-request.most_input_tokens, -request.max_tokens)

    def found_in_cache(self) -> None:
        with self._lock:
            self.spent.cached += 1


def _check(what: str, wanted: float, limit: float | None) -> None:
    if limit is not None and wanted > limit:
        raise BudgetSpent(
            f"The next request could bring the judge to {wanted:g} {what}, and the budget is {limit:g}, so it was not "
            "sent. Everything bought is in the cache: give a larger budget to go on from here."
        )
