"""`actpipe train-sae`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from actpipe.places import STORE, Place
from actpipe.training.config import TrainConfig
from actpipe.training.grids import AUTO, parse_grid
from actpipe.training.presets import preset_options

from .options import Command, StorePlace, options_of, shared, typed

EXAMPLES = """
\b
Examples:
  actpipe train-sae --l1-sweep
  actpipe train-sae --l1-sweep 0.5:10:8 --expansion 2,4,8 --tokens 2M
  actpipe train-sae --architecture topk,batch_topk --k-sweep 16,32,64 --seeds 3
  actpipe train-sae --architecture jumprelu --l0-sweep 20,40 --sweep bandwidth=0.02,0.05
  actpipe train-sae --architecture relu,pca,random --hook 'blocks.*.hook_resid_post'
  actpipe train-sae notes.zarr --preset tied-vs-untied --out notes-sae
  torchrun --nproc-per-node 4 --no-python actpipe train-sae --l1-sweep 1:10:64
"""

GRIDS = {
    "l1": ("--l1-sweep", "Grid of penalties; without a value six derived from the store, which is also the default."),
    "k": ("--k-sweep", "Grid of numbers of active features (topk, batch_topk, matryoshka, pca, ica)."),
    "l0": ("--l0-sweep", "Grid of mean numbers of active features to aim at (jumprelu)."),
}


def _grids(command: Command) -> Command:
    for name, (flag, text) in reversed(GRIDS.items()):
        command = click.option(
            flag, name, is_flag=False, flag_value=AUTO, default=None, metavar="[LOW:HIGH:N | A,B,C]", help=text
        )(command)
    return command


@click.command("train-sae", epilog=EXAMPLES)
@click.argument("store", type=StorePlace(), default=STORE)
@_grids
@click.option("--preset", metavar="NAME", help="The grid of a published study (`actpipe info --presets`).")
@options_of(TrainConfig)
@shared
def command(store: Place, preset: str | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Train a grid of sparse dictionaries on STORE (default ./actpipe-out/store.zarr), all at once.

    Running the same command again continues a run that was stopped, and does nothing when it is complete.
    """
    for name, (flag, _) in GRIDS.items():
        options[name] = None if options[name] is None else parse_grid(options[name], flag)
    if preset is not None:
        given = typed()
        options |= {name: value for name, value in preset_options(preset).items() if name not in given}
    config = TrainConfig(store=store, **options)

    from actpipe.training.stage import train

    from .progress import progress_for

    result = train(config, progress_for(quiet=quiet))
    if int(os.environ.get("RANK", "0")) > 0:  # one of several processes prints
        return
    if as_json:
        click.echo(json.dumps({"out": result.out, "members": result.members}))
        return
    click.echo(f"{result.out}: {_dictionaries(len(result.members))}, measured on held-out documents")
    for line in table(result.members):
        click.echo(line)


COLUMNS: dict[str, tuple[str, str, Callable[[dict[str, Any]], Any]]] = {
    "l1": (">8", ".4g", lambda member: member.get("l1")),
    "k": (">6", ".4g", lambda member: member.get("k")),
    "aim": (">6", ".4g", lambda member: member.get("target_l0")),
    "width": (">6", "d", lambda member: member["width"]),
    "L0": (">7", ".1f", lambda member: member.get("l0")),
    "FVU": (">7", ".3f", lambda member: member.get("fvu")),
    "dead": (">6", ".1%", lambda member: member.get("dead")),
    "ΔCE": (">7", ".3f", lambda member: member.get("delta_ce")),
    "recovered": (">9", ".1%", lambda member: member.get("loss_recovered")),
}


def _dictionaries(count: int) -> str:
    return "1 dictionary" if count == 1 else f"{count} dictionaries"


def table(members: list[dict[str, Any]]) -> list[str]:
    """What one looks at to choose a member; columns in which nothing stands are left out."""
    shown = {
        head: column
        for head, column in COLUMNS.items()
        if head not in ("l1", "k", "aim") or any(column[2](member) is not None for member in members)
    }
    head = "  " + " ".join(format(name, width) for name, (width, _, _) in shown.items()) + "  member"
    return [head, *(_row(member, shown) for member in members)]


def _row(member: dict[str, Any], shown: dict[str, tuple[str, str, Callable[[dict[str, Any]], Any]]]) -> str:
    cells = []
    for width, form, value_of in shown.values():
        value = value_of(member)
        cells.append(format("–" if value is None else format(value, form), width))
    name = Path(member["path"]).name + (" (diverged)" if member["diverged"] else "")
    return "  " + " ".join(cells) + f"  {name}"
