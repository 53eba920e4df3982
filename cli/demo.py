"""`actpipe demo`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from actpipe.places import OUT, REPORT, RUN, STORE

from .options import shared

EXAMPLES = """
\b
Examples:
  actpipe demo
  actpipe demo --out /tmp/first-look
"""


@click.command("demo", epilog=EXAMPLES)
@click.option("--out", type=click.Path(path_type=Path), default=OUT, show_default=True, help="Where all of it goes.")
@shared
def command(out: Path, as_json: bool, quiet: bool) -> None:
    """Harvest, train and analyze with nothing but defaults: the embedded model and text.

    The same as `actpipe harvest`, `actpipe train-sae --l1-sweep` and `actpipe analyze`, one after the other.
    """
    from actpipe.analysis import AnalyzeConfig, analyze
    from actpipe.harvest.config import HarvestConfig
    from actpipe.harvest.defaults import fallbacks
    from actpipe.harvest.stage import harvest
    from actpipe.training.config import TrainConfig
    from actpipe.training.stage import train

    from .progress import progress_for
    from .train_sae import table

    progress = progress_for(quiet=quiet)
    store, run, report = (out / place.relative_to(OUT) for place in (STORE, RUN, REPORT))
    harvest(HarvestConfig(out=store, **fallbacks((), progress)), progress)
    trained = train(TrainConfig(store=store, out=run), progress)
    for line in table(trained.members):
        progress.say(line)
    analyze(AnalyzeConfig(run=run, out=report), progress)
    page = report / "index.html"
    if as_json:
        click.echo(json.dumps({"out": str(out), "report": str(page), "members": trained.members}))
    else:
        click.echo(str(page))
