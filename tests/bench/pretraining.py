"""Speed of `train-lm` beside a bare training loop of the same network, now, here.

    python -m tests.bench.pretraining
    python -m tests.bench.pretraining --architecture crate --set d_model=96 --set d_mlp=960 --dtype float32

Each round trains both for some steps, in random order; a ratio is the median (and range) over rounds. The bare loop is
what one would write in a notebook: random crops of the tokens, forward, backward, clipping, fused AdamW, under the same
autocast, reading the loss at each step. `train-lm` does what it does between two validations: schedule, order of the
text, checks for numbers that are not finite, curves, progress. Aim: 0.9.

`--processor` counts seconds of the processor, not of the clock: for `--threads 1` on a machine that others use too.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from actpipe.antehoc.architecture import Network
from actpipe.harvest.model import resolve_device
from actpipe.memory import keep_freed_memory
from actpipe.pretraining.arithmetic import dtype_for, is_compiled
from actpipe.pretraining.config import TrainLMConfig
from actpipe.pretraining.folder import LMFolder
from actpipe.pretraining.optimiser import BETAS
from actpipe.pretraining.processes import Processes
from actpipe.pretraining.stage import architecture_class, architecture_for
from actpipe.pretraining.stepper import Reading, Stepper
from actpipe.pretraining.tasks import LanguageModelling
from actpipe.pretraining.texts import Texts, Vocabulary
from actpipe.pretraining.training import Training
from actpipe.pretraining.validation import Validation
from actpipe.progress import silent
from actpipe.training.ranks import Ranks
from tests.bench.contest import faster, markdown, play

AIM = 0.9
TOKENS = 2_000_000


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", default="gpt")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", default=None)
    parser.add_argument("--steps", type=int, default=10, help="a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--processor", action="store_true", help="seconds of the processor")
    return parser.parse_args()


def ours(config: TrainLMConfig, network: Network, texts: Texts, steps: int, folder: Path) -> Callable[[], None]:
    processes = Processes(Ranks(), resolve_device(config.device))
    reading = Reading(LanguageModelling(), texts, Vocabulary(config.vocabulary, 0), config.context)
    stepper = Stepper(config, network, reading, processes, steps=10**6)
    training = Training(
        stepper,
        Validation(reading, config.validation_tokens, stepper.dtype, stepper.device),
        LMFolder(folder),
        identity="",
        validate_every=10**6,
        publish=lambda trained: None,
    )

    def run() -> None:
        with silent.bar("", None, "") as bar:
            for _ in range(steps):
                training.advance(training.position.step, bar)
        _wait(stepper.device)

    return run


def bare(config: TrainLMConfig, network: Network, texts: Texts, steps: int) -> Callable[[], None]:
    device = resolve_device(config.device)
    dtype, chance = dtype_for(config, device), np.random.default_rng(0)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, betas=BETAS, fused=True)
    losses = torch.compile(network.losses) if is_compiled(config, device) else network.losses

    def run() -> None:
        for _ in range(steps):
            starts = chance.integers(len(texts.tokens) - config.context - 1, size=config.batch_size)
            rows = torch.stack(
                [torch.from_numpy(texts.tokens[at : at + config.context + 1].astype(np.int64)) for at in starts]
            ).to(device)
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                loss = losses({"input_ids": rows[:, :-1], "labels": rows[:, 1:]})["loss"]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
            optimiser.step()
            if device.type == "cpu":
                loss.item()
        _wait(device)

    return run


def by_processor(work: Callable[[], None]) -> Callable[[], float]:
    def run() -> float:
        began = time.process_time()
        work()
        return time.process_time() - began

    return run


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    asked = parsed()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    keep_freed_memory()
    config = TrainLMConfig(
        architecture=asked.architecture, set=tuple(asked.set), batch_size=asked.batch_size, context=asked.context,
        dtype=asked.dtype, device=asked.device, compile=asked.compile or None,
    )  # fmt: skip
    architecture = architecture_for(config, architecture_class(config), config.vocabulary)
    device = resolve_device(config.device)
    texts = Texts(
        np.random.default_rng(0).integers(1, config.vocabulary, TOKENS).astype(np.uint16), np.array([[0, TOKENS]])
    )
    networks = [architecture.build(seed=0).to(device).train() for _ in range(2)]
    with tempfile.TemporaryDirectory() as folder:
        contestants = {
            "train-lm": ours(config, networks[0], texts, asked.steps, Path(folder)),
            "bare loop": bare(config, networks[1], texts, asked.steps),
        }
        seconds = play(
            {name: by_processor(work) for name, work in contestants.items()} if asked.processor else contestants,
            rounds=asked.rounds,
            chance=random.Random(0),
            warm_up=2,
        )
    tokens = asked.steps * config.tokens_per_step
    print(f"{asked.architecture}, {sum(networks[0].n_parameters().values()):,} parameters, {dtype_for(config, device)}")
    rows = [(name, f"{tokens / statistics.median(took):,.0f}") for name, took in seconds.items()]
    print(markdown(("", "tokens/s"), rows))
    print(f"train-lm is {faster(seconds, 'train-lm', 'bare loop').against(AIM)} of the bare loop")


if __name__ == "__main__":
    main()
