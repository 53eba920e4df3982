"""What is measured: the model, its twin at initialisation, and hooks: what their units write and when they fire."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from actpipe.errors import Missing
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.sites import Site, block_of, find_sites

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

Firing = Literal["nonzero", "above"]

MLP_HOOKS = "*.mlp.hook_post"
SCORE = "kwta_gate"  # decides about units, and is none
# Names under which configurations of transformers, and ours, keep the nonlinearity of the MLP.
_ACTIVATION_FIELDS = ("dense_act_fn", "hidden_act", "activation_function", "hidden_activation", "activation")
_GATES = ("gate_proj", "wi_1", "gate_up_proj")  # of an MLP that multiplies its nonlinearity by a linear map
# Heuristic: a smooth nonlinearity rounds to exactly 0 far out; more zeros than this are zeros by design.
ZEROS_BY_DESIGN = 0.02


@dataclass(frozen=True)
class Subject:
    """One hook. `activation` is the nonlinearity before it, where the configuration says so."""

    site: Site
    stack: str  # what is averaged: "blocks", or "blocks.*.hook_…" where several places of a block are measured
    layer: int | None
    kind: str  # neuron, what units() of a model of ours calls it, or activation for any other tensor
    activation: str | None

    @property
    def hook(self) -> str:
        return self.site.hook

    @property
    def place(self) -> str:
        """`blocks.*.mlp.hook_post`: the hook in whichever layer."""
        block = block_of(self.hook)
        return self.hook if block is None else self.hook.replace(f"{block[0]}.{block[1]}.", f"{block[0]}.*.", 1)

    def firing(self, nonzero_share: float) -> Firing:
        """How its units fire: by not being 0, or by standing out. The share decides only where the design is unknown.

        A gate changes nothing: the product with a ReLU is 0 where the ReLU is, the product with a GELU nowhere.
        """
        if self.kind not in ("neuron", "activation", SCORE):
            return "nonzero"
        if self.activation is not None:
            return "nonzero" if self.activation.startswith("relu") else "above"
        return "nonzero" if nonzero_share < 1 - ZEROS_BY_DESIGN else "above"


def subjects_of(
    patterns: tuple[str, ...], described: PretrainedConfig, tokenizer: PreTrainedTokenizerFast
) -> tuple[Subject, ...]:
    """The hooks that were asked for, else those of the sparse units: behind the nonlinearity of every MLP."""
    kinds = _kinds_of_ours(described)
    try:
        ours = tuple(hook for hook, kind in kinds.items() if kind != SCORE)
        sites = find_sites(patterns or ours or (MLP_HOOKS,), described, tokenizer)
    except Missing as error:
        if patterns:
            raise
        raise Missing(f"This model has no hook behind the nonlinearity of an MLP; give --hook. {error}") from error
    subjects = [_subject(site, described, kinds) for site in sites]
    places: dict[str, set[str]] = {}
    for subject in subjects:
        places.setdefault(subject.stack, set()).add(subject.place)
    return tuple(replace(s, stack=s.place) if len(places[s.stack]) > 1 else s for s in subjects)


def write_norms(model: LanguageModel, site: Site) -> Tensor | None:
    """[n] float32, ‖w_i‖ of what each unit of the hook writes; None where it enters no matrix."""
    for units in _units_of_ours(model.module):
        if units.hook == site.hook:
            ours: Tensor = units.directions.detach().float().norm(dim=1)
            return ours.to(model.device)
    if site.side != "input" or site.through != "native":
        return None
    entered = model.module.get_submodule(site.path)
    weight = getattr(entered, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2:
        return None
    # A Linear holds [out, in]; GPT-2's Conv1D holds [in, out].
    axis = 0 if isinstance(entered, nn.Linear) else 1 if type(entered).__name__ == "Conv1D" else None
    if axis is None or weight.shape[1 - axis] != site.width:
        return None
    norms: Tensor = torch.linalg.vector_norm(weight.detach().float(), dim=axis)
    return norms


def is_gated(model: LanguageModel, site: Site) -> bool:
    """Whether the MLP around the hook multiplies its nonlinearity by a linear map (GLU)."""
    if site.through != "native":
        return False
    parent = model.module.get_submodule(site.path.rpartition(".")[0])
    return any(hasattr(parent, gate) for gate in _GATES)


def _subject(site: Site, described: PretrainedConfig, kinds: dict[str, str]) -> Subject:
    block = block_of(site.hook)
    kind = kinds.get(site.hook, "neuron" if site.hook.endswith(MLP_HOOKS[1:]) else "activation")
    return Subject(
        site=site,
        stack=block[0] if block else site.hook,
        layer=block[1] if block else None,
        kind=kind,
        activation=_activation(described) if kind == "neuron" else None,
    )


def _activation(described: PretrainedConfig) -> str | None:
    fields = getattr(described, "fields", None) or {}
    names = [getattr(described, name, None) or fields.get(name) for name in _ACTIVATION_FIELDS]
    return next((str(name) for name in names if name), None)


def _kinds_of_ours(described: PretrainedConfig) -> dict[str, str]:
    """{hook: kind of its units} of a model of ours; empty for others."""
    built = getattr(described, "built", None)
    return {} if built is None else {units.hook: units.kind for units in built().network().units()}


def _units_of_ours(module: nn.Module) -> tuple[Any, ...]:
    units = getattr(getattr(module, "network", None), "units", None)
    return () if units is None else tuple(units())
