"""Dictionaries of ours with random numbers, as training would leave them: folded into model units."""

from __future__ import annotations

from typing import Any

import torch

import sae


def dictionary(name: str, *, d: int = 6, n: int = 15, out: int = 5, seed: int = 0, **fields: Any) -> sae.Dictionary:
    """Of any architecture; the rows are centred and scaled, so that the fold has something to do."""
    architecture = sae.get_architecture(name)(**fields)
    pair = architecture.reads == "pair"
    out = out if pair else d
    generator = torch.Generator().manual_seed(seed)
    params = {}
    for key, shape in architecture.shapes(sae.Size(d, n, out)).items():
        drawn = torch.randn(shape, generator=generator)
        params[key] = drawn.abs() + 0.1 if "threshold" in key or key == "length" else drawn
    for key in getattr(architecture, "unit_rows", ()):
        params[key] = torch.nn.functional.normalize(params[key], dim=-1)
    if "whitening" in params:
        params["unwhitening"] = params["whitening"].inverse()
    return sae.Dictionary.trained(
        architecture,
        params,
        hyper=architecture.hyper({}),
        scaling=sae.Scaling(torch.linspace(-4, 5, d), 0.5),
        target=sae.Scaling(torch.linspace(3, -1, out), 2.0) if pair else None,
        config={"hook": "blocks.1.hook_resid_post", "model": {"name": "gpt2"}},
    )
