"""What a direction says about the next token: its logits, from the weights alone.

    logits(w) = W_U (γ ⊙ W_out w), minus the mean over the vocabulary      (the mean cancels in every softmax)

γ is the gain of the final normalisation; its division by the row's norm depends on the row and is left out, so the
numbers rank tokens and compare directions but are not the logit changes of one context. W_out carries a direction of an
MLP's or attention's inner space into the residual stream; in the residual stream itself it is the identity.
"""

from __future__ import annotations

import re
from functools import lru_cache
from threading import Lock

import torch
from torch import Tensor, nn

from actpipe.errors import Misuse
from actpipe.harvest.model import load_model
from actpipe.harvest.sites import Site, find_sites
from sae.linear import linear

_IN_RESIDUAL = re.compile(
    r"blocks\.\d+\.(hook_(resid_(pre|mid|post)|mlp_out|attn_out|in|out)|mlp\.hook_out|attn\.hook_out)"
)
_READING = Lock()
_NORM, _HEAD = "ln_final.hook_in", "unembed.hook_in"
_INTO_RESIDUAL = re.compile(r"blocks\.\d+\.(mlp\.(hook_post|out\.hook_in)|attn\.(hook_z|o\.hook_in))")


def logit_directions(model_name: str, hook: str, directions: Tensor) -> Tensor | None:
    """[n, vocabulary] for `directions` [n, d] at `hook`; None where the hook has no linear way to the logits."""
    with _READING:  # members are analysed at once, and the model is to be opened once
        readout = _readout(model_name, hook)
    return None if readout is None else linear(directions.detach().float().cpu(), readout)


@lru_cache(maxsize=1)  # one hook's matrix is d · vocabulary floats, and a sweep asks for it once a member
def _readout(model_name: str, hook: str) -> Tensor | None:
    """[vocabulary, d], each column with mean zero."""
    if not (_IN_RESIDUAL.fullmatch(hook) or _INTO_RESIDUAL.fullmatch(hook)):
        return None
    model = load_model(model_name, dtype="float32", device="cpu")
    if model.kind != "decoder" or model.headless:
        return None
    try:
        sites: tuple[Site, ...] = find_sites((_writer(hook), _NORM, _HEAD), model.config, model.tokenizer)
    except Misuse:
        return None
    if any(site.through == "bridge" for site in sites):
        return None
    site, norm, head = (model.module.get_submodule(one.path) for one in sites)
    width = model.config.hidden_size
    with torch.inference_mode():
        readout = _gain(norm, width)[:, None] * _matrix(head, width)
        if _INTO_RESIDUAL.fullmatch(hook):
            inner = _input_width(site)
            if inner is None:
                return None
            readout = _matrix(site, inner) @ readout
        # Logits of tokens that the vocabulary was padded with would move the mean.
        readout = readout[:, : len(model.tokenizer)]
        return (readout - readout.mean(dim=1, keepdim=True)).T.contiguous()


def _writer(hook: str) -> str:
    """The linear map into the residual stream that reads this inner space, by its input."""
    return re.sub(r"mlp\.hook_post$", "mlp.out.hook_in", re.sub(r"attn\.hook_z$", "attn.o.hook_in", hook))


def _matrix(linear: nn.Module, width: int) -> Tensor:
    """[width, out] of a linear module, whatever way round it keeps its weight: its answers to the unit vectors."""
    answers: Tensor = linear(torch.eye(width)) - linear(torch.zeros(1, width))
    return answers


def _input_width(linear: nn.Module) -> int | None:
    if isinstance(linear, nn.Linear):
        return linear.in_features
    return getattr(linear, "nx", None)  # transformers' Conv1D, GPT-2's linear layer with a transposed weight


def _gain(norm: nn.Module, width: int) -> Tensor:
    """γ of a LayerNorm or RMSNorm in any convention (Gemma stores γ − 1): half the difference of its answers to ±v.

    v = (1, −1, 1, −1, …) has mean 0 and mean square 1, so the norm leaves it as it is.
    """
    probe = torch.ones(width)
    probe[1::2] = -1
    gain: Tensor = (norm(probe[None]) - norm(-probe[None]))[0] / 2 * probe
    return gain
