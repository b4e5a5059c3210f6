"""What PEP 825's draft has an index say of its wheels: ``<project>-<version>-variants.json``. Pure.

The draft (https://peps.python.org/pep-0825/) maps a label in a wheel's file name to properties. Wheels here bear none:
an installer of today would pass over a wheel that does. What is written is for those who try the draft. Its properties
of NVIDIA's GPUs are those of ``nvidia-variant-provider``, which the draft's examples have; no standard has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from retread import arch
from retread.arch import Arch
from retread.index.listing import Hosted, Project
from retread.version import release

SCHEMA: Final = "https://variants-schema.wheelnext.dev/v0.0.3.json"
"""The one that the draft shows. Versions that begin with 0 are drafts, which nobody is to use in production."""
NAMESPACE: Final = "nvidia"


def files(project: Project) -> dict[str, bytes]:
    """Return what stands beside a project's wheels: one file for each version, by its name."""
    versions: dict[str, list[Hosted]] = {}
    for one in project.files:
        versions.setdefault(one.version, []).append(one)
    return {
        f"{project.name.replace('-', '_')}-{version}-variants.json": _written(described(found))
        for version, found in versions.items()
    }


def described(wheels: Iterable[Hosted]) -> dict[str, Any]:
    """Return what is said of the wheels of one version.

    A label stands for one set of properties, so wheels that have other code than the first, those of another platform
    say, get a label of their own: ``cu128``, then ``cu128.2``.
    """
    variants: dict[str, dict[str, dict[str, list[str]]]] = {}
    for one in sorted(wheels, key=lambda one: one.file):
        said = {NAMESPACE: properties(one)}
        if said not in variants.values():
            channel = release(one.version).channel
            label = channel if channel not in variants else f"{channel}.{len(variants) + 1}"
            variants[label] = said
    return {"$schema": SCHEMA, "default-priorities": {"namespace": [NAMESPACE]}, "variants": variants}


def properties(wheel: Hosted) -> dict[str, list[str]]:
    """Return the CUDA release that a wheel needs, and the architectures that every module of it has machine code for.

    A wheel without GPU code lists none. PTX is not listed: by it a wheel runs, but is not made for what runs it.
    """
    found = {"cuda_version_lower_bound": [wheel.cuda]}
    real = common(wheel.libraries)
    return (
        {**found, "sm_arch": [f"{arch.sm(one).removeprefix('sm_')}_real" for one in real]} if real else found
    )


def common(libraries: Mapping[str, Iterable[Arch]]) -> list[Arch]:
    """Return the architectures that every library with GPU code has, the oldest first."""
    every = [set(one) for one in libraries.values() if one]
    return sorted(set.intersection(*every), key=arch.sort_key) if every else []


def _written(value: Mapping[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value)) + b"\n"
