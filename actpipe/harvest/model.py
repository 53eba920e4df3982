"""name → language model: the embedded one, a shipped one, a local folder, or a Hugging Face name."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from actpipe.errors import Failure, Missing, Misuse
from actpipe.harvest import naming
from actpipe.harvest.bridge import Bridge, twin
from actpipe.harvest.config import ModelDtype
from actpipe.harvest.quiet import quiet_transformers
from actpipe.progress import Progress, silent
from sae.plugins import load_plugins

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

Kind = Literal["decoder", "encoder", "encoder-decoder"]


@dataclass(frozen=True)
class LanguageModel:
    """A model ready to run, in evaluation mode, on its device."""

    name: str
    module: nn.Module
    tokenizer: PreTrainedTokenizerFast
    config: PretrainedConfig
    dtype: torch.dtype
    device: torch.device
    headless: bool = False  # the checkpoint has no weights from the last state to logits; they are zeros here

    @property
    def kind(self) -> Kind:
        return kind_of(self.config)

    @property
    def predicts_tokens(self) -> bool:
        """Whether its logits at a position are about the next token."""
        return self.kind != "encoder" and not self.headless

    @property
    def opening_token(self) -> int | None:
        return opening_token_of(self.config)

    def inputs(self, input_ids: Tensor, attention: Tensor | None = None) -> dict[str, Tensor]:
        """What the model is called with to read `input_ids`; `attention` is true at tokens that are not padding."""
        place = None if attention is None else attention.to(self.device)
        return inputs_of(self.kind, input_ids.to(self.device), place)

    def logits(self, inputs: dict[str, Tensor]) -> Tensor:
        found: Tensor = self.module(**inputs, use_cache=False).logits
        return found

    @cached_property
    def bridge(self) -> Bridge:
        """The same weights behind TransformerLens' bridge."""
        types = {str(weight.dtype).removeprefix("torch.") for weight in self.module.parameters()}
        if len(types) > 1:  # T5 in float16, whose last products stay in float32
            raise Misuse(
                f"TransformerLens' bridge cannot run {self.name} with weights in {' and '.join(sorted(types))}. "
                "Give another --model-dtype, or only hooks that need no bridge (`actpipe info MODEL`)."
            )
        return Bridge.over(twin(self.module), self.tokenizer)

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
    """Load weights and tokenizer. `auto` is bfloat16 where the processor computes with it, float32 elsewhere.

    A name that ends in @init, @shuffled or @gaussian, or one with =SEED, is a control made of the model
    (actpipe/harvest/naming.py).
    """
    place = resolve_device(device)
    wanted = _dtype(dtype, place)
    folder = naming.source(name, progress)
    build = auto_class(load_config(name))
    with quiet_transformers():
        module, report = _load(name, lambda: build.from_pretrained(folder, dtype=wanted, output_loading_info=True))
    headless = _without_head(name, module, set(report["missing_keys"]))
    module.eval().requires_grad_(False).to(place)
    model = LanguageModel(
        name=name,
        module=module,
        tokenizer=load_tokenizer(name),
        config=module.config,
        dtype=wanted,
        device=place,
        headless=headless,
    )
    named = naming.Named.of(name)
    if named.seed is None:
        return model
    if named.how == "init":
        return untrained(model, seed=named.seed)
    if named.how == "gaussian":
        from .gaussian_inputs import with_gaussian_inputs

        return with_gaussian_inputs(model, seed=named.seed)
    from .shuffled import shuffled

    return shuffled(model, seed=named.seed, embeddings=named.how == "shuffled")


def untrained(model: LanguageModel, *, seed: int) -> LanguageModel:
    """The same configuration with weights as its initialisation draws them, from `seed` alone: the control of every
    comparison with a trained model."""
    config = copy.deepcopy(model.config)
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        torch.manual_seed(seed)
        if hasattr(config, "built"):  # a model of ours draws from a generator of its own
            module: Any = type(model.module)(config, config.built().build(seed=seed))
        else:
            module = auto_class(config).from_config(config, dtype=torch.float32)
    module.eval().requires_grad_(False).to(dtype=model.dtype, device=model.device)
    return replace(model, module=module, config=module.config, headless=False)


def kind_of(config: PretrainedConfig) -> Kind:
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    if getattr(config, "is_encoder_decoder", False):
        return "encoder-decoder"
    # BERT and its kin can also be trained as decoders.
    made_for = tuple(getattr(config, "architectures", None) or ())
    decodes = getattr(config, "is_decoder", False) or any(n.endswith(("ForCausalLM", "LMHeadModel")) for n in made_for)
    return "encoder" if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not decodes else "decoder"


def opening_token_of(config: PretrainedConfig) -> int | None:
    """The token that opens what the decoder of an encoder-decoder model reads; None for other kinds."""
    if kind_of(config) != "encoder-decoder":
        return None
    start: int | None = getattr(config, "decoder_start_token_id", None)
    return start if start is not None else config.pad_token_id


def longest_context(config: PretrainedConfig) -> int | None:
    """Tokens that the model reads at most; None where its positions have no end."""
    longest: int | None = getattr(config, "max_position_embeddings", None)
    if longest is not None and "roberta" in config.model_type:
        return longest - int(config.pad_token_id) - 1  # its positions begin behind the number of the padding
    return longest


def auto_class(config: PretrainedConfig) -> Any:
    """The class of transformers that loads a model of this kind with its way to logits."""
    import transformers

    return {
        "decoder": transformers.AutoModelForCausalLM,
        "encoder": transformers.AutoModelForMaskedLM,
        "encoder-decoder": transformers.AutoModelForSeq2SeqLM,
    }[kind_of(config)]


def inputs_of(kind: Kind, input_ids: Tensor, attention: Tensor | None) -> dict[str, Tensor]:
    """The arguments with which a model of `kind` reads `input_ids` [batch, context] as the store's rows mean it.

    A decoder never looks right, so padding on the right needs no mask and attention keeps its fast path. Encoder and
    decoder of an encoder-decoder model read the same tokens: the decoder from the opening token on, the encoder without
    it (masked; T5's positions are relative, so this equals reading the text alone).
    """
    if kind == "decoder":
        return {"input_ids": input_ids}
    if kind == "encoder":
        if attention is None or bool(attention.all()):
            return {"input_ids": input_ids}
        return {"input_ids": input_ids, "attention_mask": _never_empty(attention)}
    read = torch.ones_like(input_ids, dtype=torch.bool) if attention is None else attention.clone()
    read[:, 0] = False
    return {"input_ids": input_ids, "attention_mask": _never_empty(read), "decoder_input_ids": input_ids}


def _never_empty(attention: Tensor) -> Tensor:
    """A sequence of padding alone reads itself: its rows do not count, and attending to nothing gives NaN."""
    return (attention | ~attention.any(dim=1, keepdim=True)).long()


def load_tokenizer(name: str) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    if name == "actpipe:factorlang":  # one token a word; made, not opened
        from actpipe.factorlang import word_tokenizer

        return word_tokenizer()
    folder = naming.tokenizer_source(name)
    with quiet_transformers():
        tokenizer: PreTrainedTokenizerFast = _load(name, lambda: AutoTokenizer.from_pretrained(folder))
    if not tokenizer.is_fast:
        raise Misuse(
            f"The tokenizer of {name!r} is written in Python, which would be a hundred times slower than the model. "
            "Convert it to a fast one: save a PreTrainedTokenizerFast in the model's folder."
        )
    return tokenizer


def load_config(name: str, progress: Progress = silent) -> PretrainedConfig:
    from transformers import AutoConfig

    load_plugins()  # they may tell transformers of models of their own
    folder = naming.source(name, progress)
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


def _load(name: str, load: Callable[[], Any]) -> Any:
    """Call `load`, turning transformers' many ways of saying no into one sentence."""
    from actpipe.antehoc.hugging_face import register

    register()
    try:
        return load()
    except torch.OutOfMemoryError as error:
        raise Failure(f"The model {name!r} does not fit into the memory of the device: {error}") from error
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Missing(
            f"The model {name!r} could not be loaded: {reason} "
            "Give smollm2, actpipe:NAME, a folder written by save_pretrained, or the name of a language model on "
            "Hugging Face."
        ) from error


def _without_head(name: str, module: Any, missing: set[str]) -> bool:
    """Whether the checkpoint lacks the way to logits, which is then zeros: transformers fills what lacks with noise."""
    body = f"{module.base_model_prefix}." if module.base_model is not module else ""
    lacking = sorted(key for key in missing if not key.startswith("lm_head.") and key.startswith(body))
    if lacking:
        raise Missing(
            f"The model {name!r} could not be loaded: its checkpoint has no weights for {lacking[0]}"
            f"{f' and {len(lacking) - 1} more' if len(lacking) > 1 else ''}. Is it complete?"
        )
    weights = dict(module.named_parameters())
    for key in missing & weights.keys():
        weights[key].detach().zero_()
    return bool(missing)


def _dtype(dtype: ModelDtype, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return torch.bfloat16 if computes_bfloat16(device) else torch.float32
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in names:
        raise Misuse(f"The model dtype {dtype!r} is not known; use auto, {', '.join(names)}.")
    return names[dtype]


def computes_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Without the instruction a bfloat16 product is several times slower than float32. Linux only: other systems say no.
    cpu_flags = Path("/proc/cpuinfo")
    text = cpu_flags.read_text() if cpu_flags.is_file() else ""
    return "avx512_bf16" in text or "amx_bf16" in text
