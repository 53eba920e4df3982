"""Peak memory of harvesting, of reading batches and of verifying, as the number of tokens grows a hundredfold.

    python -m tests.bench.memory --tokens 1e5 1e6 1e7

Each cell is a process of its own: its largest resident set by getrusage, in MiB, with the libraries (about 220 MiB).
The model is a random Llama of two layers and width 64, the text is made of random words, one hook of width 64 is stored
in bfloat16, so a stage that kept its rows would need 1,200 MiB more at ten million tokens. Batches come through a pool
of 65,536 rows, which 10^5 tokens fill already.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.contest import markdown

STAGES = ("harvest", "batches", "verify")
CONTEXT, BATCH_SEQUENCES = 128, 64
WIDTH, HOOK = 64, "blocks.0.hook_resid_post"
WORDS, WORDS_A_DOCUMENT = 500, 700
POOL_ROWS, BATCH_ROWS = 65_536, 4096


def save_model(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.tiny_model import word_tokenizer

    word_tokenizer(WORDS).save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=WORDS + 1,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=CONTEXT,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def save_text(path: Path, tokens: int) -> None:
    """A word is a token; documents are paragraphs."""
    chance = random.Random(0)
    names = [f"w{number}" for number in range(WORDS)]
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(tokens // WORDS_A_DOCUMENT + 2):
            file.write(" ".join(chance.choices(names, k=WORDS_A_DOCUMENT)) + "\n\n")


def prepare(folder: Path, tokens: int) -> None:
    save_model(folder / "model")
    save_text(folder / "text.txt", tokens)


def harvest(folder: Path, tokens: int) -> None:
    from actpipe.harvest.config import HarvestConfig
    from actpipe.harvest.stage import harvest as stage

    config = HarvestConfig(
        model=str(folder / "model"),
        dataset=str(folder / "text.txt"),
        hook=(HOOK,),
        tokens=tokens,
        context=CONTEXT,
        batch_size=BATCH_SEQUENCES,
        model_dtype="float32",
        device="cpu",
        out=_store(folder, tokens),
    )
    assert stage(config).rows >= tokens


def batches(folder: Path, tokens: int) -> None:
    from actpipe import open_store

    store = open_store(_store(folder, tokens))
    for _ in store.batches(HOOK, batch_size=BATCH_ROWS, seed=0, pool_rows=POOL_ROWS, epochs=1):
        pass


def verify(folder: Path, tokens: int) -> None:
    from actpipe.store import verify as check

    check(_store(folder, tokens))


def _store(folder: Path, tokens: int) -> Path:
    return folder / f"{tokens}.zarr"


def measured(stage: str, folder: Path, tokens: int) -> tuple[float, float]:
    """Peak MiB and seconds of the stage in a process of its own.

    This process imports nothing large, because on Linux a child's peak starts at that of the process that forked it.
    """
    options = ["--child", stage, "--folder", str(folder), "--tokens", str(tokens)]
    command = [sys.executable, "-m", "tests.bench.memory", *options]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    peak, seconds = json.loads(answer.splitlines()[-1])
    return peak, seconds


def child(stage: str, folder: Path, tokens: int) -> None:
    began = time.perf_counter()
    {"prepare": prepare, "harvest": harvest, "batches": batches, "verify": verify}[stage](folder, tokens)
    print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, time.perf_counter() - began]))


def rows(folder: Path, sizes: list[int]) -> Iterator[list[str]]:
    measured("prepare", folder, max(sizes))
    peaks = []
    for tokens in sizes:
        cells = [measured(stage, folder, tokens) for stage in STAGES]
        peaks.append([peak for peak, _ in cells])
        yield [f"{tokens:,}", *(f"{peak:.0f} ({seconds:.0f} s)" for peak, seconds in cells)]
    yield ["growth", *(f"{last - first:+.0f}" for first, last in zip(peaks[0], peaks[-1], strict=True))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=float, nargs="+", default=[1e5, 1e6, 1e7], help="sizes to measure")
    parser.add_argument("--folder", type=Path, default=None, help="where to write (default: the temporary folder)")
    parser.add_argument("--child", choices=["prepare", *STAGES], default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    sizes = [int(tokens) for tokens in asked.tokens]
    if asked.child:
        child(asked.child, asked.folder, sizes[0])
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        print(markdown(["tokens", *(f"{stage}, MiB" for stage in STAGES)], rows(Path(folder), sizes)))


if __name__ == "__main__":
    main()
