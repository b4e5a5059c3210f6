"""The bill of materials: valid CycloneDX, the patches in it as they are, the same bytes every time."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from msgspec.structs import replace

from retread.build import sbom
from retread.records import Sha256
from retread.wheel.statement import FileStatement, PatchStatement, Promise, Statement, SubmoduleStatement

COMMIT = "3da0fc922521aaecebc35e3938b5110bd5cb7195"
PATCHES = {
    "0001-own.patch": "Subject: Own\n---\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-alt\n+süß\n".encode(),
    "0002-back.patch": b"Subject: Back\n---\n--- a/y\n+++ b/y\n@@ -1 +1 @@\n-a\n+b \xff\n",
}


def patch(name: str, upstream: str) -> PatchStatement:
    return PatchStatement(
        name=name,
        sha256=Sha256(64 * "a"),
        subject=f"Subject of {name}",
        breaks="everything",
        affects="all",
        upstream=upstream,
        drop_when="fixed",
    )


STATEMENT = Statement(
    schema=1,
    tool="retread 0.1.0",
    recipe="demo-1.2",
    target="cu128",
    project="demo",
    version="1.2+cu128.1",
    lane="overlay",
    repository="https://github.com/example/demo",
    commit=COMMIT,
    submodules=(
        SubmoduleStatement(path="third_party/a", repository="https://github.com/NVIDIA/cutlass.git", commit=40 * "1"),
        SubmoduleStatement(path="third_party/b", repository="https://github.com/NVIDIA/cutlass", commit=40 * "1"),
        SubmoduleStatement(path="third_party/c", repository="https://git.example.org/deep/er/c", commit=40 * "2"),
    ),
    commit_time=1_700_000_000,
    sdist=FileStatement(file="demo-1.2.tar.gz", sha256=Sha256(64 * "b")),
    base=FileStatement(file="demo-1.2-py3-none-any.whl", sha256=Sha256(64 * "c")),
    compiled=None,
    series=(patch("0001-own.patch", "not reported"), patch("0002-back.patch", "fixed in 1.3 (f146faa3)")),
    toolchain=None,
    libraries={},
    promise=Promise(
        project="demo", version="1.2+cu128.1",
        cuda="12.8", torch=">=2.10", architectures=(), ptx=(), exempt=(), requires=(), run_path={}, note=""
    ),
)  # fmt: skip


def invalid(bill: str) -> object:
    """Return what another implementation has against a bill; it is slow to import, and every worker reads this."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill)


def bill(statement: Statement = STATEMENT) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sbom.write(statement, PATCHES))
    return found


@pytest.mark.parametrize(
    "statement",
    [STATEMENT, replace(STATEMENT, submodules=()), replace(STATEMENT, series=(), submodules=())],
    ids=["full", "no submodules", "no patches"],
)
def test_it_is_valid_cyclonedx(statement: Statement) -> None:
    assert invalid(sbom.write(statement, PATCHES).decode()) is None


def test_the_validator_is_not_asleep() -> None:
    broken = bill()
    broken["metadata"]["component"]["pedigree"]["patches"][0]["type"] = "handmade"
    assert invalid(json.dumps(broken)) is not None


def test_it_is_about_the_patched_wheel_made_from_upstream() -> None:
    subject = bill()["metadata"]["component"]
    assert (subject["name"], subject["version"]) == ("demo", "1.2+cu128.1")
    assert subject["purl"] == "pkg:pypi/demo@1.2%2Bcu128.1"
    (ancestor,) = subject["pedigree"]["ancestors"]
    assert (ancestor["version"], ancestor["purl"]) == ("1.2", "pkg:pypi/demo@1.2")
    assert ancestor["hashes"] == [{"alg": "SHA-256", "content": 64 * "b"}]
    assert subject["pedigree"]["commits"] == [{"uid": COMMIT}]


def test_every_patch_stands_in_it_with_its_text() -> None:
    patches = {
        one["resolves"][0]["id"]: one for one in bill()["metadata"]["component"]["pedigree"]["patches"]
    }
    own, back = patches["0001-own.patch"], patches["0002-back.patch"]
    assert (own["type"], back["type"]) == ("unofficial", "backport")
    assert own["diff"]["text"] == {
        "content": PATCHES["0001-own.patch"].decode(),
        "contentType": "text/x-diff",
    }
    assert back["diff"]["text"]["content"].endswith("+b \N{REPLACEMENT CHARACTER}\n")
    assert own["resolves"] == [
        {
            "type": "defect",
            "id": "0001-own.patch",
            "name": "Subject of 0001-own.patch",
            "description": "everything",
        }
    ]


def test_submodules_are_components() -> None:
    found = bill()
    parts = {one["bom-ref"]: one for one in found["components"]}
    assert set(parts) == {"submodule:third_party/a", "submodule:third_party/b", "submodule:third_party/c"}
    assert parts["submodule:third_party/a"]["purl"] == f"pkg:github/nvidia/cutlass@{40 * '1'}"
    assert (parts["submodule:third_party/c"]["name"], parts["submodule:third_party/c"].get("purl")) == (
        "c",
        None,
    )
    (own,) = [one for one in found["dependencies"] if one["ref"] == "demo@1.2+cu128.1"]
    assert own["dependsOn"] == sorted(parts)


def test_the_same_wheel_has_the_same_bytes() -> None:
    first = sbom.write(STATEMENT, PATCHES)
    assert sbom.write(STATEMENT, dict(reversed(PATCHES.items()))) == first
    assert first.endswith(b"}\n")
    assert bill()["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    assert uuid.UUID(bill()["serialNumber"]).version == 5


def test_another_wheel_has_another_serial_number() -> None:
    others = [
        replace(STATEMENT, version="1.2+cu128.2"),
        replace(STATEMENT, series=STATEMENT.series[:1]),
        replace(STATEMENT, target="cu130"),
    ]
    assert len({bill(one)["serialNumber"] for one in [STATEMENT, *others]}) == 4
