"""The shape that the formats share, and which of our architectures computes it exactly.

    z = (x − m) / s      u = W_enc (z − b_in) + b_enc      f = gate(u)      x̂ = s (f W_dec + b_dec) + m (+ W_skip x)

m and s normalise a row (`normalise`; 0 and 1 without). Everything is in the units of the file it comes from, in
float64; a reader has only to name its tensors and to fold in what its library keeps beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

import sae
from actpipe.errors import Misuse
from sae.architectures import Imported, ImportedTranscoder, SkipTranscoder, Transcoder

# Decoder rows whose lengths differ by less do so by the rounding of their format, bfloat16 or better apart.
ONE_LENGTH = 1e-5
TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, kw_only=True)
class Form:
    gate: str  # "relu", "topk", "jumprelu" or "gated"
    W_enc: Tensor  # [n, d]
    b_in: Tensor  # [d]
    b_enc: Tensor  # [n]; of a gated encoder that of the magnitudes, which read e^r_mag W_enc
    W_dec: Tensor  # [n, out]
    b_dec: Tensor  # [out]
    k: int | None = None
    threshold: Tensor | None = None  # [n], of jumprelu: f = relu(u) where u > threshold
    b_gate: Tensor | None = None  # [n], of gated: f = relu(e^r_mag W_enc z + b_enc) where W_enc z + b_gate > 0
    r_mag: Tensor | None = None  # [n], of gated
    normalise: str = "none"  # "none", "center", "layer_norm" or "length"; as in sae/architectures/imported.py
    pair: bool = False  # whether it answers with the rows of another hook
    W_skip: Tensor | None = None  # [out, d]

    @property
    def lengths(self) -> Tensor:
        """[n], of the decoder rows."""
        lengths: Tensor = torch.linalg.vector_norm(self.W_dec, dim=1)
        return lengths

    def without_bias_in(self) -> Form:
        """b_enc ← b_enc − W_enc b_in, b_in ← 0; of a gated encoder both biases."""
        shift = self.W_enc @ self.b_in
        b_gate = None if self.b_gate is None else self.b_gate - shift
        shift = shift if self.r_mag is None else shift * self.r_mag.exp()
        return replace(self, b_in=torch.zeros_like(self.b_in), b_enc=self.b_enc - shift, b_gate=b_gate)

    def reading_from(self, b_in: Tensor) -> Form:
        """The same function with another bias taken off the rows."""
        moved = replace(self, b_in=self.b_in - b_in).without_bias_in()
        return replace(moved, b_in=b_in)

    def scaled(self, scale_in: float, scale_out: float) -> Form:
        """The function of rows x where this one is a function of scale_in · x, and answers scale_out · x̂."""
        return replace(
            self,
            W_enc=self.W_enc * scale_in,
            b_in=self.b_in / scale_in,
            W_dec=self.W_dec / scale_out,
            b_dec=self.b_dec / scale_out,
            W_skip=None if self.W_skip is None else self.W_skip * (scale_in / scale_out),
        )

    def with_codes_times(self, factor: Tensor) -> Form:
        """Codes and what the gate compares become `factor` [n] times as large, and decoder rows as much shorter."""
        inverse = torch.where(factor > 0, 1 / factor, torch.zeros_like(factor))
        return replace(
            self,
            W_enc=factor[:, None] * self.W_enc,
            b_enc=factor * self.b_enc,
            W_dec=inverse[:, None] * self.W_dec,
            b_gate=None if self.b_gate is None else factor * self.b_gate,
        )


def dictionary_of(form: Form, config: Mapping[str, Any], *, double: bool = False) -> sae.Dictionary:
    """The dictionary that computes this form, in float32 unless `double`."""
    architecture, params, hyper = _ours(form)
    d, n = form.W_enc.shape[1], form.W_enc.shape[0]
    hyper = architecture.hyper(hyper)
    try:
        architecture.check(sae.Size(d, n, form.W_dec.shape[1]), hyper)
        made = sae.Dictionary.trained(
            architecture,
            params,
            hyper=hyper,
            scaling=_identity(d),
            target=_identity(form.W_dec.shape[1]) if form.pair else None,
            config=config,
        )
    except ValueError as error:
        raise Misuse(f"This dictionary cannot be ours: {error}.") from None
    return made if double else in_dtype(made, torch.float32)


def in_dtype(dictionary: sae.Dictionary, dtype: torch.dtype) -> sae.Dictionary:
    return replace(
        dictionary,
        params={name: p.to(dtype) for name, p in dictionary.params.items()},
        scaling=dictionary.scaling.to(dtype),
        target=None if dictionary.target is None else dictionary.target.to(dtype),
        config={**dictionary.config, "dtype": str(dtype).removeprefix("torch.")},
    )


def _ours(form: Form) -> tuple[sae.Architecture, dict[str, Tensor], dict[str, float]]:
    """Architecture, parameters and hyperparameters. Ours take b_dec off the rows first."""
    if form.normalise != "none" or _ranks_otherwise(form) or (form.pair and form.gate == "jumprelu"):
        return _imported(form)
    if form.pair:
        return _transcoder(form)
    same = form.reading_from(form.b_dec)
    params = {"W_enc": same.W_enc, "b_enc": same.b_enc, "W_dec": same.W_dec, "b_dec": same.b_dec}
    if form.gate == "relu":
        return sae.get_architecture("relu")(), params, {}
    if form.gate == "topk":
        return sae.get_architecture("topk")(), params, {"k": float(_k(form))}
    if form.gate == "jumprelu":
        assert form.threshold is not None
        # A threshold below 0 is none: what is negative never fires.
        params["log_threshold"] = form.threshold.clamp(min=TINY).log()
        return sae.get_architecture("jumprelu")(), params, {"target_l0": 0.0}
    assert form.gate == "gated"
    assert same.b_gate is not None
    assert same.r_mag is not None
    gated = {"b_gate": same.b_gate, "b_mag": params.pop("b_enc"), "r_mag": same.r_mag}
    return sae.get_architecture("gated")(), {**params, **gated}, {}


def _ranks_otherwise(form: Form) -> bool:
    """Whether directions of length 1 would let other features be among the k largest."""
    lengths = form.lengths
    return form.gate == "topk" and bool(lengths.max() - lengths.min() > ONE_LENGTH * lengths.max())


def _transcoder(form: Form) -> tuple[sae.Architecture, dict[str, Tensor], dict[str, float]]:
    if form.gate not in ("relu", "topk"):
        raise Misuse(f"A {form.gate} transcoder has no counterpart among ours.")
    params = {"W_enc": form.W_enc, "b_enc": form.b_enc, "W_dec": form.W_dec, "b_dec": form.b_dec, "center": form.b_in}
    hyper = {"k": float(_k(form))} if form.gate == "topk" else {}
    gate: Any = form.gate
    if form.W_skip is None:
        return Transcoder(gate=gate), params, hyper
    # Ours takes the centre off before it skips.
    skipped = {"W_skip": form.W_skip, "b_dec": form.b_dec + form.W_skip @ form.b_in}
    return SkipTranscoder(gate=gate), {**params, **skipped}, hyper


def _imported(form: Form) -> tuple[sae.Architecture, dict[str, Tensor], dict[str, float]]:
    if form.gate == "gated":
        raise Misuse("A gated dictionary whose rows are normalised one by one has no counterpart among ours.")
    cls = ImportedTranscoder if form.pair else Imported
    architecture = cls(
        gate=form.gate,
        k=_k(form) if form.gate == "topk" else 0,
        normalise=form.normalise,
        skip=form.W_skip is not None,
    )
    params = {
        "W_enc": form.W_enc,
        "b_in": form.b_in,
        "b_enc": form.b_enc,
        "length": torch.ones_like(form.b_enc),  # the fold makes it those of the decoder rows
        "W_dec": form.W_dec,
        "b_dec": form.b_dec,
    }
    if form.threshold is not None:
        params["threshold"] = form.threshold
    if form.W_skip is not None:
        params["W_skip"] = form.W_skip
    return architecture, params, {}


def _k(form: Form) -> int:
    assert form.k is not None
    if not 1 <= form.k <= len(form.b_enc):
        raise Misuse(f"k must be from 1 to the {len(form.b_enc)} features there are, not {form.k}.")
    return form.k


def _identity(d: int) -> sae.Scaling:
    return sae.Scaling(torch.zeros(d, dtype=torch.float64), 1.0)
