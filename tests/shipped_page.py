"""The table and the commands of docs/how-to/shipped-models.md, from the cards.

`python -m tests.shipped_page` prints them; tests/test_shipped.py compares.
"""

from __future__ import annotations

from actpipe import shipped
from actpipe.quantities import readable_seconds


def table() -> str:
    return "\n".join(_row(name) for name in shipped.names())


def commands() -> str:
    return "\n".join(_command(name) for name in shipped.names())


def _row(name: str) -> str:
    card = shipped.card(name)
    count, seconds = card["parameters"], readable_seconds(card["seconds"])
    dropped = f" + {count['training']:,} gates" if count["training"] else ""
    return (
        f"| `{name}` | {card['about']} | {count['other']:,}{dropped} | {card['tokens']:,} | {card['loss']:.3f} | "
        f"{seconds} |"
    )


def _command(name: str) -> str:
    card = shipped.card(name)
    source = card["config"]["text"]["source"]["name"]
    text = "" if source.startswith("actpipe:") else f" --dataset {'BOOKS' if source == 'books' else source}"
    return (
        f"actpipe train-lm --recipe {card['recipe']} --seed {card['seed']}{text} --out {name.removeprefix('actpipe:')}"
    )


if __name__ == "__main__":
    print(f"{table()}\n\n{commands()}")
