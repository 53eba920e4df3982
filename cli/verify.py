"""`actpipe verify`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from actpipe.errors import Failure
from actpipe.places import STORE, Place

from .options import StorePlace, shared

if TYPE_CHECKING:
    from actpipe.store import Store

EXAMPLES = """
\b
Examples:
  actpipe verify
  actpipe verify notes.zarr --json
"""


@click.command("verify", epilog=EXAMPLES)
@click.argument("store", type=StorePlace(), default=STORE)
@click.option("--keep", is_flag=True, help="Leave damaged slabs in the store.")
@shared
def command(store: Place, keep: bool, as_json: bool, quiet: bool) -> None:
    """Check every byte of STORE against its checksums. Exits with 1 where something is damaged or missing.

    Damaged slabs are taken out of the store, and the same `actpipe harvest` writes them again.
    """
    from actpipe.store import Store, verify

    from .progress import progress_for

    opened = Store.open(store)
    result = verify(opened, progress_for(quiet=quiet))
    damaged = sorted({each["slab"] for each in result["damaged"] if each["slab"] is not None})
    result["withdrawn"] = [] if keep else _withdrawn(opened, damaged)
    if as_json:
        click.echo(json.dumps(result))
    elif result["damaged"]:
        for finding in result["damaged"]:
            click.echo(_sentence(finding))
        if result["withdrawn"]:
            click.echo(f"Taken out: slabs {', '.join(map(str, result['withdrawn']))}.")
        click.echo(f"Run the harvest that made {store} again, and it writes anew what is damaged.")
    elif not result["complete"]:
        click.echo(f"{store}: what is there is sound; run the same `actpipe harvest` again to finish it.")
    else:
        click.echo(f"{store}: complete, {result['shards']} shards, all checksums match.")
    if not result["complete"]:
        sys.exit(1)


def _withdrawn(store: Store, slabs: list[int]) -> list[int]:
    """The slabs that could be taken out: not while a harvest is writing, and not of a store that may only be read."""
    if not slabs:
        return []
    try:
        with store.objects.claim():
            for slab in slabs:
                store.withdraw(slab)
    except (Failure, OSError) as error:
        click.echo(f"The damaged slabs stay in the store: {error}", err=True)
        return []
    return slabs


def _sentence(finding: dict[str, Any]) -> str:
    place = ", ".join(f"{key} {finding[key]}" for key in ("slab", "hook", "chunk") if finding[key] is not None)
    return f"{place}: {finding['problem']}" if place else finding["problem"]
