"""`actpipe compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from actpipe.compare.config import CompareConfig
from actpipe.places import OUT

from .options import options_of, shared

COMPARISON = OUT / "compare"
EXAMPLES = """
\b
Examples:
  actpipe compare actpipe:crate-0 actpipe:gpt-relu-0 --tokens 100k
  actpipe compare crate=actpipe:crate-0,actpipe:crate-1 dense=actpipe:gpt-relu-0,actpipe:gpt-relu-1
  actpipe compare actpipe:crate-0 sae=sae-of-gpt-relu --twin sae=sae-of-gpt-relu-init
  actpipe compare sae-report crate-report
  actpipe compare 'report:*-topk-x4-k_32-*' 'report:*-relu-x4-l1_2-*' --json
"""


@click.command("compare", epilog=EXAMPLES)
@click.argument("arms", nargs=-1, required=True, metavar="ARM ARM…")
@click.option(
    "--out", type=click.Path(path_type=Path), default=COMPARISON, show_default=True, help="Folder of the comparison."
)
@options_of(CompareConfig, without=("arms", "out"))
@shared
def command(arms: tuple[str, ...], out: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Say which of several sets of units is better, where that can be said.

    An ARM is [NAME=]SOURCE[,SOURCE…]. A SOURCE is a model, a run of dictionaries or one of them, a store, or a report
    that `actpipe analyze` wrote; RUN:MEMBER and REPORT:MEMBER name a member, or several with *. Sources of one arm are
    seeds, or levels of sparsity. What is not a report is read on one text, analysed and measured here, and kept.
    """
    from actpipe.compare import compare

    from .comparison_lines import comparison_lines, terminal_width
    from .progress import progress_for

    found = compare(CompareConfig(arms=arms, out=out, **options), progress_for(quiet=quiet))
    tables = found.pop("tables")
    if as_json:
        click.echo(json.dumps(found))
        return
    for line in comparison_lines(found, tables, terminal_width()):
        click.echo(line)
