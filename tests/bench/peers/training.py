"""Steps of other libraries' trainers on our rows; runs in the environment of `make peers`.

    python training.py --rows rows.npy --batch-size 4096 --width 2304 --l1 5 --k 32

A line is `{"variant": NAME, "steps": N}`; the answer is `{"seconds": …}` of N steps as the library's own loop makes
them, without its progress bar and its logging. `{"variant": NAME, "evaluate": true}` answers `{"l0", "fvu"}` on the
rows of `--held-out`. A trainer is built when it is first named. Rows come centred and scaled: nobody normalises again.
"""

import argparse
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from answering import serve


def batches(rows: torch.Tensor, size: int, seed: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(rows), generator=generator)
        for part in order.split(size):
            if len(part) == size:
                yield rows[part]


class SAELens:
    """`SAETrainer.fit` of 6.54, step by step. Its sparse activations for TopK fail on a CPU for want of a kernel."""

    def __init__(
        self,
        asked: argparse.Namespace,
        rows: torch.Tensor,
        kind: str,
        *,
        autocast: bool = False,
        compiled: bool = False,
    ) -> None:
        from sae_lens.config import LoggingConfig, SAETrainerConfig
        from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
        from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
        from sae_lens.training.sae_trainer import SAETrainer

        torch.manual_seed(asked.seed)
        size = {"d_in": rows.shape[1], "d_sae": asked.width, "normalize_activations": "none"}
        warm_up = asked.steps // 20
        if kind == "standard":
            made = StandardTrainingSAE(
                StandardTrainingSAEConfig(**size, l1_coefficient=asked.l1, l1_warm_up_steps=warm_up)
            )
        else:
            made = TopKTrainingSAE(TopKTrainingSAEConfig(**size, k=asked.k))
        if compiled:  # what `compile_sae` of its runner does
            made.training_forward_pass = torch.compile(made.training_forward_pass)
        config = SAETrainerConfig(
            total_training_samples=asked.steps * asked.batch_size,
            train_batch_size_samples=asked.batch_size,
            lr=asked.lr,
            lr_end=0.0,
            lr_warm_up_steps=warm_up,
            lr_decay_steps=asked.steps // 5,
            autocast=autocast,
            logger=LoggingConfig(log_to_wandb=False),
        )
        self.sae = made
        self.trainer = SAETrainer(config, made, batches(rows, asked.batch_size, asked.seed))

    def step(self) -> None:
        self.trainer.maybe_reset_sparsity()
        self.trainer.step(next(self.trainer.data_provider))
        self.trainer.n_training_steps += 1

    def codes(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.sae.eval()
        f = self.sae.encode(x)
        f = f.to_dense() if f.is_sparse else f
        return f, self.sae.decode(f)


class DictionaryLearning:
    """`trainer.update(step, rows)` of 0.1, which is all that its training loop does with a batch."""

    def __init__(self, asked: argparse.Namespace, rows: torch.Tensor, kind: str) -> None:
        # Its package wants nnsight for a buffer that reads a model, which is not what is measured here.
        sys.modules.setdefault("nnsight", types.ModuleType("nnsight")).LanguageModel = None  # type: ignore[attr-defined]
        from dictionary_learning.trainers.standard import StandardTrainerAprilUpdate
        from dictionary_learning.trainers.top_k import TopKTrainer

        place = {"layer": 0, "lm_name": "rows", "device": "cpu", "seed": asked.seed, "lr": asked.lr}
        size = {"steps": asked.steps, "activation_dim": rows.shape[1], "dict_size": asked.width}
        warm_up = {"warmup_steps": asked.steps // 20, "decay_start": asked.steps - asked.steps // 5}
        if kind == "standard":
            self.trainer = StandardTrainerAprilUpdate(
                **size, **place, **warm_up, l1_penalty=asked.l1, sparsity_warmup_steps=asked.steps // 20
            )
        else:
            self.trainer = TopKTrainer(**size, **place, **warm_up, k=asked.k)
        self.rows = batches(rows, asked.batch_size, asked.seed)
        self.made = 0

    def step(self) -> None:
        self.trainer.update(self.made, next(self.rows))
        self.made += 1

    def codes(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        f = self.trainer.ae.encode(x)
        return f, self.trainer.ae.decode(f)


class Sparsify:
    """Forward pass, loss, normalisation and optimizer of sparsify's trainer, which itself wants a language model."""

    def __init__(self, asked: argparse.Namespace, rows: torch.Tensor) -> None:
        from sparsify import SparseCoder, SparseCoderConfig

        torch.manual_seed(asked.seed)
        self.sae = SparseCoder(rows.shape[1], SparseCoderConfig(num_latents=asked.width, k=asked.k))
        self.optimizer = torch.optim.Adam(self.sae.parameters(), lr=asked.lr)
        self.rows = batches(rows, asked.batch_size, asked.seed)

    def step(self) -> None:
        self.sae.set_decoder_norm_to_unit_norm()
        self.sae(next(self.rows)).fvu.backward()
        self.sae.remove_gradient_parallel_to_decoder_directions()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def codes(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        top = self.sae.encode(x)
        f = torch.zeros(len(x), self.sae.num_latents).scatter(1, top.top_indices, top.top_acts)
        return f, self.sae.decode(top.top_acts, top.top_indices)


VARIANTS: dict[str, Callable[..., Any]] = {
    "SAELens standard": lambda asked, rows: SAELens(asked, rows, "standard"),
    "SAELens standard, compiled": lambda asked, rows: SAELens(asked, rows, "standard", compiled=True),
    "SAELens standard, autocast": lambda asked, rows: SAELens(asked, rows, "standard", autocast=True),
    "SAELens standard, autocast, compiled": lambda asked, rows: SAELens(
        asked, rows, "standard", autocast=True, compiled=True
    ),
    "SAELens topk": lambda asked, rows: SAELens(asked, rows, "topk"),
    "SAELens topk, autocast": lambda asked, rows: SAELens(asked, rows, "topk", autocast=True),
    "dictionary_learning standard": lambda asked, rows: DictionaryLearning(asked, rows, "standard"),
    "dictionary_learning topk": lambda asked, rows: DictionaryLearning(asked, rows, "topk"),
    "sparsify topk": lambda asked, rows: Sparsify(asked, rows),
}


@torch.no_grad()
def quality(trainer: Any, rows: torch.Tensor) -> dict[str, float]:
    fired = error = 0.0
    for x in rows.split(4096):
        f, answer = trainer.codes(x)
        fired += float((f != 0).sum())
        error += float((x - answer).square().sum())
    return {"l0": fired / len(rows), "fvu": error / float((rows - rows.mean(0)).square().sum())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, help="float32 [N, d] as .npy")
    parser.add_argument("--held-out", help="float32 [N, d] as .npy")
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--l1", type=float, default=5.0)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--steps", type=int, default=1000, help="of the whole training, for schedules")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rows = torch.from_numpy(np.load(asked.rows))
    held_out = torch.from_numpy(np.load(asked.held_out)) if asked.held_out else rows[:0]
    trainers: dict[str, Any] = {}
    overrides = types.SimpleNamespace

    def answer(
        variant: str, name: str = "", steps: int = 0, evaluate: bool = False, **settings: float
    ) -> dict[str, float]:
        """`name` tells trainers of one variant apart; `settings` replace options such as l1 and seed for this one."""
        key = name or variant
        if key not in trainers:
            trainers[key] = VARIANTS[variant](overrides(**{**vars(asked), **settings}), rows)
        if evaluate:
            return quality(trainers[key], held_out)
        began = time.perf_counter()
        for _ in range(steps):
            trainers[key].step()
        return {"seconds": time.perf_counter() - began}

    serve(answer)


if __name__ == "__main__":
    main()
