"""`actpipe analyze`."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import click

from actpipe.analysis.config import AnalyzeConfig
from actpipe.places import REPORT, RUN

from .options import options_of, shared

EXAMPLES = """
\b
Examples:
  actpipe analyze
  actpipe analyze notes-sae --units 500 --out notes-report
"""


@click.command("analyze", epilog=EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path), default=RUN)
@click.option("--out", type=click.Path(path_type=Path), default=REPORT, show_default=True, help="Folder of the report.")
@options_of(AnalyzeConfig, without=("run", "out"))
@shared
def command(run: Path, out: Path, as_json: bool, quiet: bool, **options: Any) -> None:
    """Score the features of RUN (default ./actpipe-out/sae) and write the report.

    Reads the store alone: the language model is not run again.
    """
    config = AnalyzeConfig(run=run, out=out, **options)

    from actpipe.analysis import analyze

    from .progress import progress_for

    result = analyze(config, progress_for(quiet=quiet))
    found: dict[str, Any] = asdict(result) if is_dataclass(result) else dict(result)
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(f"{Path(found['out']) / 'index.html'}: {found['units']:,} features. Open it in a browser.")
