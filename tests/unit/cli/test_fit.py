"""``retread fit`` and ``explain`` as they are typed: one line, JSON, exit codes, and what makes no sense."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from madeenv import GPU_CODE, Made
from retread.cli.main import run
from retread.errors import FitError


@pytest.fixture
def made(tmp_path: Path) -> Made:
    found = Made(tmp_path / "venv")
    found.torch()
    return found


def typed(made: Made, *more: str) -> int:
    return run(["fit", "--python", str(made.python), "--gpu", "9.0", "--driver", "570.1", *more])


def sentence(shown: str) -> str:
    """Return text as it was before it was broken into lines."""
    return " ".join(shown.split())


def test_one_line_and_exit_code_0_where_nothing_has_to_change(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(made, "-q") == 0
    out, err = capsys.readouterr()
    assert (out.count("\n"), err) == (1, "")
    assert out.startswith(
        "fits: torch 2.8.0+cu128, Python 3.12.3, GPU 9.0; take xformers 0.0.32.post2+cu128.1"
    )


def test_the_src_fault_leads_to_the_release_made_for_the_torch(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    made.add("xformers", "0.0.29.post3", requires=["torch==2.6.0"], files={"xformers/_C.so": GPU_CODE})
    (made.site / "xformers" / "ops.py").write_text(
        "raise AttributeError(\"Cannot set attribute 'src' directly\")"
    )
    assert typed(made) == FitError.exit_code == 22
    out, err = capsys.readouterr()
    assert "read the environment" in err  # it takes half a minute where there is much to read
    assert "AttributeError: Cannot set attribute 'src' directly" in out
    assert "take xformers 0.0.32.post2+cu128.1; neither line can replace torch" in out
    assert "import xformers.ops" in out
    assert "no for another torch: xformers (retread) 0.0.35+cu128.1 for >=2.10" in sentence(out)
    assert "0.0.29.post3+cu130.1 for ==2.11.0" in sentence(out)


def test_json_holds_all_of_it_and_imports_can_be_left_out(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    made.add("xformers", "0.0.32.post2", files={"xformers/_C.so": GPU_CODE})
    assert typed(made, "--json", "--no-import") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["fits"] is True
    assert found["imports"] == []
    assert found["libraries"][1]["gpus"] == {"9.0": "native, tuned for it"}


def test_a_folder_of_wheels_is_an_index(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = tmp_path / "xformers-0.0.32.post2+cu128.1-cp39-abi3-manylinux_2_28_x86_64.whl"
    wheel.touch()
    assert typed(made, "--index", str(tmp_path)) == 0
    assert f"install --no-deps {wheel}" in capsys.readouterr().out


def test_code_is_read_for_what_it_uses(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "model.py").write_text("import xformers.ops as x\nx.memory_efficient_attention(q, k, v)\n")
    assert typed(made, "--usage", str(folder)) == 0
    out = capsys.readouterr().out
    assert "xformers.ops.memory_efficient_attention  (model.py:2)" in out
    assert "xformers is not needed: torch 2.8.0 has a counterpart for all that is used of it" in sentence(out)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--gpu", "99.9"], "no GPU has the architecture '99.9'"),
        (["--driver", "abc"], "--driver: 'abc' is not a driver's version like 570.124.06"),
        (["--usage", "/nowhere"], "there is no folder /nowhere"),
        (["--index", "/nowhere"], "there is no folder /nowhere"),
        (["--python", "/nowhere/python"], "there is no Python /nowhere/python"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    made: Made, more: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(made, *more) == 2
    err = capsys.readouterr().err
    assert told in err
    assert "Traceback" not in err


def test_an_environment_without_torch_has_to_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(Made(tmp_path / "empty"), "-q") == 22
    assert capsys.readouterr().out.startswith(
        "does not fit: no torch, Python 3.12.3, GPU 9.0: torch: is not installed"
    )


def test_explain_knows_an_error_by_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["explain", "TypeError:", "JITCallable._set_src() takes 1 positional argument but 2 were given"])
        == 0
    )
    out = capsys.readouterr().out
    assert (
        "take: upstream mended it in xformers 0.0.30; take the release that is made for your torch"
        in sentence(out)
    )
    row = "torch ==2.8.0 0.0.32.post2 xformers-0.0.32.post2 cu128"
    assert row in sentence(out)


def log(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_explain_reads_a_long_binary_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = bytes(range(256)) * 40_000  # 10 MB, more than two blocks
    log(monkeypatch, noise + b"Cannot set attribute 'src' directly" + noise)
    assert run(["explain", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["fault"] == "vararg-set-source-on-any-triton"


@pytest.mark.parametrize("data", [b"", b"nothing of interest\n", b"\x00" * 100])
def test_explain_says_that_it_does_not_know(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: bytes
) -> None:
    log(monkeypatch, data)
    assert run(["explain"]) == 22
    assert "no fault that is known here has this text" in capsys.readouterr().err
