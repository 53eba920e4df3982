"""What a model is called → where it lies, and whether it is the trained model or a control made of it.

smollm2                  the embedded model
actpipe:crate            a shipped one (`actpipe info --models`)
FOLDER, OWNER/NAME       written by save_pretrained, or on Hugging Face
…@init, …@init=7         any of them with first weights, drawn from a seed: the control of every comparison
…@shuffled, …@shuffled=7 with its trained weights in random places (actpipe/harvest/shuffled.py)
…@shuffled-blocks        the same, all but the tables of tokens and positions
…@gaussian, …@gaussian=7 trained, and given noise in place of tokens (actpipe/harvest/gaussian_inputs.py)
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from actpipe import shipped
from actpipe.errors import Missing
from actpipe.harvest import embedded
from actpipe.hub import use_cache_if_unreachable
from actpipe.progress import Progress, silent

HOW = ("init", "shuffled", "shuffled-blocks", "gaussian")
_CONTROL = re.compile(rf"(?P<trained>.+)@(?P<how>{'|'.join(HOW)})(?:=(?P<seed>\d{{1,9}}))?")


@dataclass(frozen=True)
class Named:
    """A model's name, taken apart."""

    trained: str
    seed: int | None = None  # of what is drawn for a control; None: the trained model itself
    how: str = "init"

    @classmethod
    def of(cls, name: str) -> Named:
        found = _CONTROL.fullmatch(name)
        return cls(found["trained"], int(found["seed"] or 0), found["how"]) if found else cls(name)

    def __str__(self) -> str:
        return self.trained if self.seed is None else f"{self.trained}@{self.how}={self.seed}"


def source(name: str, progress: Progress = silent) -> str:
    """What transformers should open for the model of this name."""
    trained = Named.of(name).trained
    if trained == embedded.NAME:
        return str(embedded.converted_folder(progress))
    if shipped.is_named(trained):
        return str(shipped.folder(trained))
    folder = Path(trained)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise Missing(f"The folder {trained} holds no config.json, so it is not a saved transformers model.")
    if not folder.is_dir() and (trained.startswith((".", "/", "~")) or trained.count("/") > 1):
        raise Missing(f"There is no folder {trained}. Give an existing one, a Hugging Face name, or smollm2.")
    if not folder.is_dir():
        use_cache_if_unreachable()
    return trained


def tokenizer_source(name: str, progress: Progress = silent) -> str:
    """The same for its tokenizer; shipped models share theirs."""
    trained = Named.of(name).trained
    return str(shipped.tokenizer_folder(trained)) if shipped.is_named(trained) else source(trained, progress)


def recorded_name(name: str) -> str:
    """A name by which the model is found from any folder."""
    named = Named.of(name)
    local = named.trained != embedded.NAME and Path(named.trained).is_dir()
    return str(Named(str(Path(named.trained).resolve()), named.seed, named.how) if local else named)
