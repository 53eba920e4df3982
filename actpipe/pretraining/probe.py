"""What a training would cost, by a few steps of it on made-up text; nothing is written."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from actpipe.errors import Misuse
from actpipe.harvest.model import load_tokenizer, resolve_device
from actpipe.progress import Progress, silent
from actpipe.quantities import readable_count, readable_seconds
from actpipe.training.ranks import Ranks

from .beginning import Beginning
from .config import TrainLMConfig
from .processes import Processes
from .source import Source
from .stage import architecture_class, architecture_for, task_for
from .stepper import Reading, Stepper
from .texts import Texts, Vocabulary
from .tokenise import characters_of
from .tokenizers import special_of

PROBE_S = 4.0
WARM_UP_STEPS = 2
MADE_UP_DOCUMENTS = 64
CHARACTERS_PER_TOKEN = 3.8  # of a byte-level BPE of some thousand tokens on English; for text not yet tokenised


@dataclass(frozen=True)
class Planned:
    architecture: str
    parameters: int
    parameters_by_kind: dict[str, int]
    tokens: int
    tokens_are_estimated: bool
    steps: int
    tokens_per_second: float
    seconds: float

    def lines(self) -> list[str]:
        about = "about " if self.tokens_are_estimated else ""
        kinds = ", ".join(f"{kind} {readable_count(count)}" for kind, count in self.parameters_by_kind.items() if count)
        return [
            f"{self.architecture}: {self.parameters:,} parameters ({kinds})",
            f"{about}{readable_count(self.tokens)} tokens in {self.steps:,} steps",
            f"{about}{readable_seconds(self.seconds)} at {self.tokens_per_second:,.0f} tokens/s, without validation",
        ]


def plan(config: TrainLMConfig, progress: Progress = silent) -> Planned:
    device = resolve_device(config.device)
    kind = architecture_class(config)
    task = task_for(config, kind)
    if config.tokenizer is None and config.start_from is None:
        special_of(config, task)  # is there room for them?
    given = config.start_from or config.tokenizer
    size = config.vocabulary if given is None else len(load_tokenizer(given))
    architecture = architecture_for(config, kind, size, Beginning.of(config.start_from, progress))
    source = Source.of(config, task)  # what is wrong with the dataset is said now
    tokens = config.tokens or _estimated(source, progress)
    steps = max(1, math.ceil(tokens / config.tokens_per_step))
    network = architecture.build(seed=config.seed).to(device).train()
    special = {token: number for number, token in enumerate(task.special_tokens(), start=1)}
    texts = _made_up(size, columns=len(source.columns), least=4 * config.tokens_per_step)
    reading = Reading(task, texts, Vocabulary(size, 0, special), config.context)
    stepper = Stepper(config, network, reading, Processes(Ranks(), device), steps=steps)
    rate = _rate(stepper, progress)
    counts = network.n_parameters()
    return Planned(
        architecture=architecture.name,
        parameters=sum(counts.values()),
        parameters_by_kind=counts,
        tokens=steps * config.tokens_per_step,
        tokens_are_estimated=config.tokens is None,
        steps=steps,
        tokens_per_second=rate,
        seconds=steps * config.tokens_per_step / rate,
    )


def _estimated(source: Source, progress: Progress) -> int:
    """Tokens of the text once."""
    characters = characters_of(source, progress)
    if characters is None:
        raise Misuse(f"How long {source.corpora[0].name} is only reading all of it would tell; give --tokens.")
    return round(characters / CHARACTERS_PER_TOKEN)


def _made_up(vocabulary: int, *, columns: int, least: int) -> Texts:
    """Random tokens; each part is closed by token 0."""
    length = -(-least // (MADE_UP_DOCUMENTS * columns)) + 1
    tokens = np.random.default_rng(0).integers(min(1, vocabulary - 1), vocabulary, MADE_UP_DOCUMENTS * columns * length)
    tokens[length - 1 :: length] = 0
    starts = np.arange(MADE_UP_DOCUMENTS)[:, None] * columns * length
    return Texts(tokens.astype(np.uint32), (starts + np.arange(columns + 1) * length).astype(np.int64))


def _rate(stepper: Stepper, progress: Progress) -> float:
    """Tokens a second."""
    per_step = stepper.config.tokens_per_step
    seconds: list[float] = []
    with progress.bar("Trying a few steps", None, "tokens") as bar:
        for step in range(WARM_UP_STEPS + 1000):
            began = time.perf_counter()
            float(stepper.step(step % stepper.schedule.steps).norm)  # reading it waits for the device
            bar.advance(per_step)
            if step >= WARM_UP_STEPS:
                seconds.append(time.perf_counter() - began)
            if sum(seconds) > PROBE_S:
                break
    return per_step * len(seconds) / sum(seconds)
