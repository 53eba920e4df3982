"""llamascopium (once lm-saes) and the Llama Scope releases of its authors (arXiv 2410.20526).

Now: config.json and sae_weights.safetensors; read against llamascopium 2.0.0b34 (models/sae.py). Llama Scope:
hyperparams.json and checkpoints/final.safetensors. There a library standardised the parameters when it loaded them, and
the one threshold is compared after that, in units of the model; SAELens' reader scales it for the same reason.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sae
from actpipe.errors import Misuse

from .form import Form
from .format import Answer, Format, Reference, imported
from .sources import Tensors, count, entry, read_json, read_safetensors

CONFIG, WEIGHTS = "config.json", "sae_weights.safetensors"
OLD_CONFIG, OLD_WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
GATES = {"relu": "relu", "jumprelu": "jumprelu", "topk": "topk"}


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """Matrices as the library names them in either generation, and what it does with them."""

    path: Path
    config: dict[str, Any]
    W_E: Tensor  # [d, n]
    b_E: Tensor  # [n]
    W_D: Tensor  # [n, d]
    b_D: Tensor  # [d]
    threshold: Tensor | None  # [n]
    old: bool
    double: bool

    @property
    def gate(self) -> str:
        name = str(self.config.get("act_fn", "relu")).lower()
        if name not in GATES:
            raise Misuse(
                f"{self.path} has the activation {name!r}, which depends on the other rows of a batch; make it a "
                "jumprelu with llamascopium's conversion first."
                if "topk" in name
                else f"{self.path} has the activation {name!r}; actpipe reads {', '.join(GATES)}."
            )
        return GATES[name]

    @property
    def weighs(self) -> bool:
        """Whether the gate compares codes times the length of their decoder row."""
        return bool(self.config.get("sparsity_include_decoder_norm", True))

    @property
    def subtracts(self) -> bool:
        return bool(self.config.get("apply_decoder_bias_to_pre_encoder", False))

    @property
    def hooks(self) -> tuple[str, str]:
        hook_in = str(entry(self.config, self.path, "hook_point_in", str))
        return hook_in, str(self.config.get("hook_point_out") or hook_in)

    @property
    def normalisation(self) -> str:
        return str(self.config.get("norm_activation", "dataset-wise"))


class Llamascopium(Format):
    name = "llamascopium"
    library = "llamascopium"
    files = f"{CONFIG} with sae_type and {WEIGHTS}, or {OLD_CONFIG} and {OLD_WEIGHTS}"

    def detect(self, path: Path) -> bool:
        if (path / OLD_CONFIG).is_file() and (path / OLD_WEIGHTS).is_file():
            return True
        try:
            config = json.loads((path / CONFIG).read_text())
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(config, dict) and "d_model" in config and (path / WEIGHTS).is_file()

    def read(self, path: Path) -> sae.Dictionary:
        opened = _open(path)
        hook_in, hook_out = opened.hooks
        pair = hook_in != hook_out
        form = Form(
            gate=opened.gate,
            W_enc=opened.W_E.T,
            b_in=opened.b_D if opened.subtracts else torch.zeros_like(opened.b_D),
            b_enc=opened.b_E,
            W_dec=opened.W_D,
            b_dec=opened.b_D,
            k=count(opened.config, opened.path, "top_k") if opened.gate == "topk" else None,
            threshold=opened.threshold,
            pair=pair,
        )
        if opened.weighs and opened.gate != "relu":
            form = form.with_codes_times(form.lengths)
        if opened.normalisation == "token-wise":
            form = _one_by_one(form)
        elif opened.normalisation == "dataset-wise":
            scale_in, scale_out = _factors(opened, path)
            form = form.scaled(scale_in, scale_out)
            if opened.old and form.threshold is not None:
                # In the units of what is compared: codes in model units, which are 1 / scale_out of those in training.
                form = replace(form, threshold=form.threshold * (scale_out if opened.weighs else scale_in))
        elif opened.normalisation != "inference":
            raise Misuse(
                f"{opened.path} normalises by {opened.normalisation!r}, which depends on the other rows of a batch; "
                "actpipe reads dataset-wise, token-wise and inference."
            )
        source = {"format": self.name, "library": self.library, "metadata": opened.config}
        return imported(form, source, hook=hook_in, target_hook=hook_out if pair else None, double=opened.double)

    def reference(self, path: Path) -> Reference:
        opened = _open(path)

        def answer(x: Tensor) -> Answer:
            d = x.shape[-1]
            scale_in = scale_out = torch.ones(1, dtype=x.dtype)
            W_D, b_E, b_D = opened.W_D, opened.b_E, opened.b_D
            if opened.normalisation == "token-wise":
                scale_in = scale_out = math.sqrt(d) / torch.norm(x, 2, dim=-1, keepdim=True)
            elif opened.normalisation == "dataset-wise":
                one, other = _factors(opened, path)
                if opened.old:  # standardize_parameters_of_dataset_norm, then no factor
                    b_E, b_D, W_D = b_E / one, b_D / other, W_D * (one / other)
                else:
                    scale_in, scale_out = scale_in * one, scale_out * other
            seen = x * scale_in - (b_D if opened.subtracts else 0.0)
            pre = seen @ opened.W_E + b_E
            norm = W_D.norm(dim=1)
            scored = pre * norm if opened.weighs else pre
            codes = pre * _fires(opened, scored)
            return Answer(codes, norm / scale_out, (codes @ W_D + b_D) / scale_out)

        return answer


def _fires(opened: _Opened, scores: Tensor) -> Tensor:
    if opened.threshold is not None:
        return scores.gt(opened.threshold)
    positive = scores.gt(0)
    if opened.gate == "topk":
        kept = (scores * positive).topk(int(opened.config["top_k"]), dim=-1).indices
        return torch.zeros_like(positive).scatter(-1, kept, True) & positive
    return positive


def _one_by_one(form: Form) -> Form:
    if form.pair:
        raise Misuse("This transcoder normalises its answers by the rows it predicts, which are not known to it.")
    return replace(form, normalise="length")


def _open(path: Path) -> _Opened:
    old = not (path / CONFIG).is_file()
    where = path / (OLD_CONFIG if old else CONFIG)
    config, p = read_json(where), read_safetensors(path / (OLD_WEIGHTS if old else WEIGHTS))
    if config.get("use_glu_encoder", False):
        raise Misuse(f"{where} has a gated linear encoder (use_glu_encoder), which has no counterpart among ours.")
    if (kind := config.get("sae_type", "sae")) != "sae":
        raise Misuse(
            f"{where} is of the type {kind!r}; actpipe reads llamascopium's autoencoders and transcoders (sae)."
        )
    d = count(config, where, "d_model")
    if "encoder.weight" in p:
        W_E, b_E = p.take("encoder.weight", -1, d).T, p.take("encoder.bias", -1)
        W_D, bias = p.take("decoder.weight", d, len(b_E)).T, "decoder.bias"
    else:
        W_E, b_E = p.take("W_E", d, -1), p.take("b_E", -1)
        W_D, bias = p.take("W_D", len(b_E), d), "b_D"
    b_D = p.take(bias, d) if config.get("use_decoder_bias", True) else torch.zeros(d, dtype=torch.float64)
    if W_E.shape[1] != len(b_E):
        raise Misuse(f"In {p.path} the encoder has {W_E.shape[1]} features and its bias {len(b_E)}.")
    threshold = _threshold(config, where, p, len(b_E), old=old)
    return _Opened(
        path=where,
        config=config,
        W_E=W_E,
        b_E=b_E,
        W_D=W_D,
        b_D=b_D,
        threshold=threshold,
        old=old,
        double=p.double,
    )


def _threshold(config: dict[str, Any], where: Path, p: Tensors, n: int, *, old: bool) -> Tensor | None:
    if str(config.get("act_fn", "relu")).lower() != "jumprelu":
        return None
    if old:
        value = float(entry(config, where, "jump_relu_threshold", int, float))
        return torch.full((n,), value, dtype=torch.float64)
    name = p.first("activation_function.log_jumprelu_threshold", "log_jumprelu_threshold")
    return p.take(name, n).exp()


def _factors(opened: _Opened, path: Path) -> tuple[float, float]:
    """What rows read and rows answered were multiplied by in training: √d over their mean length."""
    root = math.sqrt(len(opened.b_D))
    if opened.old:
        norms = opened.config.get("dataset_average_activation_norm")
        found = [norms.get(side) for side in ("in", "out")] if isinstance(norms, dict) else [None, None]
    else:
        stored = read_safetensors(path / WEIGHTS)
        names = [f"dataset_average_activation_norm.{hook}" for hook in opened.hooks]
        found = [float(stored.take(name)) if name in stored else None for name in names]
    if any(not isinstance(norm, (int, float)) or not (math.isfinite(norm) and norm > 0) for norm in found):
        raise Misuse(
            f"{opened.path} was trained on rows scaled by their mean length (norm_activation dataset-wise), and the "
            "file does not tell it. Save it again with fold_activation_scale."
        )
    return root / float(found[0] or 1), root / float(found[1] or 1)
