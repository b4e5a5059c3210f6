"""The command line: arguments in, exit code out. Only here does the process end and do words meet the terminal.

Everything heavy is imported by the command that needs it, so that ``--help`` and an unchanged build answer at once.
What this module and those that it imports take at their start, every command waits for: not even typing is there.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib
import os
import sys
from contextlib import suppress

from retread.cli import session
from retread.cli.commands import MODULES, NOUNS, SENTENCES
from retread.errors import INTERRUPTED, RetreadError, exit_codes
from retread.variables import EVERY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Any, NoReturn

    from _typeshed import SupportsWrite

    from retread.cli.options import Groups

_EPILOG = """\
exit codes:
{codes}

environment:
{variables}
  pip's and uv's own index settings are honoured
"""
_ASKED = "_ARGCOMPLETE"
"""The variable with which a shell asks what may follow what was typed, instead of running a command."""
_COMMON = frozenset({"--json", "-q", "--quiet", "--color", "--root"})
"""Options that are every command's, and not retread's own."""
_FEW = 8
"""So many choices are told beside the near miss: they fit a line."""
_WIDTH = 100
_COLUMNS = 80
"""How wide a terminal is that does not say it."""
_OBJECTS = 50_000
"""So many new objects are looked through for rubbish at a time: a start makes as many, and hardly any is rubbish."""
_STANDARD = 2
"""The number of the last of the standard streams."""
_BROKEN_PIPE = 141
"""What a shell says of a program that ended because nobody read on; no error."""


@functools.cache
def _width(asked: str) -> int:
    """Return how wide help is, as ``shutil.get_terminal_size`` has it; argparse would ask for every option again."""
    columns = int(asked) if asked.isdecimal() else 0
    if columns <= 0:
        try:
            columns = os.get_terminal_size(sys.__stdout__.fileno()).columns  # type: ignore[union-attr]
        except (AttributeError, ValueError, OSError):
            columns = 0
    return (columns or _COLUMNS) - 2


class _Formatter(argparse.HelpFormatter):
    """What lays out help."""

    def __init__(self, prog: str, **more: Any) -> None:
        super().__init__(prog, **{"width": _width(os.environ.get("COLUMNS", "")), **more})


class _RawFormatter(_Formatter, argparse.RawDescriptionHelpFormatter):
    """The same; texts above and below the options are laid out already."""


class _Parser(argparse.ArgumentParser):
    """A parser, of the command line or of one command, that itself refuses what it does not know, with the near miss.

    argparse would hand it up, and the message would show the usage of the whole instead of the command's.
    """

    def __init__(self, **more: Any) -> None:
        super().__init__(**{"formatter_class": _Formatter, **more})

    def parse_known_args(  # type: ignore[override]  # nobody here parses into an object of his own
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse arguments; whatever is left over is an error."""
        self._demand_command_first(list(args or ()))
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            from retread.strict import near_miss

            options = [option for action in self._actions for option in action.option_strings]
            meant = near_miss(rest[0].partition("=")[0], options) if rest[0].startswith("--") else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{meant}")
        return found, rest

    def _demand_command_first(self, words: Sequence[str]) -> None:
        """Refuse an option of a command that stands before it: argparse would take its value for the command."""
        own = [option for action in self._actions for option in action.option_strings]
        name = words[0].partition("=")[0] if words else ""
        if self._subparsers is None or not name.startswith("-") or any(one.startswith(name) for one in own):
            return
        [below] = self._subparsers._group_actions
        if name in _COMMON or not set(words).isdisjoint(below.choices or ()):
            self.error(
                f"{name} is no option of {self.prog} itself: put it after the {str(below.metavar).lower()}"
            )

    def print_help(self, file: SupportsWrite[str] | None = None) -> None:
        """Print what can be typed; StoreError when standard output does not take it, of which argparse says nothing."""
        if file is None:
            session.put_own(self.format_help().removesuffix("\n"))
        else:
            super().print_help(file)

    def error(self, message: str) -> NoReturn:
        """End with what is wrong, without the password of an address that was typed."""
        from retread.text import controls

        super().error(controls.shown(message))

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Refuse an empty path: a variable of a shell that is not set would be the folder that one stands in."""
        from pathlib import Path

        if not arg_string and (action.type is Path or action.dest == "index"):
            raise argparse.ArgumentError(action, "a path is wanted, and nothing was typed")
        return super()._get_value(action, arg_string)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse what is no choice, with the near miss; a long list only where nothing is near."""
        if action.choices is None or value in action.choices:
            return
        from retread.strict import near_miss

        known = list(map(str, action.choices))
        meant = near_miss(str(value), known)
        if not meant or len(known) <= _FEW:
            meant += f" (choose from {', '.join(map(repr, known))})"
        raise argparse.ArgumentError(action, f"invalid choice: {value!r}{meant}")


def parser(command: str = "") -> argparse.ArgumentParser:
    """Return the parser of the whole command line, or, of one that begins with this command, what reads that."""
    top, groups = _top()
    for noun in [MODULES[command]] if command in MODULES else NOUNS:
        importlib.import_module(f"retread.cli.{noun}").add(groups)
    return top


def outline() -> argparse.ArgumentParser:
    """Return the parser of a line without a command: it says what each is for, and knows no option of one."""
    top, groups = _top()
    for name, text in SENTENCES.items():
        groups.add_parser(name, help=text, add_help=False)
    return top


def _top() -> tuple[argparse.ArgumentParser, Groups]:
    top: argparse.ArgumentParser = _Parser(
        prog="retread",
        description="Patched CUDA wheels, proven: a pinned commit and a patch series in, a wheel out.",
        epilog=_EPILOG.format(codes=_exit_codes(), variables=_variables()),
        formatter_class=_RawFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    return top, top.add_subparsers(dest="command", metavar="COMMAND")


def _exit_codes() -> str:
    """Return every exit code with what it means, in lines."""
    lines = [""]
    for code, words in exit_codes().items():
        told = f"  {code} {words}"
        if len(lines[-1]) + 1 + len(told) > _WIDTH:
            lines.append("")
        lines[-1] += f" {told}" if lines[-1] else told
    return "\n".join(lines)


def _variables() -> str:
    """Return every variable of retread's own with what it is for, in lines."""
    wide = max(map(len, EVERY))
    return "\n".join(f"  {name:<{wide}}  {text}" for name, text in EVERY.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    gc.set_threshold(_OBJECTS)
    sys.excepthook = _trace
    code = run(arguments)
    if code == INTERRUPTED:
        from retread.doors import proc

        proc.close()
    _end(code)


def _end(code: int) -> NoReturn:
    """End the process; at once where something in it does not end, as a library's threads may not."""
    if (proc := sys.modules.get("retread.doors.proc")) and proc.is_stuck():
        os._exit(code)
    gc.freeze()  # the end of the process frees what is left, without a look through all of it
    sys.exit(code)


def _trace(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback, which may repeat an address, without its password."""
    import traceback

    from retread.text import controls

    sys.stderr.write(controls.shown("".join(traceback.format_exception(kind, error, trace))))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every expected failure is one message on stderr."""
    words = sys.argv[1:] if arguments is None else arguments
    if _ASKED in os.environ:
        from retread.cli import completion

        completion.answer(_parser_of(completion.before_cursor(os.environ)))
    _open_streams()
    options = None
    try:
        options = _parsed(words)
        if options is None:
            return 2
        code = _done(options) if options.command else _version()
        session.flush()
    except RetreadError as error:
        _complain(f"retread: {error.kind}: {error}", options)
        code = error.exit_code
    except KeyboardInterrupt:
        _complain(
            "retread: interrupted; what was finished is kept, the same command goes on from there", options
        )
        code = INTERRUPTED
    except BrokenPipeError:
        session.hush()
        code = _BROKEN_PIPE
    except OSError as error:  # the doors tell theirs; what is left is files that a user names
        from retread.doors import fs

        told = fs.refused(error)
        _complain(f"retread: {told.kind}: {told}", options)
        code = told.exit_code
    return code


def _open_streams() -> None:
    """Let standard streams that who started this had closed go nowhere, and no file take their numbers."""
    while (spare := os.open(os.devnull, os.O_RDWR)) <= _STANDARD:
        pass
    os.close(spare)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    with suppress(AttributeError):  # a stream of somebody who imported this
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _parser_of(words: Sequence[str]) -> argparse.ArgumentParser:
    return outline() if MODULES.keys().isdisjoint(words) else parser(*words[:1])


def _parsed(words: Sequence[str]) -> argparse.Namespace | None:
    """Return what was typed, or None when that is nothing."""
    top = _parser_of(words)
    try:
        options = top.parse_args(words)
    except SystemExit:
        session.flush()  # of --help
        raise
    if options.command or options.version:
        return options
    top.print_help(sys.stderr)
    return None


def _done(options: argparse.Namespace) -> int:
    """Run the command that was typed and return its exit code; SIGTERM and SIGHUP interrupt it as a key does."""
    import signal

    from retread.cli.options import typed

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signal.signal(signal.SIGHUP, _hang_up)
    return typed(options, session.attended)


def _hang_up(number: int, _: object) -> NoReturn:
    """Interrupt, once: of a terminal that goes away, both the kernel and a shell tell."""
    import signal

    signal.signal(number, lambda *_: None)
    raise KeyboardInterrupt


def _version() -> int:
    from retread.version import __version__

    session.put(f"retread {__version__}")
    return 0


def _complain(text: str, options: argparse.Namespace | None) -> None:
    from retread.doors.console import Console
    from retread.text.colour import Colour

    Console(colour=Colour(getattr(options, "color", Colour.AUTO))).fail(text)
