"""FLOPs that a training took: three times those of its forward pass, which torch counts, for every token or row.

    model        3 · FLOPs of one sequence in training / its tokens · tokens of the card
    dictionary   3 · FLOPs of one answer · rows of its training: 12 · rows · d · n where encoder and decoder are dense

Products of matrices are counted, those of attention over the whole square; not counted are the optimiser, validation,
and the passes of the model that made the rows. What is not known is None, never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import sae
from actpipe import shipped
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.naming import Named
from actpipe.pretraining.folder import LMFolder

PASSES = 3  # forward, and backward for the weights and for what enters


class Training(NamedTuple):
    tokens: int
    context: int
    from_the_start: bool  # not from the weights of another training


def training_of(name: str) -> Training | None:
    """From the card of a shipped model, or what `actpipe train-lm` left in a folder; of a control that of its model."""
    trained = Named.of(name).trained
    if shipped.is_named(trained):
        card = shipped.card(trained)
        return _training(card["tokens"], card["config"])
    folder = LMFolder(Path(trained))
    return _training(folder.results()["tokens"], folder.description()["config"]) if folder.is_complete else None


def _training(tokens: int, config: Mapping[str, Any]) -> Training:
    return Training(int(tokens), int(config["context"]), config.get("start_from") is None)


def flops_of_model(model: LanguageModel) -> int | None:
    """None of controls, of what goes on from other weights, and where an encoder reads a share of the tokens."""
    training = training_of(model.name)
    if training is None or not training.from_the_start or Named.of(model.name).seed is not None:
        return None
    if model.kind == "encoder-decoder":
        return None
    ids = torch.zeros((1, training.context), dtype=torch.long, device=model.device)
    network = getattr(model.module, "network", None)
    if network is None:
        counted = _counted(lambda: model.module(**model.inputs(ids)))
    else:  # training may run more than what is deployed
        counted = _counted(lambda: network.losses({"input_ids": ids, "labels": ids}))
    return round(PASSES * counted / training.context * training.tokens)


def flops_of_dictionary(dictionary: sae.Dictionary) -> int | None:
    """None where no gradient trained it here: of baselines, and of what other libraries trained."""
    training = dictionary.config.get("training") or {}
    if not training.get("steps") or not training.get("rows"):
        return None
    row = torch.zeros((1, dictionary.d), dtype=dictionary.dtype, device=dictionary.device)
    return PASSES * _counted(lambda: dictionary.reconstruct(row)) * int(training["rows"])


def _counted(run: Callable[[], object]) -> int:
    """Attention runs as products of matrices here: torch does not count its fused form on a CPU."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    total: int = counter.get_total_flops()
    return total
