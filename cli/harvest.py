"""`actpipe harvest`."""

from __future__ import annotations

import json
from typing import Any

import click

from actpipe.harvest.config import HarvestConfig

from .options import options_of, shared, typed

EXAMPLES = """
\b
Examples:
  actpipe harvest
  actpipe harvest --tokens 1M --hook 'blocks.*.hook_resid_post' --dry-run
  actpipe harvest --model EleutherAI/pythia-70m-deduped --dataset NeelNanda/pile-10k \\
                  --hook blocks.2.hook_resid_post --hook blocks.2.mlp.hook_post
  actpipe harvest --model ./my-model --dataset notes.txt --out notes.zarr
"""


@click.command("harvest", epilog=EXAMPLES)
@options_of(HarvestConfig)
@click.option("--dry-run", is_flag=True, help="Say what it would cost, and write nothing.")
@click.option("--text-only", is_flag=True, help="Write the tokens and no activations, for train-sae --from-model.")
@shared
def command(dry_run: bool, text_only: bool, as_json: bool, quiet: bool, **options: Any) -> None:
    """Run a model over a text and store its activations as ./actpipe-out/store.zarr.

    Running the same command again continues a harvest that was stopped, and does nothing when it is complete.
    """
    from dataclasses import asdict

    from actpipe.harvest.defaults import fallbacks
    from actpipe.harvest.stage import harvest, plan
    from actpipe.quantities import readable_bytes, readable_count

    from .progress import progress_for

    progress = progress_for(quiet=quiet)
    config = HarvestConfig(**{**options, **fallbacks(typed(), progress)})
    if dry_run:
        planned = plan(config, progress)
        click.echo(json.dumps(asdict(planned)) if as_json else "\n".join(planned.lines()))
        planned.require_room(config.max_disk)
        return
    result = harvest(config, progress, text_only=text_only)
    if as_json:
        click.echo(json.dumps(asdict(result)))
        return
    if text_only and not result.complete:
        click.echo(f"{result.out}: the text, {readable_count(result.rows)} tokens, without activations")
        return
    speed = f" at {result.tokens_per_second:,.0f} tokens/s" if result.tokens_per_second else ""
    click.echo(f"{result.out}: {readable_count(result.rows)} tokens, {readable_bytes(result.bytes)}{speed}")
    for hook, width in result.hooks.items():
        click.echo(f"  {hook}  {width} wide")
