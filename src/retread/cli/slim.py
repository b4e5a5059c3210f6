"""``retread slim``: a wheel for the GPUs of one fleet, made of another wheel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_command, add_common
from retread.cli.options import told as typed

if TYPE_CHECKING:
    from retread.build.slimming import Slimmed
    from retread.cli.options import Groups

MODES = ("speed", "balance", "size")
"""A ``facts.Mode``, which is not needed for ``--help``."""


class SlimOptions(Options):
    """What is typed after ``slim``."""

    wheel: Path
    keep: tuple[str, ...]
    drop_ptx: bool
    compress: str | None
    local: str | None
    max_size: str | None
    out: Path


def add(groups: Groups) -> None:
    """Add the command."""
    command = add_command(groups, "slim")
    command.add_argument("wheel", type=Path, help="a wheel with shared objects of Linux")
    command.add_argument(
        "--keep",
        action="append",
        required=True,
        metavar="CC",
        help="a GPU that is served as before, by capability like 9.0; may be given again",
    )
    command.add_argument(
        "--drop-ptx", action="store_true", help="take out PTX, too: newer GPUs then run nothing of it"
    )
    command.add_argument(
        "--compress",
        choices=MODES,
        nargs="?",
        const=MODES[-1],
        metavar="MODE",
        help="pack all images anew, as nvcc's --compress-mode: speed (LZ4, any driver), balance or size (zstd, drivers "
        "since CUDA 12.4); without a word: size",
    )
    command.add_argument(
        "--local",
        metavar="VERSION",
        type=typed("a version"),
        help="local version of the new wheel; default: slim.1, or the wheel's own and .1",
    )
    command.add_argument(
        "--max-size", metavar="SIZE", help="refuse a new wheel that is larger: bytes, 100MB or 95MiB"
    )
    command.add_argument("-o", "--out", type=Path, required=True, help="the folder for it")
    add_common(command, slim, SlimOptions)


def slim(options: SlimOptions) -> int:
    """Write the wheel, and say what became of each library."""
    from retread.build import slim, slimming
    from retread.elf.facts import Mode

    wheel, limit = session.existing(options.wheel), _limit(options.max_size)
    wish = slim.asked(
        [session.architecture(text) for text in options.keep],
        drop_ptx=options.drop_ptx,
        compress=Mode(options.compress) if options.compress else None,
    )
    console = session.machine(options).console
    made = slimming.give(wheel, options.out, wish, local=options.local, limit=limit, console=console)
    for line in told(made):
        console.say(line)
    if options.json:
        session.print_json(made)
    else:
        session.put(made.path)
    return 0


def _limit(text: str | None) -> int:
    """Return how many bytes a wheel may have, 0 for any number; UsageError for what is no size."""
    from retread import units
    from retread.errors import UsageError

    try:
        limit = units.parse(text) if text is not None else 0
    except ValueError as error:
        raise UsageError(f"--max-size: {error}") from None
    if text is not None and not limit:
        raise UsageError("--max-size: no wheel has 0 bytes")
    return limit


def told(made: Slimmed) -> Iterator[str]:
    """Yield the sizes before and after, and everything that others than the GPUs that are kept lose."""
    from retread.fit import driver
    from retread.units import counted, size

    rows = [(name, one.before, one.after) for name, one in made.libraries.items()]
    for name, before, after in (*rows, ("the wheel", made.before, made.size)):
        yield f"  {name}: {size(before)} before, {size(after)} after ({after / before:.0%})"
    for name, one in made.libraries.items():
        if one.lost:
            yield f"note: {name} has no code any more for kernels that {' '.join(one.lost)} had"
        if one.jit:
            yield f"note: {name} runs on {' '.join(one.jit)} by JIT from PTX now"
        if one.whole:
            yield f"note: {name}: {counted(one.whole, 'module')} left whole: relocatable code, or outside of .nv_fatbin"
    yield from (f"note: {name} stays as it is: {why}" for name, why in made.left.items())
    if made.driver:
        major, minor = map(int, made.driver.split("."))
        first = driver.Driver("").first((major, minor))
        yield f"note: it is packed by zstd, which needs a driver of CUDA {made.driver} ({first}) or newer"
    yield from (f"note: {note}" for note in made.notes)
