"""The commands as pages: their help, and every option with its default, from click's own objects."""

from __future__ import annotations

import re
from textwrap import dedent

import click

from cli.__main__ import COMMANDS, Commands


def command_pages() -> dict[str, str]:
    """Path below docs/ → Markdown: an index, and a page a command."""
    group = Commands(name="actpipe")
    top = click.Context(group, info_name="actpipe")
    pages = {"command-line/index.md": _index()}
    for name in COMMANDS:
        command = group.get_command(top, name)
        assert command is not None
        pages[f"command-line/{name}.md"] = _page(command, click.Context(command, info_name=name, parent=top))
    return pages


def _index() -> str:
    rows = [f"| [`actpipe {name}`]({name}.md) | {_escaped(line)} |" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "# The command line",
            "",
            "| command | |",
            "|---|---|",
            *rows,
            "",
            "All commands take `--json` (one object on stdout, nothing else) and `--quiet`; results go to stdout,",
            "progress to stderr. Exit codes: 0 done, 1 failed, 2 misuse, 130 stopped.",
            "",
        ]
    )


def _page(command: click.Command, context: click.Context) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"# {context.command_path}", f"```text\n{usage}\n```", _prose(command.help or "")]
    if command.epilog:
        title, *lines = dedent(command.epilog.replace("\b", "")).strip().splitlines()
        parts.append(f"{title}\n\n```text\n{dedent(chr(10).join(lines))}\n```")
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    rows = [f"| `{names}` | {_escaped(text)} |" for names, text in records]
    return "\n\n".join([*parts, "\n".join(["## Options", "", "| option | |", "|---|---|", *rows])]) + "\n"


def _prose(text: str) -> str:
    """Paragraphs; those marked by click as laid out by hand stay as they are."""
    shown = []
    for paragraph in re.split(r"\n\s*\n", dedent(text).strip()):
        if paragraph.lstrip().startswith("\b"):
            shown.append(f"```text\n{paragraph.replace(chr(8), '').strip(chr(10))}\n```")
        else:
            shown.append(_escaped(" ".join(paragraph.split())))
    return "\n\n".join(shown)


def _escaped(text: str) -> str:
    """Nothing outside `code` is Markdown or HTML."""
    pieces = re.split(r"(`[^`]*`)", text)
    return "".join(piece if piece.startswith("`") else re.sub(r"([\\*_\[\]<>#|])", r"\\\1", piece) for piece in pieces)
