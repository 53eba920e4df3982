"""`actpipe train-sae`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from actpipe.places import STORE, Place
from actpipe.training.config import TrainConfig
from actpipe.training.l1_grid import DERIVED, parse_l1_sweep

from .options import StorePlace, options_of, shared

EXAMPLES = """
\b
Examples:
  actpipe train-sae --l1-sweep
  actpipe train-sae --l1-sweep 0.5:10:8 --expansion 4 --tokens 2M
  actpipe train-sae notes.zarr --hook blocks.2.mlp.hook_post --l1-sweep 1,2,5 --seeds 3 --out notes-sae
"""


@click.command("train-sae", epilog=EXAMPLES)
@click.argument("store", type=StorePlace(), default=STORE)
@click.option(
    "--l1-sweep",
    is_flag=False,
    flag_value=DERIVED,
    default=DERIVED,
    metavar="[LOW:HIGH:N | A,B,C]",
    help="Grid of L1 weights; without a value, six derived from the store.",
)
@options_of(TrainConfig)
@shared
def command(store: Place, l1_sweep: str, as_json: bool, quiet: bool, **options: Any) -> None:
    """Train a grid of sparse autoencoders on STORE (default ./actpipe-out/store.zarr), all at once.

    Running the same command again continues a run that was stopped, and does nothing when it is complete.
    """
    config = TrainConfig(store=store, l1=parse_l1_sweep(l1_sweep), **options)

    from actpipe.training.stage import train

    from .progress import progress_for

    result = train(config, progress_for(quiet=quiet))
    if as_json:
        click.echo(json.dumps({"out": result.out, "members": result.members}))
        return
    click.echo(f"{result.out}: {len(result.members)} dictionaries, measured on held-out documents")
    for line in table(result.members):
        click.echo(line)


def table(members: list[dict[str, Any]]) -> list[str]:
    """What one looks at to choose a member."""
    head = f"  {'l1':>8} {'width':>6} {'L0':>7} {'FVU':>7} {'dead':>6} {'ΔCE':>7} {'recovered':>9}  member"
    return [head, *(_row(member) for member in members)]


def _row(member: dict[str, Any]) -> str:
    def number(key: str, form: str) -> str:
        value = member.get(key)
        return "–" if value is None else format(value, form)

    name = Path(member["path"]).name + (" (diverged)" if member["diverged"] else "")
    return (
        f"  {number('l1', '.4g'):>8} {member['width']:>6} {number('l0', '.1f'):>7} {number('fvu', '.3f'):>7} "
        f"{number('dead', '.1%'):>6} {number('delta_ce', '.3f'):>7} {number('loss_recovered', '.1%'):>9}  {name}"
    )
