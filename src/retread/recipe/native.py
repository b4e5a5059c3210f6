"""Native inputs: which files of a patched tree can change compiled code, and what compiled code was made of. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final

from retread.recipe.model import Build, Recipe, Target
from retread.recipe.series import Change, ChangeKind, Patch


def is_native(change: Change, recipe: Recipe, files: Mapping[str, str]) -> bool:
    """Say whether a change of the series has to be compiled in: a native input, a mode, or a file in a new folder.

    Only the build can say whether it packs a new folder, or a file's mode, so these belong to what is built.
    """
    if change.mode or native_glob(change.path, recipe.native_inputs):
        return True
    if change.kind is not ChangeKind.ADD:
        return False
    folder = str(PurePosixPath(change.path).parent)
    return not any(str(PurePosixPath(path).parent) == folder for path in files)


def touched(patch: Patch, recipe: Recipe) -> Iterator[str]:
    """Yield of what a patch does why it closes the overlay lane: native inputs, copies, new folders, modes."""
    for change in patch.changes:
        glob = native_glob(change.path, recipe.native_inputs)
        copied = next((copy for copy in recipe.sdist.copies if change.path.startswith(f"{copy}/")), "")
        if glob:
            yield f"{patch.name} touches {change.path}, a native input ({glob})"
        elif copied:
            yield f"{patch.name} touches {change.path}, a copy of {recipe.sdist.copies[copied]}: patch that"
        elif change.path in patch.new_folders and change.path.partition("/")[0] in _packaged(recipe):
            yield (
                f"{patch.name} adds {change.path} in a folder that the source lacks, a native input: only a build can "
                "say whether it packs that"
            )
        elif change.mode:
            yield f"{patch.name} gives {change.path} mode {change.mode}: only a build can say what a wheel has of that"


def _packaged(recipe: Recipe) -> set[str]:
    """Return the folders at the top of the source that its wheels have for sure."""
    globs = (glob for target in recipe.targets.values() for glob in target.generated)
    return {recipe.project.replace("-", "_")} | {glob.partition("/")[0] for glob in globs if "/" in glob}


def in_new_folders(patch: Patch, paths: Collection[str]) -> tuple[str, ...]:
    """Return the files that a patch adds in folders in which none of a source's ``paths`` lies."""
    added = [change.path for change in patch.changes if change.kind is ChangeKind.ADD]
    folders = {path.rpartition("/")[0] for path in paths} if added else set()
    return tuple(path for path in added if path.rpartition("/")[0] not in folders)


def tree(files: Mapping[str, str], changes: Iterable[Change], blobs: Mapping[str, str]) -> dict[str, str]:
    """Return path -> blob id of the tree that is compiled: ``files`` with ``changes``, whose blob ids are ``blobs``."""
    found = dict(files)
    for change in changes:
        if change.kind is ChangeKind.DELETE:
            found.pop(change.path, None)
        else:
            found[change.path] = blobs[change.path]
    return dict(sorted(found.items()))


def inputs(files: Mapping[str, str], recipe: Recipe) -> dict[str, str]:
    """Return path -> blob id of every native input of a tree."""
    return {path: blob for path, blob in files.items() if native_glob(path, recipe.native_inputs)}


def uncovered(read: Iterable[str], files: Mapping[str, str], recipe: Recipe) -> list[str]:
    """Return the files of the tree that compilers or the build read although no native input names them, sorted."""
    return sorted({one for one in read if one in files and not native_glob(one, recipe.native_inputs)})


def dependencies(depfile: str) -> Iterator[str]:
    r"""Yield every prerequisite of a depfile, as compilers write it for make (``\ `` is a space, ``$$`` a dollar)."""
    for line in re.sub(r"\\\r?\n", " ", depfile).splitlines():
        _, colon, wanted = line.partition(": ")
        for word in re.findall(r"(?:\\.|\S)+", wanted if colon else ""):
            yield re.sub(r"(\\*)\1\\([ \t])|\\([#:])", r"\1\2\3", word).replace("$$", "$")


def torch_list(target: Target) -> str:
    """Return the architectures as TORCH_CUDA_ARCH_LIST wants them: ``9.0;10.0;12.0+PTX``."""
    return ";".join(f"{one}+PTX" if one in target.ptx else one for one in target.architectures)


def environment(
    recipe: Recipe, target: Target, build: Build, *, cuda_home: str, site_packages: str
) -> dict[str, str]:
    """Return the variables that the recipe gives a build, with every placeholder replaced."""
    values = {
        "version": recipe.version,
        "architectures": " ".join(target.architectures),
        "torch-architectures": torch_list(target),
        "cuda-home": cuda_home,
        "site-packages": site_packages,
    }
    return {
        name: re.sub(r"\{([^{}]*)\}", lambda found: values[found[1]], value)
        for name, value in sorted(build.environment.items())
    }


CODE: Final = (
    ".c", ".cc", ".cpp", ".cxx", ".cu", ".cuh", ".h", ".hh", ".hpp", ".hxx", ".inl", ".inc", ".ipp", ".tpp", ".S", ".s"
)  # fmt: skip
"""Suffixes that make a file a native input whatever the globs say: it could stand in the way of an include."""


def native_glob(path: str, globs: tuple[str, ...]) -> str:
    """Return why a file is a native input: the glob that matches it, or ``*.cuh`` for one with a suffix of code."""
    suffix = PurePosixPath(path).suffix
    return matches(path, globs) or (f"*{suffix}" if suffix in CODE else "")


def matches(path: str, globs: tuple[str, ...]) -> str:
    """Return the first glob that matches ``path``, or nothing; ``**`` and ``*`` both cross folders."""
    return next((glob for glob in globs if fnmatchcase(path, glob.replace("**", "*"))), "")
