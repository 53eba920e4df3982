"""`actpipe verify`."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from actpipe.places import STORE, Place

from .options import StorePlace, shared

EXAMPLES = """
\b
Examples:
  actpipe verify
  actpipe verify notes.zarr --json
"""


@click.command("verify", epilog=EXAMPLES)
@click.argument("store", type=StorePlace(), default=STORE)
@shared
def command(store: Place, as_json: bool, quiet: bool) -> None:
    """Check every byte of STORE against its checksums. Exits with 1 where something is damaged or missing."""
    from actpipe.store import verify

    from .progress import progress_for

    result = verify(store, progress_for(quiet=quiet))
    if as_json:
        click.echo(json.dumps(result))
    elif result["damaged"]:
        for finding in result["damaged"]:
            click.echo(_sentence(finding))
    elif not result["complete"]:
        click.echo(f"{store}: what is there is sound; run the same `actpipe harvest` again to finish it.")
    else:
        click.echo(f"{store}: complete, {result['shards']} shards, all checksums match.")
    if not result["complete"]:
        sys.exit(1)


def _sentence(finding: dict[str, Any]) -> str:
    place = ", ".join(f"{key} {finding[key]}" for key in ("slab", "hook", "chunk") if finding[key] is not None)
    return f"{place}: {finding['problem']}" if place else finding["problem"]
