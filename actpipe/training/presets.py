"""Grids of published studies by name: `actpipe train-sae --preset NAME`. An option beside it replaces the preset's.

The sweeps of the sparse-coding study of 2023 (Cunningham et al., arXiv 2309.08600) and of its follow-ups. Its penalties
weigh codes against the mean squared error in the model's units, hence `l1_units` raw. Hooks are for the user to name:
the studies ran over all layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from actpipe.errors import Misuse

from .config import Values
from .grids import geometric


@dataclass(frozen=True)
class Preset:
    about: str
    options: dict[str, Any] = field(default_factory=dict)  # of TrainConfig


def _decades(low: float, high: float, count: int) -> Values:
    """`count` values from 10^low to 10^high."""
    return tuple(float(f"{value:.6g}") for value in geometric(10**low, 10**high, count))


def _raw(l1: Values, **options: Any) -> dict[str, Any]:
    return {"l1": l1, "l1_units": "raw", "lr": (1e-3,), **options}


PRESETS: dict[str, Preset] = {
    "dense-l1-range": Preset(
        "16 penalties from 1e-4 to 1e-2 at seven widths, tied and untied weights; residual stream of each layer",
        _raw(_decades(-4, -2, 16), architecture="tied,untied", expansion=(0.5, 1, 2, 4, 8, 16, 32), batch_size=2048),
    ),
    "simple-set-off": Preset(
        "no penalty and 8 from 1e-4 to 1e-2 at width 4",
        _raw((0.0, *_decades(-4, -2, 8)), architecture="tied", expansion=(4,), batch_size=1024),
    ),
    "long-mlp": Preset(
        "two low and 5 penalties around 1e-3 at widths 1/4 to 16; MLP activations",
        _raw((0.0, 1e-4, *_decades(-3.5, -2.5, 5)), architecture="tied", expansion=(0.25, 0.5, 1, 2, 4, 8, 16)),
    ),
    "positive-mlp": Preset(
        "non-negative tied weights on activations of a GELU, bias decay 0.01",
        _raw((0.0, *_decades(-5, -3.5, 8)), architecture="positive_tied", set=("bias_decay=0.01",)),
    ),
    "tied-vs-untied": Preset(
        "4 penalties by 3 bias decays by widths 2, 4, 8, tied and untied",
        _raw(_decades(-3.5, -2, 4), architecture="tied,untied", sweep=("bias_decay=0,0.05,0.1",), expansion=(2, 4, 8)),
    ),
    "topk": Preset(
        "k from 1 to 151 in steps of 10 at widths 1/2 to 4",
        {"architecture": "topk", "k": tuple(float(k) for k in range(1, 160, 10)), "expansion": (0.5, 1, 2, 4)},
    ),
    "lista": Preset(
        "16 penalties from 1e-5 to 1e-3, three LISTA layers at width 4",
        _raw(_decades(-5, -3, 16), architecture="lista", expansion=(4,)),
    ),
    "dict-ratio": Preset(
        "8 widths from 1 to 5, twelve seeds each, penalty 1e-3",
        _raw((1e-3,), architecture="tied", expansion=tuple(round(1 + 4 * i / 7, 4) for i in range(8)), seeds=12),
    ),
    "pythia-1.4b": Preset(
        "5 penalties from 1e-4 to 1e-2 at width 6; residual stream of layer 6",
        _raw(_decades(-4, -2, 5), architecture="tied", expansion=(6,)),
    ),
    "gpt2-small": Preset(
        "widths 32, 64, 96 on the residual stream of GPT-2 small",
        _raw((1e-3,), architecture="tied", expansion=(32, 64, 96)),
    ),
    "centering": Preset(
        "centred, whitened and learned centres by 8 penalties at width 4 (with --no-center: uncentred)",
        _raw(
            _decades(-4, -2, 8),
            architecture="tied,tied_centred",
            sweep=("whiten=false,true",),
            expansion=(4,),
            batch_size=1024,
        ),
    ),
    "zeros": Preset(
        "no penalty at seven widths: a control",
        _raw((0.0,), architecture="tied", expansion=(0.5, 1, 2, 4, 8, 16, 32)),
    ),
}


def preset_options(name: str) -> dict[str, Any]:
    if name not in PRESETS:
        close = get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {close[0]}? There is" if close else "there is"
        raise Misuse(f"There is no preset {name!r}; {hint} {', '.join(PRESETS)}.")
    return dict(PRESETS[name].options)
