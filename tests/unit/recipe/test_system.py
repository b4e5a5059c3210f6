"""The machines that are compiled for: what their files may say."""

from __future__ import annotations

import pytest

from retread.errors import RecipeError
from retread.recipe import platforms
from retread.recipe.system import parse_system
from retread.toolkit import system

TEXT = 'name = "arm"\npython = "3.11"\nmanylinux = "manylinux_2_36"\n[[package]]\ndeb = "{deb}"\nsha256 = "{hash}"\n'


def test_the_one_that_is_part_of_retread() -> None:
    found = system.known("aarch64")
    assert {"aarch64": found.python} == platforms.PYTHON
    assert {"python3.11-minimal", "libpython3.11-dev", "libc6"} <= {part.component for part in found.parts}
    assert all(part.file.endswith("_arm64.deb") for part in found.parts)


def test_every_fault_is_told() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_system(TEXT.format(deb="../x.deb", hash="0" * 64).encode(), name="other")
    assert caught.value.faults == (
        "name: is 'arm', the file is other.toml",
        "package[0].deb: '../x.deb' is no place of a .deb in an archive",
    )
