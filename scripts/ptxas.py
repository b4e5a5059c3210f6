"""The toolchains that are ptxas alone: one for each CUDA release that the package index has, of its newest build.

``python scripts/ptxas.py`` makes ``src/retread/recipe/toolchains/ptxas-*.toml`` anew. They prove what a release built,
and assemble for those who ask for it. A release whose ptxas another toolchain has is left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from retread import pypa
from retread.doors.net import catalogue, settings
from retread.doors.net.offers import Offer
from retread.recipe import workspace
from retread.recipe.toolchain import for_release

PLACE: Final = Path(__file__).resolve().parents[1] / "src" / "retread" / "recipe" / "toolchains"
PROJECTS: Final = {
    "nvidia-cuda-nvcc-cu11": "nvidia/cuda_nvcc/bin/ptxas",
    "nvidia-cuda-nvcc-cu12": "nvidia/cuda_nvcc/bin/ptxas",
    "nvidia-cuda-nvcc": "nvidia/cu13/bin/ptxas",
}
"""Project -> where its wheels have ptxas."""
ISA: Final = {
    "11.7": "7.7", "11.8": "7.8", "12.0": "8.0", "12.1": "8.1", "12.2": "8.2", "12.3": "8.3", "12.4": "8.4",
    "12.5": "8.5", "12.6": "8.5", "12.8": "8.7", "12.9": "8.8", "13.0": "9.0", "13.1": "9.1", "13.2": "9.2",
    "13.3": "9.3", "13.4": "9.4", "13.5": "9.5",
}  # fmt: skip
"""Release -> the newest PTX ISA that its ptxas says it reads."""
MACHINES: Final = ("x86_64", "aarch64")


def releases(offers: list[Offer]) -> dict[str, dict[str, Offer]]:
    """Return release -> machine -> the wheel of the newest build."""
    found: dict[str, dict[str, Offer]] = {}
    wheels = [one for one in offers if one.file.endswith(".whl") and "manylinux" in one.file]
    for one in sorted(wheels, key=lambda one: pypa.version(str(one.version))):
        release = ".".join(str(one.version).split(".")[:2])
        for machine in MACHINES:
            if one.file.endswith(f"_{machine}.whl"):
                found.setdefault(release, {})[machine] = one
    return found


def text(release: str, project: str, wheels: dict[str, Offer]) -> str:
    """Return the toolchain of a release."""
    return "\n".join(
        [
            f"# ptxas of CUDA {release} alone, to prove what it built. Written by scripts/ptxas.py.",
            f'name = "ptxas-{release}"',
            f'cuda = "{release}"',
            f'ptx-isa = "{ISA[release]}"',
            *(
                line
                for machine, one in sorted(wheels.items(), reverse=True)
                for line in _part(machine, project, one)
            ),
            "",
        ]
    )


def _part(machine: str, project: str, wheel: Offer) -> Iterator[str]:
    yield from ("", "[[part]]", 'component = "ptxas"', f'machine = "{machine}"', f'package = "{project}"')
    yield from (f'file = "{wheel.file}"', f'sha256 = "{wheel.sha256}"', f'ptxas = "{PROJECTS[project]}"')


def main() -> None:
    """Write every toolchain."""
    for old in PLACE.glob("ptxas-*.toml"):
        old.unlink()
    known = [workspace.load_toolchain(None, name) for name in workspace.toolchains(None)]
    using = settings.settings(os.environ)
    for project in PROJECTS:
        for release, wheels in releases(catalogue.offered(project, using=using)).items():
            if release in ISA and not for_release(release, known, MACHINES[0]):
                (PLACE / f"ptxas-{release}.toml").write_text(text(release, project, wheels), "utf-8")


if __name__ == "__main__":
    main()
