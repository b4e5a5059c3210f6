"""Stage *smoke*: run a kit under one Python, here or on another machine, and read the report that it leaves."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from retread.doors import proc
from retread.errors import EvidenceError, HostError, RetreadError, SmokeError, ToolError
from retread.smoke import enclosure, reading
from retread.smoke.known import Keeper
from retread.smoke.level import Level
from retread.smoke.report import SmokeReport

_UNFIT = {kind.exit_code: kind for kind in (EvidenceError, HostError)}
"""What the kit's exit codes other than done and failed mean."""


class Options(NamedTuple):
    """What a kit is told."""

    levels: tuple[Level, ...] = ()
    """Empty: all that the machine can run."""
    only: str = "*"
    any_torch: bool = False
    compare_ptx_jit: bool = False
    """Whether the gpu level also compares native code with PTX through the driver's compiler."""
    durations: bool = False
    """Whether cases say where their seconds go."""
    paths: tuple[Path, ...] = ()
    """Folders of packages that come before the installed ones."""


def run(
    kit: Path,
    python: Path | str,
    options: Options,
    *,
    environment: Mapping[str, str],
    heard: Callable[[str], None],
    keeper: Keeper | None = None,
) -> SmokeReport:
    """Run the kit with a Python of this machine, behind walls where it has any.

    Behind walls it takes from ``keeper`` what still holds of earlier runs, and leaves there what it found.
    HostError when it cannot try the wheel, EvidenceError for a changed kit.
    """
    handed = [keeper.handed] if keeper else []
    for one in handed:
        one.touch()  # what is not there yet is not shown behind walls
    before, variables = enclosure.around(kit, python, [*options.paths, *handed], environment, heard)
    command = [*before, python, kit, "--json", "-", *_arguments(options)]
    if not keeper or not before:
        return _heard(command, variables, heard, where=str(python))
    key = keeper.hand(variables)
    kept = partial(keeper.learn, key)
    return _heard([*command, "--known", keeper.handed], variables, heard, where=str(python), kept=kept)


def run_there(
    kit: Path,
    host: str,
    python: str,
    options: Options,
    *,
    environment: Mapping[str, str],
    heard: Callable[[str], None],
) -> SmokeReport:
    """Copy the kit to ``host``, run it with a Python of that machine, bring the report back, and remove the copy.

    ``ssh`` and ``scp`` do it, with the user's own settings and without asking for passwords; ToolError when they fail.
    """
    ssh: list[str | Path] = [
        proc.find("ssh", why="it reaches the machine that tries the wheel"),
        "-o",
        "BatchMode=yes",
    ]
    scp: list[str | Path] = [
        proc.find("scp", why="it copies the kit to the machine that tries the wheel"),
        "-q",
        "-o",
        "BatchMode=yes",
    ]
    if host.startswith("-"):
        raise ToolError(f"{host!r} is an option, not a host")
    made = proc.run([*ssh, host, "mktemp -d"], env=environment)
    folder = made.stdout.strip().splitlines()[-1]
    try:
        proc.run([*scp, kit, f"{host}:{folder}/kit.pyz"], env=environment)
        words = shlex.join([python, f"{folder}/kit.pyz", "--json", "-", *_arguments(options)])
        there = shlex.join(["sh", "-c", f"echo $$ > {folder}/pid; exec {words}"])
        return _heard([*ssh, host, there], environment, heard, where=host)
    except KeyboardInterrupt:  # without a terminal there, it does not hear that ssh is gone
        end = shlex.join(["sh", "-c", f"kill $(cat {folder}/pid)"])
        proc.run([*ssh, host, end], env=environment, check=False)
        raise
    finally:
        proc.run([*ssh, host, shlex.join(["rm", "-rf", folder])], env=environment, check=False)


def _arguments(options: Options) -> list[str]:
    words = [word for level in options.levels for word in ("--level", str(level))]
    words += [word for path in options.paths for word in ("--path", str(path))]
    words += ["--any-torch"] if options.any_torch else []
    words += ["--compare-ptx-jit"] if options.compare_ptx_jit else []
    words += ["--durations"] if options.durations else []
    return [*words, "--only", options.only]


def _heard(
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    heard: Callable[[str], None],
    *,
    where: str,
    kept: Callable[[object], None] | None = None,
) -> SmokeReport:
    lines: list[str] = []

    def listen(line: str) -> None:
        lines.append(line)
        if not line.startswith("smoke: "):
            heard(f"    {line}")

    code, stdout = proc.run_heard(command, env=environment, heard=listen)
    if code in {0, SmokeError.exit_code}:
        said, more = reading.parted(stdout) if kept else (stdout, None)
        report = reading.parse(said.encode(), name=f"the report of {where}")
        if kept:
            kept(more)
        return report
    raise _refusal(code, lines, where)


def _refusal(code: int, said: Sequence[str], where: str) -> RetreadError:
    why = [line.removeprefix("smoke: ") for line in said if line.startswith("smoke: ")]
    if why and code in _UNFIT:
        return _UNFIT[code](why[-1])
    return HostError(f"{where} could not run the kit: exit code {code}", faults=said[-12:])
