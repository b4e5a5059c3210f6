"""Stage *seal*: the finished wheel, written once, by one deterministic writer.

Members that nothing changed are copied as they lie in the base wheel, compressed bytes and all. The same inputs give
the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec
from packaging.utils import canonicalize_name

from retread import pypa
from retread.build import sbom
from retread.doors.cores import Beside
from retread.errors import BaseError, PlanError, RecipeError
from retread.recipe.model import Recipe, Target
from retread.recipe.series import Change, ChangeKind
from retread.source import ends
from retread.source.records import PatchedTree
from retread.version import channel
from retread.wheel.members import Deflated, Verified
from retread.wheel.metadata import WheelName, requirements, rivals, set_name, set_requirement, set_version
from retread.wheel.statement import STATEMENT, Statement
from retread.wheel.wheelfile import Wheel, copies, sealed
from retread.wheel.zipwriter import Copied, Later, NewBytes, NewDeflated, Source, Written, write


class Sealed(NamedTuple):
    """A sealed wheel: where it lies, and what was written."""

    path: Path
    written: Written


def seal(
    wheel: Wheel,
    verified: Verified,
    *,
    target: Target,
    patched: PatchedTree,
    libraries: Mapping[str, tuple[Path, Deflated]],
    statement: Statement,
    patches: Mapping[str, bytes],
    platform: str,
    crlf: bool = False,
    into: Path,
) -> Sealed:
    """Write the finished wheel into ``into`` and return where it lies.

    ``patched`` has the paths of the wheel. ``libraries`` maps member names to deflated replacements, ``patches`` names
    to bytes for the bill of materials; ``platform`` takes the place of the wheel's platform tag, if it is not empty;
    with ``crlf``, texts of the series get the line ends that a checkout on Windows gives them, as the wheel's others
    have.
    """
    name = wheel.name.with_version(statement.version)
    if platform:
        name = name.with_platform(platform)
    sources: dict[str, Source] = {one.name: one for one in copies(wheel, verified, stem=name.stem)}
    _patch(sources, patched, crlf=crlf)
    for member, text in _edited(wheel, target, patched, statement.version).items():
        sources[member] = NewBytes(name=member, content=text.encode())
    text = _metadata(wheel, target, statement.version)
    return _written(wheel, name, sources, libraries=libraries, said=(text, statement, patches), into=into)


def renew(
    wheel: Wheel,
    verified: Verified,
    *,
    name: WheelName,
    libraries: Mapping[str, tuple[Path, Deflated]],
    statement: Statement,
    into: Path,
) -> Sealed:
    """Write a wheel that is another one but for its name and ``libraries``, into ``into``, and return where it lies."""
    sources: dict[str, Source] = {one.name: one for one in copies(wheel, verified, stem=name.stem)}
    text = set_version(wheel.metadata, statement.version)
    return _written(wheel, name, sources, libraries=libraries, said=(text, statement, {}), into=into)


def _written(
    wheel: Wheel,
    name: WheelName,
    sources: dict[str, Source],
    *,
    libraries: Mapping[str, tuple[Path, Deflated]],
    said: tuple[str, Statement, Mapping[str, bytes]],
    into: Path,
) -> Sealed:
    """Write the wheel ``name`` of ``sources``, with libraries in place of theirs, and what is ``said`` of it.

    That is METADATA, the statement, and the patches by name.
    """
    metadata, statement, patches = said
    dist_info = f"{name.stem}.dist-info"
    for member, (path, deflated) in libraries.items():
        executable = wheel.archive.by_name[member].executable
        sources[member] = NewDeflated(name=member, path=path, deflated=deflated, executable=executable)
    texts = {
        "METADATA": metadata.encode(),
        STATEMENT: msgspec.json.format(msgspec.json.encode(statement)) + b"\n",
    }
    if (text := set_name(wheel.wheel, name)) != wheel.wheel:
        texts["WHEEL"] = text.encode()
    for file, content in texts.items():
        sources[f"{dist_info}/{file}"] = NewBytes(name=f"{dist_info}/{file}", content=content)
    destination, bill = into / name.file_name, f"{dist_info}/sboms/{statement.project}.cdx.json"
    with Beside(
        lambda: sbom.write(statement, patches)
    ) as made:  # while the kernel copies what comes before it
        sources[bill] = Later(bill, made.result)
        written = write(destination, sealed(sources.values(), dist_info), date_time=statement.commit_time)
    destination.chmod(0o444)
    return Sealed(destination, written)


def _patch(sources: dict[str, Source], patched: PatchedTree, *, crlf: bool) -> None:
    """Put the series' files in place: changed ones that the wheel has, and new ones beside files that it has.

    Changes that reach nothing in the wheel (tests, a README) are left to ``unreached`` to name. PlanError for a new
    file in a new folder of a package: only the build could say whether it belongs to the wheel.
    """
    folders = {str(PurePosixPath(name).parent) for name in sources} - {"."}
    for change in patched.changes:
        path = change.path
        above = [str(folder) for folder in PurePosixPath(path).parents]
        if change.kind is ChangeKind.DELETE:
            sources.pop(path, None)
        elif path in sources or (change.kind is ChangeKind.ADD and above[0] in folders):
            executable = path in sources and _executable(sources[path])
            content = (patched.root / path).read_bytes()
            content = ends.windows(content) if crlf else content
            sources[path] = NewBytes(name=path, content=content, executable=executable)
        elif change.kind is ChangeKind.ADD and folders & set(above):
            raise PlanError(
                f"the series adds {path}, and the base wheel has no folder {above[0]}",
                hint="an overlay cannot tell whether the build would pack it: add the file beside others",
            )


def unreached(wheel: Wheel, changes: Sequence[Change], made: Sealed, recipe: Recipe) -> tuple[str, ...]:
    """Return the changed files of the source that neither the base nor the sealed wheel holds."""
    held = wheel.archive.by_name.keys() | {one.name for one in made.written.members}
    return tuple(change.path for change in changes if recipe.in_wheel(change.path) not in held)


def _executable(source: Source) -> bool:
    return source.member.executable if isinstance(source, Copied) else source.executable


def _edited(wheel: Wheel, target: Target, patched: PatchedTree, version: str) -> dict[str, str]:
    changed = {change.path for change in patched.changes}
    texts: dict[str, str] = {}
    for edit in target.edit:
        if edit.file not in wheel.archive.by_name:
            raise RecipeError(f"edit: {wheel.path.name} has no {edit.file}")
        if edit.file in changed:
            raise RecipeError(
                f"edit: the series touches {edit.file}", hint="change it in one way: by an edit or by a patch"
            )
        text = texts.get(edit.file) or _text(wheel, edit.file)
        wanted = edit.replace.replace("{version}", version)
        if text.count(edit.find) == 0 and text.count(wanted) == 1:
            continue  # another lane's build wrote it so
        if text.count(edit.find) != 1:
            raise RecipeError(
                f"edit: {edit.find!r} stands {text.count(edit.find)} times in {edit.file}"
                f" of {wheel.path.name}, not once"
            )
        texts[edit.file] = text.replace(edit.find, wanted)
    return texts


def _text(wheel: Wheel, member: str) -> str:
    try:
        return wheel.archive.read(member).decode()
    except UnicodeDecodeError:
        raise RecipeError(f"edit: {member} of {wheel.path.name} is not a text") from None


def _metadata(wheel: Wheel, target: Target, version: str) -> str:
    """Return METADATA with the version and the target's requirements; BaseError if it asks for another torch."""
    text = set_version(wheel.metadata, version)
    for requirement in target.requires:
        text = set_requirement(text, requirement)
    _demand_torch(wheel, target, text)
    return text


def _demand_torch(wheel: Wheel, target: Target, text: str) -> None:
    """Raise BaseError where METADATA asks for another torch than the target, or for one where it names none."""
    torch = f"torch{target.torch}"
    wanted = [pypa.requirement(torch)] if target.torch else []
    if [pypa.requirement(one) for one in rivals(text, torch)] == wanted:
        return
    said = [pypa.requirement(one) for one in requirements(text)]
    others = [repr(str(one)) for one in said if canonicalize_name(one.name) == "torch"]
    key = f"targets.{channel(target.cuda)}.torch"
    if not target.torch:
        raise BaseError(
            f"{wheel.path.name} requires torch, and the target names none: its METADATA says {' and '.join(others)}",
            hint=f"say under {key} for which it is made",
        )
    raise BaseError(
        f"{wheel.path.name} requires another torch than the target's {torch!r}: "
        f"its METADATA says {' and '.join(others) or 'nothing of it'}",
        hint=f"correct {key}, or say {torch!r} in its 'requires' to replace that",
    )
