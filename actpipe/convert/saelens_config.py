"""cfg.json of SAELens, of either generation, brought to one shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actpipe.errors import Misuse

from .sources import count, read_json

WEIGHTS = "sae_weights.safetensors"
SCALER = "activation_scaler.json"
WHITENING = "activation_whitening.safetensors"

NORMALISATIONS = ("none", "expected_average_only_in", "layer_norm", "constant_norm_rescale", "covariance_whitening")
# Keys of a flat configuration that later ones keep in `metadata`.
METADATA = (
    "model_name",
    "model_class_name",
    "hook_name",
    "hook_name_out",
    "hook_head_index",
    "model_from_pretrained_kwargs",
    "prepend_bos",
    "exclude_special_tokens",
    "neuronpedia_id",
    "context_size",
    "seqpos_slice",
    "dataset_path",
    "sae_lens_version",
    "sae_lens_training_version",
)
RENAMED = {
    "hook_point": "hook_name",
    "hook_point_head_index": "hook_head_index",
    "activation_fn_str": "activation_fn",
}
# Architectures that know rescale_acts_by_decoder_norm; the others do not look at it.
RESCALED = ("topk", "batchtopk", "matryoshka_batchtopk")
# Hooks in the residual stream or that write to it: the places where a model with centred writing weights differs.
WRITES = (
    "hook_embed",
    "hook_pos_embed",
    "hook_resid_pre",
    "hook_resid_mid",
    "hook_resid_post",
    "hook_attn_out",
    "hook_mlp_out",
)


@dataclass(frozen=True, kw_only=True)
class Config:
    path: Path
    architecture: str
    d: int
    n: int
    out: int
    k: int
    subtracts: bool  # b_dec off the rows
    normalize: str
    reshape: str
    rescale: bool  # codes times the length of their decoder row
    metadata: dict[str, Any]

    @property
    def centered(self) -> bool:
        """Whether its rows come from a model whose writing weights were centred, so that they have mean 0."""
        kwargs = self.metadata.get("model_from_pretrained_kwargs") or {}
        asked = kwargs.get("center_writing_weights") is True
        return asked and str(self.metadata.get("hook_name", "")).endswith(WRITES)


def read_config(path: Path) -> Config:
    value = read_json(path)
    metadata = value.get("metadata")
    if not isinstance(metadata, dict):
        metadata = None
    version = value.get("sae_lens_version") or (metadata or {}).get("sae_lens_version")
    config = _flat(path, value) if _before_six(version) else _current(path, value, metadata or {})
    kwargs = config.metadata.get("model_from_pretrained_kwargs")
    if not isinstance(kwargs, dict | None):
        raise Misuse(f"In {path} 'model_from_pretrained_kwargs' is {kwargs!r}, which is no JSON object.")
    return config


def _before_six(version: Any) -> bool:
    """No version is an old one: so SAELens reads its own files."""
    head = str(version or "0").split(".")[0]
    return not head.isdigit() or int(head) < 6


def _current(path: Path, value: dict[str, Any], metadata: dict[str, Any]) -> Config:
    architecture = value.get("architecture")
    if not isinstance(architecture, str):
        raise Misuse(f"{path} names no architecture; without it the weights cannot be understood.")
    d = count(value, path, "d_in")
    return Config(
        path=path,
        architecture=architecture,
        d=d,
        n=count(value, path, "d_sae"),
        out=count(value, path, "d_out") if "transcoder" in architecture else d,
        k=count(value, path, "k") if architecture == "topk" else 0,
        subtracts=bool(value.get("apply_b_dec_to_input", True)),
        normalize=_normalization(path, value.get("normalize_activations", "none")),
        reshape=str(value.get("reshape_activations", "none")),
        rescale=architecture in RESCALED and bool(value.get("rescale_acts_by_decoder_norm", False)),
        metadata=metadata,
    )


def _flat(path: Path, value: dict[str, Any]) -> Config:
    """Before version 6 everything lies at the top level, and k among the arguments of the activation function."""
    renamed = {RENAMED.get(key, key): item for key, item in value.items()}
    architecture = str(renamed.get("architecture") or "standard")
    arguments = renamed.get("activation_fn_kwargs") or {}
    activation = renamed.get("activation_fn", "relu")
    if activation == "topk":
        architecture = "topk"
    elif activation != "relu":
        raise Misuse(f"{path} has the activation function {activation!r}; relu and topk are known of files before 6.")
    if renamed.get("finetuning_scaling_factor"):
        raise Misuse(f"{path} has a finetuning_scaling_factor, which SAELens from 6 on does not read either.")
    d = count(renamed, path, "d_in")
    return Config(
        path=path,
        architecture=architecture,
        d=d,
        n=count(renamed, path, "d_sae"),
        out=d,
        k=count(arguments, path, "k") if architecture == "topk" else 0,
        subtracts=bool(renamed.get("apply_b_dec_to_input", True)),
        normalize=_normalization(path, renamed.get("normalize_activations")),
        reshape="hook_z" if "hook_z" in str(renamed.get("hook_name", "")) else "none",
        rescale=False,
        metadata={key: renamed[key] for key in METADATA if key in renamed},
    )


def _normalization(path: Path, value: Any) -> str:
    if value is None or value is False:
        return "none"
    name = "expected_average_only_in" if value is True else str(value)
    if name not in NORMALISATIONS:
        raise Misuse(f"{path} has normalize_activations {name!r}; known: {', '.join(NORMALISATIONS)}.")
    return name
