"""A store and a training run of two planted dictionaries over it, small enough for brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import sae
from actpipe.analysis import AnalyzeConfig, analyze
from actpipe.files import write_json
from actpipe.store import Store, create_store

CONTEXT, SEQUENCES, WIDTH, TOKENS = 48, 24, 5, 12
HOOK = "blocks.0.hook_resid_post"
TOKEN_UNIT, NOISE_UNIT, DEAD_UNIT = 0, 1, 4  # of the first dictionary


def texts(seed: int = 0) -> dict[str, np.ndarray]:
    """Documents of 13 to 90 tokens that run over sequence borders; the first token of a sequence does not count."""
    random = np.random.default_rng(seed)
    n = SEQUENCES * CONTEXT
    lengths = random.integers(13, 90, size=n // 13)
    mask = np.ones((SEQUENCES, CONTEXT), dtype=bool)
    mask[:, 0] = False
    mask[-1, 30:] = False  # padding
    return {
        "tokens": random.integers(0, TOKENS, size=(SEQUENCES, CONTEXT)),
        "doc": np.repeat(np.arange(len(lengths)), lengths)[:n].reshape(SEQUENCES, CONTEXT),
        "mask": mask,
    }


def activations(tokens: np.ndarray, seed: int = 1) -> torch.Tensor:
    """[rows, WIDTH] in multiples of 1/8: column 0 is a function of the token, the others are noise."""
    random = np.random.default_rng(seed)
    x = random.integers(-16, 17, size=(tokens.size, WIDTH)) / 8
    x[:, 0] = np.maximum(tokens.reshape(-1) - 8, -1)
    return torch.from_numpy(x).float()


def make_store(path: Path, seed: int = 0) -> Store:
    text = texts(seed)
    store = create_store(
        path,
        **text,
        hooks={HOOK: WIDTH},
        dtype="float32",
        config={"dataset": {"name": "planted"}},
        max_slab_bytes=4 * CONTEXT * WIDTH * 4,
        min_chunk_bytes=64,
    )
    x = activations(text["tokens"])
    for slab in store.pending:
        start, stop = (sequence * CONTEXT for sequence in store.slab_range(slab))
        store.write_slab(slab, {HOOK: x[start:stop]})
    return store


def make_dictionary(bias: list[float]) -> sae.Dictionary:
    """Feature i is relu(x_i + bias_i), written to the i-th component."""
    eye = torch.eye(WIDTH)
    params = {"W_enc": eye.clone(), "b_enc": torch.tensor(bias), "W_dec": eye.clone(), "b_dec": torch.zeros(WIDTH)}
    scaling = sae.Scaling(torch.zeros(WIDTH), 1.0)
    return sae.Dictionary.trained(sae.ReLU(), params, hyper={"l1": 1.0}, scaling=scaling, config={})


def make_report(folder: Path) -> Path:
    """A store, a run of it and its report, in a folder that is returned."""
    store = make_store(folder / "store.zarr")
    analyze(AnalyzeConfig(run=make_run(folder / "run", store), out=folder / "report", scores="none"))
    return folder


def make_run(path: Path, store: Store) -> Path:
    members = []
    for name, bias in (("sparse", [0.0, -1.0, -1.5, 0.0, -9.0]), ("dense", [0.0] * WIDTH)):
        make_dictionary(bias).save(path / "members" / name)
        members.append(
            {"path": f"members/{name}", "hook": HOOK, "architecture": "relu", "width": WIDTH, "l1": 1.0, "k": None}
            | {"seed": 0, "l0": 2.0, "fvu": 0.25, "dead": 0.2, "delta_ce": None, "rows": 100}
        )
    recorded = {"path": "/nowhere/store.zarr", "relative": f"../{store.path.name}", "fingerprint": store.fingerprint}
    write_json(path / "run.json", {"format": "actpipe-run", "version": 1, "store": recorded, "config": {}})
    write_json(path / "results.json", {"format": "actpipe-results", "version": 1, "members": members})
    return path
