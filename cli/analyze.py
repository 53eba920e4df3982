"""`actpipe analyze`: of a training run its features, of a model its sparsity."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from actpipe.analysis.config import AnalyzeConfig
from actpipe.errors import Misuse
from actpipe.places import OUT, REPORT, RUN
from actpipe.sparsity.config import SparsityConfig

from .options import options_of, shared

SPARSITY = OUT / "sparsity"
EXAMPLES = """
\b
Examples:
  actpipe analyze
  actpipe analyze notes-sae --units 500 --out notes-report
  actpipe analyze --model smollm2 --tokens 20k
  actpipe analyze --model ./my-t5 --task news=news.jsonl --task code=code.txt --kt-words scien,tech,research
"""
BOTH = frozenset({"out", "seed", "overwrite", "as_json", "quiet"})  # options of a run and of a model
OF_A_RUN = frozenset({field.name for field in dataclasses.fields(AnalyzeConfig)}) - BOTH
OF_A_MODEL = frozenset({field.name for field in dataclasses.fields(SparsityConfig)}) - BOTH


@click.command("analyze", epilog=EXAMPLES)
@click.argument("run", type=click.Path(path_type=Path), default=RUN)
@click.option(
    "--out", type=click.Path(path_type=Path), help=f"Folder of the report.  [default: {REPORT}; of a model {SPARSITY}]"
)
@options_of(AnalyzeConfig, without=("run", "out"))
@click.option("--model", help="Measure the sparsity of this model: smollm2, a folder, or a Hugging Face name.")
@options_of(SparsityConfig, without=("model", *BOTH))
@shared
def command(out: Path | None, as_json: bool, quiet: bool, **options: Any) -> None:
    """Score the features of RUN (default ./actpipe-out/sae) and write the report.

    Reads the store alone; the language model runs for --model-controls, --effects and --probe only. With --model, and
    without RUN, measures how sparse the activations of a model are, beside the same architecture at its initialisation,
    and writes a report on that; the options from --model on belong to it.
    """
    ctx = click.get_current_context()
    given = {name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    of_a_model = options["model"] is not None
    _refuse(given & (OF_A_RUN if of_a_model else OF_A_MODEL), of_a_model=of_a_model)
    known = {field.name for field in dataclasses.fields(SparsityConfig if of_a_model else AnalyzeConfig)}
    asked = {name: value for name, value in options.items() if name in known}

    from .progress import progress_for

    progress = progress_for(quiet=quiet)
    if of_a_model:
        from actpipe.sparsity import measure_sparsity

        found: dict[str, Any] = measure_sparsity(SparsityConfig(out=out or SPARSITY, **asked), progress)
    else:
        from actpipe.analysis import analyze

        found = analyze(AnalyzeConfig(out=out or REPORT, **asked), progress)
    if as_json:
        click.echo(json.dumps(found))
        return
    page = Path(found["out"]) / "index.html"
    if not of_a_model:
        click.echo(f"{page}: {found['units']:,} features. Open it in a browser.")
        return
    click.echo(f"{page}: {found['hooks']:,} hooks. Open it in a browser.")
    for sentence in found["summary"]["reading"]:
        click.echo(f"  {sentence}")


def _refuse(given: set[str] | frozenset[str], *, of_a_model: bool) -> None:
    """Misuse for an option of the other kind of analysis."""
    if not given:
        return
    name = "RUN" if "run" in given else f"--{min(given).replace('_', '-')}"
    if of_a_model:
        raise Misuse(f"{name} belongs to the analysis of a training run and --model to that of a model; give one.")
    raise Misuse(f"{name} is about the sparsity of a model; give --model too.")
