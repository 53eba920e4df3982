"""`actpipe convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from actpipe.places import Place

from .options import StorePlace, shared

if TYPE_CHECKING:
    from actpipe.convert.stage import Converted

EXAMPLES = """
\b
Examples:
  actpipe convert actpipe-out/sae/members/NAME exported                     to SAELens
  actpipe convert actpipe-out/sae/members/NAME exported --to sparsify --verify
  actpipe convert gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82 imported --verify
  actpipe convert trainer_0 imported --from dictionary_learning --store actpipe-out/store.zarr
"""


@click.command("convert", epilog=EXAMPLES)
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--to",
    metavar="FORMAT",
    help="actpipe, saelens, dictionary_learning or sparsify. Default: saelens for a dictionary of ours, else actpipe.",
)
@click.option(
    "--from",
    "from_",
    metavar="FORMAT",
    help="Format of SOURCE: those of --to, openai, gemma_scope or llamascopium. Default: found by its files.",
)
@click.option("--verify", is_flag=True, help="Compare codes and reconstructions before TARGET is kept.")
@click.option("--store", type=StorePlace(), help="Verify on rows of this store too. Default: that of the run, if any.")
@click.option("--hook", metavar="NAME", help="Hook of the store to verify on. Default: the one the dictionary names.")
@click.option("--overwrite", is_flag=True, help="Replace the dictionary that is at TARGET.")
@shared
def command(
    source: Path,
    target: Path,
    to: str | None,
    from_: str | None,
    verify: bool,
    store: Place | None,
    hook: str | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the dictionary at SOURCE to the folder TARGET in another format, exactly or not at all."""
    from actpipe.convert.stage import convert

    done = convert(source, target, to=to, from_=from_, verify=verify, store=store, hook=hook, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps(done.described()))
        return
    for line in _lines(done):
        click.echo(line)
    if not quiet:
        for note in done.notes:
            click.echo(f"Note: {note}", err=True)


def _lines(done: Converted) -> list[str]:
    said = done.described()
    hook = f", hook {said['hook']}" if said["hook"] else ""
    lines = [
        f"{done.source.library} → {done.target.library}: {said['architecture']}, {said['features']} features of rows "
        f"of width {said['width']}{hook}",
        f"rows: {said['units']['rows']}",
        f"codes: {said['units']['codes']}",
    ]
    lines += [f"verified on {compared.sentence(what)}" for what, compared in done.compared.items()]
    return [*lines, f"written to {done.out}"]
