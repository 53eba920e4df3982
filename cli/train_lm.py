"""`actpipe train-lm`."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from actpipe.errors import Misuse
from actpipe.pretraining.config import TrainLMConfig
from actpipe.pretraining.recipes import read_recipe

from .options import options_of, shared, typed

EXAMPLES = """
\b
Examples:
  actpipe train-lm --dataset books.jsonl.xz --tokens 35M --out models/dense
  actpipe train-lm --dataset books.jsonl.xz --set activation=gelu --set n_layers=6 --out models/gelu
  actpipe train-lm --recipe recipe.toml --seed 1 --out models/dense-1
  actpipe train-lm --recipe actpipe:crate --dataset books.jsonl.xz --dry-run
  actpipe train-lm --evaluate models/dense
  torchrun --nproc-per-node 4 --no-python actpipe train-lm --recipe recipe.toml
"""


@click.command("train-lm", epilog=EXAMPLES)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    help="A TOML or JSON file of options, or actpipe:NAME of a shipped model; those typed here win.",
)
@click.option("--evaluate", metavar="MODEL", help="Compute the validation loss of a trained model; train nothing.")
@click.option("--dry-run", is_flag=True, help="Say how large the model is and how long it would take; write no model.")
@options_of(TrainLMConfig)
@click.option("--compile/--no-compile", "compile", default=None, help="Use torch.compile. Default: on a GPU.")
@shared
def command(
    recipe: Path | None, evaluate: str | None, dry_run: bool, as_json: bool, quiet: bool, **options: Any
) -> None:
    """Train a language model on a text; ./actpipe-out/lm is then a model that `harvest --model` takes.

    Running the same command again continues a training that was stopped, and does nothing when it is complete.
    """
    context = click.get_current_context()
    if evaluate is not None:
        _refuse_beside_evaluate(context)
    if recipe is not None:
        written = _converted(context, recipe)
        options |= {name: value for name, value in written.items() if not _is_typed(context, name)}
    else:
        written = {}

    from actpipe.harvest.defaults import fallbacks
    from actpipe.quantities import readable_count

    from .progress import progress_for

    progress = progress_for(quiet=quiet)
    if evaluate is None:
        options |= fallbacks({*typed(), *written}, progress, text_only=True)
    config = TrainLMConfig(**options)
    if dry_run:
        from actpipe.pretraining.probe import plan

        planned = plan(config, progress)
        click.echo(json.dumps(dataclasses.asdict(planned)) if as_json else "\n".join(planned.lines()))
        return
    if evaluate is not None:
        from actpipe.pretraining.evaluation import evaluate as evaluated

        result = evaluated(evaluate, config, progress, own_text=not _is_typed(context, "dataset"), typed=typed())
    else:
        from actpipe.pretraining.stage import train_lm

        result = train_lm(config, progress)
    if int(os.environ.get("RANK", "0")) > 0:  # one of several processes prints
        return
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(result)))
        return
    trained = f", trained on {readable_count(result.tokens)} tokens" if result.tokens else ""
    click.echo(f"{result.out}: {result.architecture}, {readable_count(result.parameters)} parameters{trained}")
    click.echo(f"  validation loss {result.loss:.4f} nats a token, perplexity {result.perplexity:.3f}")


def _is_typed(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is not ParameterSource.DEFAULT


def _converted(context: click.Context, recipe: Path) -> dict[str, Any]:
    """The recipe's values, read as if they had been typed."""
    known = {parameter.name: parameter for parameter in context.command.params}
    fields = {field.name for field in dataclasses.fields(TrainLMConfig)}
    found = read_recipe(recipe, fields)
    return {
        name: known[name].type_cast_value(context, _as_typed(recipe, known[name], value))
        for name, value in found.items()
    }


def _as_typed(recipe: Path, option: click.Parameter, value: Any) -> Any:
    if getattr(option, "multiple", False):
        return value if isinstance(value, tuple) else (str(value),)
    if isinstance(value, tuple):
        raise Misuse(f"The recipe {recipe} has several values of {option.name!r}, which takes one.")
    return str(value)


# What decides which text is read, and where.
_OF_EVALUATION = frozenset(
    {"dataset", "dataset_config", "split", "revision", "text_field", "context", "task", "task_set", "validation_share",
     "device", "tokens_cache", "recipe", "evaluate", "as_json", "quiet"}
)  # fmt: skip


def _refuse_beside_evaluate(context: click.Context) -> None:
    for name in context.params:
        if name not in _OF_EVALUATION and _is_typed(context, name):
            raise Misuse(f"--{name.replace('_', '-')} is about training and --evaluate trains nothing; leave it out.")
