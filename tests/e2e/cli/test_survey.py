"""Reading an environment: what is there, what is gone, cut, broken, and Pythons that are none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from madeenv import CUDART, GPU_CODE, OLD, OPS, Made
from retread.errors import UsageError
from retread.fit import survey
from retread.fit.environment import Package

ENVIRONMENT = {"PATH": os.environ["PATH"]}


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "venv")


def packages(made: Made) -> dict[str, Package]:
    return {one.name: one for one in survey.survey(made.python, ENVIRONMENT).packages}


def test_an_environment_is_read_without_importing_anything_of_it(made: Made) -> None:
    made.torch()
    made.add(
        "Demo_Ops", "1.0", requires=["torch==2.8.0", 'dead; extra == "x"'], files={"demo/_C.so": GPU_CODE}
    )
    (made.site / "demo" / "__init__.py").write_text("raise SystemExit('imported')\n")
    found = survey.survey(made.python, ENVIRONMENT)
    assert found.torch_cuda == "12.8"
    assert (found.interpreter.version, found.interpreter.abi, found.interpreter.glibc) == (
        "3.12.3",
        "cp312",
        (2, 36),
    )
    demo = {one.name: one for one in found.packages}["demo-ops"]
    assert demo.requires == ("torch==2.8.0",)
    (library,) = demo.libraries
    assert library.facts is not None
    assert library.isa == {"8.0": (8, 7)}
    assert (library.missing, library.undefined, library.fault) == ((), (), "")


def test_symbols_are_held_against_torch_and_libraries_searched_as_the_loader_does(made: Made) -> None:
    made.torch()
    made.add("old", "1.0", files={"old/_C.so": OLD, "old/ops.so": OPS})
    old, ops = packages(made)["old"].libraries
    assert old.undefined == ("_ZN3c104goneEv", "_ZN3c104nearEv")  # the second ends another name that is there
    assert (ops.undefined, ops.missing) == ((), ("libcudart.so.12",))


def test_a_library_beside_torchs_own_is_found(made: Made) -> None:
    made.torch()
    (made.site / "torch" / "lib" / "libcudart.so.12").write_bytes(CUDART)
    made.add("ops", "1.0", files={"ops/_C.so": OPS})
    lib = made.site / "torch" / "lib"
    (lib / "libtorch_cuda.so").write_bytes(OPS)  # needs the runtime, but says no place for it
    (library,) = packages(made)["ops"].libraries
    assert library.missing == ("libcudart.so.12",)
    found = survey.survey(made.python, ENVIRONMENT | {"LD_LIBRARY_PATH": str(lib)})
    (library,) = {one.name: one for one in found.packages}["ops"].libraries
    assert library.missing == ()


def test_a_library_that_is_gone_or_cut_is_told(made: Made) -> None:
    made.add("demo", "1.0", files={"demo/_C.so": GPU_CODE, "demo/_D.so": GPU_CODE, "demo/_E.so": b"\x7fELF"})
    (made.site / "demo" / "_C.so").unlink()
    (made.site / "demo" / "_D.so").write_bytes(GPU_CODE[:100])
    told = {one.path: one.fault for one in packages(made)["demo"].libraries}
    assert told["demo/_C.so"] == "is listed in RECORD and not there (No such file or directory)"
    assert told["demo/_D.so"] == f"has 100 bytes, RECORD says {len(GPU_CODE)}: it was cut or changed"
    assert told["demo/_E.so"] == "no ELF file"


def test_without_a_record_the_libraries_of_its_folder_count(made: Made) -> None:
    info = made.add("demo", "1.0", files={"demo/sub/_C.so": GPU_CODE})
    (info / "RECORD").unlink()
    found = packages(made)["demo"]
    assert ([one.path for one in found.libraries], found.fault) == (["demo/sub/_C.so"], "")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\xff\xfe\x00", "METADATA cannot be read"),
        (b"", "METADATA has no name or no version"),
        (
            b"Name: demo\nVersion: 1.0\nRequires-Dist: ==\n\n",
            "METADATA requires '==', which is no requirement",
        ),
        (bytes(20 << 20), "METADATA cannot be read (larger than 16 MiB)"),
    ],
)
def test_broken_metadata_is_told_and_the_rest_is_read(made: Made, data: bytes, told: str) -> None:
    made.torch()
    made.add("demo", "1.0", inside={"METADATA": data})
    found = packages(made)
    assert told in found["demo"].fault
    assert found["demo"].version == "1.0"
    assert found["torch"].fault == ""


def test_a_wheel_of_ours_says_what_it_mends(made: Made) -> None:
    said = {"series": [{"name": "0001-newer-triton.patch"}, {"name": "0002-cap.patch"}]}
    made.add("demo", "1.0+cu128.1", inside={"retread.json": json.dumps(said).encode()})
    made.add("other", "1.0", inside={"retread.json": b"[]"})
    found = packages(made)
    assert found["demo"].mends == ("newer-triton", "cap")
    assert found["other"].mends == ()


def test_a_python_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no Python .*/nowhere") as caught:
        survey.python(tmp_path / "nowhere", ENVIRONMENT)
    assert caught.value.hint == "name an environment's: --python VENV/bin/python"


def test_the_folder_of_an_environment_and_the_activated_one_stand_for_its_python(made: Made) -> None:
    folder = made.python.parent.parent
    assert survey.python(folder, {}) == made.python
    assert survey.python(None, {"VIRTUAL_ENV": str(folder)}) == made.python


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "#!/bin/sh\necho hello; echo no >&2; exit 3\n",
            "does not answer as a Python does (exit code 3): no",
        ),
        ("#!/bin/sh\n", "does not answer as a Python does (exit code 0): it printed nothing"),
        ("no program", "cannot be asked"),
    ],
)
def test_a_program_that_is_no_python_is_a_usage_error(tmp_path: Path, text: str, told: str) -> None:
    program = tmp_path / "python"
    program.write_text(text)
    program.chmod(0o755)
    with pytest.raises(UsageError) as caught:
        survey.survey(program, ENVIRONMENT)
    assert told in str(caught.value)


def test_an_unreadable_folder_of_packages_is_passed_over(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.torch()
    shut = made.site
    listing = Path.iterdir

    def iterdir(self: Path) -> object:
        if self == shut:
            raise PermissionError(13, "Permission denied", str(self))
        return listing(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert packages(made) == {}


def test_a_sparse_library_of_a_terabyte_is_read_by_its_tables(made: Made) -> None:
    made.add("demo", "1.0", files={"demo/_C.so": b"\x7fELF"})
    place = made.site / "demo" / "_C.so"
    os.truncate(place, 1 << 40)
    record = next(made.site.glob("demo-1.0.dist-info")) / "RECORD"
    record.write_text("demo/_C.so,,\n")
    (library,) = packages(made)["demo"].libraries
    assert library.fault == "not a 64-bit little-endian ELF file"
