"""SAELens' CacheActivationsRunner, run once for each line on standard input; runs in the environment of `make peers`.

    python saelens_harvest.py --model FOLDER --tokens tokens.npy --folder SCRATCH --batch-size 8 --dtype bfloat16

A line is `{"hook": MODULE_PATH, "d_in": WIDTH}`; the answer is the seconds of one caching run as JSON. The model is
loaded once, before the first line is read, and the cache is removed after the clock has stopped. The model is a
Hugging Face folder, which SAELens takes as `AutoModelForCausalLM`: hooks are paths of native modules, attention is the
model's own, and the pass ends after the layer of the hook. `shuffle` is off: it would only add work.
"""

import argparse
import shutil
import time
from pathlib import Path

import numpy as np
import sae_lens.cache_activations_runner as caching
import torch
from answering import serve
from datasets import Dataset, load_from_disk
from sae_lens.config import CacheActivationsRunnerConfig
from sae_lens.load_model import load_model


def tokenised(tokens: Path, folder: Path) -> Dataset:
    """A data set as SAELens wants it when it is not to tokenise: one column `tokens`."""
    Dataset.from_dict({"tokens": np.load(tokens)}).save_to_disk(folder)
    return load_from_disk(folder)


def configuration(asked: argparse.Namespace, text: Dataset, hook: str, d_in: int) -> CacheActivationsRunnerConfig:
    context = len(text[0]["tokens"])
    # A buffer holds 2 GB by default, and a run fills its last buffer by starting the text again; here it ends with it.
    buffer_bytes = min(len(text) * context * d_in * 2, 2_000_000_000)
    return CacheActivationsRunnerConfig(
        dataset_path=str(asked.folder / "text"),
        model_name=str(asked.model),
        model_class_name="AutoModelForCausalLM",
        model_batch_size=asked.batch_size,
        hook_name=hook,
        d_in=d_in,
        training_tokens=len(text) * context,
        context_size=context,
        new_cached_activations_path=str(asked.folder / "cache"),
        shuffle=False,
        dtype="float16",
        device="cpu",
        buffer_size_gb=(buffer_bytes + d_in) / 1e9,  # half a row more, against rounding
        prepend_bos=False,
        streaming=False,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a Hugging Face folder")
    parser.add_argument("--tokens", type=Path, required=True, help="int [sequences, context] as .npy")
    parser.add_argument("--folder", type=Path, required=True, help="for the cache; removed after each run")
    parser.add_argument("--batch-size", type=int, required=True, help="sequences in a forward pass")
    parser.add_argument("--dtype", required=True, help="of the model's weights")
    asked = parser.parse_args()
    weights = {"dtype": getattr(torch, asked.dtype)}
    model = load_model("AutoModelForCausalLM", str(asked.model), device="cpu", model_from_pretrained_kwargs=weights)
    caching.load_model = lambda **_: model  # the runner would load it anew for every hook
    text = tokenised(asked.tokens, asked.folder / "text")

    def cache(hook: str, d_in: int) -> float:
        config = configuration(asked, text, hook, d_in)
        began = time.perf_counter()
        made = caching.CacheActivationsRunner(config, override_dataset=text).run()
        seconds = time.perf_counter() - began
        assert len(made) == len(text), f"{len(made)} sequences instead of {len(text)}"
        shutil.rmtree(asked.folder / "cache")
        return seconds

    serve(cache)


if __name__ == "__main__":
    main()
