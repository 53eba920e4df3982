"""Our dictionaries → the shape that other formats share, in model units; architecture by architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import sae
from actpipe.errors import Misuse

from .form import Form

Params = Mapping[str, Tensor]


def form_of(dictionary: sae.Dictionary) -> Form:
    """What one of our dictionaries computes. Misuse where other formats have no word for it."""
    name = dictionary.architecture.name
    if name not in FORMS:
        raise Misuse(
            f"A dictionary of architecture {name!r} has no counterpart in other formats: their encoders are one matrix "
            "and relu, topk, jumprelu or gated. sae.load reads it."
        )
    return FORMS[name](dictionary, {key: value.double() for key, value in dictionary.params.items()})


def _relu(dictionary: sae.Dictionary, p: Params) -> Form:
    return Form(
        gate="relu",
        W_enc=p["W_enc"],
        b_in=p["b_dec"],
        b_enc=p["b_enc"],
        W_dec=dictionary.directions.double(),
        b_dec=p["b_dec"],
    )


def _topk(dictionary: sae.Dictionary, p: Params) -> Form:
    return replace(_relu(dictionary, p), gate="topk", k=_k(dictionary))


def _batch_topk(dictionary: sae.Dictionary, p: Params) -> Form:
    """After training the threshold stands for the k largest of a batch."""
    return replace(_relu(dictionary, p), gate="jumprelu", threshold=p["threshold"])


def _jumprelu(dictionary: sae.Dictionary, p: Params) -> Form:
    return replace(_relu(dictionary, p), gate="jumprelu", threshold=p["log_threshold"].exp())


def _gated(dictionary: sae.Dictionary, p: Params) -> Form:
    form = _relu(dictionary, {**p, "b_enc": p["b_mag"]})
    return replace(form, gate="gated", b_gate=p["b_gate"], r_mag=p["r_mag"])


def _tied(dictionary: sae.Dictionary, p: Params) -> Form:
    """Reads by D, or by A D where rows are whitened by A first, and takes `center` off and puts it back."""
    directions = sae.get_architecture("tied")().directions(dict(p))  # the rows of W_enc at length 1, not unwhitened
    W_enc = p["length"][:, None] * (directions @ p["whitening"]) if "whitening" in p else directions
    b_enc = p["length"] * p["b_enc"] if "whitening" in p else p["b_enc"]
    return _relu(dictionary, {"W_enc": W_enc, "b_enc": b_enc, "b_dec": p["center"]})


def _positive_tied(dictionary: sae.Dictionary, p: Params) -> Form:
    return _relu(dictionary, {**p, "W_enc": dictionary.architecture.directions(dict(p))})


def _reverse(dictionary: sae.Dictionary, p: Params) -> Form:
    """f = u where u > −b_enc: its bias is a threshold and nothing else."""
    form = _positive_tied(dictionary, p)
    return replace(form, gate="jumprelu", b_enc=torch.zeros_like(p["b_enc"]), threshold=torch.relu(-p["b_enc"]))


def _transcoder(dictionary: sae.Dictionary, p: Params) -> Form:
    made: Any = dictionary.architecture
    form = replace(_relu(dictionary, p), b_in=p["center"], pair=True, gate=made.gate)
    if made.gate == "topk":
        form = replace(form, k=_k(dictionary))
    if "W_skip" in p:
        form = replace(form, W_skip=p["W_skip"], b_dec=p["b_dec"] - p["W_skip"] @ p["center"])
    return form


def _imported(dictionary: sae.Dictionary, p: Params) -> Form:
    made: Any = dictionary.architecture
    return Form(
        gate=made.gate,
        W_enc=p["W_enc"],
        b_in=p["b_in"],
        b_enc=p["b_enc"],
        W_dec=p["length"][:, None] * p["W_dec"],
        b_dec=p["b_dec"],
        k=made.k or None,
        threshold=p.get("threshold"),
        normalise=made.normalise,
        pair=made.reads == "pair",
        W_skip=p.get("W_skip"),
    )


def _k(dictionary: sae.Dictionary) -> int:
    return int(dictionary.config["hyper"]["k"])


FORMS: dict[str, Callable[[sae.Dictionary, Params], Form]] = {
    "relu": _relu,
    "p_anneal": _relu,
    "frozen_decoder": _relu,
    "frozen_encoder": _relu,
    "soft_frozen_decoder": _relu,
    "untied": _relu,
    "untied_centred": _relu,
    "tied": _tied,
    "tied_centred": _tied,
    "positive_tied": _positive_tied,
    "reverse": _reverse,
    "topk": _topk,
    "batch_topk": _batch_topk,
    "matryoshka": _batch_topk,
    "jumprelu": _jumprelu,
    "gated": _gated,
    "transcoder": _transcoder,
    "skip_transcoder": _transcoder,
    "imported": _imported,
    "imported_transcoder": _imported,
}
