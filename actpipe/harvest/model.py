"""name → language model: the embedded one, a local folder, or a Hugging Face name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import nn

from actpipe.errors import Failure, Missing, Misuse
from actpipe.harvest import embedded
from actpipe.harvest.config import ModelDtype
from actpipe.harvest.quiet import quiet_transformers
from actpipe.hub import use_cache_if_unreachable
from actpipe.progress import Progress, silent

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast


@dataclass(frozen=True)
class LanguageModel:
    """A model ready to run, in evaluation mode, on its device."""

    name: str
    module: nn.Module
    tokenizer: PreTrainedTokenizerFast
    config: PretrainedConfig
    dtype: torch.dtype
    device: torch.device

    def fingerprint(self) -> str:
        """SHA-256 over every weight: name, type, shape and bytes (1.7 GB/s). A tied weight counts under each name."""
        digest = hashlib.sha256()
        for key, tensor in sorted(self.module.state_dict().items()):
            digest.update(f"{key}|{tensor.dtype}|{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


def load_model(
    name: str, *, dtype: ModelDtype = "auto", device: str | None = None, progress: Progress = silent
) -> LanguageModel:
    """Load weights and tokenizer. `auto` is bfloat16 where the processor computes with it, float32 elsewhere."""
    from transformers import AutoModelForCausalLM

    place = resolve_device(device)
    wanted = _dtype(dtype, place)
    folder = _source(name, progress)
    with quiet_transformers():
        module = _load(name, lambda: AutoModelForCausalLM.from_pretrained(folder, dtype=wanted))
    module.eval().requires_grad_(False).to(place)
    return LanguageModel(
        name=name, module=module, tokenizer=load_tokenizer(name), config=module.config, dtype=wanted, device=place
    )


def load_tokenizer(name: str) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    folder = _source(name)
    with quiet_transformers():
        tokenizer: PreTrainedTokenizerFast = _load(name, lambda: AutoTokenizer.from_pretrained(folder))
    return tokenizer


def load_config(name: str, progress: Progress = silent) -> PretrainedConfig:
    from transformers import AutoConfig

    folder = _source(name, progress)
    config: PretrainedConfig = _load(name, lambda: AutoConfig.from_pretrained(folder))
    return config


def resolve_device(name: str | None) -> torch.device:
    """The named device, else a GPU if there is one; Misuse for one that is not there."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise Misuse(f"The device {name!r} is not there; give cpu, or a GPU that torch sees, such as cuda:0.") from None
    return device


def _source(name: str, progress: Progress = silent) -> str:
    """What transformers should open for this name."""
    if name == embedded.NAME:
        return str(embedded.converted_folder(progress))
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise Missing(f"The folder {name} holds no config.json, so it is not a saved transformers model.")
    if not folder.is_dir() and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise Missing(f"There is no folder {name}. Give an existing one, a Hugging Face name, or smollm2.")
    if not folder.is_dir():
        use_cache_if_unreachable()
    return name


def _load(name: str, load: Callable[[], Any]) -> Any:
    """Call `load`, turning transformers' many ways of saying no into one sentence."""
    try:
        return load()
    except torch.OutOfMemoryError as error:
        raise Failure(f"The model {name!r} does not fit into the memory of the device: {error}") from error
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Missing(
            f"The model {name!r} could not be loaded: {reason} "
            "Give smollm2, a folder written by save_pretrained, or the name of a causal language model on Hugging Face."
        ) from error


def _dtype(dtype: ModelDtype, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return torch.bfloat16 if _computes_bfloat16(device) else torch.float32
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in names:
        raise Misuse(f"The model dtype {dtype!r} is not known; use auto, {', '.join(names)}.")
    return names[dtype]


def _computes_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Without the instruction a bfloat16 product is several times slower than float32. Linux only: other systems say no.
    cpu_flags = Path("/proc/cpuinfo")
    text = cpu_flags.read_text() if cpu_flags.is_file() else ""
    return "avx512_bf16" in text or "amx_bf16" in text
