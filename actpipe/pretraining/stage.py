"""corpus → tokens → batches → language model: the stage behind `actpipe train-lm`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import actpipe
from actpipe.antehoc import ARCHITECTURES
from actpipe.antehoc.architecture import Architecture, Network
from actpipe.errors import Mismatch, Missing, Misuse
from actpipe.harvest.model import load_model, resolve_device
from actpipe.harvest.provenance import tokenizer_fingerprint
from actpipe.memory import keep_freed_memory
from actpipe.progress import Progress, silent
from actpipe.training.ranks import Ranks

from .arithmetic import dtype_for
from .beginning import Beginning
from .config import TrainLMConfig
from .folder import LMFolder
from .processes import Processes
from .publishing import keep_validation, publish, weights_hash, write_card
from .source import Source
from .stepper import Reading, Stepper
from .tasks import Task, get_task
from .texts import Vocabulary
from .token_files import TRAIN, VALIDATION, TokenFolder
from .tokenise import tokens_of
from .tokenizers import tokenizer_for, vocabulary_of
from .training import Training
from .validation import MOST_TOKENS, Validation, loss_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

VALIDATIONS = 20  # of a training, where their distance is not given


@dataclass(frozen=True)
class LMResult:
    out: str
    architecture: str
    parameters: int
    tokens: int
    """trained on"""
    loss: float
    """on validation text, nats a token"""
    perplexity: float
    tokens_per_second: float
    complete: bool


def train_lm(config: TrainLMConfig, progress: Progress = silent) -> LMResult:
    """Train a language model, continuing what the same configuration began. Under torchrun all return the result."""
    keep_freed_memory()
    ranks = Ranks.of_this_process()
    config = dataclasses.replace(config, device=config.device or ranks.device)
    progress = progress if ranks.is_first else silent
    run = Run.prepared(config, ranks, progress)
    folder = run.folder
    if folder.is_complete:
        progress.say(f"{folder.path} is complete already.")
    else:
        run.train(progress)
    ranks.wait_for_all()
    return result_of(folder)


def result_of(folder: LMFolder) -> LMResult:
    found = folder.results()
    names = [field.name for field in dataclasses.fields(LMResult) if field.name not in ("out", "complete")]
    return LMResult(out=str(folder.path), complete=True, **{name: found[name] for name in names})


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything that is known before the first step."""

    config: TrainLMConfig
    ranks: Ranks
    task: Task
    tokenizer: PreTrainedTokenizerFast
    vocabulary: Vocabulary
    tokens: TokenFolder
    architecture: Architecture
    steps: int
    beginning: Beginning | None
    settled: dict[str, Any]

    @classmethod
    def prepared(cls, config: TrainLMConfig, ranks: Ranks, progress: Progress) -> Run:
        """Refuses whatever can be refused before anything of the model is written or removed."""
        if config.dtype == "auto" and not config.overwrite:
            config = dataclasses.replace(config, dtype=LMFolder(config.out).dtype())
        LMFolder(config.out).require_ours()
        device = resolve_device(config.device)
        kind = architecture_class(config)
        task = task_for(config, kind)
        beginning = Beginning.of(config.start_from, progress)
        # What is wrong with it is said before the text is read.
        architecture = architecture_for(config, kind, config.vocabulary, beginning)
        source = Source.of(config, task)
        for turn in (ranks.is_first, not ranks.is_first):  # the first writes the token files, the others open them
            if turn:
                tokenizer = tokenizer_for(config, task, source, progress)
                vocabulary = vocabulary_of(tokenizer, task)
                tokens = tokens_of(
                    source,
                    tokenizer,
                    end=vocabulary.end,
                    share=config.validation_share,
                    cache=config.cache,
                    progress=progress,
                )
            ranks.wait_for_all()
        architecture = architecture_for(config, kind, vocabulary.size, beginning)
        steps = math.ceil((config.tokens or tokens.tokens(TRAIN)) / config.tokens_per_step)
        settled = settle(config, task, architecture, tokens, tokenizer, steps, dtype_for(config, device))
        if beginning is not None:
            settled["start_from"] = beginning.fingerprint
        run = cls(
            config=config,
            ranks=ranks,
            task=task,
            tokenizer=tokenizer,
            vocabulary=vocabulary,
            tokens=tokens,
            architecture=architecture,
            steps=steps,
            beginning=beginning,
            settled=settled,
        )
        for split in (TRAIN, VALIDATION):
            run.require_examples(split)
        if ranks.is_first:
            run.folder.begin(settled, recipe_of(config), overwrite=config.overwrite)
            keep_validation(run.folder, tokens, most=MOST_TOKENS)
        ranks.wait_for_all()
        run.folder.require(settled)
        return run

    @property
    def folder(self) -> LMFolder:
        return LMFolder(self.config.out)

    def reading(self, split: str) -> Reading:
        return Reading(self.task, self.tokens.texts(split), self.vocabulary, self.config.context)

    def require_examples(self, split: str) -> None:
        if self.reading(split).n_examples < 1:
            raise Misuse(
                f"The {split} text has {self.tokens.tokens(split)} tokens, too few for one sequence of "
                f"{self.config.context}. Give more text, a smaller --context or another --validation-share."
            )

    def stepper(self, network: Network) -> Stepper:
        processes = Processes(self.ranks, resolve_device(self.config.device))
        return Stepper(self.config, network, self.reading(TRAIN), processes, steps=self.steps)

    def train(self, progress: Progress) -> None:
        device = resolve_device(self.config.device)
        network = self.architecture.build(seed=self.config.seed)
        if self.beginning is not None:
            self.beginning.give_to(network)
        network.to(device).train()
        stepper = self.stepper(network)
        validation = Validation(self.reading(VALIDATION), self.config.validation_tokens, stepper.dtype, device)
        training = Training(
            stepper,
            validation,
            self.folder,
            identity=hashlib.sha256(json.dumps(self.settled).encode()).hexdigest(),
            validate_every=self.config.validate_every or max(1, self.steps // VALIDATIONS),
            publish=lambda trained: publish(self.folder, trained, self.architecture, self.tokenizer),
        )
        position = training.fit(progress)
        if self.ranks.is_first:
            self.finish(network, position.seconds, position.best_step, progress)

    def finish(self, network: Network, seconds: float, best_step: int | None, progress: Progress) -> None:
        """The card, from the folder as everybody else will read it."""
        model = load_model(str(self.folder.path), dtype="float32", device=self.config.device, progress=progress)
        found = loss_of(model, recorded_reading(self.folder, self.task, self.vocabulary, self.config.context), progress)
        trained = self.steps * self.config.tokens_per_step
        counts = network.n_parameters()
        results = {
            "architecture": self.architecture.name,
            "parameters": sum(counts.values()),
            "parameters_by_kind": counts,
            "tokens": trained,
            "loss": found.loss,
            "perplexity": found.perplexity,
            "evaluated_tokens": found.tokens,
            "best_step": best_step,
            "seconds": seconds,
            "tokens_per_second": trained / seconds,
            "device": _device_name(model.device),
            "sha256": weights_hash(self.folder.path),
            "actpipe": actpipe.__version__,
        }
        write_card(self.folder, results, self.config, self.settled)
        self.folder.write_results(results)


def recorded_reading(folder: LMFolder, task: Task, vocabulary: Vocabulary, context: int) -> Reading:
    return Reading(task, TokenFolder.open(folder.validation).texts(VALIDATION), vocabulary, context)


def architecture_class(config: TrainLMConfig) -> type[Architecture]:
    if config.architecture not in ARCHITECTURES:
        raise Missing(f"There is no architecture {config.architecture!r}; known: {', '.join(sorted(ARCHITECTURES))}.")
    return ARCHITECTURES[config.architecture]


def architecture_for(
    config: TrainLMConfig, kind: type[Architecture], vocabulary: int, beginning: Beginning | None = None
) -> Architecture:
    fields = assignments(config.set, "--set")
    for name, flag in (("vocabulary", "--vocabulary or --tokenizer"), ("context", "--context")):
        if name in fields:
            raise Misuse(f"{name} of the architecture follows from {flag}; give that instead of --set {name}.")
    if beginning is None:
        return kind.of({**fields, "vocabulary": vocabulary, "context": config.context})
    # Its own number of tokens: the table of an original T5 is longer than its tokenizer.
    size = beginning.architecture.vocabulary
    architecture = kind.of({**beginning.sizes(kind), **fields, "vocabulary": size, "context": config.context})
    beginning.require_fits(architecture)
    return architecture


def task_for(config: TrainLMConfig, kind: type[Architecture]) -> Task:
    reads = "encoder-decoder" if kind.model_type == "actpipe-t5" else "decoder"
    name = config.task or ("span-corruption" if reads == "encoder-decoder" else "language-modelling")
    task = get_task(name)
    if task.reads != reads:
        raise Mismatch(f"The task {name} is for {task.reads} models, and {kind.name} is a {reads} model.")
    return task.of(assignments(config.task_set, "--task-set"))


def assignments(given: tuple[str, ...], flag: str) -> dict[str, str]:
    """`FIELD=VALUE` several times → fields."""
    pairs = [one.partition("=") for one in given]
    for one, (name, equals, _) in zip(given, pairs, strict=True):
        if not (name and equals):
            raise Misuse(f"{flag} {one!r} is not FIELD=VALUE.")
    names = [name for name, _, _ in pairs]
    if len(set(names)) < len(names):
        raise Misuse(f"{flag} sets {max(names, key=names.count)} more than once.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def settle(
    config: TrainLMConfig,
    task: Task,
    architecture: Architecture,
    tokens: TokenFolder,
    tokenizer: PreTrainedTokenizerFast,
    steps: int,
    dtype: torch.dtype,
) -> dict[str, Any]:
    """Everything that decides the result, for run.json; not where it is computed."""
    same = ("batch_size", "context", "lr", "lr_floor", "warmup", "weight_decay", "clip", "validation_tokens", "seed")
    decided = {
        "architecture": {"name": architecture.name, "fields": architecture.fields},
        "task": {"name": task.name, "fields": dataclasses.asdict(task)},  # type: ignore[call-overload]
        "text": {
            "source": tokens.header["source"],
            "fingerprint": tokens.fingerprint,
            "train_tokens": tokens.tokens(TRAIN),
            "validation_tokens": tokens.tokens(VALIDATION),
            "validation_share": config.validation_share,
        },
        "tokenizer": tokenizer_fingerprint(tokenizer),
        "steps": steps,
        "dtype": str(dtype).removeprefix("torch."),
        "validate_every": config.validate_every,
        **{name: getattr(config, name) for name in same},
    }
    plain: dict[str, Any] = json.loads(json.dumps(decided))  # as it will be read again: lists for tuples
    return plain


def recipe_of(config: TrainLMConfig) -> dict[str, Any]:
    """The options as they were given, for people and for --recipe."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(config).items()}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
