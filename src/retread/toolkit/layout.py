"""Stage *toolkit*: a CUDA toolkit of exactly one release as one tree, out of pinned parts; or the system's."""

from __future__ import annotations

import filecmp
import os
import shutil
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Final, NamedTuple

import msgspec

from retread import arch, limits, strict
from retread.arch import Arch
from retread.doors import fs, proc, store, tar
from retread.elf import library as elf
from retread.errors import RecipeError, ToolError
from retread.recipe.toolchain import Part, Toolchain
from retread.records import Record, all_but
from retread.toolkit import clang, release
from retread.wheel.contents import unpack
from retread.wheel.metadata import name_fault
from retread.wheel.wheelfile import Wheel

SYSTEM = Path("/usr/local")
"""Where NVIDIA's own installers put toolkits."""
TREE = "tree"
_FACTS = "toolkit.json"
_LAYOUT = 1
"""To be raised when the same parts give another tree; a test holds it to the tree that it stands for."""
_PROGRAMS = ("bin", "nvvm/bin")
_KERNEL = """\
#include <cuda_fp16.h>
__global__ void twice(__half *x) { x[threadIdx.x] = __hadd(x[threadIdx.x], x[threadIdx.x]); }
extern "C" int launch(__half *x) { twice<<<1, 32>>>(x); return cudaDeviceSynchronize(); }
"""
"""Needs the headers of crt, cudart and cccl, every program of nvcc, and libcudart to link."""


NOT_OF_PIECE: Final = {
    "machine": "it chooses the part",
    "package": "where it is had from",
    "path": "where it is had from",
    "deb": "where it is had from",
    "file": "what it is called there",
    "ptxas": "of the part that overlays assemble with, whose key holds the whole part",
    "linked": "it chooses the part",
}
"""Fields of a part that change nothing of the toolkit laid out of it -> why."""
NOT_OF_TOOLKIT: Final = {
    "name": "it is in messages",
    "ptx_isa": "what an overlay's ptxas reads",
    "redistributables": "where parts are had from",
    "part": "this machine's are in the key one by one",
}
"""Fields of a toolchain that change nothing of the toolkit -> why."""


class Toolkit(NamedTuple):
    """A CUDA toolkit that is ready to compile."""

    root: Path
    """What CUDA_HOME is to be."""
    cuda: str
    version: str
    """Like ``nvcc 13.0, V13.0.88``."""
    digest: str
    """Of all that can change what it compiles; part of the key of whatever it makes."""
    origin: str
    """``pinned parts``, or ``system, <path>``."""


class _Facts(Record, frozen=True, kw_only=True):
    version: str


def parts_digest(toolchain: Toolchain, parts: Sequence[Part]) -> str:
    """Return the digest of the toolkit that these parts make; it says nothing of where they are had from."""
    ours = [clang.programs_digest()] if toolchain.compiler == "clang" else []
    return store.digest("toolkit", _LAYOUT, all_but(toolchain, NOT_OF_TOOLKIT), _pieces(parts), *ours)


def _pieces(parts: Sequence[Part]) -> list[object]:
    """Return what the parts are, in an order that is always the same."""
    ordered = sorted(parts, key=lambda part: (part.component, part.folder, part.sha256))
    return [all_but(part, NOT_OF_PIECE) for part in ordered]


def lay_out(
    toolchain: Toolchain, archives: Sequence[tuple[Part, Path]], into: Path, env: Mapping[str, str]
) -> None:
    """Put the parts together as ``into/tree`` and check its nvcc.

    RecipeError when an archive holds what has no place in a toolkit, when two parts disagree about a file, when a link
    leads nowhere, and when nvcc is of another release; WheelError for a wheel that is not sound.
    """
    tree = into / TREE
    tree.mkdir()
    owners: dict[str, Part] = {}
    for part, archive in archives:
        piece = into / "part"
        (piece / part.place).mkdir(parents=True)
        _unpack(part, archive, piece / part.place)
        _merge(toolchain, part, piece, tree, owners)
        shutil.rmtree(piece)
    _link(toolchain, tree)
    _check_links(toolchain, tree)
    version = ""
    if toolchain.compiler == "clang":
        made_of = store.digest("clang", _pieces([part for part, _ in archives]))
        version = clang.put(toolchain.name, tree, made_of, env)
    nvcc = tree / "bin" / "nvcc"
    if not nvcc.is_file():
        raise RecipeError(f"toolchain {toolchain.name}: its parts hold no bin/nvcc")
    found = release.read(nvcc, env)
    if found.cuda != toolchain.cuda:
        raise RecipeError(f"toolchain {toolchain.name}: its nvcc is {found.cuda}, not {toolchain.cuda}")
    (into / _FACTS).write_bytes(msgspec.json.encode(_Facts(version=version or found.version)))


def load(entry: Path, toolchain: Toolchain, parts: Sequence[Part]) -> Toolkit:
    """Return the toolkit that lies in a finished store entry."""
    facts = strict.decoded((entry / _FACTS).read_bytes(), _Facts)
    digest = parts_digest(toolchain, parts)
    return Toolkit(entry / TREE, toolchain.cuda, facts.version, digest, "pinned parts")


def find_system(
    cuda: str, environment: Mapping[str, str], env: Mapping[str, str]
) -> tuple[Toolkit | None, list[str]]:
    """Return the machine's own toolkit of exactly this release, else None and what is there instead.

    ``environment`` is the user's, ``env`` is what nvcc is run with.
    """
    places = [Path(environment[name]) for name in ("CUDA_HOME", "CUDA_PATH") if environment.get(name)]
    places += [SYSTEM / f"cuda-{cuda}", SYSTEM / "cuda"]
    reasons = []
    for place in dict.fromkeys(places):
        nvcc = place / "bin" / "nvcc"
        if not nvcc.is_file():
            reasons.append(f"{place} has no bin/nvcc" if place.exists() else f"{place} is not there")
            continue
        try:
            found = release.read(nvcc, env)
        except ToolError as error:
            reasons.append(f"{place}: {error.message.splitlines()[0]}")
            continue
        if found.cuda == cuda:
            root = place.resolve()
            digest = _system_digest(root, found.version)
            return Toolkit(root, cuda, found.version, digest, f"system, {root}"), []
        reasons.append(f"{place} is {found.cuda}")
    return None, reasons


def compile_for(toolkit: Toolkit, target: Arch, scratch: Path, env: Mapping[str, str]) -> None:
    """Compile and link a small kernel in the empty folder ``scratch``; ToolError when that gives no code for it."""
    source, library = scratch / "kernel.cu", scratch / "kernel.so"
    source.write_text(_KERNEL)
    name = arch.sm(target)
    options = [f"-arch={name}", "-cudart=shared", "-shared", "-Xcompiler", "-fPIC"]
    proc.run([toolkit.root / "bin" / "nvcc", *options, source, "-o", library], env=env)
    if target not in {one for module in elf.read(library).modules for one in module.sass}:
        raise ToolError(f"nvcc was asked for {name} and made code for something else")


def _unpack(part: Part, archive: Path, into: Path) -> None:
    """Write what is wanted of a part."""
    if part.package:
        _unpack_wheel(part, archive, into)
    else:
        from retread.toolkit import debian

        _unpack_archive(part, debian.data(part, archive) if part.deb else archive, into)


def _is_wanted(part: Part, name: str) -> bool:
    """Say whether a member of a part belongs to the toolkit."""
    inside = name.removeprefix(f"{part.folder}/")
    return inside != name and (not part.files or inside in part.files)


def _unpack_wheel(part: Part, archive: Path, into: Path) -> None:
    """Write what lies in the part's folder of a wheel, every byte of it checked against RECORD."""
    with Wheel(archive) as wheel:
        wheel.verify()
        for entry in wheel.files:
            if _is_wanted(part, entry.name):
                path = into / entry.name.removeprefix(f"{part.folder}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                unpack(wheel, entry, path)
                _set_mode(path, into, executable=entry.executable)


def _unpack_archive(part: Part, archive: Path | IO[bytes], into: Path) -> None:
    """Write what lies in the part's folder of a .tar.xz: plain files, folders, and symlinks that stay inside.

    Symlinks are made last, so nothing is ever written through one.
    """
    links: list[tuple[Path, str]] = []
    total = 0
    try:
        with tar.opened(archive, "r:xz") as opened:
            for member in opened:
                name = member.name.removeprefix("./")
                total += member.size  # of what is passed over, too: it has to be unpacked to be passed over
                if total > limits.TOOLKIT:
                    raise _refusal(part, name, "makes it larger than a toolkit may be")
                if not part.deb or _is_wanted(part, name):  # of a whole system's package, only what is taken
                    _check_member(part, member, name)
                    tar.catch(member, into)
                if member.isdir() or not _is_wanted(part, name):
                    continue
                path = into / name.removeprefix(f"{part.folder}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                if member.issym():
                    links.append((path, member.linkname))
                    continue
                stream = opened.extractfile(member)
                assert stream is not None
                with path.open("xb") as out:
                    shutil.copyfileobj(stream, out, fs.CHUNK)
                _set_mode(path, into, executable=bool(member.mode & 0o100))
        for path, target in links:
            path.symlink_to(target)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        where = str(Path(str(error.filename2 or error.filename)).relative_to(into))
        raise _refusal(part, where, "occurs twice, or lies in what is no folder") from None
    except tar.UNREADABLE as error:
        raise RecipeError(f"{part.file} cannot be read as a .tar.xz archive: {error}") from None


def _check_member(part: Part, member: tarfile.TarInfo, name: str) -> None:
    if name == "." and member.isdir():
        return
    if fault := name_fault(name):
        raise _refusal(part, member.name, fault)
    if member.issym():
        if _leads_out(name, member.linkname, part.folder):
            raise _refusal(
                part, member.name, f"is a link that leaves the archive's folder: {member.linkname!r}"
            )
    elif not member.isdir() and (not member.isfile() or member.issparse()):
        raise _refusal(part, member.name, "is not a plain file, a folder or a symbolic link")


def _leads_out(name: str, target: str, folder: str) -> bool:
    """Say whether a symlink's target leaves ``folder`` by the letters; ``_check_links`` looks again at the whole."""
    aim = os.path.normpath(f"{PurePosixPath(name).parent}/{target}")
    return target.startswith("/") or not target or not f"{aim}/".startswith(f"{folder}/")


def _refusal(part: Part, member: str, fault: str) -> RecipeError:
    return RecipeError(
        f"{part.file}: member {member!r}: {fault}", hint="this is no archive of a toolkit; pin another file"
    )


def _set_mode(path: Path, root: Path, *, executable: bool) -> None:
    """Set one of two modes whatever the umask; a program is one even where its archive lost the mode."""
    if not executable and str(path.parent.relative_to(root)) in _PROGRAMS:
        with path.open("rb") as stream:
            executable = stream.read(4).startswith((b"\x7fELF", b"#!"))
    path.chmod(0o755 if executable else 0o644)


def _merge(toolchain: Toolchain, part: Part, piece: Path, tree: Path, owners: dict[str, Part]) -> None:
    """Move a part's files into the tree; a file that is there already must be the same."""
    for path in _files(piece):
        name = str(path.relative_to(piece))
        if name == "LICENSE":  # every archive of NVIDIA's brings its own
            name = f"LICENSE.{part.component}"
        place = tree / name
        there = _in_the_way(name, place, owners)
        if not there:
            place.parent.mkdir(parents=True, exist_ok=True)
            path.rename(place)
            owners[name] = part
        elif there != name or not _is_same(path, place):
            raise RecipeError(
                f"toolchain {toolchain.name}: {owners[there].file} and {part.file} disagree about {name}",
                hint="pin parts of one release",
            )


def _in_the_way(name: str, place: Path, owners: Mapping[str, Part]) -> str:
    """Return the file that is where ``name`` is to be: itself, one for its folder, or one below it; or nothing."""
    for above in (name, *map(str, PurePosixPath(name).parents)):
        if above in owners:
            return above
    return next((one for one in owners if one.startswith(f"{name}/")), "") if place.is_dir() else ""


def _is_same(one: Path, other: Path) -> bool:
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
    return one.stat().st_mode == other.stat().st_mode and filecmp.cmp(one, other, shallow=False)


def _files(root: Path) -> Iterable[Path]:
    """Yield files and symlinks, folders that are empty left out, in an order that does not depend on the disk."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        here = Path(folder)
        yield from (here / name for name in sorted(names))
        yield from (here / name for name in folders if (here / name).is_symlink())


def _link(toolchain: Toolchain, tree: Path) -> None:
    for name, target in toolchain.links.items():
        path = tree / name
        if path.is_symlink() or path.exists():
            raise RecipeError(f'toolchain {toolchain.name}: links."{name}": a part brings that file')
        if not path.parent.is_dir():
            raise RecipeError(f'toolchain {toolchain.name}: links."{name}": no part brings the folder')
        path.symlink_to(target)


def _check_links(toolchain: Toolchain, tree: Path) -> None:
    """Refuse links that lead out of the tree, or nowhere, however they are chained."""
    root = tree.resolve()
    for path in _files(tree):
        if path.is_symlink():
            aim = Path(os.path.realpath(path))  # unlike resolve(), it takes a loop for what it is: nothing
            if not aim.exists() or not aim.is_relative_to(root):
                name = path.relative_to(tree)
                why = "leads nowhere" if aim.is_relative_to(root) else "leaves the toolkit"
                raise RecipeError(f"toolchain {toolchain.name}: the link {name} -> {path.readlink()} {why}")


def _system_digest(root: Path, version: str) -> str:
    """Return a digest of names, sizes and times: a toolkit that is updated in place must not pass for the old one."""
    found = []
    tops = [root / name for name in ("bin", "nvvm", "include")]
    paths = [path for top in tops for path in _files(top)]
    for path in [*paths, *sorted(root.glob("lib*/libcuda*"))]:
        status = path.stat() if path.exists() else path.lstat()
        found.append((str(path.relative_to(root)), status.st_size, status.st_mtime_ns))
    return store.digest("system toolkit", version, found)
