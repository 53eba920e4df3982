"""openai/sparse_autoencoder: one .pt file for each place in GPT-2 small (model.py and paths.py of main, 2024-06).

TopK ones standardise every row with its own mean and deviation and undo it on the answer.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sae
from actpipe.errors import Misuse

from .form import Form
from .format import Answer, Format, Reference, imported
from .sources import count, names_in, read_torch, tensors_of

# Their names of places → TransformerLens' (README.md of the repository).
PLACES = {
    "mlp_post_act": "mlp.hook_post",
    "resid_delta_attn": "hook_attn_out",
    "resid_post_attn": "hook_resid_mid",
    "resid_delta_mlp": "hook_mlp_out",
    "resid_post_mlp": "hook_resid_post",
}


class OpenAI(Format):
    name = "openai"
    library = "openai/sparse_autoencoder"
    files = "a .pt file with pre_bias"

    def detect(self, path: Path) -> bool:
        return path.suffix == ".pt" and path.is_file() and "pre_bias" in names_in(path)

    def read(self, path: Path) -> sae.Dictionary:
        content = read_torch(path)
        tensors, (activation, k) = tensors_of(path, content), _activation(path, content)
        W_enc = tensors.take("encoder.weight", -1, -1)
        n, d = W_enc.shape
        bias = tensors.take("pre_bias", d)
        form = Form(
            gate={"ReLU": "relu", "TopK": "topk"}[activation],
            W_enc=W_enc,
            b_in=bias,
            b_enc=tensors.take("latent_bias", n),
            W_dec=tensors.take("decoder.weight", d, n).T,
            b_dec=bias,
            k=k,
            normalise="layer_norm" if activation == "TopK" else "none",
        )
        source = {"format": self.name, "library": self.library, "architecture": activation, "file": path.name}
        return imported(form, source, hook=_hook(path), double=tensors.double)

    def reference(self, path: Path) -> Reference:
        content = read_torch(path)
        p, (activation, k) = tensors_of(path, content), _activation(path, content)

        def answer(x: Tensor) -> Answer:
            mu, std = torch.zeros(1, dtype=x.dtype), torch.ones(1, dtype=x.dtype)
            if activation == "TopK":  # Autoencoder.from_state_dict: normalize = activation_class_name == "TopK"
                x, mu, std = _ln(x)
            pre = torch.nn.functional.linear(x - p.take("pre_bias", -1), p.take("encoder.weight", -1, -1))
            latents = _activated(pre + p.take("latent_bias", -1), k)
            decoder = p.take("decoder.weight", -1, -1)
            answer = torch.nn.functional.linear(latents, decoder) + p.take("pre_bias", -1)
            return Answer(latents, decoder.norm(dim=0) * std, answer * std + mu)

        return answer


def _ln(x: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    mu = x.mean(dim=-1, keepdim=True)
    x = x - mu
    std = x.std(dim=-1, keepdim=True)
    return x / (std + eps), mu, std


def _activated(pre: Tensor, k: int | None) -> Tensor:
    if k is None:
        return torch.relu(pre)
    top = torch.topk(pre, k=k, dim=-1)
    return torch.zeros_like(pre).scatter_(-1, top.indices, torch.relu(top.values))


def _activation(path: Path, content: dict[str, Any]) -> tuple[str, int | None]:
    name = content.get("activation", "ReLU")
    if name == "ReLU":
        return "ReLU", None
    if name != "TopK":
        raise Misuse(f"{path} has the activation {name!r}; actpipe reads ReLU and TopK.")
    state = content.get("activation_state_dict")
    state = state if isinstance(state, dict) else {}
    if (after := state.get("postact_fn", "ReLU")) != "ReLU":
        raise Misuse(f"{path} applies {after!r} after TopK: its codes can be negative, and ours cannot.")
    return "TopK", count(state, path, "k")


def _hook(path: Path) -> str | None:
    """From where the file lies: {place}[_v5_32k]/autoencoders/{layer}.pt."""
    layer, place = path.stem, path.resolve().parent.parent.name
    name = re.sub(r"_v\d+(_\w+)?$", "", place)
    return f"blocks.{layer}.{PLACES[name]}" if layer.isdigit() and name in PLACES else None
