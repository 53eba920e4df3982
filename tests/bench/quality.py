"""Are dictionaries as good as SAELens' after the same rows? Held-out FVU at equal L0, here and now.

    make peers
    python -m tests.bench.quality --store actpipe-out/store.zarr

Both train ReLU autoencoders of one width on the same centred and scaled rows in batches of one size, with the same
number of steps, learning rate, warm-up and decay, for several weights of the penalty and several seeds. FVU at an L0 is
read off each seed's curve, linear in log L0 between its members, at the L0 that SAELens' middle weight has on average.
A difference counts when it is beyond the range of SAELens' own seeds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import sae
from tests.bench.contest import markdown
from tests.bench.peer import peer
from tests.bench.training import stored_rows

Curve = list[tuple[float, float]]  # (L0, FVU) of each weight


def ours(train: torch.Tensor, held_out: torch.Tensor, asked: argparse.Namespace, **how: str) -> dict[int, Curve]:
    """The curve of each seed."""
    members = [{"l1": l1, "seed": seed, "lr": asked.lr} for seed in range(asked.seeds) for l1 in asked.l1]
    ensemble = sae.Ensemble.create(
        sae.get_architecture("relu")(),
        members,
        d=train.shape[1],
        width=asked.width,
        sample=train[:8192],
        schedule=sae.Schedule.over(asked.steps),
        **how,
    )
    for _ in sae.fit(ensemble, _batches(train, asked.batch_size), steps=asked.steps):
        pass
    dictionaries = [ensemble.dictionary(i) for i in range(len(ensemble))]
    found = sae.evaluate(dictionaries, held_out.split(4096))
    curves: dict[int, Curve] = {seed: [] for seed in range(asked.seeds)}
    for member, each in zip(members, found, strict=True):
        curves[int(member["seed"])].append((each.l0, each.fvu))
    return curves


def _batches(rows: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    while True:
        for part in torch.randperm(len(rows), generator=generator).split(size):
            if len(part) == size:
                yield rows[part]


def theirs(train: torch.Tensor, held_out: torch.Tensor, asked: argparse.Namespace) -> dict[int, Curve]:
    curves: dict[int, Curve] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "rows.npy", Path(folder) / "held-out.npy"
        for file, rows in zip(files, (train, held_out), strict=True):
            np.save(file, rows.numpy())
        settings = ["--batch-size", asked.batch_size, "--width", asked.width, "--lr", asked.lr, "--steps", asked.steps]
        with peer("training.py", "--rows", files[0], "--held-out", files[1], *settings) as ask:
            for seed in range(asked.seeds):
                curves[seed] = []
                for l1 in asked.l1:
                    one = {"variant": "SAELens standard", "name": f"{l1} {seed}", "l1": l1, "seed": seed}
                    ask(**one, steps=asked.steps)
                    found = ask(**one, evaluate=True)
                    curves[seed].append((found["l0"], found["fvu"]))
    return curves


def at(curve: Curve, l0: float) -> float:
    """FVU at an L0, from the two members around it."""
    points = sorted(curve)
    return float(np.interp(np.log(l0), np.log([p[0] for p in points]), [p[1] for p in points]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--hook")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--width", type=int, default=1152)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--l1", type=float, nargs="+", default=[2.5, 5.0, 10.0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--held-out", type=int, default=10_000, help="rows")
    asked = parser.parse_args()
    rows = stored_rows(asked.store, asked.hook, 10**9)
    train, held_out = rows[: -asked.held_out], rows[-asked.held_out :]
    curves = {
        "SAELens": theirs(train, held_out, asked),
        "actpipe": ours(train, held_out, asked),
        "actpipe, bfloat16 products": ours(train, held_out, asked, precision="bfloat16"),
    }
    middle = len(asked.l1) // 2
    l0 = statistics.mean(curve[middle][0] for curve in curves["SAELens"].values())
    print(
        f"{len(train)} rows of {rows.shape[1]}, {asked.steps} steps of {asked.batch_size}, width {asked.width}, lr "
        f"{asked.lr:g}, l1 {', '.join(f'{l1:g}' for l1 in asked.l1)}, {asked.seeds} seeds, {len(held_out)} held out\n"
    )
    table = []
    for name, by_seed in curves.items():
        values = [at(curve, l0) for curve in by_seed.values()]
        points = "; ".join(f"{a:.0f}: {b:.3f}" for a, b in by_seed[0])
        table.append([name, f"{statistics.mean(values):.4f} ({min(values):.4f}–{max(values):.4f})", points])
    print(markdown(["", f"FVU at L0 {l0:.0f} (range over seeds)", "seed 0, L0: FVU"], table))


if __name__ == "__main__":
    main()
