"""Speed of a step on a GPU: what it takes a member by each coder, and how near that is to what the chip can do.

    python -m tests.bench.gpu --rounds 7

Rows of 768 numbers, batches of 4096, 16 ReLU autoencoders of 16,384 and of 65,536 features, 64 of them active in a row.
A step is loss and gradients of all members as an ensemble takes them; the optimizer is left out, being the same for
all. `compiled` is the dense step under `torch.compile`. First the gradients of the coders are compared and Triton's are
taken twice for the same bits. *roofline*: the least time that the arithmetic could take on an H200, five products of
B · d · n for a dense step and one for a sparse one, or reading the weights and writing their gradients where that is
longer, as a share of the time taken.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

import sae
from sae.architecture import Params, Size
from sae.coder import Coder, Dense
from sae.gradients import Given, gradients
from sae.grouping import most_at_once
from sae.sparse.triton_coder import Triton

from .contest import faster, markdown, play

# An H200's, from NVIDIA's data sheet; without structured sparsity.
BYTES_PER_S = 4.8e12
FLOPS = {"float32": 67e12, "tf32": 495e12, "bfloat16": 989e12}
# How far gradients may lie from dense ones in float32, relative to their length: by the order of sums, and as a
# multiple of how far dense gradients of the same precision lie from them.
ROUNDING, AS_DENSE = 1e-4, 1.5


class Shape(NamedTuple):
    rows: int
    d: int
    n: int
    members: int
    active: int  # features in a row

    def least_s(self, precision: str, products: int) -> float:
        """Seconds a member."""
        moved = 4 * 4 * self.n * self.d  # two weights read, two gradients written, float32
        return max(products * 2 * self.rows * self.d * self.n / FLOPS[precision], moved / BYTES_PER_S)


class Case(NamedTuple):
    params: Params
    given: Given


def case(shape: Shape, device: torch.device) -> Case:
    """Weights of unit rows: each pre-activation is a standard normal number, plus a bias that sets the density."""
    chance = torch.Generator(device).manual_seed(0)
    x = torch.randn(shape.rows, shape.d, generator=chance, device=device)
    params = {
        name: torch.zeros(shape.members, *one, device=device)
        for name, one in sae.ReLU().shapes(Size.of(shape.d, shape.n)).items()
    }
    for name in ("W_enc", "W_dec"):
        torch.nn.functional.normalize(params[name].normal_(generator=chance), dim=-1, out=params[name])
    params["b_enc"] -= statistics.NormalDist().inv_cdf(1 - shape.active / shape.n)
    given = Given(
        x=x,
        target=x,
        dead=torch.zeros(shape.members, shape.n, dtype=torch.bool, device=device),
        hyper={"l1": torch.linspace(1, 5, shape.members, device=device)},
        progress=torch.tensor(0.5, device=device),
    )
    return Case(params, given)


def some(whole: Case, members: slice) -> Case:
    hyper = {name: value[members] for name, value in whole.given.hyper.items()}
    return Case(
        {name: p[members] for name, p in whole.params.items()},
        Given(
            x=whole.given.x,
            target=whole.given.target,
            dead=whole.given.dead[members],
            hyper=hyper,
            progress=whole.given.progress,
        ),
    )


def taken(part: Case, coder: Coder, *, compiled: bool = False) -> Params:
    return gradients(sae.ReLU(), part.params, part.given, coder, compiled=compiled)[0]


def stepping(whole: Case, shape: Shape, coder: Coder, *, compiled: bool = False) -> Callable[[], float]:
    """Seconds of one step of all members, as many at once as an ensemble takes."""
    together = most_at_once(coder, shape.rows * shape.n, whole.given.x.device)
    parts = [some(whole, slice(i, i + together)) for i in range(0, shape.members, together)]

    def step() -> float:
        torch.cuda.synchronize()
        began = time.perf_counter()
        for part in parts:
            taken(part, coder, compiled=compiled)
        torch.cuda.synchronize()
        return time.perf_counter() - began

    return step


def compared(whole: Case, precision: str, products: torch.dtype | None) -> str:
    """How far the gradients of two members are from dense ones in float32; ends the program if too far."""
    part = some(whole, slice(2))
    torch.set_float32_matmul_precision("highest")
    exact = taken(part, Dense())
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    ours, again = taken(part, Triton(products)), taken(part, Triton(products))
    distance, of_dense = farthest(ours, exact), farthest(taken(part, Dense(products)), exact)
    if not distance <= ROUNDING + AS_DENSE * of_dense:
        raise SystemExit(f"gradients in {precision} are {distance:.1e} from exact ones, dense ones {of_dense:.1e}")
    if not all(torch.equal(ours[name], again[name]) for name in ours):
        raise SystemExit(f"gradients in {precision} had other bits the second time")
    return f"{distance:.1e} (dense {of_dense:.1e})"


def farthest(ours: Params, exact: Params) -> float:
    return max(float((ours[name] - p).norm() / p.norm()) for name, p in exact.items())


def measured(shape: Shape, precision: str, *, rounds: int, device: torch.device) -> list[list[str]]:
    whole = case(shape, device)
    products = torch.bfloat16 if precision == "bfloat16" else None
    error = compared(whole, precision, products)
    contestants = {
        "dense": stepping(whole, shape, Dense(products)),
        "compiled": stepping(whole, shape, Dense(products), compiled=True),
        "triton": stepping(whole, shape, Triton(products)),
    }
    seconds = play(contestants, rounds=rounds, chance=random.Random(0), warm_up=3)
    lines = []
    for name, each in seconds.items():
        a_member = statistics.median(each) / shape.members
        share = shape.least_s(precision, 1 if name == "triton" else 5) / a_member
        against = "" if name == "triton" else str(faster(seconds, "triton", name))
        distance = error if name == "triton" else ""
        lines.append([f"{shape.n}", precision, name, f"{1e3 * a_member:.3f}", f"{share:.0%}", against, distance])
    return lines


def profiled(shape: Shape, *, device: torch.device) -> str:
    """Which kernels a step of Triton's coder in bfloat16 spends its time in."""
    step = stepping(case(shape, device), shape, Triton(torch.bfloat16))
    step()
    with torch.profiler.profile() as profile:
        step()
    table: str = profile.key_averages().table(sort_by="self_cuda_time_total", row_limit=20, max_name_column_width=60)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--features", type=int, nargs="+", default=[16384, 65536])
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--precisions", nargs="+", default=list(FLOPS), choices=list(FLOPS))
    parser.add_argument("--profile", action="store_true", help="Also print where a step spends its time.")
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("there is no GPU here that torch can use, and this measures steps on one")
    device = torch.device("cuda")
    shapes = [Shape(4096, 768, n, asked.members, 64) for n in asked.features]
    lines = [
        line
        for shape in shapes
        for precision in asked.precisions
        for line in measured(shape, precision, rounds=asked.rounds, device=device)
    ]
    print(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, rows of 768, batches of 4096, L0 64")
    header = ["n", "products", "coder", "ms a member", "roofline", "÷ triton", "gradients from dense float32"]
    print(markdown(header, lines))
    if asked.profile:
        for shape in shapes:
            print(profiled(shape, device=device))


if __name__ == "__main__":
    main()
