"""SAELens: a folder of cfg.json and sae_weights.safetensors, from version 6 on and the flat configurations before it.

Inference files and training checkpoints have the same names. Written against sae-lens 6.54.12 (sae_lens/saes/*.py).
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sae
from actpipe.errors import Misuse

from .form import Form
from .format import Answer, Format, Reference, imported
from .saelens_config import SCALER, WEIGHTS, WHITENING, Config, read_config
from .saelens_writing import write
from .sources import Tensors, read_json, read_safetensors

# SAELens' name → ours. BatchTopK and Matryoshka become JumpReLU when they are saved for inference, and keep their own
# name in training checkpoints.
GATES = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "batchtopk": "jumprelu",
    "matryoshka_batchtopk": "jumprelu",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
NORMALISATIONS = {"layer_norm": "layer_norm", "constant_norm_rescale": "length"}
OTHERS = {
    "abstopk": "its codes can be negative, and ours cannot",
    "temporal": "it reads other tokens than the row's own",
    "matching_pursuit": "its codes come from a pursuit and not from an encoder",
}


class SAELens(Format):
    name = "saelens"
    library = "SAELens"
    files = f"cfg.json and {WEIGHTS}"
    writes = True

    def detect(self, path: Path) -> bool:
        return (path / "cfg.json").is_file() and (path / WEIGHTS).is_file()

    def read(self, path: Path) -> sae.Dictionary:
        config, tensors = read_config(path / "cfg.json"), read_safetensors(path / WEIGHTS)
        form = _form(config, tensors)
        if config.normalize == "expected_average_only_in":
            scale = _scale(path)
            form = form.scaled(scale, scale)
        elif config.normalize == "covariance_whitening":
            form = _unwhitened(form, read_safetensors(path / WHITENING))
        if config.centered:
            form = _centered(form)
        source = {
            "format": self.name,
            "library": self.library,
            "architecture": config.architecture,
            "metadata": config.metadata,
            **({"notes": notes} if (notes := _notes(config)) else {}),
        }
        hook, hook_out = config.metadata.get("hook_name"), config.metadata.get("hook_name_out")
        return imported(form, source, hook=hook, target_hook=hook_out, double=tensors.double)

    def reference(self, path: Path) -> Reference:
        config, tensors = read_config(path / "cfg.json"), read_safetensors(path / WEIGHTS)
        into, back, added = _normalisation(path, config)
        W_dec = tensors.take("W_dec", -1, -1)
        norms = W_dec.norm(dim=-1)

        def answer(x: Tensor) -> Answer:
            seen, kept = into(x)
            codes = _codes(config, tensors, seen)
            decoded = (codes / norms if config.rescale else codes) @ W_dec + tensors.take("b_dec", -1)
            rows = back(decoded, kept)
            if "W_skip" in tensors:
                rows = rows + x @ tensors.take("W_skip", -1, -1).T
            lengths = added(W_dec, kept)
            return Answer(codes, lengths / norms if config.rescale else lengths, rows)

        return answer

    def write(self, dictionary: sae.Dictionary, folder: Path) -> None:
        write(dictionary, folder)


def _form(config: Config, tensors: Tensors) -> Form:
    """In SAELens' own units, before what it keeps beside the weights."""
    architecture = config.architecture
    if architecture not in GATES:
        why = OTHERS.get(architecture, "actpipe does not know it")
        raise Misuse(f"{config.path} is of SAELens' architecture {architecture!r}: {why}.")
    pair = "transcoder" in architecture
    W_enc, W_dec = tensors.take("W_enc", config.d, config.n).T, tensors.take("W_dec", config.n, config.out)
    b_dec = tensors.take("b_dec", config.out)
    b_in = b_dec if config.subtracts and not pair else torch.zeros(config.d, dtype=torch.float64)
    gate = GATES[architecture]
    form = Form(
        gate=gate,
        W_enc=W_enc,
        b_in=b_in,
        b_enc=tensors.take("b_mag" if gate == "gated" else "b_enc", config.n),
        W_dec=W_dec,
        b_dec=b_dec,
        k=config.k if gate == "topk" else None,
        threshold=_threshold(config, tensors) if gate == "jumprelu" else None,
        b_gate=tensors.take("b_gate", config.n) if gate == "gated" else None,
        r_mag=tensors.take("r_mag", config.n) if gate == "gated" else None,
        normalise=NORMALISATIONS.get(config.normalize, "none"),
        pair=pair,
        W_skip=tensors.take("W_skip", config.out, config.d) if "skip" in architecture else None,
    )
    if pair and form.normalise != "none":
        raise Misuse(f"{config.path} is of a transcoder that normalises its rows one by one; ours do not.")
    # With the flag SAELens ranks and returns codes times the length of their decoder row, and divides when it decodes.
    return form.with_codes_times(form.lengths) if config.rescale else form


def _threshold(config: Config, tensors: Tensors) -> Tensor:
    if config.architecture in ("batchtopk", "matryoshka_batchtopk"):
        return tensors.take("topk_threshold").expand(config.n)
    if "log_threshold" in tensors:  # of training checkpoints before 6.50
        return tensors.take("log_threshold", config.n).exp()
    return tensors.take("threshold", config.n)


def _centered(form: Form) -> Form:
    if form.normalise != "none" or form.gate == "gated" or form.pair:
        raise Misuse(
            "This dictionary was trained on a model with centred writing weights (center_writing_weights) and is "
            f"{'a transcoder' if form.pair else 'gated' if form.gate == 'gated' else 'normalised besides'}; "
            "that has no counterpart among ours."
        )
    return replace(form, normalise="center")


def _scale(path: Path) -> float:
    """c, where the dictionary was trained on c · x (Anthropic, April 2024) and saved before it was folded in."""
    if not (path / SCALER).is_file():
        raise Misuse(
            f"{path} was trained on scaled rows (normalize_activations: expected_average_only_in) and the factor is "
            f"not in the file. Put {SCALER} of its checkpoint beside it, or save it again with SAELens after "
            "fold_activation_norm_scaling_factor."
        )
    scale = read_json(path / SCALER).get("scaling_factor")
    if not isinstance(scale, (int, float)) or not (math.isfinite(scale) and scale > 0):
        raise Misuse(f"In {path / SCALER} scaling_factor is {scale!r}; a positive number is needed.")
    return float(scale)


def _unwhitened(form: Form, whitening: Tensors) -> Form:
    """Of rows x where the form is of z = (x − μ) M, with x̂ = ẑ M⁻¹ + μ (arXiv 2511.13981)."""
    d = form.W_enc.shape[1]
    mean, M, inverse = whitening.take("mean", d), whitening.take("matrix", d, d), whitening.take("inverse_matrix", d, d)
    plain = form.without_bias_in()
    return replace(
        plain,
        W_enc=plain.W_enc @ M.T,
        b_in=mean,
        W_dec=plain.W_dec @ inverse,
        b_dec=plain.b_dec @ inverse + mean,
    )


def _notes(config: Config) -> list[str]:
    notes = []
    asked = dict(config.metadata.get("model_from_pretrained_kwargs") or {})
    if config.centered:
        asked.pop("center_writing_weights")
        notes.append(
            "It was trained on a model with centred writing weights. The result takes rows of the model as it is and "
            "takes off their mean itself."
        )
    if asked:
        notes.append(f"It was trained on a model loaded with {asked}: give it rows of a model loaded so.")
    if config.reshape == "hook_z":
        notes.append("Its rows are those of all heads side by side.")
    return notes


# What the library computes, for --verify ---------------------------------------------------


def _normalisation(path: Path, config: Config) -> tuple[Any, Any, Any]:
    """`run_time_activation_norm_fn_in` and `_out`, and ActivationScaler: three functions.

    Rows → (what the encoder sees, what undoing needs); back; and (decoder rows, what undoing needs) → their lengths in
    model units.
    """
    if config.normalize == "layer_norm":

        def standardised(x: Tensor) -> tuple[Tensor, Any]:
            mu = x.mean(-1, keepdim=True)
            std = (x - mu).std(-1, keepdim=True)
            return (x - mu) / (std + 1e-5), (mu, std)

        return standardised, lambda y, kept: y * kept[1] + kept[0], lambda W, kept: W.norm(dim=-1) * kept[1]
    if config.normalize == "constant_norm_rescale":

        def rescaled(x: Tensor) -> tuple[Tensor, Any]:
            coefficient = config.d**0.5 / x.norm(dim=-1, keepdim=True)
            return x * coefficient, coefficient

        return rescaled, lambda y, kept: y / kept, lambda W, kept: W.norm(dim=-1) / kept
    if config.normalize == "expected_average_only_in":
        c = _scale(path)
        return (lambda x: (x * c, None)), (lambda y, _: y / c), (lambda W, _: W.norm(dim=-1) / c)
    if config.normalize == "covariance_whitening":
        stored = read_safetensors(path / WHITENING)
        mean, M = stored.take("mean", -1), stored.take("matrix", -1, -1)
        back = stored.take("inverse_matrix", -1, -1)
        return (
            lambda x: ((x - mean) @ M, None),
            lambda y, _: y @ back + mean,
            lambda W, _: (W @ back).norm(dim=-1),
        )
    if config.centered:  # rows of the model with centred weights are those of the model itself less their mean
        return (
            lambda x: (x - x.mean(-1, keepdim=True), x.mean(-1, keepdim=True)),
            lambda y, mean: y + mean,
            lambda W, _: W.norm(dim=-1),
        )
    return (lambda x: (x, None)), (lambda y, _: y), (lambda W, _: W.norm(dim=-1))


def _codes(config: Config, tensors: Tensors, x: Tensor) -> Tensor:
    """`encode` of each class of sae_lens/saes."""
    W_enc = tensors.take("W_enc", -1, -1)
    s = x - tensors.take("b_dec", -1) if config.subtracts and "transcoder" not in config.architecture else x
    if config.architecture == "gated":
        active = (s @ W_enc + tensors.take("b_gate", -1)) > 0
        return active * torch.relu(s @ (W_enc * tensors.take("r_mag", -1).exp()) + tensors.take("b_mag", -1))
    pre = s @ W_enc + tensors.take("b_enc", -1)
    if config.rescale:
        pre = pre * tensors.take("W_dec", -1, -1).norm(dim=-1)
    if config.architecture == "topk":
        values, indices = torch.topk(pre, k=config.k, dim=-1, sorted=False)
        return torch.zeros_like(pre).scatter_(-1, indices, values.relu())
    if GATES[config.architecture] == "jumprelu":
        return pre.relu() * (pre > _threshold(config, tensors))
    return pre.relu()
