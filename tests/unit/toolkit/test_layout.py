"""The digest of a toolkit: every field of its parts and its file, but those that are excepted by name."""

from __future__ import annotations

import msgspec
import pytest

from fields import DIGEST, fields, grown, other
from retread.recipe.toolchain import Part, Toolchain
from retread.toolkit import layout

PART = Part(
    component="nvcc", machine="x86_64", package="nvidia-nvcc", file="n.whl", sha256=DIGEST, folder="nvcc"
)
TOOLCHAIN = Toolchain(name="cuda-13.0", cuda="13.0", ptx_isa="9.0", part=(PART,), links={"lib64": "lib"})


def digest(toolchain: Toolchain = TOOLCHAIN, part: Part = PART) -> str:
    more = msgspec.structs.replace(PART, component="crt")
    both = layout.parts_digest(toolchain, (part, more))
    assert layout.parts_digest(toolchain, (more, part)) == both, "the order in the file decides nothing"
    return both


def test_a_field_that_is_added_voids_the_toolkit() -> None:
    assert len({digest(), digest(grown(TOOLCHAIN)), digest(part=grown(PART))}) == 3


@pytest.mark.parametrize("field", fields(PART))
def test_a_part_s_field_decides_or_is_excepted(field: str) -> None:
    assert (digest(part=other(PART, field)) == digest()) == (field in layout.NOT_OF_PIECE)


@pytest.mark.parametrize("field", fields(TOOLCHAIN))
def test_a_toolchain_s_field_decides_or_is_excepted(field: str) -> None:
    assert (digest(other(TOOLCHAIN, field)) == digest()) == (field in layout.NOT_OF_TOOLKIT)
