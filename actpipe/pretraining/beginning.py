"""The weights a training begins with, where they are not drawn: those of a model that is there.

softmax → entmax, dense → top-k    the same weights under an architecture that keeps fewer of its units
T5 on spans → on labels            the same architecture on another task
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from actpipe.antehoc.architecture import Architecture, Network
from actpipe.antehoc.hugging_face import AntehocConfig
from actpipe.antehoc.t5_checkpoint import load_t5
from actpipe.errors import Mismatch, Misuse
from actpipe.harvest import naming
from actpipe.harvest.model import load_model
from actpipe.progress import Progress

LEARNED = ".learned"  # what an attention map learns for itself; softmax has none


@dataclass(frozen=True)
class Beginning:
    name: str
    """as it was given"""
    architecture: Architecture
    network: Network
    fingerprint: str
    """of its weights"""

    @classmethod
    def of(cls, name: str | None, progress: Progress) -> Beginning | None:
        """A model of ours by any of its names, or the folder of an original T5; None for None."""
        if name is None:
            return None
        model = load_model(name, dtype="float32", device="cpu", progress=progress)
        if isinstance(model.config, AntehocConfig):
            return cls(name, model.config.built(), model.module.network, model.fingerprint())  # type: ignore[arg-type]
        if model.config.model_type != "t5":
            raise Misuse(
                f"{name} is a {model.config.model_type}; a training begins with a model that train-lm made, with a "
                "shipped one or with an original T5."
            )
        return cls(name, *load_t5(naming.source(name, progress)), model.fingerprint())

    def sizes(self, kind: type[Architecture]) -> dict[str, Any]:
        """The fields that `kind` has too; what is trained has them unless others are given."""
        known = {field.name for field in dataclasses.fields(kind)}
        return {name: value for name, value in self.architecture.fields.items() if name in known}

    def require_fits(self, architecture: Architecture) -> None:
        with torch.device("meta"):
            self._shared_with(architecture.network())

    def give_to(self, network: Network) -> None:
        """All weights but those that only a training has (gates) or an attention map learns for itself."""
        network.load_state_dict(network.state_dict() | self._shared_with(network))

    def _shared_with(self, network: Network) -> dict[str, Tensor]:
        given, wanted = self.network.state_dict(), network.state_dict()
        alone = (given.keys() ^ wanted.keys()) - _own(network) - _own(self.network)
        if alone:
            one = min(alone)
            where = "has" if one in given else "lacks"
            raise Mismatch(f"{self.name} {where} {one}, unlike what shall be trained: {self._advice()}")
        shared = {name: value for name, value in given.items() if name in wanted}
        for name, value in shared.items():
            if value.shape != wanted[name].shape:
                raise Mismatch(
                    f"{name} of {self.name} is {list(value.shape)} and would have to be {list(wanted[name].shape)}: "
                    f"{self._advice()}"
                )
        return shared

    def _advice(self) -> str:
        fields = ", ".join(f"{name} {value}" for name, value in self.architecture.fields.items() if value != "")
        return f"it is {self.architecture.name} ({fields}), and only what has no weights of its own can differ."


def _own(network: Network) -> set[str]:
    scaffold = {id(weight) for module in network.training_only() for weight in module.parameters()}
    named = network.state_dict(keep_vars=True)
    return {name for name, value in named.items() if name.endswith(LEARNED) or id(value) in scaffold}
