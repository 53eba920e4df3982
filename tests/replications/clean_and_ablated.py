"""What self-ablating models and their dense twins predict, with all units and with k a layer: RUNS/losses.csv.

    python -m tests.replications.clean_and_ablated RUNS

Each model reads the first 20,000 tokens of RUNS/gpt-relu-0.zarr. Intervals resample documents, and of differences the
same ones for both models.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

import actpipe
from actpipe.harvest.model import load_model
from actpipe.store import Store

KINDS = ("gpt-relu", "self-ablating-local", "self-ablating-global")
SEEDS = (0, 1)
TWIN = KINDS[0]
TOKENS = 20_000
BATCH = 16  # sequences read at once
DRAWS = 2000  # of documents
COLUMNS = ["model", "seed", "measure", "path", "at", "value", "low", "high", "n"]

Floats = NDArray[np.float64]
Sums = tuple[Floats, Floats]  # of each document: nats, and tokens that they were summed over


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    runs = parser.parse_args().runs
    store, rows = actpipe.open_store(runs / "gpt-relu-0.zarr"), []
    for seed in SEEDS:
        networks = {kind: network_of(f"{kind}-{seed}") for kind in KINDS}
        read = {kind: predictions(store, network) for kind, network in networks.items()}
        for kind in KINDS:
            weight = ["mean_weight", "clean", math.nan, mean_weight(networks[kind]), math.nan, math.nan, math.nan]
            rows += [[kind, seed, *row] for row in (*losses(read[kind], read[TWIN]), weight)]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(runs / "losses.csv", index=False)


def network_of(name: str) -> nn.Module:
    network: nn.Module = load_model(f"actpipe:{name}", dtype="float32", device="cpu").module.network
    return network


@torch.no_grad()
def predictions(store: Store, network: Any) -> dict[str, Sums]:
    """Stream → nats and tokens of every document. A token is counted where the store counts its row."""
    n = TOKENS // store.context
    tokens = torch.from_numpy(np.asarray(store.tokens[:n]).astype(np.int64))
    counted, documents = np.asarray(store.mask[:n])[:, 1:], np.asarray(store.doc[:n])[:, 1:]
    streams = {"clean": network.logits}
    if hasattr(network, "ablated_logits"):
        streams["ablated"] = network.ablated_logits
    sums = {}
    for stream, logits in streams.items():
        nats = torch.cat([_nats(logits(part), part) for part in tokens.split(BATCH)]).double().numpy()
        sums[stream] = (
            np.bincount(documents[counted], nats[counted]),
            np.bincount(documents[counted]).astype(np.float64),
        )
    return sums


def _nats(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits[:, :-1].transpose(1, 2).float(), tokens[:, 1:], reduction="none")


def losses(own: Mapping[str, Sums], twin: Mapping[str, Sums]) -> Iterator[list[Any]]:
    """Perplexity of each stream, and the loss above that of the dense twin on the same documents."""
    for stream, sums in own.items():
        nats = resampled(sums)
        yield ["perplexity", stream, math.nan, *(math.exp(nat) for nat in _interval(nats)), len(sums[0])]
        if own is not twin:
            yield ["above_twin", stream, math.nan, *_interval(nats - resampled(twin["clean"])), len(sums[0])]


def resampled(sums: Sums) -> Floats:
    """Nats a token: first as it is, then of `DRAWS` draws of documents, the same for every model."""
    draws = np.random.default_rng(0).multinomial(len(sums[0]), np.full(len(sums[0]), 1 / len(sums[0])), DRAWS)
    weights = np.vstack([np.ones(len(sums[0])), draws])
    means: Floats = (weights @ sums[0]) / (weights @ sums[1])
    return means


def _interval(values: Floats) -> tuple[float, float, float]:
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return float(values[0]), float(low), float(high)


def mean_weight(network: nn.Module) -> float:
    """Mean |w| of what is left at inference, tables of tokens included, as in the paper."""
    kept = [weight for key, weight in network.named_parameters() if not key.startswith("gates.")]
    return float(sum(weight.abs().sum() for weight in kept) / sum(weight.numel() for weight in kept))


if __name__ == "__main__":
    main()
