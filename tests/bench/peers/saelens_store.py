"""SAELens' cache of activations and what reads it, and dictionary_learning's buffer; runs in `make peers`.

    python saelens_store.py --rows rows.npy --raw raw --sequences 7281 --context 256 --folder SCRATCH

Orders, each answered with the seconds that a row took:

    {"what": "write"}       CacheActivationsRunner.run() in float16 with a model that costs nothing (rows.npy again and
                            again, in float32 as SAELens' own capture hands them over), then fsync
    {"what": "mix", …}      one epoch of that cache through ActivationsStore and a mixing_buffer of `buffer_rows`
    {"what": "index", …}    one epoch of the raw file through dictionary_learning's ActivationBuffer of `buffer_rows`
"""

import argparse
import gc
import os
import shutil
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import sae_lens.cache_activations_runner as caching
import torch
from answering import serve
from sae_lens.config import CacheActivationsRunnerConfig
from sae_lens.training.activations_store import ActivationsStore
from sae_lens.training.mixing_buffer import mixing_buffer

# Its buffer names a class of nnsight in an annotation and uses nothing else of it outside the part replaced below.
sys.modules["nnsight"] = types.SimpleNamespace(LanguageModel=object)  # type: ignore[assignment]
from dictionary_learning.buffer import ActivationBuffer  # noqa: E402

HOOK = "a"
BATCH_ROWS = 4096  # train_batch_size_tokens, SAELens' default; also given to dictionary_learning
SLICE_ROWS = 4096  # store_batch_size_prompts · context_size = 32 · 128, SAELens' defaults
# SAELens fills 2 GB by default and copies it several times; a smaller buffer stays in memory that is warm.
BUFFER_BYTES = 500_000_000


class Rows:
    """In the place of SAELens' ActivationsStore: batches that no model has to compute."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows, self.at = rows, 0

    def get_raw_llm_batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        if self.at + SLICE_ROWS > len(self.rows):
            self.at = 0
        rows = self.rows[self.at : self.at + SLICE_ROWS]
        self.at += SLICE_ROWS
        return rows, torch.zeros(len(rows), dtype=torch.int64)


def configuration(asked: argparse.Namespace, d_in: int) -> CacheActivationsRunnerConfig:
    slices = asked.sequences * asked.context // SLICE_ROWS
    # Whole slices a buffer and whole buffers a run; the last buffer is filled by starting again, so parts are equal.
    buffers = max(-(-slices * SLICE_ROWS * d_in * 2 // BUFFER_BYTES), 1)
    per_buffer = max(slices // buffers, 1) * SLICE_ROWS
    return CacheActivationsRunnerConfig(
        dataset_path="none",
        model_name="none",
        model_batch_size=SLICE_ROWS // asked.context,
        hook_name=HOOK,
        d_in=d_in,
        training_tokens=per_buffer * buffers,
        context_size=asked.context,
        new_cached_activations_path=str(asked.folder / "cache"),
        shuffle=False,
        dtype="float16",
        device="cpu",
        buffer_size_gb=(per_buffer * d_in * 2 + d_in) / 1e9,
    )


def fsync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def write(config: CacheActivationsRunnerConfig, folder: Path) -> float:
    """Seconds a row of the cache."""
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    made = caching.CacheActivationsRunner(config).run()
    fsync(folder)
    seconds = time.perf_counter() - began
    assert len(made) == config.n_seq_in_dataset
    return seconds / config.training_tokens


def epoch(store: ActivationsStore) -> Iterator[torch.Tensor]:
    store.current_row_idx = 0
    while True:
        try:
            yield store.get_filtered_llm_batch(raise_on_epoch_end=True)
        except StopIteration:
            return


def cached(config: CacheActivationsRunnerConfig) -> ActivationsStore:
    return ActivationsStore(
        model=None,  # type: ignore[arg-type]
        dataset=None,
        streaming=False,
        hook_name=HOOK,
        hook_head_index=None,
        context_size=config.context_size,
        d_in=config.d_in,
        n_batches_in_buffer=20,
        total_training_tokens=config.training_tokens,
        store_batch_size_prompts=config.model_batch_size,
        train_batch_size_tokens=BATCH_ROWS,
        prepend_bos=False,
        normalize_activations="none",
        device=torch.device("cpu"),
        dtype="float32",
        cached_activations_path=config.new_cached_activations_path,
    )


class RawBuffer(ActivationBuffer):
    """dictionary_learning's buffer with its model replaced by reads of a raw file; `refresh` is its own otherwise."""

    def __init__(self, raw: Path, d_in: int, buffer_rows: int) -> None:
        super().__init__(
            data=None,
            model=types.SimpleNamespace(dtype=torch.bfloat16),
            submodule=None,
            d_submodule=d_in,
            n_ctxs=buffer_rows,
            ctx_len=1,
            out_batch_size=BATCH_ROWS,
        )
        self.file = open(raw, "rb", buffering=0)  # noqa: SIM115
        self.piece = torch.empty(SLICE_ROWS, d_in, dtype=torch.bfloat16)

    def refresh(self) -> None:
        self.activations = self.activations[~self.read]
        at = len(self.activations)
        bigger = torch.empty(self.activation_buffer_size, self.d_submodule, dtype=torch.bfloat16)
        bigger[:at] = self.activations
        self.activations = bigger
        while at < self.activation_buffer_size:
            n = self.file.readinto(self.piece.view(torch.uint8).numpy()) // (2 * self.d_submodule)
            if not n:
                raise StopIteration
            n = min(n, self.activation_buffer_size - at)
            self.activations[at : at + n] = self.piece[:n]
            at += n
        self.read = torch.zeros(len(self.activations), dtype=torch.bool)


def seconds_a_row(batches: Callable[[], Iterator[torch.Tensor]]) -> float:
    began = ended = time.perf_counter()
    rows = 0
    for batch in batches():
        rows += len(batch)
        ended = time.perf_counter()  # not what comes after the last batch: a refill that the file cannot finish
    return (ended - began) / rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="float32 [rows, width] as .npy, written repeatedly")
    parser.add_argument("--raw", type=Path, required=True, help="bfloat16 rows of that width, one after the other")
    parser.add_argument("--sequences", type=int, required=True, help="how many to write")
    parser.add_argument("--context", type=int, required=True, help="rows of a sequence")
    parser.add_argument("--folder", type=Path, required=True, help="for the cache, which stays")
    asked = parser.parse_args()
    rows = torch.from_numpy(np.load(asked.rows))
    config = configuration(asked, rows.shape[1])
    caching.load_model = lambda **_: None
    caching._mk_activations_store = lambda *_, **__: Rows(rows)

    def answer(what: str, buffer_rows: int = 0) -> float:
        if what == "write":
            return write(config, asked.folder / "cache")
        gc.collect()  # a data set that is still mapped keeps its pages in memory
        if what == "mix":
            return seconds_a_row(lambda: mixing_buffer(buffer_rows, BATCH_ROWS, epoch(cached(config))))
        return seconds_a_row(lambda: RawBuffer(asked.raw, rows.shape[1], buffer_rows))

    serve(answer)


if __name__ == "__main__":
    main()
