"""How much of a model is run to see what units do to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from actpipe.errors import Misuse


@dataclass(frozen=True, kw_only=True)
class EffectsConfig:
    units: Annotated[int, "Units that are ablated one at a time, drawn uniformly from those that fire."] = 64
    uniform: Annotated[int, "Sequences drawn whatever fires on them: attribution of all units is measured there."] = 16
    sequences: Annotated[int, "Sequences in all; those beyond `uniform` are there because a rare unit fires."] = 32
    per_unit: Annotated[int, "Sequences each unit is ablated on, of those on which it fires."] = 2
    search_rows: Annotated[int, "Rows of the store read to find sequences on which rare units fire."] = 65_536
    steered: Annotated[int, "Of the units drawn, those that are steered."] = 16
    steering_sequences: Annotated[int, "Sequences the model reads while it is steered."] = 2
    fidelity_rows: Annotated[int, "Rows that sparsity and reconstruction are measured on."] = 32_768
    patches: Annotated[int, "Units patched or erased at most."] = 16
    pairs: Annotated[int, "Prompts of a task, each with its counterfactual."] = 32
    draws: Annotated[int, "Bootstrap draws over documents."] = 1000
    seed: Annotated[int, "Of every draw."] = 0

    def __post_init__(self) -> None:
        counts = ("units", "uniform", "sequences", "per_unit", "search_rows", "patches", "pairs", "draws")
        for name in (*counts, "fidelity_rows", "steering_sequences"):
            if getattr(self, name) < 1:
                raise Misuse(f"Effects need {name} of at least 1, not {getattr(self, name)}.")
        if self.sequences < self.uniform:
            raise Misuse(
                f"Of {self.sequences} sequences {self.uniform} cannot be drawn uniformly; raise sequences or lower "
                "uniform."
            )
