"""The kinds of values that recipes and toolchain files hold, each with what a fault in it is told as."""

from __future__ import annotations

from typing import Annotated

import msgspec

from retread import arch
from retread.arch import Arch
from retread.records import Record, Sha256

Digest = Annotated[
    Sha256, msgspec.Meta(pattern=r"^[0-9a-f]{64}$(?!\n)", description="a sha256, 64 hexadecimal digits")
]
Commit = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9a-f]{40}$(?!\n)", description="a full commit id, 40 hexadecimal digits")
]
Cuda = Annotated[
    str, msgspec.Meta(pattern=r"^[0-9]{1,3}\.[0-9]{1,3}$(?!\n)", description="a CUDA release, like 12.8")
]
FileName = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+!-]*$(?!\n)", description="a plain file name")
]
PartName = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+!~-]*$(?!\n)", description="a plain file name")
]
"""The same with the tilde that versions of Debian's packages have."""
Architecture = Annotated[
    Arch,
    msgspec.Meta(
        description="a GPU architecture, like 8.0, 9.0a or 12.0",
        extra={"known": tuple(arch.FIRST_CUDA)},
        extra_json_schema={"enum": list(arch.FIRST_CUDA)},
    ),
]
Text = Annotated[str, msgspec.Meta(min_length=1, description="a text that is not empty")]
Positive = Annotated[int, msgspec.Meta(ge=1, description="an integer from 1 on")]


class Table(Record, rename="kebab", frozen=True, kw_only=True):
    """A table of a recipe: keys are written with hyphens."""


def is_inside(path: str) -> bool:
    """Say whether a relative path stays below the folder that it starts from."""
    return "\\" not in path and not {"", ".", ".."} & set(path.split("/"))
