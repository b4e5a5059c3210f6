"""Wheels as an index lists them, and small parts to make others of."""

from __future__ import annotations

import hashlib
from typing import Any

from msgspec.structs import replace

from retread.arch import Arch
from retread.index.listing import Hosted, Project
from retread.records import Sha256
from retread.smoke.tally import Tried
from retread.wheel.statement import PatchStatement

PATCHES = (
    PatchStatement(
        name="0001-cap-12.0.patch",
        sha256=Sha256(64 * "1"),
        subject="Run the attention op on Blackwell (cap 9.0 becomes 12.0)",
        breaks='fp32 attention on cc 10.0 and 12.0: "No operator found"',
        affects="all GPUs of cc 10.0 to 12.0 in 0.0.33 to 0.0.35",
        upstream="reported as #1356; also #1357 and #1368",
        drop_when="the pinned release accepts cc 10.0 to 12.0",
    ),
    PatchStatement(
        name="0002-optional-at-import.patch",
        sha256=Sha256(64 * "2"),
        subject="Import without the third flash attention",
        breaks="import demo raises ImportError where the wheel is not for Hopper",
        affects="everyone with torch 2.9 and later",
        upstream="fixed in 0.0.36 (f146faa3)",
        drop_when="the pinned release is 0.0.36 or later",
    ),
)
TRIED = (
    Tried(level="static", where="", torch="2.13.0", passed=412, failed=0, skipped=3),
    Tried(level="jit", where="Triton 3.6.0", torch="2.13.0", passed=96, failed=0, skipped=0),
    Tried(level="gpu", where="NVIDIA H200, 9.0", torch="2.13.0", passed=1204, failed=0, skipped=17),
)


def hosted(**changes: Any) -> Hosted:
    """Return a proven wheel, unless told otherwise; its name, digest and sidecars follow from project and version."""
    project = changes.get("project", "demo")
    version = changes.get("version", "0.0.35+cu128.1")
    file = changes.get("file", f"{project.replace('-', '_')}-{version}-cp39-abi3-manylinux_2_28_x86_64.whl")
    usual = Hosted(
        file=file,
        sha256=Sha256(hashlib.sha256(file.encode("utf-8", "replace")).hexdigest()),
        size=117_300_000,
        project=project,
        version=version,
        uploaded="2026-11-22T10:00:00.000000Z",
        requires_python=">=3.9",
        metadata_sha256=Sha256(64 * "b"),
        yanked=None,
        unproven="",
        sidecars=(f"{file}.provenance.dsse.json", f"{file}.test-static.dsse.json", f"{file}.audit.json"),
        cuda="12.8",
        torch=">=2.10",
        triton=("3.6.0", "3.7.1"),
        lane="overlay",
        commit="03b91d7d9ff295ae68a320e2e733dd6c2ef8f342",
        libraries={
            "demo/_C.so": tuple(map(Arch, ("8.0", "9.0a", "10.0", "12.0"))),
            "demo/flash_attn_3/_C.so": tuple(map(Arch, ("8.0", "9.0a"))),
        },
        patches=PATCHES,
        tried=TRIED,
    )
    return replace(usual, **changes)


def project(*files: Hosted, **changes: Any) -> Project:
    """Return a project of these files, named after the first of them."""
    fields = {"channel": "cu128", "name": files[0].project if files else "demo", "files": files}
    return Project(**{**fields, **changes})
