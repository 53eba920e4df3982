"""A network of ours as a model of transformers: a folder that `from_pretrained`, `harvest` and everybody else can open.

`config.json` says `model_type` actpipe (or actpipe-t5), the architecture and its fields. The weights are those of the
network under `network.`; the names of TransformerLens are the paths of its hooks behind that.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput, Seq2SeqLMOutput

from actpipe.antehoc import ARCHITECTURES
from actpipe.antehoc.architecture import Architecture, Network, cross_entropy
from actpipe.antehoc.hook import Hook
from actpipe.errors import Missing
from actpipe.harvest.native import Side
from actpipe.harvest.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

INSIDE = "network."  # where the network stands in the model of transformers


class AntehocConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """`architecture` and `fields` say all; the other names are what libraries look for."""

    model_type = "actpipe"

    def __init__(self, architecture: str = "gpt", fields: dict[str, Any] | None = None, **rest: Any) -> None:
        self.architecture = architecture
        self.fields = architecture_of(architecture, fields or {}).fields
        super().__init__(**{**self._usual(), **rest})

    def _usual(self) -> dict[str, Any]:
        fields = self.fields
        return {
            "vocab_size": fields["vocabulary"],
            "hidden_size": fields["d_model"],
            "num_hidden_layers": fields["n_layers"],
            "num_attention_heads": fields["n_heads"],
            "max_position_embeddings": fields["context"],
            "tie_word_embeddings": True,
        }

    def built(self) -> Architecture:
        return architecture_of(self.architecture, self.fields)


class AntehocT5Config(AntehocConfig):  # type: ignore[no-untyped-call]
    model_type = "actpipe-t5"

    def __init__(self, architecture: str = "t5", fields: dict[str, Any] | None = None, **rest: Any) -> None:
        super().__init__(architecture, fields, **{"is_encoder_decoder": True, **rest})


class _Antehoc(PreTrainedModel):  # type: ignore[no-untyped-call]
    """Modules are built as the architecture says; values come from the file, or from `Architecture.build`."""

    base_model_prefix = INSIDE.rstrip(".")
    network: Network
    _tied_weights_keys = {f"{INSIDE}unembed.weight": f"{INSIDE}embed.weight"}  # noqa: RUF012

    def __init__(self, config: AntehocConfig, network: Network | None = None) -> None:
        super().__init__(config)
        self.network = config.built().network() if network is None else network
        self.post_init()  # type: ignore[no-untyped-call]

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing is drawn here: a seed of ours means the same weights whoever builds the modules."""

    def get_input_embeddings(self) -> nn.Module:
        return self.network.get_submodule("embed")

    def get_output_embeddings(self) -> nn.Module:
        return self.network.get_submodule("unembed")


class AntehocForCausalLM(_Antehoc):  # type: ignore[no-untyped-call]
    config_class = AntehocConfig

    def forward(self, input_ids: Tensor, labels: Tensor | None = None, **ignored: Any) -> CausalLMOutput:
        """`labels` as transformers means them: the tokens themselves, shifted here. Padding belongs on the right, where
        no token sees it."""
        logits = self.network.logits(input_ids)
        loss = None if labels is None else cross_entropy(logits[:, :-1], labels[:, 1:])
        return CausalLMOutput(loss=loss, logits=logits)


class AntehocForSeq2SeqLM(_Antehoc):  # type: ignore[no-untyped-call]
    config_class = AntehocT5Config

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **ignored: Any,
    ) -> Seq2SeqLMOutput:
        """`labels` [B, T] are what the decoder shall answer at each position of `decoder_input_ids`."""
        logits = self.network.logits(input_ids, attention_mask=attention_mask, decoder_input_ids=decoder_input_ids)
        loss = None if labels is None else cross_entropy(logits, labels)
        return Seq2SeqLMOutput(loss=loss, logits=logits)


_MODELS = {AntehocConfig.model_type: AntehocForCausalLM, AntehocT5Config.model_type: AntehocForSeq2SeqLM}


def register() -> None:
    """Let transformers open our folders. Doing it again changes nothing."""
    AutoConfig.register(AntehocConfig.model_type, AntehocConfig, exist_ok=True)
    AutoConfig.register(AntehocT5Config.model_type, AntehocT5Config, exist_ok=True)
    AutoModelForCausalLM.register(AntehocConfig, AntehocForCausalLM, exist_ok=True)
    AutoModelForSeq2SeqLM.register(AntehocT5Config, AntehocForSeq2SeqLM, exist_ok=True)


def architecture_of(name: str, fields: dict[str, Any]) -> Architecture:
    if name not in ARCHITECTURES:
        raise Missing(f"There is no architecture {name!r}; known: {', '.join(sorted(ARCHITECTURES))}.")
    return ARCHITECTURES[name].of(fields)


def save(
    network: Network,
    architecture: Architecture,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write config.json, model.safetensors and the tokenizer's files into `folder`, which the caller renames."""
    config_class = AntehocT5Config if architecture.model_type == AntehocT5Config.model_type else AntehocConfig
    config = config_class(architecture.name, architecture.fields, **_special_tokens(tokenizer))
    model = _MODELS[config_class.model_type](config, network)
    config.dtype = dtype
    with quiet_transformers():
        model.save_pretrained(folder, state_dict=_rounded(model.state_dict(), dtype))
        tokenizer.save_pretrained(folder)


def load(folder: Path) -> tuple[Architecture, Network]:
    """What `save` wrote, in float32."""
    register()
    config = AutoConfig.from_pretrained(folder)
    if config.model_type not in _MODELS:
        raise Missing(f"{folder} holds a model of type {config.model_type!r}, which is not one of ours.")
    with quiet_transformers():
        model = _MODELS[config.model_type].from_pretrained(folder, dtype=torch.float32)
    network: Network = model.network
    return config.built(), network


def own_places(model: nn.Module) -> dict[str, tuple[str, Side]]:
    """{TransformerLens name: the module at that place and its side}; empty for a model that is not ours.

    A hook is named by its path. What enters and leaves any other module is called as TransformerLens calls it,
    `ln_final.hook_in` and `ln_final.hook_out`, except where a hook has that name.
    """
    if not isinstance(model, _Antehoc):
        return {}
    places: dict[str, tuple[str, Side]] = {}
    for path, module in model.named_modules():
        name = path.removeprefix(INSIDE)
        if path.startswith(INSIDE) and not isinstance(module, Hook | nn.ModuleList):
            places[f"{name}.hook_in"] = (path, "input")
            places[f"{name}.hook_out"] = (path, "output")
    for path, module in model.named_modules():
        if isinstance(module, Hook):
            places[path.removeprefix(INSIDE)] = (path, "output")
    return places


def _rounded(weights: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """What was one tensor under two names stays one, so that a tied head is written once."""
    cast = {value.data_ptr(): value.to(dtype) for value in weights.values()}
    return {name: cast[value.data_ptr()] for name, value in weights.items()}


def _special_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, int | None]:
    ids = {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("bos", "eos", "pad")}
    # The decoder of an encoder-decoder model opens with the padding, as T5's does.
    return ids | {"decoder_start_token_id": ids["pad_token_id"]}
