"""Speed of the coders on this machine, now, as ratios, and the stages of the sparse one in milliseconds.

    python -m tests.bench.coder --shape 4096 576 2304 --l0 56
    python -m tests.bench.coder --gate topk --l0 32 --threads 1
    python -m tests.bench.coder --grid

A step is codes, loss and all gradients of one autoencoder on normal rows, without an optimizer. Contestants take turns
in random order; ratios are the median (and range) over rounds. With one thread the clock is that of the thread, which
other programs on the machine hardly disturb.

    encoder       one product [B, d] · [d, n] in float32, and in bfloat16
    dense         plain autograd, and the same with products in bfloat16
    plain         the sparse coder that looks for active codes in the dtype of the rows
    screened      the sparse coder that looks for them in bfloat16 and computes them in float32

`--grid` prints how many times faster the sparse coders are than the dense one over small and large shapes and
densities, and what `sae.sparse.choose` chooses: the numbers behind its constants.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from sae.coder import Coder, Dense
from sae.gates import BatchTopK, Gate, JumpReLU, ReLU, TopK
from sae.sparse import Sparse, choose
from sae.sparse.active import Entries, Flow, Setting
from sae.sparse.gather import positions
from sae.sparse.product import Plain, Product, Screen
from sae.sparse.search import blocks, search
from tests.bench.contest import faster, markdown, play

Work = Callable[[], object]

CODERS: dict[str, Coder] = {
    "dense": Dense(),
    "dense bfloat16": Dense(torch.bfloat16),
    "plain": Sparse(screened=False),
    "screened": Sparse(screened=True),
}
SHAPES = (
    (256, 64, 256),
    (1024, 64, 512),
    (1024, 256, 1024),
    (4096, 256, 1024),
    (1024, 576, 2304),
    (4096, 576, 2304),
    (2048, 768, 9216),
)
DENSITIES = (0.005, 0.02, 0.05, 0.1, 0.2)


class Weights(NamedTuple):
    W_enc: Tensor  # [n, d]
    b_enc: Tensor  # [n]
    W_dec: Tensor  # [n, d]


class Problem(NamedTuple):
    x: Tensor  # [B, d]
    weights: Weights
    gate: Gate

    @classmethod
    def made(cls, n_rows: int, d: int, n: int, *, l0: float, gate: str) -> Problem:
        chance = torch.Generator().manual_seed(0)
        x = torch.randn(n_rows, d, generator=chance)
        W_enc, W_dec = (torch.randn(n, d, generator=chance) / math.sqrt(d) for _ in range(2))
        # A pre-activation is normal, and its spread is the length of the row of W_enc.
        bias = -W_enc.norm(dim=1) * statistics.NormalDist().inv_cdf(1 - l0 / n)
        k = torch.tensor(float(l0))
        made = {
            "relu": ReLU(),
            "topk": TopK(k),
            "batch_topk": BatchTopK(k),
            "jumprelu": JumpReLU(torch.full((n,), 1e-3), torch.tensor(1e-3)),
        }[gate]
        return cls(x, Weights(*(weight.requires_grad_() for weight in (W_enc, bias, W_dec))), made)

    def step(self, coder: Coder) -> Work:
        def work() -> None:
            coded = coder(self.x, *self.weights, self.gate)
            error = mse_loss(coded.output, self.x, reduction="sum")
            loss = (error + coded.sums @ self.weights.W_dec.norm(dim=1)) / len(self.x)
            torch.autograd.grad(loss, self.weights)

        return work

    def encoder(self, dtype: torch.dtype) -> Work:
        x, W_enc = self.x.to(dtype), self.weights.W_enc.detach().to(dtype)
        return lambda: torch.mm(x, W_enc.mT)

    def stages(self, *, screened: bool) -> dict[str, Work]:
        """The parts of a step of a ReLU one by one, on what the part before has left."""
        W_enc, b_enc, W_dec = (weight.detach() for weight in self.weights)
        lowest = b_enc.new_tensor(torch.finfo(b_enc.dtype).tiny)
        of: type[Product] = Screen if screened else Plain
        product = of(self.x, W_enc, b_enc, lowest)
        found = search(self.x, W_enc, b_enc, ReLU(), screened=screened, most=1.0)
        assert found is not None
        entries = Entries.of(found.rows, found.columns, found.values, (len(W_enc),))
        setting = Setting(W_dec, ReLU(), (len(W_enc),), None, len(self.x), None)
        of_output, of_sums = torch.randn_like(self.x)[:, None], torch.ones(len(W_enc))

        def multiply() -> None:
            for start, stop in blocks(len(self.x), len(W_enc)):
                product.multiply(start, stop)

        multiply()
        return {
            "prepare": lambda: of(self.x, W_enc, b_enc, lowest),
            "multiply": multiply,
            "search, all": lambda: search(self.x, W_enc, b_enc, ReLU(), screened=screened, most=1.0),
            "mark one block": product.reaching,
            "mark and list one block": lambda: positions(product.reaching()),
            "decode": lambda: entries.coded(setting),
            "gradient of codes": lambda: entries.of_codes(entries.values, setting, Flow(of_output, of_sums, None)),
            "gradients, all": lambda: entries.gradients(self.x, setting, Flow(of_output, of_sums, None)),
        }


def clocked(work: Work, n_threads: int) -> Callable[[], float]:
    clock = time.thread_time if n_threads == 1 else time.perf_counter

    def run() -> float:
        began = clock()
        work()
        return clock() - began

    return run


def steps(problem: Problem) -> Iterator[tuple[str, Work]]:
    yield "encoder", problem.encoder(torch.float32)
    yield "encoder bfloat16", problem.encoder(torch.bfloat16)
    for name, coder in CODERS.items():
        yield name, problem.step(coder)


def compare(problem: Problem, *, rounds: int, n_threads: int) -> str:
    work = {name: clocked(each, n_threads) for name, each in steps(problem)}
    seconds = play(work, rounds=rounds, chance=random.Random(0), warm_up=2)
    return markdown(
        ("", "ms, median", "ms, least", "÷ encoder", "times faster than dense"),
        [
            (
                name,
                f"{1e3 * statistics.median(spent):.1f}",
                f"{1e3 * min(spent):.1f}",
                str(faster(seconds, "encoder", name)),
                str(faster(seconds, name, "dense")),
            )
            for name, spent in seconds.items()
        ],
    )


def staged(problem: Problem, *, rounds: int, n_threads: int) -> str:
    table = {}
    for name, screened in (("plain", False), ("screened", True)):
        work = {stage: clocked(each, n_threads) for stage, each in problem.stages(screened=screened).items()}
        table[name] = play(work, rounds=rounds, chance=random.Random(0), warm_up=1)
    rows = [
        (stage, *(f"{1e3 * statistics.median(table[name][stage]):.2f}" for name in table)) for stage in table["plain"]
    ]
    return markdown(("stage, ms", *table), rows)


def grid(*, rounds: int, n_threads: int, gate: str) -> str:
    rows = []
    for shape in SHAPES:
        n_rows, d, n = shape
        for density in DENSITIES:
            problem = Problem.made(n_rows, d, n, l0=max(1, round(density * n)), gate=gate)
            work = {name: clocked(problem.step(coder), n_threads) for name, coder in CODERS.items()}
            seconds = play(work, rounds=rounds, chance=random.Random(0), warm_up=1)
            coder = choose(n_rows, d, n, density=density, device=torch.device("cpu"))
            rows.append(
                (
                    f"{n_rows}, {d}, {n}",
                    f"{density:g}",
                    f"{1e3 * statistics.median(seconds['dense']):.2f}",
                    *(str(faster(seconds, name, "dense")) for name in ("plain", "screened", "dense bfloat16")),
                    type(coder).__name__,
                )
            )
    header = ("B, d, n", "density", "dense, ms", "plain, times faster", "screened", "dense bfloat16", "chosen")
    return markdown(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[4096, 576, 2304], metavar=("B", "D", "N"))
    parser.add_argument("--l0", type=float, default=56)
    parser.add_argument("--gate", choices=("relu", "topk", "batch_topk", "jumprelu"), default="relu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grid", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.grid:
        print(grid(rounds=asked.rounds, n_threads=asked.threads, gate=asked.gate))
        return
    problem = Problem.made(*asked.shape, l0=asked.l0, gate=asked.gate)
    print(compare(problem, rounds=asked.rounds, n_threads=asked.threads), end="\n\n")
    print(staged(problem, rounds=asked.rounds, n_threads=asked.threads))


if __name__ == "__main__":
    main()
