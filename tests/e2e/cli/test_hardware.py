"""GPUs and drivers: as nvidia-smi says, as the options say, and what is said of a machine without."""

from __future__ import annotations

from pathlib import Path

import pytest

from madeenv import Made
from retread import limits
from retread.arch import Arch
from retread.fit import driver, hardware, imports


def smi(folder: Path, text: str, code: int = 0) -> dict[str, str]:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{text}\nE\nexit {code}\n")
    program.chmod(0o755)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_nvidia_smi_is_asked_and_each_kind_of_gpu_told_once(tmp_path: Path) -> None:
    made = Made(tmp_path / "venv")
    asked = smi(
        tmp_path, "9.0, 580.159.04, NVIDIA H200\n9.0, 580.159.04, NVIDIA H200\n12.0, 580.159.04, RTX 5090"
    )
    found = hardware.hardware(made.python, asked)
    assert (found.gpus, found.driver, found.source) == (("9.0", "12.0"), "580.159.04", "nvidia-smi")
    assert found.names == ("NVIDIA H200", "RTX 5090")


def test_the_options_count_more(tmp_path: Path) -> None:
    made = Made(tmp_path / "venv")
    asked = smi(tmp_path, "9.0, 580.1, NVIDIA H200")
    found = hardware.hardware(made.python, asked, gpus=[Arch("12.0")])
    assert (found.gpus, found.driver, found.source) == (("12.0",), "580.1", "the options")
    found = hardware.hardware(made.python, asked, driver="550.1")
    assert (found.gpus, found.driver) == (("9.0",), "550.1")


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        (
            "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
            9,
            "NVIDIA-SMI has failed",
        ),
        ("", 0, "it printed nothing"),
        ("[N/A], [N/A], [N/A]", 0, "[N/A]"),
    ],
)
def test_an_nvidia_smi_that_fails_is_told(tmp_path: Path, text: str, code: int, told: str) -> None:
    found = hardware.hardware(Made(tmp_path / "venv").python, smi(tmp_path, text, code))
    assert found.gpus == ()
    assert told in found.source


def test_nvml_of_the_environment_is_asked_first(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text('#!/bin/sh\necho \'retread:{"driver": "570.1", "gpus": [["12.0", "RTX 5090"]]}\'\n')
    program.chmod(0o755)
    found = hardware.hardware(program, {"PATH": "/nowhere"})
    assert (found.gpus, found.driver, found.source) == (("12.0",), "570.1", "NVML")


def test_a_machine_without_any_of_it(tmp_path: Path) -> None:
    found = hardware.hardware(Made(tmp_path / "venv").python, {"PATH": "/nowhere"})
    assert found.source == "there is neither nvidia-ml-py with a driver nor nvidia-smi"


@pytest.mark.parametrize("text", ["abc", "", "12", "570.1.2.3", "570,1", "570.1\n"])
def test_what_is_no_drivers_version_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="is not a driver's version like 570"):
        driver.parse(text)


def test_imports_are_tried_apart_and_a_crash_is_named(tmp_path: Path) -> None:
    made = Made(tmp_path / "venv")
    for name, text in {
        "fine": "",
        "wrong": "raise AttributeError(\"Cannot set attribute 'src' directly\")",
        "dead": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "ended": "raise SystemExit(3)",
        "warns": "import sys; print('no C++ extensions\\n  are loaded', file=sys.stderr)",
    }.items():
        (made.site / f"{name}.py").write_text(text)
    found = imports.tried(
        made.python, ["fine", "wrong", "dead", "ended", "absent", "warns"], {"PATH": "/usr/bin:/bin"}
    )
    assert [(one.ok, one.said) for one in found] == [
        (True, ""),
        (False, "AttributeError: Cannot set attribute 'src' directly"),
        (False, "the process was killed by SIGSEGV"),
        (False, "exit code 3"),
        (False, "ModuleNotFoundError: No module named 'absent'"),
        (True, "no C++ extensions are loaded"),
    ]


def test_an_import_that_does_not_end_is_stopped_and_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(tmp_path / "venv")
    (made.site / "hangs.py").write_text("import time; time.sleep(600)")
    monkeypatch.setattr(limits, "IMPORT", 0.2)
    (found,) = imports.tried(made.python, ["hangs"], {"PATH": "/usr/bin:/bin"})
    assert (found.ok, found.ended) == (False, False)
    assert found.said == "not known: python did not end within 0.2 s"
