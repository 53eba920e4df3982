"""The contract of an ante-hoc model: a frozen dataclass that builds a network, and what a network can do.

An architecture is its own configuration: its fields are its hyperparameters, and `config.json` of a saved model holds
them. Shapes: B sequences, T positions, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from actpipe.antehoc.units import Units
from actpipe.errors import Misuse

Batch = Mapping[str, Tensor]
IGNORED = -100  # a label that does not count


class Network(nn.Module, ABC):
    """A model of ours. Every tensor of interest passes a `Hook`, whose path is its TransformerLens name."""

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight anew, from `generator` alone."""

    @abstractmethod
    def logits(self, *inputs: Any, **named: Any) -> Tensor:
        """[B, T, V] of `input_ids` [B, T]. An encoder-decoder network also takes `attention_mask`, true at tokens that
        are not padding, and `decoder_input_ids`."""

    @abstractmethod
    def units(self) -> tuple[Units, ...]:
        """The sparse units of every layer, in order."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """`loss` is what training minimises, `ce` the plain cross-entropy; other parts by name.

        `batch` is what `logits` takes and `labels` [B, T], already shifted: the label is the token to be predicted.
        """
        inputs = {name: value for name, value in batch.items() if name != "labels"}
        ce = cross_entropy(self.logits(**inputs), batch["labels"])
        return {"loss": ce, "ce": ce}

    def at(self, fraction: float) -> None:
        """Take the form that belongs to this share of training; a network that is not trained is at 1."""

    def project(self) -> None:
        """Put the weights back where the architecture wants them, after a step of the optimizer."""

    def n_parameters(self) -> dict[str, int]:
        """`embedding`: tables of tokens and positions, the tied head among them; `training`: what inference drops;
        `other`: the rest, which is what models are matched on. Together they are all that is trained."""
        tables = {id(m.weight) for m in self.modules() if isinstance(m, nn.Embedding)}
        scaffold = {id(weight) for module in self.training_only() for weight in module.parameters()}
        counts = {"embedding": 0, "training": 0, "other": 0}
        for weight in self.parameters():  # a tied weight comes once
            part = "embedding" if id(weight) in tables else "training" if id(weight) in scaffold else "other"
            counts[part] += weight.numel()
        return counts

    def training_only(self) -> tuple[nn.Module, ...]:
        """Modules that inference does not need, such as the gates of a self-ablating model."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """What every architecture has; an entry adds its own fields and `network`."""

    name: ClassVar[str]
    about: ClassVar[str]  # one line for `actpipe info --architectures`
    model_type: ClassVar[str] = "actpipe"  # of config.json; `actpipe-t5` for encoder-decoder models

    vocabulary: int = 4096
    context: int = 256
    d_model: int = 128
    n_layers: int = 4
    n_heads: int = 4

    def __post_init__(self) -> None:
        for field in ("vocabulary", "context", "d_model", "n_layers", "n_heads"):
            if getattr(self, field) < 1:
                raise Misuse(f"{field} of {self.name} is {getattr(self, field)}; it is at least 1.")
        if self.d_model % self.n_heads:
            raise Misuse(f"d_model {self.d_model} is not a multiple of n_heads {self.n_heads}.")

    @abstractmethod
    def network(self) -> Network:
        """The modules, with whatever values torch gives them."""

    def build(self, *, seed: int = 0) -> Network:
        """An untrained network; the same seed gives the same weights on every machine."""
        network = self.network()
        with torch.no_grad():
            network.initialise(torch.Generator().manual_seed(seed))
        return network

    @property
    def fields(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Architecture:
        """From what a file or a command line says; Misuse for fields that this architecture does not have."""
        known = {field.name: field for field in dataclasses.fields(cls)}
        if unknown := sorted(fields.keys() - known.keys()):
            raise Misuse(f"The architecture {cls.name} has no field {unknown[0]!r}; it has {', '.join(sorted(known))}.")
        return cls(**{name: _typed(cls.name, known[name], value) for name, value in fields.items()})


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean −log p(label) in nats over the labels that count."""
    return F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORED)


_READERS = {"int": int, "float": float, "str": str}
_TRUTHS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}


def _typed(architecture: str, field: dataclasses.Field[Any], value: Any) -> Any:
    """`value` as the field's type says; text comes from the command line."""
    kind = getattr(field.type, "__name__", str(field.type))  # a string where annotations are postponed
    try:
        if kind == "bool":
            return _TRUTHS[str(value).lower()]
        if kind == "int" and (isinstance(value, bool) or float(value) != int(float(value))):
            raise ValueError
        return _READERS[kind](value) if kind in _READERS else value
    except (ValueError, KeyError, TypeError, OverflowError):
        raise Misuse(
            f"{field.name} of {architecture} is {value!r}; it takes {'true or false' if kind == 'bool' else kind}."
        ) from None
