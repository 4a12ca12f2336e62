"""The command `alert-classifier`. Subcommands are imported when they are called, so that `--help` is fast."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Final

import click

from service import __version__
from service.errors import AlertClassifierError
from service.secrets import mask_tracebacks, masked

# Exit codes: 0 done, 1 could not (the message says what), 2 wrong usage (click's own), 130 interrupted.
# Name -> module and help text, to list the commands without importing them.
COMMANDS: Final = {
    "serve": ("serve:serve", "Run the service: stream, HTTP API and page."),
    "classify": ("classify:classify", "Classify packets, archives and points tables."),
    "replay": ("replay:replay", "Send archives through the pipeline, into the store and a sink."),
    "simulate": ("simulate:simulate", "Make a synthetic night of alert packets."),
    "demo": ("demo:demo", "Show everything at work on a synthetic night."),
    "watch": ("watch:watch", "Follow new classifications in the terminal."),
    "model": ("model:model", "Show or check a model bundle."),
    "dead-letters": ("dead_letters:dead_letters", "List, show or replay what could not be classified."),
    "store": ("store:store", "Show, fill or prune the store of light curves."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(importlib.import_module(f"service.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, purpose) for name, (_, purpose) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="TOML file of settings; ALERT_CLASSIFIER_CONFIG names one too.",
)
@click.version_option(__version__, prog_name="alert-classifier")
@click.pass_context
def cli(ctx: click.Context, config: Path | None) -> None:
    """Classify survey alerts: a stream, a night's archive, or one light curve.

    Every setting can also stand in the environment as ALERT_CLASSIFIER_<GROUP>__<NAME>.
    """
    ctx.obj = config


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Errors that users can fix are printed as one clear sentence; a traceback is a defect of ours."""
    if arguments is None:  # the whole process is ours
        mask_tracebacks()
    try:
        cli.main(args=arguments, prog_name="alert-classifier", standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.UsageError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.ClickException(masked(error.message)).show()
        sys.exit(error.exit_code)
    except BrokenPipeError:  # e.g. `| head` has ended
        sys.stderr.close()
        sys.exit(0)
    except (AlertClassifierError, OSError) as error:
        click.ClickException(masked(str(error))).show()
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt, ImportError) as error:
        # Ctrl-C while a compiled module is being imported becomes its ImportError
        if isinstance(error, ImportError) and not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        click.echo("interrupted", err=True)
        sys.exit(130)
