"""``retread key``, ``attest``, ``statement``, ``sign``: who vouches for a wheel, and what is signed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_action, add_command, add_common

if TYPE_CHECKING:
    from retread.cli.options import Groups
    from retread.evidence.signing import Key


class KeyNewOptions(Options):
    """What is typed after ``key new``."""

    name: str
    folder: Path


class KeyListOptions(Options):
    """What is typed after ``key list``."""

    folder: Path


class AttestOptions(Options):
    """What is typed after ``attest``."""

    wheel: Path
    builder: Path | None
    tester: Path | None
    inherit: Path | None


class StatementOptions(Options):
    """What is typed after ``statement``."""

    wheels: list[Path]
    builder: str
    tester: str
    inherit: Path | None
    out: Path


class SignOptions(Options):
    """What is typed after ``sign``."""

    folder: Path
    key: Path


def add(groups: Groups) -> None:
    """Add the commands."""
    key = add_command(groups, "key")
    actions = key.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = add_action(actions, "new", "make a key pair; stdout is its line for a policy")
    new.add_argument("name")
    listed = add_action(actions, "list", "show keys as a policy holds them")
    for command in (new, listed):
        command.add_argument("--folder", type=Path, default=Path(), help="where the keys lie; default: here")
    add_common(new, key_new, KeyNewOptions)
    add_common(listed, key_list, KeyListOptions)

    command = add_command(groups, "attest")
    command.add_argument("wheel", type=Path)
    command.add_argument("--builder", type=Path, metavar="KEY", help="sign how it was built")
    command.add_argument("--tester", type=Path, metavar="KEY", help="sign what its smoke reports found")
    _add_inherit(command)
    add_common(command, attest, AttestOptions)

    command = add_command(groups, "statement")
    command.add_argument("wheels", type=Path, nargs="+", metavar="WHEEL")
    command.add_argument(
        "--builder", metavar="NAME", default="", help="the key that is to say how it was built"
    )
    command.add_argument(
        "--tester", metavar="NAME", default="", help="the key that is to say what its tests found"
    )
    _add_inherit(command)
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the statements go")
    add_common(command, statement, StatementOptions)
    command = add_command(groups, "sign")
    command.add_argument("folder", type=Path)
    command.add_argument("--key", type=Path, required=True, help="the builder's or the tester's .key file")
    add_common(command, sign, SignOptions)


def _add_inherit(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--inherit",
        type=Path,
        metavar="OTHER",
        help="with --tester: also what GPUs found of that wheel, for the kernels that have the same machine code",
    )


def key_new(options: KeyNewOptions) -> int:
    """Make a key pair; stdout is its public line, as a policy wants it."""
    from retread.evidence import keyfiles

    made = keyfiles.new(options.folder, options.name)
    session.machine(options).console.say(
        f"made {options.folder / made.name}.key, for you alone, and {made.name}.pub"
    )
    _print_keys(options, [made])
    return 0


def key_list(options: KeyListOptions) -> int:
    """Show the keys of a folder."""
    from retread.evidence import keyfiles

    _print_keys(options, list(keyfiles.every(options.folder)))
    return 0


def _print_keys(options: Options, found: list[Key]) -> None:
    from retread.evidence import signing

    if options.json:
        session.print_json([{"name": key.name, "id": key.id, "key": signing.line(key)} for key in found])
    else:
        told = (f'# {key.id}\nname = "{key.name}"\nkey = "{signing.line(key)}"' for key in found)
        session.put("\n".join(told) or "no keys")


def attest(options: AttestOptions) -> int:
    """Sign what is known of a wheel; stdout is the envelopes, which lie beside it."""
    from retread.doors import clock
    from retread.errors import UsageError
    from retread.evidence import attest as attesting

    if not options.builder and not options.tester:
        raise UsageError(
            "name a key: --builder KEY signs how it was built, --tester KEY what its tests found"
        )
    _demand_tester(options)
    wheel, made = session.existing(options.wheel), dict[Path, bytes]()
    with session.machine(options).store.scratch() as scratch:
        if options.builder:
            made |= attesting.provenance(wheel, options.builder, finished=clock.now(), scratch=scratch)
        if options.tester and options.inherit:
            other = session.existing(options.inherit)
            made |= attesting.inherited(wheel, other, options.tester, scratch=scratch)
        if options.tester:
            made |= attesting.results(wheel, options.tester, demanded=not options.inherit)
    return _written(options, made)


def _demand_tester(options: AttestOptions | StatementOptions) -> None:
    from retread.errors import UsageError

    if options.inherit and not options.tester:
        raise UsageError(
            "--inherit says what tests found of another wheel", hint="name who says so: --tester"
        )


def statement(options: StatementOptions) -> int:
    """Write the statements about wheels that others are to sign."""
    from retread.doors import clock
    from retread.errors import UsageError
    from retread.evidence import attest as attesting

    if not options.builder and not options.tester:
        raise UsageError(
            "name who is to sign: --builder NAME says how it was built, --tester NAME what tests found"
        )
    _demand_tester(options)
    made = dict[Path, bytes]()
    with session.machine(options).store.scratch() as scratch:
        for wheel in map(session.existing, options.wheels):
            found = dict[Path, bytes]()
            if options.builder:
                found |= attesting.built(wheel, options.builder, finished=clock.now(), scratch=scratch)
            if options.tester and options.inherit:
                other = session.existing(options.inherit)
                found |= attesting.inheriting(wheel, other, options.tester, scratch=scratch)
            if options.tester:
                found |= attesting.tested(wheel, options.tester, demanded=not options.inherit)
            made |= {options.out / f"{one.name}{attesting.STATEMENT}": data for one, data in found.items()}
    return _written(options, made)


def sign(options: SignOptions) -> int:
    """Sign the statements of a folder that are made in the key's name."""
    from retread.errors import UsageError
    from retread.evidence import attest as attesting

    if not options.folder.is_dir():
        raise UsageError(f"there is no folder {options.folder}")
    return _written(options, attesting.sign(options.folder, options.key))


def _written(options: Options, made: dict[Path, bytes]) -> int:
    """Write files, all or none, and print their names."""
    from retread.doors import fs

    for place, data in made.items():
        fs.write(place, data)
    if options.json:
        session.print_json([str(one) for one in made])
    else:
        session.put("\n".join(map(str, made)))
    return 0
