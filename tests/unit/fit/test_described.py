"""A lock file in the place of an environment: Windows with its wheels, its drivers, and its torch for CPU alone."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from fitting import made, release
from retread.arch import Arch
from retread.cli import main
from retread.errors import UsageError
from retread.fit import described, inquiry, judge
from retread.fit.catalogue import Catalogue, Code
from retread.fit.driver import Driver
from retread.fit.environment import Hardware
from retread.fit.report import FitReport
from retread.lockfile.pin import Locked

BASES = ("demo-1.2-py39-none-manylinux_2_28_x86_64.whl", "demo-1.2-py39-none-win_amd64.whl")
NEW = msgspec.structs.replace(
    made("cu128", ">=2.8", requires=("nvidia-cuda-runtime-cu12>=12.8",)),
    bases=BASES,
    platforms={
        "win_amd64": Code(architectures=(Arch("12.0"),), ptx=(), requires=(), note="No GPU has run it.")
    },
)
KNOWN = Catalogue(schema=1, releases=(release("1.2", NEW),), faults=(), usage=())


def pin(project: str, version: str, *files: str, source: str = "") -> Locked:
    return Locked(project=project, version=version, files=files, source=source)


def fit(*pins: Locked, platform: str = "win_amd64", gpu: str = "12.0", driver: str = "572.16") -> FitReport:
    hardware = Hardware(gpus=(Arch(gpu),), driver=driver, source="the options")
    python = described.interpreter("3.12", platform)
    return judge.judge(described.environment(pins, python, hardware, name="uv.lock"), KNOWN)


@pytest.mark.parametrize(
    "torch", [pin("torch", "2.10.0+cu128"), pin("torch", "2.10.0", source="https://example.org/whl/cu128")]
)
def test_the_wheel_for_windows_is_taken_by_its_tag_and_made_on_linux(torch: Locked) -> None:
    found = fit(torch)
    assert found.fits
    [ours] = found.candidates
    assert (ours.file, ours.note) == ("demo-1.2+cu128.1-py39-none-win_amd64.whl", "No GPU has run it.")
    assert ours.gpus == {"12.0": "native, tuned for it"}
    assert ours.get == "make wheel RECIPE=demo-1.2 TARGET=cu128 PLATFORM=win_amd64"
    assert ours.pip == "python -m pip install --no-deps dist/demo-1.2+cu128.1-py39-none-win_amd64.whl"
    linux = fit(torch, platform="x86_64", driver="570.26").candidates[0]
    assert linux.file == "demo-1.2+cu128.1-py39-none-manylinux_2_28_x86_64.whl"
    assert linux.get == "make wheel RECIPE=demo-1.2 TARGET=cu128"
    assert "nvidia-cuda-runtime-cu12>=12.8" in linux.pip


def test_torch_of_the_package_index_has_no_cuda_on_windows_and_what_has_is_said() -> None:
    found = fit(pin("torch", "2.10.0"))
    [fault] = [one for one in found.findings if one.fault]
    assert fault.says == (
        "2.10.0 is not built for CUDA: no GPU code runs with it; the package index has torch for Windows for CPU alone"
    )
    assert fault.next == (
        "pip install torch==2.10.0 --index-url PYTORCHS_INDEX/cu128: PyTorch's own index has it for CUDA 12.8"
    )
    assert found.verdict.endswith(fault.next)
    assert fit(pin("torch", "2.10.0"), pin("nvidia-cuda-runtime-cu12", "12.8.90"), platform="x86_64").fits


def test_a_lock_without_torch_says_so_in_its_own_words() -> None:
    [fault] = [one for one in fit(pin("numpy", "2.1")).findings if one.fault]
    assert (fault.says, fault.next) == ("is not in the lock file", "lock the torch that your code wants")


def test_a_torch_for_another_cuda_lacks_the_library_by_its_name_there() -> None:
    reasons = fit(pin("torch", "2.11.0+cu130"), driver="580.88").candidates[0].reasons
    assert reasons == ("it needs cudart64_12.dll; the installed torch is built for CUDA 13.0",)


@pytest.mark.parametrize(
    ("driver", "linux", "windows"),
    [
        ("525.60", (12, 0), (11, 8)),
        ("528.33", (12, 0), (12, 0)),
        ("550.54", (12, 4), (12, 3)),
        ("572.16", (12, 8), (12, 8)),
    ],
)
def test_drivers_of_windows_have_numbers_of_their_own(
    driver: str, linux: tuple[int, int], windows: tuple[int, int]
) -> None:
    assert (Driver(driver).cuda, Driver(driver, windows=True).cuda) == (linux, windows)


def test_an_old_driver_is_told_with_the_first_of_windows() -> None:
    found = fit(pin("torch", "2.10.0+cu128"), gpu="8.0", driver="526.47")
    assert "CUDA 12.8 needs driver >= 528; 526.47 is here" in found.candidates[0].reasons
    assert Driver("526.47").serves((12, 8))
    assert [one.next for one in found.findings if one.fault] == ["install driver 528 or newer"]


def test_what_cannot_be_told_of_a_lock_file_is_refused() -> None:
    for python, platform, told in (
        ("3.12", "win_amd46", "did you mean 'win_amd64'"),
        ("", "win_amd64", "--python: missing"),
        ("/venv/bin/python", "win_amd64", "with --lock it is the version of the Python"),
    ):
        with pytest.raises(UsageError, match=told):
            described.interpreter(python, platform)
    wheels = [f"torch-{one}-cp312-cp312-win_amd64.whl" for one in ("2.9.1", "2.10.0")]
    two = [pin("torch", "2.9.1", wheels[0]), pin("torch", "2.10.0", wheels[1])]
    with pytest.raises(UsageError, match=r"has torch 2\.9\.1 and 2\.10\.0 for cp312 on win_amd64"):
        fit(*two)
    other = pin("torch", "2.9.1", "torch-2.9.1-cp312-cp312-manylinux_2_28_x86_64.whl")
    assert fit(other, pin("torch", "2.10.0+cu128", wheels[1])).torch == "2.10.0+cu128"


def test_a_lock_file_is_read_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"torch==2.10.0 --hash=sha256:{'a' * 64}\nxformers==0.0.35 --hash=sha256:{'b' * 64}\n")
    line = ["fit", "--lock", str(lock), "--python", "3.12", "--gpu", "12.0", "-q"]
    assert main.run([*line, "--platform", "win_amd64"]) == 22
    out = capsys.readouterr().out
    assert "pip install torch==2.10.0 --index-url PYTORCHS_INDEX/cu128" in out
    lock.write_text(lock.read_text().replace("2.10.0", "2.10.0+cu128"))
    assert main.run([*line, "--platform", "win_amd64", "--json"]) in {0, 22}
    wheels = {one["file"] for one in json.loads(capsys.readouterr().out)["candidates"] if one["fits"]}
    assert "xformers-0.0.35+cu128.1-py39-none-win_amd64.whl" in wheels
    assert main.run(["fit", "--platform", "win_amd64"]) == 2
    assert "name the file: --lock FILE" in capsys.readouterr().err
    assert inquiry.packaged().releases
