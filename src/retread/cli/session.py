"""What every command does with its options: the machine, the folder of recipes, files that must be there, JSON out."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar

from retread import variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Final

    from retread.arch import Arch
    from retread.cli.options import Options
    from retread.doors.console import Console
    from retread.doors.machine import Machine
    from retread.doors.readings import Readings
    from retread.evidence.gate import Policy
    from retread.shared.remote import Shared

_CONSOLE: Final[ContextVar[Console | None]] = ContextVar("console", default=None)
"""The terminal of the command that runs."""
_SHARED: Final[ContextVar[Shared | None]] = ContextVar("shared", default=None)
"""The shared store of the command that runs."""


@contextmanager
def attended(options: Options, title: str) -> Iterator[None]:
    """Let a command have one terminal until the block ends, which shows that it is at work while it says nothing."""
    console = _console(options)
    store = _shared(options, console)
    token, shared_token = _CONSOLE.set(console), _SHARED.set(store)
    try:
        with console.attended(title):
            yield
    finally:
        if store:
            store.sum_up()
        _CONSOLE.reset(token)
        _SHARED.reset(shared_token)


def machine(options: Options) -> Machine:
    """Return the doors that a command goes through."""
    from retread.doors.machine import Machine
    from retread.doors.store import Store, default_root

    environment = dict(os.environ)
    console = _CONSOLE.get() or _console(options)
    store = Store(default_root(environment), waiting=console.step, elsewhere=_SHARED.get())
    return Machine(store, console, environment)


def shared(options: Options) -> Shared:
    """Return the shared store; UsageError where the environment names none."""
    from retread.errors import UsageError

    found = _SHARED.get() or _shared(options, _console(options))
    if found is None:
        hint = f"set {variables.SHARED} to its address (docs/guides/shared-store.md)"
        raise UsageError("no shared store is named", hint=hint)
    return found


def demand_shared() -> None:
    """Raise UsageError for what is wrong with a shared store's variables, before anything is looked for.

    Nobody is asked, and who finds all in the own store needs no package for it.
    """
    from retread.errors import ToolError

    if found := _SHARED.get():
        with suppress(ToolError):
            found.demand()


def demand_handed(options: Options) -> None:
    """Raise UsageError for variables that other machines would be handed and refuse, each on its own."""
    from retread.doors import walls

    walls.choice(os.environ)
    if os.environ.get(variables.SHARED):
        shared(options).demand()


def _shared(options: Options, console: Console) -> Shared | None:
    """Return the shared store that the environment names; nothing is read and nobody asked before it is needed."""
    address = os.environ.get(variables.SHARED, "")
    if not address:
        return None
    from retread.doors import fs
    from retread.shared import remote

    with variables.named(variables.SHARED, os.environ):
        address = fs.of_variable(address)

    def means() -> remote.Means:
        from retread.evidence import keyfiles

        with variables.named(variables.SHARED_KEY, os.environ):
            key = _file_of(variables.SHARED_KEY)
            signer = keyfiles.secret(key) if key else None
        with variables.named(variables.SHARED_POLICY, os.environ):
            said = policy(options, _file_of(variables.SHARED_POLICY))
        builders, testers = (said.builders, said.testers) if said else ((), ())
        return remote.means(builders, signer, console.say, testers)

    return remote.Shared(address, means)


def _file_of(variable: str) -> Path | None:
    """Return the file that a variable names, or None without one; UsageError when it is not there."""
    from pathlib import Path

    from retread.doors import fs

    named = os.environ.get(variable, "")
    return existing(Path(fs.of_variable(named))) if named else None


def _console(options: Options) -> Console:
    from retread.doors.console import Console
    from retread.text.colour import Colour

    return Console(quiet=options.quiet, colour=Colour(options.color))


def _make_way() -> None:
    """Take away the clock that a terminal shows: something goes to standard output."""
    if console := _CONSOLE.get():
        console.make_way()


@contextmanager
def scratch(options: Options) -> Iterator[Path]:
    """Yield an empty folder that is gone afterwards: the store's, or a temporary one where nothing can be written."""
    from retread.doors import fs
    from retread.errors import StoreError

    with ExitStack() as stack:
        try:
            path = stack.enter_context(machine(options).store.scratch())
        except StoreError:
            path = stack.enter_context(fs.temporary("scratch"))
        yield path


def workspace_or_none(options: Options) -> Path | None:
    """Return the folder that ``root`` returns, or None where there is none: retread's own toolchains do without."""
    from retread.errors import UsageError

    try:
        return root(options)
    except UsageError:
        if options.root:
            raise
        return None


def root(options: Options) -> Path:
    """Return the folder with recipes/ and patches/ that the options name, or that is found upwards."""
    from pathlib import Path

    from retread.recipe import workspace

    return workspace.demand_root(options.root.absolute()) if options.root else workspace.find_root(Path.cwd())


def readings(options: Options) -> Readings:
    """Return what was read before of recipes, series and toolchains."""
    from retread.doors import readings

    return readings.of_machine(machine(options))


def finished(options: Options, before: Readings | None = None) -> list[str]:
    """Return the names of all recipes but those that are not filled in yet, which a note names."""
    from retread.recipe import workspace

    here = root(options)
    left = workspace.unfinished(here, before)
    for name, faults in left.items():
        machine(options).console.say(
            f"note: {name} is left out, {len(faults)} of its lines are open: 'retread recipe check {name}' lists them"
        )
    return [name for name in workspace.recipes(here) if name not in left]


def policy(options: Options, path: Path | None) -> Policy | None:
    """Return the policy that is named, or the workspace's, if it has one."""
    from retread.cli.options import POLICY
    from retread.doors import fs
    from retread.errors import UsageError
    from retread.evidence import gate

    if path is None:
        try:
            path = root(options) / POLICY
        except UsageError:  # an index is looked at from anywhere
            return None
        if not path.is_file():
            return None
    return gate.parse_policy(fs.read(existing(path)), name=str(path))


def json(value: object) -> bytes:
    """Return data as every command writes it: indented, a newline at the end, no address with a password.

    A path may be no UTF-8.
    """
    import msgspec

    from retread.address import shown_in

    said = shown_in(msgspec.to_builtins(value))
    try:
        data = msgspec.json.encode(said)
    except UnicodeEncodeError:
        from json import dumps

        data = dumps(said).encode()
    return msgspec.json.format(data) + b"\n"


def put(text: object) -> None:
    """Write text to standard output as people may see it: the one way there for what is no JSON."""
    from retread.text import controls

    _write(f"{controls.shown(str(text))}\n")


def put_own(text: str) -> None:
    """Write text to standard output that is retread's own, nothing in which has to be shown with care."""
    _write(f"{text}\n")


def show(text: str, options: Options) -> None:
    """Write text for people to standard output, with its marks coloured where that is wanted."""
    import sys

    from retread.text import colour, controls

    terminal = sys.stdout.isatty()
    coloured = colour.wanted(colour.Colour(options.color), os.environ, terminal=terminal)
    told = controls.shown(text)
    _write(f"{colour.marked(told) if coloured else told}\n")


def print_json(value: object, *, indented: bool = True) -> None:
    """Write data to standard output, in one line where that is all that its reader takes."""
    from retread.text import controls

    data = json(value)
    if not indented:
        import msgspec

        data = msgspec.json.format(data, indent=0) + b"\n"
    _write(controls.escaped(data.decode()))


def print_bytes(data: bytes) -> None:
    """Write bytes to standard output as they are."""
    import sys

    _make_way()
    flush()
    with _taking():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def flush() -> None:
    """Wait until standard output has taken everything; StoreError when it does not."""
    import sys

    with _taking():
        sys.stdout.flush()


def _write(text: str) -> None:
    import sys

    _make_way()
    with _taking():
        sys.stdout.write(text)


@contextmanager
def _taking() -> Iterator[None]:
    """Turn a standard output that takes nothing into a StoreError; a reader who has gone is no error."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        from retread.errors import StoreError

        hush()
        raise StoreError(f"cannot write standard output: {error.strerror}") from None


def hush() -> None:
    """Let what is still to be printed go nowhere: it would fail again when the process ends."""
    import sys

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def existing(file: Path) -> Path:
    """Return a file that is there; UsageError when it is not."""
    from retread.doors import fs

    return fs.existing(file)


def architecture(text: str) -> Arch:
    """Return an architecture that a GPU has; UsageError with the near miss for any other."""
    from retread import arch

    return arch.asked(text)
