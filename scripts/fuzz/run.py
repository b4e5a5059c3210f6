"""Fuzz every parser at an edge: ``make fuzz [SECONDS=60] [PARSER=elf]``.

A worker process changes inputs and reads them, each within a time of its own and all within a memory of their own.
What raises anything but a typed error, takes too long or too much, or ends the process is written to build/fuzz/ as a
file, once for each place in the code. ``--replay FILE`` reads it again. An input that is refused in a way not seen
before, or read, becomes a seed itself: so the search goes on behind the first refusal.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Final, NamedTuple

from fuzz import mutate
from fuzz.parsers import PARSERS, ROOT, Parser

OUT: Final = ROOT / "build" / "fuzz"
PAGE: Final = ROOT / "docs" / "reference" / "robustness.md"
_TABLE: Final = "| parser | inputs | parser | inputs |\n| --- | ---: | --- | ---: |\n"
_RAN: Final = re.compile(r"for ([0-9,]+) seconds of a busy core so far: ([0-9,]+) inputs")
SECONDS: Final = 5.0
"""Of a processor, for one input of at most a megabyte: the slowest sound ones take 0.5 s."""
MEMORY: Final = 2 << 30
"""Bytes of address space for a worker; Python with all parsers takes a quarter of a gigabyte."""
STUCK: Final = 120.0
"""Seconds without a next input until a worker that no signal reaches is killed."""
TURN: Final = 0.1
"""Seconds that a parser has before the next has its turn."""
SEEDS: Final = 300
"""Seeds that a parser has at most."""
_STATE: Final = struct.Struct("<QII")
"""Inputs so far, which parser, size of the input; the input follows. Shared with the parent."""


class TooSlowError(Exception):
    """An input took longer than any may."""


class Found(NamedTuple):
    """What went wrong with an input."""

    parser: str
    what: str
    """Kind of the error, and where in our code."""
    data: bytes
    told: str


def _alarm(*_: object) -> None:
    raise TooSlowError(f"more than {SECONDS:.0f} s")


def tried(parser: Parser, data: bytes, room: Path) -> tuple[str, str]:
    """Read one input; return how it ended, in words that are the same for like inputs, and the fault, or nothing."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        parser.read(data, room)
    except parser.raises as error:
        return f"{type(error).__name__} {re.sub(r'[0-9]+|0x[0-9a-f]+', '0', str(error))[:60]}", ""
    except Exception as error:
        frames = [one for one in traceback.extract_tb(error.__traceback__) if "/retread/" in one.filename]
        where = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "outside"
        return "", f"{type(error).__name__} in {where}\n{traceback.format_exc()}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        for path in room.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return "read", ""


class Worker:
    """Changes inputs and reads them, in a process of its own."""

    def __init__(self, names: list[str], state: mmap.mmap, out: Path, seed: int) -> None:
        self.names, self.state, self.out = names, state, out
        self.rng = random.Random(seed)
        self.seeds = {name: PARSERS[name].seeds() for name in names}
        self.ends = {name: set[str]() for name in names}
        self.counts = dict.fromkeys(names, 0)

    def run(self, until: float) -> None:
        """Go on until a time, each parser in its turn."""
        signal.signal(signal.SIGPROF, _alarm)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_fast()) as folder:
            while time.monotonic() < until:
                for index, name in enumerate(self.names):
                    end = min(until, time.monotonic() + TURN)
                    while time.monotonic() < end:
                        self._one(index, name, Path(folder))

    def _one(self, index: int, name: str, room: Path) -> None:
        parser, seeds = PARSERS[name], self.seeds[name]
        data = self._changed(parser, self.rng.choice(seeds))
        if self.rng.random() < 0.02:
            cut = self.rng.randrange(len(data) + 1)
            data = (data[:cut] + self.rng.choice(seeds)[cut:])[: mutate.LARGEST]
        (count, _, _) = _STATE.unpack_from(self.state)
        _STATE.pack_into(self.state, 0, count + 1, index, len(data))
        self.state[_STATE.size : _STATE.size + len(data)] = data
        end, fault = tried(parser, data, room)
        at = _STATE.size + mutate.LARGEST * 2 + 8 * index
        self.state[at : at + 8] = (int.from_bytes(self.state[at : at + 8], "little") + 1).to_bytes(
            8, "little"
        )
        if fault:
            keep(Found(name, fault.partition("\n")[0], data, fault), self.out)
        elif end not in self.ends[name] and len(seeds) < SEEDS and len(data) < 1 << 16:
            self.ends[name].add(end)
            seeds.append(data)

    def _changed(self, parser: Parser, seed: bytes) -> bytes:
        try:
            return parser.way(seed, self.rng)
        except Exception:  # a seed that was found here need not be of its format any more
            return mutate.raw(seed, self.rng)


def _fast() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def keep(found: Found, out: Path) -> None:
    """Write an input that went wrong, and what it said, once for each place in the code."""
    name = f"{found.parser}-{hashlib.sha256(found.what.encode()).hexdigest()[:8]}".replace(" ", "_")
    out.mkdir(parents=True, exist_ok=True)
    if not (out / f"{name}.input").exists():
        (out / f"{name}.txt").write_text(f"{found.parser}: {found.told}\n")
        (out / f"{name}.input").write_bytes(found.data)


class Totals(NamedTuple):
    """What came of a run."""

    inputs: dict[str, int]
    seconds: float


def fuzz(names: list[str], seconds: float, seed: int, out: Path) -> Totals:
    """Fuzz parsers for some seconds; what a worker dies of is kept, and the next goes on."""
    start = time.monotonic()
    size = _STATE.size + mutate.LARGEST * 2 + 8 * len(names)
    with mmap.mmap(-1, size) as state:
        while (now := time.monotonic()) < start + seconds:
            child = os.fork()
            if not child:
                _work(names, state, out, seed, start + seconds)
            code = _watched(child, state)
            if code:
                _, index, length = _STATE.unpack_from(state)
                data = bytes(state[_STATE.size : _STATE.size + length])
                why = f"the process ended with {code}"
                keep(Found(names[index], f"{why} {time.monotonic() - now:.0f}", data, why), out)
            seed += 1
        counts = state[_STATE.size + mutate.LARGEST * 2 :]
    each = [int.from_bytes(counts[at : at + 8], "little") for at in range(0, 8 * len(names), 8)]
    return Totals(dict(zip(names, each, strict=True)), time.monotonic() - start)


def _work(names: list[str], state: mmap.mmap, out: Path, seed: int, until: float) -> None:
    code = 1
    try:
        Worker(names, state, out, seed).run(until)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _watched(child: int, state: mmap.mmap) -> int:
    """Wait for a worker and return its code; one that has no next input for long is killed."""
    last, since = -1, time.monotonic()
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        count = _STATE.unpack_from(state)[0]
        if count != last:
            last, since = count, time.monotonic()
        elif time.monotonic() - since > STUCK:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.1)


def rows(totals: Totals) -> Iterator[str]:
    """Yield a table in Markdown of how many inputs were read, by parser."""
    yield "| parser | inputs |"
    yield "| --- | ---: |"
    for name, count in totals.inputs.items():
        yield f"| {name} | {count:,} |"
    yield f"| all, in {totals.seconds:,.0f} s | {sum(totals.inputs.values()):,} |"


def added(page: str, printed: str) -> str:
    """Return the page with the counts and seconds of a table that a run printed, added to its own.

    Parsers stand in the order of ``PARSERS``. ValueError for a text without such a table, and for unknown parsers.
    """
    more = {
        name: _number(count)
        for name, count in re.findall(r"^\| ([^|]+?) \| ([0-9,]+) \|$", printed, re.MULTILINE)
    }
    if not (ran := re.search(r"^\| all, in ([0-9,]+) s \| ([0-9,]+) \|$", printed, re.MULTILINE)):
        raise ValueError("this is no table of a run")
    del more[f"all, in {ran[1]} s"]

    if strange := more.keys() - PARSERS.keys():
        raise ValueError(f"there is no parser {', '.join(strange)}")
    before, begin, rest = page.partition(_TABLE)
    table, blank, after = rest.partition("\n\n")
    for name, count in re.findall(r"\| ([^|\n]+?) \| ([0-9,]+) (?=\|)", table):
        more[name] = more.get(name, 0) + _number(count)
    cells = [f"| {name} | {more[name]:,} " for name in PARSERS if name in more]
    half = (len(cells) + 1) // 2
    table = "\n".join(map("".join, zip_longest(cells[:half], cells[half:], (), fillvalue="|")))
    table = table.replace(" ||", " | | |")
    before = _RAN.sub(
        lambda one: (
            f"for {_number(one[1]) + _number(ran[1]):,} seconds of a busy core so far: "
            f"{_number(one[2]) + _number(ran[2]):,} inputs"
        ),
        before,
    )
    return before + begin + table + blank + after


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def replay(path: Path) -> int:
    """Read a kept input again and say how it ends; 1 when that is no typed error."""
    name = path.name.rpartition("-")[0].replace("_", " ")
    signal.signal(signal.SIGPROF, _alarm)
    with tempfile.TemporaryDirectory() as room:
        end, fault = tried(PARSERS[name], path.read_bytes(), Path(room))
    print(fault or end)
    return 1 if fault else 0


def main() -> int:
    """Run, print the table, and say what was found."""
    parser = argparse.ArgumentParser(description="fuzz every parser at an edge")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--parser", action="append", choices=sorted(PARSERS), help="only this; may be repeated"
    )
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the random numbers; default: the time"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="where inputs that go wrong are kept")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="read a kept input again")
    parser.add_argument(
        "--add", type=Path, metavar="FILE", help=f"add a table that a run printed to that of {PAGE.name}"
    )
    options = parser.parse_args()
    if options.add:
        PAGE.write_text(added(PAGE.read_text("utf-8"), options.add.read_text("utf-8")), "utf-8")
        return 0
    if options.replay:
        return replay(options.replay)
    before = set(options.out.glob("*.input"))
    totals = fuzz(options.parser or list(PARSERS), options.seconds, options.seed, options.out)
    print("\n".join(rows(totals)))
    found = sorted(set(options.out.glob("*.input")) - before)
    for path in found:
        print(f"{path}: {path.with_suffix('.txt').read_text().splitlines()[0]}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
