"""Toolchain files: the pinned parts of a CUDA toolkit. Pure: bytes in, records or one report of every fault out."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

from retread import strict
from retread.errors import PlanError, RecipeError
from retread.fields import Cuda, Digest, PartName, Table, Text, is_inside
from retread.strict import count, toml


class Part(Table, frozen=True, kw_only=True):
    """One pinned file of a toolchain, for the machines that it runs on.

    It is a wheel, an archive of NVIDIA's or a package of Debian's.
    """

    component: Text
    """What people call it."""
    machine: Text
    """``x86_64`` or ``aarch64``."""
    package: str = ""
    """Its project on the package index; or:"""
    path: str = ""
    """The file's place below the toolchain's ``redistributables``; or:"""
    deb: str = ""
    """The file's place in Debian's archive, or in that of its security updates."""
    file: PartName
    """The wheel, the ``.tar.xz`` or the ``.deb``."""
    sha256: Digest
    """What its bytes have to be."""
    ptxas: str = ""
    """Path of ptxas inside the part, if this is the part from which overlays take it."""
    folder: str = ""
    """The folder of the part that becomes the toolkit's root; without one it is no piece of the toolkit."""
    place: str = ""
    """The folder of the toolkit that ``folder`` becomes instead of the root."""
    files: tuple[Text, ...] = ()
    """The only files below ``folder`` that are taken; all of them when none is named."""
    linked: bool = False
    """Whether it holds libraries that are linked, and no program: for wheels of another machine, that machine's part is
    taken in its place."""


class Toolchain(Table, frozen=True, kw_only=True):
    """Parts of a CUDA toolkit of exactly one release."""

    name: Text
    """The file's name."""
    cuda: Cuda
    """The release; the finished tree's ``nvcc --version`` must say it."""
    ptx_isa: Cuda
    """The newest PTX ISA that its ptxas reads."""
    redistributables: str = ""
    """The address below which parts with a ``path`` lie."""
    part: tuple[Part, ...]
    """The parts, for each machine."""
    links: dict[str, str] = msgspec.field(default_factory=dict)
    """Symlinks of the finished tree: path -> target, relative to the link's folder."""
    compiler: Literal["nvcc", "clang"] = "nvcc"
    """``clang`` gives the tree a ``bin/nvcc`` of retread's own, which has clang compile."""


def parse_toolchain(data: bytes, *, name: str) -> Toolchain:
    """Return the toolchain in ``data``; RecipeError lists every fault with its key path."""
    toolchain, faults = strict.read(Toolchain, toml(data, name))
    if toolchain is not None:
        faults = list(_toolchain_faults(toolchain, name))
    if toolchain is None or faults:
        raise RecipeError(f"toolchain {name} has {count(faults)}", faults=faults)
    return toolchain


def part_for(toolchain: Toolchain, machine: str) -> Part:
    """Return the part that holds this machine's ptxas; PlanError when there is none."""
    found = [part for part in toolchain.part if part.ptxas]
    return _for_machine(toolchain, found, machine, "part")[0]


def for_release(cuda: str, toolchains: Iterable[Toolchain], machine: str) -> Toolchain | None:
    """Return the first toolchain of exactly this CUDA release that has ptxas for a machine."""
    return next(
        (one for one in toolchains if one.cuda == ".".join(cuda.split(".")[:2]) and has_ptxas(one, machine)),
        None,
    )


def has_ptxas(toolchain: Toolchain, machine: str) -> bool:
    """Say whether a toolchain has ptxas for a machine."""
    return any(part.ptxas and part.machine == machine for part in toolchain.part)


def is_ptxas(toolchain: Toolchain) -> bool:
    """Say whether a toolchain is ptxas alone: it assembles and proves, and compiles nothing."""
    return not any(part.folder for part in toolchain.part)


def toolkit_parts(toolchain: Toolchain, machine: str, target: str = "") -> tuple[Part, ...]:
    """Return the pieces of this machine's CUDA toolkit; PlanError when there are none.

    With a ``target``, whose machine is another, they are those of a toolkit that runs here and compiles for that.
    """
    found = [part for part in toolchain.part if part.folder]
    if target in {"", machine}:
        return _for_machine(toolchain, found, machine, "toolkit")
    if toolchain.compiler != "nvcc":
        raise PlanError(
            f"toolchain {toolchain.name}: its {toolchain.compiler} compiles for no other machine than its own"
        )
    run = _for_machine(toolchain, [part for part in found if not part.linked], machine, "toolkit")
    return (*run, *_for_machine(toolchain, [part for part in found if part.linked], target, "linked part"))


def _for_machine(toolchain: Toolchain, parts: list[Part], machine: str, what: str) -> tuple[Part, ...]:
    found = tuple(part for part in parts if part.machine == machine)
    if not found:
        has = ", ".join(dict.fromkeys(part.machine for part in parts)) or "none at all"
        raise PlanError(f"toolchain {toolchain.name} has no {what} for {machine} machines, only for {has}")
    return found


def _toolchain_faults(toolchain: Toolchain, name: str) -> Iterator[str]:
    if toolchain.name != name:
        yield f"name: is {toolchain.name!r}, the file is {name}.toml"
    base = toolchain.redistributables
    if base and not re.fullmatch(r"https?://[^/@?#]+/([^?#]*/)?", base):
        yield "redistributables: is not an http address that ends with a slash and holds no password"
    with_ptxas: dict[str, int] = {}
    files: dict[tuple[str, str, str], int] = {}
    for index, part in enumerate(toolchain.part):
        for fault in _part_faults(toolchain, part):
            yield f"part[{index}]{fault}"
        first = files.setdefault((part.machine, part.file, part.folder), index)
        if first != index:
            yield f"part[{index}].file: {part.file!r} is part[{first}] already"
        if part.ptxas and with_ptxas.setdefault(part.machine, index) != index:
            yield f"part[{index}].ptxas: part[{with_ptxas[part.machine]}] has ptxas for {part.machine} already"
    for link, target in toolchain.links.items():
        aim = posixpath.normpath(posixpath.join(posixpath.dirname(link), target))
        if not is_inside(link):
            yield f'links."{link}": leaves the toolkit'
        elif not target or aim.startswith(("/", "..")):
            yield f'links."{link}": its target {target!r} leaves the toolkit'


def _part_faults(toolchain: Toolchain, part: Part) -> Iterator[str]:
    origins = {"package": part.package, "path": part.path, "deb": part.deb}
    given = [key for key, value in origins.items() if value]
    if len(given) != 1:
        has = f"both {' and '.join(given)}" if given else "neither package nor path nor deb"
        yield f": {has}; a part is on a package index, below redistributables or in Debian's archive"
    yield from _place_faults(toolchain, part)
    ending = ".tar.xz" if part.path else ".deb" if part.deb else ".whl"
    if not part.file.endswith(ending):
        yield f".file: {part.file!r} does not end with {ending}"
    if part.ptxas and (part.path or part.deb):
        yield ".ptxas: it is taken out of a wheel; a part with a path or a deb is none"
    for key, value in (("ptxas", part.ptxas), ("folder", part.folder), ("place", part.place)):
        if value and not is_inside(value):
            yield f".{key}: {value!r} leaves the part"
    if not part.ptxas and not part.folder:
        yield ": neither folder nor ptxas; the part would serve nothing"
    if not part.folder and (part.place or part.files):
        yield ".folder: is missing, and place and files speak of it"


def _place_faults(toolchain: Toolchain, part: Part) -> Iterator[str]:
    if part.path and not toolchain.redistributables:
        yield ".path: the toolchain has no redistributables, below which it could lie"
    for key, value, whole in (("path", part.path, "redistributables"), ("deb", part.deb, "archive")):
        if value and not is_inside(value):
            yield f".{key}: {value!r} leaves the {whole}"
        if value and value.rpartition("/")[2] != part.file:
            yield f".file: is {part.file!r}, the {key} ends with {value.rpartition('/')[2]!r}"
