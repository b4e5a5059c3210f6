"""The command line: arguments in, exit code out. Only here does the process end and do words meet the terminal.

Everything heavy is imported by the command that needs it, so that ``--help`` and an unchanged build answer at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence

import msgspec

from retread.cli.options import add_command, handle, typed
from retread.errors import INTERRUPTED, RetreadError, StoreError, exit_codes

NOUNS = (
    "fit", "explain", "build", "matrix", "patch", "wheel", "smoke", "attest", "index", "revoke", "serve", "watch",
    "store", "toolchain", "recipe",
)  # fmt: skip
"""Modules of this package whose ``add`` adds commands, in the order in which ``--help`` shows them."""
_EPILOG = """\
exit codes:
{codes}

environment: RETREAD_STORE (default ~/.cache/retread), RETREAD_CUDA_MIRROR;
  pip's and uv's own index settings are honoured
"""
_WIDTH = 100
_BROKEN_PIPE = 141
"""What a shell says of a program that ended because nobody read on; no error."""


class CompletionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is typed after ``completion``."""

    shell: str


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="retread",
        description="Patched CUDA wheels, proven: a pinned commit and a patch series in, a wheel out.",
        epilog=_EPILOG.format(codes=_exit_codes()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    groups = top.add_subparsers(dest="command", metavar="COMMAND")
    for noun in NOUNS:
        importlib.import_module(f"retread.cli.{noun}").add(groups)
    completion = add_command(groups, "completion", "print a completion script for a shell")
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"])
    handle(completion, _completion, CompletionOptions)
    return top


def _exit_codes() -> str:
    """Return every exit code with what it means, in lines."""
    lines = [""]
    for code, words in exit_codes().items():
        told = f"  {code} {words}"
        if len(lines[-1]) + 1 + len(told) > _WIDTH:
            lines.append("")
        lines[-1] += f" {told}" if lines[-1] else told
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    code = run(arguments)
    if code == INTERRUPTED:
        from retread.doors import proc

        proc.close()
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every expected failure is one message on stderr."""
    top = parser()
    options = top.parse_args(arguments)
    if not options.command and not options.version:
        top.print_help(sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if sys.stdout is None:  # closed by who started this: what is printed goes nowhere
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    try:
        code = typed(options) if options.command else _version()
        sys.stdout.flush()
    except RetreadError as error:
        _complain(f"retread: {error.kind}: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        _complain("retread: interrupted; what was finished is kept, the same command goes on from there")
        code = INTERRUPTED
    except BrokenPipeError:
        _hush()
        code = _BROKEN_PIPE
    except (
        OSError
    ) as error:  # the doors tell theirs; what is left is the output, or a folder that is no place for files
        if error.filename is None:
            _hush()
        where = error.filename or "standard output"
        _complain(f"retread: {StoreError.kind}: cannot write {where}: {error.strerror or error}")
        code = StoreError.exit_code
    return code


def _version() -> int:
    from retread.version import __version__

    print(f"retread {__version__}")
    return 0


def _hush() -> None:
    """Let what is still to be printed go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(text: str) -> None:
    from retread.doors.console import Console

    Console().fail(text)


def _completion(options: CompletionOptions) -> int:
    import shtab

    print(shtab.complete(parser(), options.shell))
    return 0
