"""The command line: one file a command, each imported when it is called, so that `ccdeploy --help` answers at once."""

from __future__ import annotations

import errno
import importlib
import json
import sys
import traceback
from typing import NoReturn

import click

from ccdeploy import __version__
from ccdeploy.errors import CcdeployError

COMMANDS = {
    "models": "List the networks that ccdeploy knows, or show one.",
    "export": "Export a network to a portable ONNX file.",
    "quantize": "Quantise an exported file to int8 or fp8, with ranges from pictures.",
    "build-plugin": "Compile the CUDA kernel and the TensorRT plugin.",
    "build-engine": "Build a TensorRT engine from an ONNX file.",
    "verify": "Compare artefacts with PyTorch, stage by stage.",
    "segment": "Segment pictures, folders, a video or a camera with an artefact.",
    "benchmark": "Measure artefacts: latency, throughput, memory, energy.",
    "deploy": "Export, build, verify and measure at once, into a folder with a report.",
    "package": "Make a model repository of Triton Inference Server from artefacts.",
    "serve": "Serve a model repository with Triton Inference Server.",
    "fleet": "Write what Kubernetes, systemd and Docker need to serve a repository.",
    "report": "Write the page that shows a deployment.",
    "inspect": "Show what is in an ONNX file, an engine, a plugin or a folder of deploy.",
    "doctor": "Show what this machine can and cannot do, and how to mend it.",
}
INTERRUPTED = 130
READER_LEFT = 141
"""What a shell gives a program that SIGPIPE ended: neither "true" nor "different"."""
DEFECT = 70
"""Exit code of an error that ccdeploy did not foresee (EX_SOFTWARE of sysexits.h)."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called; their first lines are in COMMANDS."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of a deployment."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"ccdeploy.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ccdeploy")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """CCNet (criss-cross attention) from a PyTorch checkpoint to ONNX and TensorRT, proved to be the same network.

    MODEL is a name that `ccdeploy models` lists, a card file (.toml), or module:Class for a network of your own.

    Exit codes: 0 done and true; 1 verified and different; 2 wrong usage or input; 3 this machine lacks what was asked.
    """


def main() -> NoReturn:
    """Runs the command line and exits with its code; every error is two lines: what happened, what to do."""
    arguments = sys.argv[1:]
    debug, as_json = "--debug" in arguments, "--json" in arguments
    if debug:
        arguments = [argument for argument in arguments if argument != "--debug"]  # it may stand anywhere
    try:
        code = cli.main(arguments, prog_name="ccdeploy", standalone_mode=False)
    except click.ClickException as error:
        if as_json:
            _print_json(error.format_message(), "", error.exit_code)
        else:
            error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("\ninterrupted: what was not finished was not written", err=True)
        code = INTERRUPTED
    except SystemExit:  # commands return their code: click and rich end this way when the reader of our output left
        code = READER_LEFT
    except Exception as error:
        if debug:
            traceback.print_exc()
        what, remedy, code = _explained(error)
        if as_json:
            _print_json(what, remedy, code)
        else:
            click.echo(f"{click.style('error:', fg='red', bold=True)} {what}", err=True)
            click.echo(f"       {remedy}", err=True)
    sys.exit(code if isinstance(code, int) else 0)


def _explained(error: Exception) -> tuple[str, str, int]:
    """What happened, what to do, and the exit code."""
    if isinstance(error, CcdeployError):
        return error.what, error.remedy, error.exit_code
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}.", "Check the path, its permissions and the space left.", 2
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "No space is left on the device.", "Free some, or write to another.", 2
    if isinstance(error, MemoryError):
        return f"Not enough memory ({error}).", "Use a smaller --size or --batch.", 2
    what = f"a defect of ccdeploy: {type(error).__name__}: {error}"
    return what, "Run again with --debug and report what it shows.", DEFECT


def _print_json(what: str, remedy: str, code: int) -> None:
    click.echo(json.dumps({"error": {"what": what, "remedy": remedy, "exit_code": code}}, indent=2))
