"""`actpipe export`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from actpipe.errors import Misuse
from actpipe.places import REPORT, RUN

from .options import shared

FORMATS = ("saedashboard", "delphi", "saebench")
EXAMPLES = """
\b
Examples:
  actpipe export batches --to saedashboard
  actpipe export latents --to delphi --from notes-sae --member NAME
  actpipe export results --to saebench
"""


@click.command("export", epilog=EXAMPLES)
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--to", "to", type=click.Choice(FORMATS), required=True, help="Whose format.")
@click.option(
    "--from",
    "from_",
    type=click.Path(path_type=Path),
    help=f"The report (for delphi, the run).  [default: {REPORT}, {RUN}]",
)
@click.option("--member", "members", multiple=True, metavar="NAME", help="Only this dictionary; repeat for several.")
@shared
def command(target: Path, to: str, from_: Path | None, members: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Write a report, or the latents of a run, to the folder TARGET for another tool.

    saedashboard: feature batches for SAEDashboard and Neuronpedia. delphi: its cache of latents. saebench: result files
    of its core evaluation.
    """
    from actpipe.analysis.exports import EXPORTS
    from actpipe.analysis.folder import replaced_folder

    from .progress import progress_for

    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise Misuse(f"{target} is there already and not empty; name another place.")
    chosen = EXPORTS[to]
    with replaced_folder(target) as folder:
        notes = chosen.write(
            from_ or (REPORT if chosen.source == "report" else RUN), folder, members, progress_for(quiet=quiet)
        )
    if as_json:
        click.echo(json.dumps({"out": str(target), "to": to, "notes": notes}))
        return
    click.echo(f"{target}: {chosen.text}.")
    if not quiet:
        for note in notes:
            click.echo(f"Note: {note}", err=True)
