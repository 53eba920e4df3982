"""The loss of a trained model, computed again: on the validation text that lies with it, or on a given dataset."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from actpipe import shipped
from actpipe.errors import Missing, Misuse
from actpipe.harvest.model import LanguageModel, load_model, longest_context
from actpipe.progress import Progress, silent

from .config import TrainLMConfig
from .folder import LMFolder
from .source import Source
from .stage import LMResult, assignments, recorded_reading
from .stepper import Reading
from .tasks import LanguageModelling, Task, get_task
from .texts import Texts
from .token_files import TRAIN, VALIDATION, TokenFolder
from .tokenise import tokens_of
from .tokenizers import vocabulary_of
from .validation import MOST_TOKENS, loss_of


def evaluate(
    name: str,
    config: TrainLMConfig,
    progress: Progress = silent,
    *,
    own_text: bool = True,
    typed: Collection[str] = (),
) -> LMResult:
    """`own_text`: the validation text that was kept with the model, else `config.dataset`. In float32, as the card.

    `typed` names options that somebody gave: of a model of ours they must be what it was trained with."""
    folder = LMFolder(Path(name))
    card = shipped.card(name) if shipped.is_named(name) else None
    described = card or (folder.description() if folder.is_begun else None)
    settled = described["config"] if described else None
    if settled:
        _require_as_trained(name, config, settled, typed)
    if own_text and card:
        source = card["config"]["text"]["source"]["name"]
        raise Missing(
            f"The validation text of {name} is not shipped: give --dataset with its text ({source}), or another."
        )
    if own_text and not (settled and folder.validation.is_dir()):
        raise Missing(f"{name} was not trained by actpipe, so no validation text lies with it. Give --dataset.")
    model = load_model(name, dtype="float32", device=config.device, progress=progress)
    if not model.predicts_tokens:
        raise Misuse(f"{name} does not predict tokens, so it has no such loss.")
    task = _task(model, config, settled)
    vocabulary = vocabulary_of(model.tokenizer, task)
    context = settled["context"] if settled else min(config.context, longest_context(model.config) or config.context)
    if own_text:
        reading = recorded_reading(folder, task, vocabulary, context)
    else:
        reading = Reading(task, _given_text(model, task, config, settled, progress), vocabulary, context)
    if reading.n_examples < 1:
        raise Misuse(f"{config.dataset} has too little text for one sequence of {context} tokens.")
    began = time.perf_counter()
    found = loss_of(model, reading, progress, tokens=MOST_TOKENS)
    trained = card or (folder.results() if folder.is_complete else {})
    return LMResult(
        out=name,
        architecture=str(getattr(model.config, "architecture", model.config.model_type)),
        parameters=sum(weight.numel() for weight in model.module.parameters()),
        tokens=int(trained.get("tokens", 0)),
        loss=found.loss,
        perplexity=found.perplexity,
        tokens_per_second=found.tokens / (time.perf_counter() - began),
        complete=bool(trained),
    )


def _require_as_trained(name: str, config: TrainLMConfig, settled: dict[str, Any], typed: Collection[str]) -> None:
    """Its loss is computed as that of its card; with another option it would silently not be the one asked for."""
    trained = {
        "context": settled["context"],
        "task": settled["task"]["name"],
        "validation_share": settled["text"]["validation_share"],
    }
    for option, value in trained.items():
        if option in typed and getattr(config, option) != value:
            flag = f"--{option.replace('_', '-')}"
            raise Misuse(f"{name} was trained with {flag} {value} and is evaluated so; leave {flag} out.")
    if "task_set" in typed:
        task = get_task(settled["task"]["name"])
        if task.of(assignments(config.task_set, "--task-set")) != task(**settled["task"]["fields"]):
            raise Misuse(f"{name} was trained with other fields of its task and is evaluated so; leave --task-set out.")


def _task(model: LanguageModel, config: TrainLMConfig, settled: dict[str, Any] | None) -> Task:
    if settled is not None:
        return get_task(settled["task"]["name"])(**settled["task"]["fields"])
    if config.task is not None:
        return get_task(config.task).of(assignments(config.task_set, "--task-set"))
    if model.kind != "decoder":
        raise Misuse(f"{model.name} has an encoder; say with --task what it shall be evaluated on.")
    return LanguageModelling()


def _given_text(
    model: LanguageModel, task: Task, config: TrainLMConfig, settled: dict[str, Any] | None, progress: Progress
) -> Texts:
    """The validation documents of the dataset that the model was trained on; of any other, all."""
    source = Source.of(config, task)
    # The training's own share: with a larger one, documents that were trained on would count as validation.
    share = settled["text"]["validation_share"] if settled else config.validation_share
    tokens = tokens_of(
        source,
        model.tokenizer,
        end=vocabulary_of(model.tokenizer, task).end,
        share=share,
        cache=config.cache,
        progress=progress,
    )
    if settled and settled["text"]["source"]["fingerprint"] == tokens.header["source"]["fingerprint"]:
        progress.say(f"{config.dataset} is what {model.name} was trained on: evaluating its validation documents.")
        return tokens.texts(VALIDATION).first(MOST_TOKENS)
    return joined(tokens)


def joined(tokens: TokenFolder) -> Texts:
    """Both splits as one, about as much of them as is evaluated."""
    held_out, trained = (tokens.texts(split).first(MOST_TOKENS) for split in (VALIDATION, TRAIN))
    return Texts(
        np.concatenate([held_out.tokens, trained.tokens]),
        np.concatenate([held_out.bounds, trained.bounds + len(held_out.tokens)]),
    )
