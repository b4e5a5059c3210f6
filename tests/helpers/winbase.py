"""A base wheel of tinycuda for Windows, beside that for Linux, and what the recipe says of it."""

from __future__ import annotations

import gpucode
from retread.source import ends
from tinycuda import INFO, LIBRARY, WHEEL, Project, make_wheel, sha256, wheel_files

BASE = WHEEL.replace("manylinux_2_17_x86_64", "win_amd64")
MEMBER = "tinycuda/_C.pyd"
TABLE = """
[[targets.cu128.base]]
file = "{file}"
sha256 = "{sha256}"

[targets.cu128.platforms.win_amd64]
generated = ["tinycuda/version.py", "tinycuda/**.pyd"]
requires = []
note = "No GPU under Windows has run it."
"""


def add_base(project: Project, library: bytes = gpucode.WINDOWS, **changes: bytes) -> None:
    """Serve and pin a base wheel for Windows, whose texts have the line ends of a checkout there."""
    held = {name: data for name, data in wheel_files().items() if name != LIBRARY}
    held = {name: ends.windows(data) for name, data in held.items()}
    held[f"{INFO}/WHEEL"] = held[f"{INFO}/WHEEL"].replace(b"manylinux_2_17_x86_64", b"win_amd64")
    data = make_wheel(
        {**held, MEMBER: library, **{name.replace("__", "/"): new for name, new in changes.items()}}
    )
    project.index.files["tinycuda"][BASE] = data
    project.write_recipe(project.recipe_text + TABLE.format(file=BASE, sha256=sha256(data)))
