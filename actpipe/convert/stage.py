"""The stage: read, write beside the target, verify what was written, rename."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import sae
from actpipe.errors import Missing, Misuse
from actpipe.files import sync_folder, sync_tree
from actpipe.places import Place
from actpipe.store import Store

from . import FORMATS
from .exchange import exchange
from .format import Format
from .verification import N_ROWS, Compared, check, compare, random_rows


@dataclass(frozen=True, kw_only=True)
class Converted:
    out: Path
    source: Format
    target: Format
    dictionary: sae.Dictionary
    compared: dict[str, Compared]

    @property
    def notes(self) -> list[str]:
        return list(self.dictionary.config.get("source", {}).get("notes", []))

    def described(self) -> dict[str, Any]:
        """As `--json` prints it."""
        config = self.dictionary.config
        return {
            "out": str(self.out),
            "from": self.source.name,
            "to": self.target.name,
            "architecture": config["architecture"],
            "features": self.dictionary.n,
            "width": self.dictionary.d,
            "hook": config.get("hook"),
            "units": units_of(self.dictionary),
            "notes": self.notes,
            "verified": {what: asdict(compared) for what, compared in self.compared.items()},
        }


def convert(
    source: Path,
    target: Path,
    *,
    to: str | None = None,
    from_: str | None = None,
    verify: bool = False,
    store: Place | None = None,
    hook: str | None = None,
    overwrite: bool = False,
) -> Converted:
    """Write the dictionary at `source` to `target`: by default ours as SAELens', any other as ours.

    `store`: verify on its rows too; without it that of the run the dictionary lies in, where there is one.
    """
    reads = FORMATS.of(source) if from_ is None else _asked(from_, source)
    writes = FORMATS.named(to or ("saelens" if reads.name == "actpipe" else "actpipe"))
    _check_target(source, target, overwrite=overwrite)
    dictionary = reads.read(source)
    compared: dict[str, Compared] = {}
    with _replacing(target) as folder:
        writes.write(dictionary, folder)
        if verify or store is not None:
            rows = {"random rows": random_rows(dictionary.d, _center(dictionary))}
            if (stored := _stored(source, dictionary, store, hook)) is not None:
                rows["stored rows"] = stored
            for what, x in rows.items():
                compared[what] = compare(reads.reference(source), writes.reference(folder), x)
                check(compared[what], what)
    return Converted(out=target, source=reads, target=writes, dictionary=dictionary, compared=compared)


def units_of(dictionary: sae.Dictionary) -> dict[str, str]:
    """What rows and codes are measured in; of ours the format page says it of all."""
    own = {
        "rows": "as the model produces them; nothing is left to scale",
        "codes": "model units, the length of a feature's contribution",
    }
    return dict(dictionary.config.get("units", own))


def _asked(name: str, source: Path) -> Format:
    if not source.exists():
        raise Missing(f"There is nothing at {source}; name a folder or file with a dictionary.")
    return FORMATS.named(name)


def _check_target(source: Path, target: Path, *, overwrite: bool) -> None:
    if target.exists() and target.resolve() in (source.resolve(), *source.resolve().parents):
        raise Misuse(f"{target} is the source or holds it; name another place.")
    if source.resolve() in target.resolve().parents:
        raise Misuse(f"{target} lies inside the source; name another place.")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise Misuse(f"{target} is there already. Name another place, or give --overwrite to replace a dictionary.")
    if not (target.is_dir() and any(each.detect(target) for each in FORMATS)):
        raise Misuse(f"{target} is not the folder of a dictionary, so it is left alone. Name another place.")


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """An empty folder that becomes `target` when the block ends without an exception, and nothing otherwise."""
    target = target.resolve()  # a name even for `.`, and the folder that a link leads to
    made_parent = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    temporary.mkdir()
    try:
        yield temporary
        sync_tree(temporary)
        if target.exists():
            exchange(temporary, target)
            shutil.rmtree(temporary)  # what was the target
        else:
            os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if made_parent:
            with contextlib.suppress(OSError):
                target.parent.rmdir()
        raise
    sync_folder(target.parent)


def _center(dictionary: sae.Dictionary) -> torch.Tensor:
    """[d], about where the rows lie that it reads: what it answers without features."""
    if dictionary.out != dictionary.d:
        return torch.zeros(dictionary.d)
    return dictionary.decode(torch.zeros(dictionary.n, dtype=dictionary.dtype)).detach()


def _stored(source: Path, dictionary: sae.Dictionary, place: Place | None, hook: str | None) -> torch.Tensor | None:
    """Rows of the store, [N, d], or None where none is asked for or known."""
    place = place or _store_of_the_run(source)
    if place is None:
        return None
    opened = Store.open(place)
    name = hook or dictionary.config.get("hook")
    if name is None:
        raise Misuse(f"The dictionary does not say which rows it reads; name a hook of {place} with --hook.")
    if name not in opened.hooks:
        raise Missing(f"The store {place} has no hook {name!r}; it has {', '.join(opened.hooks)}.")
    if (width := opened.hooks[name]) != dictionary.d:
        raise Misuse(f"The rows of {name} in {place} have width {width}, the dictionary reads {dictionary.d}.")
    size = min(N_ROWS, int(opened.mask.sum()))
    batch = next(iter(opened.batches(name, batch_size=size, seed=0)))
    return batch.x.double()


def _store_of_the_run(source: Path) -> Place | None:
    """Of a member of a run: {run}/members/{name}. A store that is no longer there is no reason to refuse."""
    from actpipe.training.run_folder import RunFolder

    run = source.resolve().parent.parent
    if source.resolve().parent.name != "members" or not (run / "run.json").is_file():
        return None
    described = RunFolder(run).description()["store"]
    relative = described.get("relative")
    place: Place = described["path"] if relative is None else run / relative
    return place if relative is None or Path(place).exists() else None
