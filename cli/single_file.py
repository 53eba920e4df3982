"""`actpipe single-file`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from actpipe.places import REPORT

from .options import shared

EXAMPLES = """
\b
Examples:
  actpipe single-file
  actpipe single-file notes-report --out notes.html --max-mb 10
  actpipe single-file notes-report --unit blocks.2.hook_resid_post-relu-x2-l1_1-s0/17
"""


@click.command("single-file", epilog=EXAMPLES)
@click.argument("report", type=click.Path(path_type=Path), default=REPORT)
@click.option("--out", type=click.Path(path_type=Path), help="The file.  [default: REPORT with .html]")
@click.option("--max-mb", type=click.FloatRange(min=2), default=30.0, show_default=True, help="Its size at most.")
@click.option("--unit", "wanted", multiple=True, metavar="MEMBER/NUMBER", help="A unit whose panel must be in it.")
@shared
def command(report: Path, out: Path | None, max_mb: float, wanted: tuple[str, ...], as_json: bool, quiet: bool) -> None:
    """Write the page of REPORT (default ./actpipe-out/report) as one HTML file.

    It holds the table of all units, and the panels of all where they fit, else of a part that the page declares: the
    highest and lowest by score, some of each density, some drawn at random.
    """
    from actpipe.report.single_file import MB, write_single_file

    from .progress import progress_for

    target = out or report.with_name(f"{report.name}.html")
    with progress_for(quiet=quiet).bar("Writing one file", None, "files"):
        written = write_single_file(report, target, max_mb=max_mb, wanted=wanted)
    if as_json:
        found = {"out": str(written.path), "units": written.units, "details": written.details, "bytes": written.n_bytes}
        click.echo(json.dumps(found))
        return
    click.echo(
        f"{written.path}: {written.n_bytes / MB:.1f} MB, {written.details:,} of {written.units:,} units with a panel."
    )
