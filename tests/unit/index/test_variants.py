"""What the draft of PEP 825 says of an index's wheels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from listings import hosted, project
from retread.arch import Arch
from retread.cli import main
from retread.index import layout, variants

if TYPE_CHECKING:
    import pytest

LABEL = re.compile(r"[0-9a-z_.]{1,16}")
WORD = re.compile(r"[a-z0-9_.]+")


def test_a_version_is_described_by_what_all_of_its_code_is_for() -> None:
    (name, data) = next(iter(variants.files(project(hosted())).items()))
    assert name == "demo-0.0.35+cu128.1-variants.json"
    assert json.loads(data) == {
        "$schema": variants.SCHEMA,
        "default-priorities": {"namespace": ["nvidia"]},
        "variants": {
            "cu128": {"nvidia": {"cuda_version_lower_bound": ["12.8"], "sm_arch": ["80_real", "90a_real"]}},
        },
    }


def test_each_set_of_properties_has_a_label_of_its_own() -> None:
    arm = hosted(
        file="demo-0.0.35+cu128.1-cp39-abi3-manylinux_2_34_aarch64.whl",
        libraries={"demo/_C.so": (Arch("9.0a"), Arch("12.1"))},
    )
    bare = hosted(file="demo-0.0.35+cu128.1-cp310-abi3-win_amd64.whl", libraries={"demo/none.pyd": ()})
    again = hosted(file="demo-0.0.35+cu128.1-cp313-cp313-manylinux_2_28_x86_64.whl")
    found = variants.described([hosted(), arm, bare, again])["variants"]
    assert sorted(found) == ["cu128", "cu128.2", "cu128.3"]
    assert {"nvidia": {"cuda_version_lower_bound": ["12.8"]}} in found.values()
    for label, said in found.items():
        assert LABEL.fullmatch(label)
        for namespace, features in said.items():
            values = [value for some in features.values() for value in some]
            assert all(WORD.fullmatch(word) for word in (namespace, *features, *values))


def test_each_version_has_a_file() -> None:
    found = variants.files(project(hosted(project="a-b"), hosted(project="a-b", version="0.0.35+cu128.2")))
    assert sorted(found) == [f"a_b-0.0.35+cu128.{number}-variants.json" for number in (1, 2)]


def test_the_command_writes_them_beside_an_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "index" / layout.state("cu128", "demo")
    state.parent.mkdir(parents=True)
    state.write_bytes(msgspec.json.encode(project(hosted())))
    (tmp_path / "index" / ".retread" / "history.jsonl").write_bytes(b"")
    out = tmp_path / "out"
    assert main.run(["index", "variants", str(tmp_path / "index"), "-o", str(out)]) == 0
    said = capsys.readouterr()
    (file,) = out.iterdir()
    assert said.out == f"{file}\n"
    assert "note: PEP 825 is a draft; no installer of today reads these files" in said.err
    assert main.run(["index", "variants", "s3://wheels", "-o", str(out)]) == 2
    assert "index variants reads a folder, not a bucket" in capsys.readouterr().err
