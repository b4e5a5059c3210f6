"""What every command does with its options: the machine, the folder of recipes, files that must be there, JSON out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli.options import POLICY, Options

if TYPE_CHECKING:
    from retread.arch import Arch
    from retread.doors.machine import Machine
    from retread.evidence.gate import Policy


def machine(options: Options) -> Machine:
    """Return the doors that a command goes through."""
    from retread.doors.console import Console
    from retread.doors.machine import Machine
    from retread.doors.store import Store, default_root

    environment = dict(os.environ)
    console = Console(quiet=options.quiet)
    return Machine(Store(default_root(environment), waiting=console.say), console, environment)


def root(options: Options) -> Path:
    """Return the folder with recipes/ and patches/ that the options name, or that is found upwards."""
    from retread.recipe import workspace

    return options.root.absolute() if options.root else workspace.find_root(Path.cwd())


def policy(options: Options, path: Path | None) -> Policy | None:
    """Return the policy that is named, or the workspace's, if it has one."""
    from retread.errors import UsageError
    from retread.evidence import gate

    if path is None:
        try:
            path = root(options) / POLICY
        except UsageError:  # an index is looked at from anywhere
            return None
        if not path.is_file():
            return None
    return gate.parse_policy(existing(path).read_bytes(), name=path.name)


def json(value: object) -> bytes:
    """Return data as every command writes it: indented, with a newline at the end."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(value)) + b"\n"


def print_json(value: object) -> None:
    """Write data to standard output."""
    print(json(value).decode(), end="")


def print_bytes(data: bytes) -> None:
    """Write bytes to standard output as they are."""
    import sys

    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def existing(file: Path) -> Path:
    """Return a file that is there; UsageError when it is not."""
    from retread.errors import UsageError

    if not file.is_file():
        raise UsageError(f"there is no file {file}")
    return file


def architecture(text: str) -> Arch:
    """Return an architecture that a GPU has; UsageError with the near miss for any other."""
    from retread import arch
    from retread.errors import UsageError
    from retread.strict import near_miss

    if text not in arch.FIRST_CUDA:
        raise UsageError(f"no GPU has the architecture {text!r}{near_miss(text, arch.FIRST_CUDA)}")
    return arch.parse(text)
