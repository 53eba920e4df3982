"""`actpipe compare`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from actpipe.compare.config import CompareConfig
from actpipe.places import OUT

from .options import options_of, shared

COMPARISON = OUT / "compare"
EXAMPLES = """
\b
Examples:
  actpipe compare sae-report crate-report
  actpipe compare report:blocks.5.mlp.hook_post-topk-x4-k_32-s0 report:blocks.5.mlp.hook_post-relu-x4-l1_2-s0
  actpipe compare 'report:*-topk-x4-k_32-*' 'report:*-relu-x4-l1_2-*'
  actpipe compare a-report b-report c-report --out abc --json
"""


@click.command("compare", epilog=EXAMPLES)
@click.argument("arms", nargs=-1, required=True, metavar="ARM ARM…")
@click.option(
    "--out", type=click.Path(path_type=Path), default=COMPARISON, show_default=True, help="Folder of the comparison."
)
@options_of(CompareConfig, without=("arms", "out"))
@shared
def command(arms: tuple[str, ...], out: Path, seed: int, as_json: bool, quiet: bool) -> None:
    """Say which of several analysed sets of units is better, where that can be said.

    An ARM is a report that `actpipe analyze` wrote, of one dictionary or of several that differ in their seed alone, or
    FOLDER:NAME for one member of it, or for several by a name with *. No model is run.
    """
    from actpipe.compare import compare
    from actpipe.compare.matching import matching_rows
    from actpipe.compare.words import difference_rows

    from .progress import progress_for

    found = compare(CompareConfig(arms=arms, out=out, seed=seed), progress_for(quiet=quiet))
    tables = found.pop("tables")
    if as_json:
        click.echo(json.dumps(found))
        return
    for rows in (matching_rows(found["arms"]), difference_rows(tables["pairs"], tables["verdicts"])):
        for line in aligned(rows):
            click.echo(line)
        click.echo()
    for lint in found["lints"]:
        click.echo(f"Lint {lint['number']}, {lint['name']}: {lint['text']}")
    for text in found["verdicts"]:
        click.echo(text)
    click.echo(f"{out / 'summary.md'}: the same to read, with the tables beside it.")


def aligned(rows: list[list[str]]) -> list[str]:
    """Cells in columns as wide as the widest."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
