"""What other programs may call; ``import retread`` offers it. No workspace, no store: files in, records out.

Paths are strings or path objects. What cannot be used at all is refused with a RetreadError, whose classes and exit
codes are the command's; what is merely not as it should be stands in the record that is returned.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from retread import arch
from retread.arch import Arch
from retread.doors import fs
from retread.errors import FatbinError, GateError, ToolError

if TYPE_CHECKING:
    from retread.audit.report import AuditReport
    from retread.build.graft import Assembly
    from retread.elf.facts import CodeFacts, LibraryFacts
    from retread.evidence.gate import Admission
    from retread.wheel.comparison import Comparison
    from retread.wheel.facts import WheelFacts
    from retread.wheel.statement import Promise

StrPath: TypeAlias = "str | os.PathLike[str]"
_ANY: Final = (1 << 16, 0)
"""A PTX ISA beyond all others: a ptxas that nobody pinned says itself what it cannot read."""


def inspect(path: StrPath) -> WheelFacts | LibraryFacts | CodeFacts:
    """Return what a wheel holds, or another file that may hold GPU code; every byte of a wheel is checked.

    Such a file is a library or a program of Linux or Windows, an object, an archive, a cubin, a fat binary or PTX.
    Raises UsageError when there is no such file; WheelError, ElfError or FatbinError when nothing can be said of it:
    what is merely wrong or could not be read is in ``faults`` and ``unread``.

    >>> facts = retread.inspect("demo-1.0-py3-none-manylinux_2_28_x86_64.whl")
    >>> [module.sass for module in facts.libraries["demo/_C.so"].modules]
    """
    from retread.wheel import contents

    with _scratch() as scratch:
        return contents.read(fs.existing(Path(path)), scratch)


def audit(path: StrPath, promise: Promise | None = None) -> AuditReport:
    """Return every check of a wheel against ``promise``; without one against what the wheel says of itself, if it does.

    Another file that may hold GPU code is held to the rules that are about files, whatever is promised.
    A promise that is broken is no error: ``ok`` is False, and ``checks`` say why. Raises as ``inspect`` does.

    >>> made = retread.inspect("demo-1.0+cu128.1-py3-none-manylinux_2_28_x86_64.whl")
    >>> retread.audit("rebuilt.whl", made.statement.promise).ok
    """
    from retread.audit import audit as auditing

    file = fs.existing(Path(path))
    with _scratch() as scratch:
        return auditing.audit(file, scratch, promise=promise)


def compare(first: StrPath, second: StrPath) -> Comparison:
    """Return what differs between two wheels, and whether it can change what they do.

    Raises UsageError when one is not there, WheelError when one is not sound.

    >>> retread.compare("mine.whl", "yours.whl").tier
    """
    from retread.wheel import comparison

    with _scratch() as scratch:
        return comparison.compare(fs.existing(Path(first)), fs.existing(Path(second)), scratch)


def graft(old: StrPath, new: StrPath, architectures: Sequence[str], ptxas: StrPath) -> bool | None:
    """Write ``new``: the shared object ``old`` with native code for ``architectures``, made of the PTX in it.

    ``architectures`` are written like ``10.0``; ``ptxas`` is a program of NVIDIA's, best of the CUDA release that built
    the library. Returns whether it makes machine code that the library had from the library's PTX, byte for byte; None
    when there is no such code. ``new`` may be ``old``, and appears whole or not at all.

    Raises UsageError for a file that is not there or an architecture that no GPU has; ElfError, or PeError for a
    library of Windows, when it cannot be edited safely; FatbinError when it holds no GPU code, or no PTX for an
    architecture; ToolError when ptxas fails.

    >>> retread.graft("_C.so", "_C.new.so", ["10.0", "12.0"], "/usr/local/cuda-12.8/bin/ptxas")
    """
    from retread.binary import files
    from retread.build import graft as grafting
    from retread.build import grafts

    file, wanted = fs.existing(Path(old)), [arch.asked(text) for text in architectures]
    facts = files.library(file).read(file)
    if not facts.modules:
        raise FatbinError(f"{file} holds no GPU code; there is nothing to graft on")
    with _scratch() as scratch:
        proof = grafting.graft(
            file,
            Path(new),
            architectures=grafts.wanted(facts, wanted),
            run_path=None,
            means=grafting.alone(_assembly(fs.existing(Path(ptxas)), scratch)),
            progress=lambda done, total: None,
        )
        return proof.reproduced


def verify(envelopes: Iterable[StrPath], policy: StrPath) -> Admission:
    """Return who vouches for the wheel that all of these signed statements are about, and what its tests found.

    ``envelopes`` are the ``.dsse.json`` files beside it, ``policy`` the TOML file that says whose keys count. The wheel
    itself is not read: hold its SHA-256 against ``sha256`` of what is returned.

    Raises UsageError for a file that is not there; GateError for a policy that is wrong and for whatever is lacking: a
    builder's statement, a static and a jit test that passed, a signature, or that they are about one wheel.

    >>> found = retread.verify(Path("dist").glob("demo-1.0*.dsse.json"), "index-policy.toml")
    >>> found.sha256 == hashlib.sha256(wheel.read_bytes()).hexdigest()
    """
    from retread.evidence import gate, signing, statements
    from retread.wheel.statement import Proof

    rules = fs.existing(Path(policy))
    trusted = gate.parse_policy(rules.read_bytes(), name=str(rules))
    files = [fs.existing(Path(one)) for one in envelopes]
    if not files:
        raise GateError("there is no envelope, so nobody vouches for anything")
    signed = {file.name: file.read_bytes() for file in files}
    name = min(signed)
    payload, _, _ = signing.verify(signed[name], (*trusted.builders, *trusted.testers), name=name)
    said = statements.parse(payload, name=name)
    return gate.demand(trusted, said.wheel, said.sha256, proof=Proof(gpu=(), triton=()), envelopes=signed)


@contextmanager
def _scratch() -> Iterator[Path]:
    """Yield an empty folder that is gone afterwards."""
    with fs.temporary("scratch") as folder:
        yield folder


def _assembly(program: Path, scratch: Path) -> Assembly:
    """Return how cubins are made by a ptxas that nobody pinned."""
    from retread.build.graft import Assembly
    from retread.toolkit import ptxas, release

    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(scratch), "LC_ALL": "C"}
    found = release.read(program.absolute(), environment)
    if not found.version:
        raise ToolError(f"{program} does not say of which CUDA release it is; it is no ptxas")
    tool = ptxas.Assembler(
        program=program.absolute(), version=found.version, name=program.name, cuda=found.cuda, isa=_ANY,
        digest="", env=environment,
    )  # fmt: skip
    numbers = itertools.count()

    def cubin(ptx: bytes, target: Arch, recorded: str, where: str) -> bytes:
        out = scratch / f"{next(numbers)}.cubin"
        tool.assemble(ptx, target, ptxas.options(recorded, where=where), out)
        return out.read_bytes()

    return Assembly(tool.isa, cubin)
