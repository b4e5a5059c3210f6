"""Stage *toolchain*: the pinned ptxas of exactly the CUDA release that the target names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from retread import arch, strict
from retread.arch import Arch
from retread.doors import proc
from retread.errors import FatbinError, RecipeError, ToolError
from retread.recipe.toolchain import Part, Toolchain
from retread.records import Record
from retread.toolkit import release

_FACTS = "toolchain.json"
_PROGRAM = "ptxas"
_OPTION = re.compile(
    r"(-O[0-3]|--?(lineinfo|generate-line-info|suppress-debug-info)"
    r"|--?(allow-expensive-optimizations|fmad|ftz|prec-div|prec-sqrt|def-load-cache|dlcm|maxrregcount)=\w+)"
)
"""Options that a PTX entry may ask for; they change code and nothing else."""


class _Facts(Record, frozen=True, kw_only=True):
    version: str


class Assembler(NamedTuple):
    """A ptxas that is ready to run."""

    program: Path
    version: str
    """The line of ``ptxas --version`` that names the release and build."""
    name: str
    cuda: str
    isa: tuple[int, int]
    """The newest PTX ISA that it reads."""
    digest: str
    """SHA-256 of the pinned part; part of every cubin's key."""
    env: Mapping[str, str]

    def assemble(self, ptx: bytes, target: Arch, options: tuple[str, ...], out: Path) -> None:
        """Write the cubin for ``target``; the PTX lies beside it meanwhile. ToolError when ptxas does not give one."""
        source = out.with_suffix(".ptx")
        source.write_bytes(ptx)
        proc.run([self.program, f"-arch={arch.sm(target)}", *options, source, "-o", out], env=self.env)
        if not out.is_file():
            raise ToolError(f"{self.program.name} gave no code for {arch.sm(target)}, and said nothing of it")
        source.unlink()


def install(toolchain: Toolchain, part: Part, archive: Path, into: Path, env: Mapping[str, str]) -> None:
    """Take ptxas out of its wheel into ``into`` and check its release; RecipeError when it is another one."""
    from retread.wheel.contents import unpack
    from retread.wheel.wheelfile import Wheel

    with Wheel(archive) as wheel:
        entry = wheel.archive.by_name.get(part.ptxas)
        if entry is None:
            raise RecipeError(f"toolchain {toolchain.name}: {part.file} holds no {part.ptxas}")
        program = unpack(wheel, entry, into / _PROGRAM)
    program.chmod(0o755)
    found = release.read(program, env)
    if found.cuda != toolchain.cuda:
        raise RecipeError(f"toolchain {toolchain.name}: its ptxas is {found.cuda}, not {toolchain.cuda}")
    (into / _FACTS).write_bytes(msgspec.json.encode(_Facts(version=found.version)))


def load(entry: Path, toolchain: Toolchain, part: Part, env: Mapping[str, str]) -> Assembler:
    """Return the assembler that lies in a finished store entry."""
    facts = strict.decoded((entry / _FACTS).read_bytes(), _Facts)
    major, minor = toolchain.ptx_isa.split(".")
    return Assembler(
        program=entry / _PROGRAM,
        version=facts.version,
        name=toolchain.name,
        cuda=toolchain.cuda,
        isa=(int(major), int(minor)),
        digest=part.sha256,
        env=env,
    )


def options(text: str, *, where: str) -> tuple[str, ...]:
    """Return the options of a PTX entry that ptxas is to get; FatbinError for one that is not known to be harmless."""
    try:
        words = [word for word in shlex.split(text) if word not in {"-v", "--verbose"}]
    except ValueError as error:
        raise FatbinError(f"{where}: the options of its PTX cannot be read: {error}") from None
    strange = [word for word in words if not _OPTION.fullmatch(word)]
    if strange:
        raise FatbinError(
            f"{where}: its PTX asks for the ptxas option {strange[0]!r}, which retread does not pass on"
        )
    return tuple(words)
