"""`actpipe`: the group of commands, and what becomes of errors."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from actpipe import __version__
from actpipe.errors import ActpipeError

INTERRUPTED = 130  # 128 + SIGINT, as shells expect
NO_SPACE = 28  # errno ENOSPC

# name → (file of this folder, one line for the list); a command's own file is imported when it is called.
COMMANDS = {
    "demo": ("demo", "The three steps below on the embedded model and text."),
    "harvest": ("harvest", "Run a model over a text and store its activations."),
    "train-sae": ("train_sae", "Train a grid of sparse autoencoders on a store."),
    "analyze": ("analyze", "Score the features of a run and write the report."),
    "compare": ("compare", "Say which of several analysed sets of units is better, where that can be said."),
    "train-lm": ("train_lm", "Train a language model that is sparse by training, or its dense twin."),
    "judge": ("judge", "Have the explanations of a report judged, by rules, models or people."),
    "convert": ("convert", "Bring a dictionary from or to another library's format."),
    "export": ("export", "Write a report or its latents for SAEDashboard, delphi or SAEBench."),
    "single-file": ("single_file", "Write the page of a report as one HTML file."),
    "info": ("info", "Describe a store, a run, a dictionary or a model."),
    "verify": ("verify", "Check every byte of a store against its checksums."),
}


class Commands(click.Group):
    """Loads a command only when it is needed, so that `actpipe --help` answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"{__package__}.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"There is no command {args[0]!r}. Commands: {', '.join(COMMANDS)}.")
        return super().resolve_command(ctx, args)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="actpipe")
def actpipe() -> None:
    """From a trained transformer to a report on its features.

    \b
    actpipe harvest                  a model and a text  →  ./actpipe-out/store.zarr
    actpipe train-sae --l1-sweep     the store           →  ./actpipe-out/sae/
    actpipe analyze                  the dictionaries    →  ./actpipe-out/report/index.html

    In this order, in any folder. Every default can be named; see the help of each command.
    """


def main() -> None:
    try:
        actpipe.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except ActpipeError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        again = "the same command without --overwrite" if "--overwrite" in sys.argv else "the same command again"
        _fail(f"Stopped. Run {again} to continue.", INTERRUPTED)
    except BrokenPipeError:  # `actpipe info | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(_about(error), 1)


def _about(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == NO_SPACE:
        return f"The disk is full{where}. Nothing is lost: make room and run the same command again to continue."
    return f"{error.strerror or error}{where}."


def _fail(sentence: str, code: int) -> None:
    click.echo(f"Error: {sentence}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
