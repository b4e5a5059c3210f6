"""How a recipe has its finished wheels tried: suites, what they are told, and under which torch and Triton."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from retread import pypa
from retread.fields import Architecture, Digest, FileName, Table, Text, is_inside
from retread.strict import again, shown


class Smoke(Table, frozen=True, kw_only=True):
    """What is tried of every target's wheels."""

    suites: tuple[Text, ...] = ()
    """Programs below the workspace's root; files beside them go with them."""
    imports: dict[str, Text] = msgspec.field(default_factory=dict)
    """Modules (glob) that may fail to import where there is no GPU -> why."""
    commands: tuple[Text, ...] = ()
    """Programs that must end with 0, like ``-m package.info``."""
    expect: dict[str, tuple[Text, ...]] = msgspec.field(default_factory=dict)
    """What the suites hold the wheel to, under names that they know."""


class Runtime(Table, frozen=True, kw_only=True):
    """A wheel that the target needs beside torch."""

    package: Text
    """The project on the package index."""
    file: FileName
    """Its name there."""
    sha256: Digest
    """What its bytes have to be."""


class Trial(Table, frozen=True, kw_only=True):
    """Under what one target's wheels are tried."""

    torch: Text = ""
    """The version for the levels that need no GPU; a build for the CPU is taken where an index has one. Left out where
    the target has no torch."""
    triton: tuple[Text, ...] = ()
    """Every version under which the jit level has to pass."""
    runtime: tuple[Runtime, ...] = ()
    """Wheels that a kit carries for it."""
    gpu: tuple[Architecture, ...] = ()
    """Capabilities on which the gpu level has to pass before the wheel counts as proven."""
    expect: dict[str, tuple[Text, ...]] = msgspec.field(default_factory=dict)
    """As in the recipe's own table, for this target alone."""


def suite_faults(smoke: Smoke) -> Iterator[str]:
    """Yield what is wrong with the suites that a recipe names."""
    for index, path in enumerate(smoke.suites):
        if not is_inside(path):
            yield f"smoke.suites[{index}]: {path!r} leaves the workspace"
        elif not path.endswith(".py"):
            yield f"smoke.suites[{index}]: {path!r} is no Python program"
    names = [path.rpartition("/")[2] for path in smoke.suites]
    for index in again(names):
        yield f"smoke.suites[{index}]: there is another suite {names[index]!r}"


def faults(trial: Trial, torch: str) -> Iterator[str]:
    """Yield what is wrong with a target's trial; ``torch`` is the target's range, empty where it has none."""
    for index, text in enumerate(trial.triton):
        if not _is_version(text):
            yield f"smoke.triton[{index}]: {shown(text)} is not a version like '3.6.0'"
    if not torch or not trial.torch:
        if torch:
            yield f"smoke.torch: missing; the target is for torch {shown(torch)}"
        elif trial.torch:
            yield f"smoke.torch: {shown(trial.torch)}, and the target has no torch"
        return
    if not _is_version(trial.torch):
        yield f"smoke.torch: {shown(trial.torch)} is not a version like '2.10.0'"
        return
    try:
        fits = pypa.specifiers(torch).contains(trial.torch, prereleases=True)
    except ValueError:
        return  # told elsewhere
    if not fits:
        yield f"smoke.torch: {trial.torch} is outside of the target's range {torch}"


def _is_version(text: str) -> bool:
    try:
        pypa.version(text)
    except ValueError:
        return False
    return True
