"""A first recipe from what a wheel and a source say: nothing is invented, and each remark stands where it belongs."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from retread.arch import Arch
from retread.elf.facts import LibraryFacts, Module
from retread.prooflevel import ProofLevel
from retread.recipe import writing
from retread.recipe.model import NO_PIN, NO_SDIST, Base, Pin, Sdist, Source, Unproven
from retread.records import Sha256
from retread.upstream import draft
from retread.upstream.clue import Said
from retread.upstream.draft import Found, Read
from retread.wheel.facts import Fault, WheelFacts

CODE = Module(index=0, sass=(Arch("8.0"), Arch("9.0")), ptx=(Arch("9.0"),), kernels=3)
LIBRARY = LibraryFacts(
    machine="x86_64", needed=("libcudart.so.12",), run_path=(), versions=(), undefined=(), modules=(CODE,)
)
WHEEL = WheelFacts(
    file="demo-1.0-py3-none-any.whl", sha256=Sha256("a" * 64), size=1, project="demo", version="1.0", tags=(),
    requires=(), members=3, libraries={"demo/_C.so": LIBRARY}, statement=None,
)  # fmt: skip
SOURCE = {
    "setup.py": "1",
    "demo/__init__.py": "2",
    "csrc/a.cu": "3",
    "csrc/CMakeLists.txt": "4",
    "tests/t.cu": "5",
}
FILES = {"demo/__init__.py": "2", "demo/version.py": "9", "demo/_C.so": ""}


def found(**changes: Any) -> Found:
    whole = Found(
        project="demo",
        version="1.0",
        said=Said("a demo", ("torch>=2.8",), ">=3.9", ()),
        wheel=Read(WHEEL, FILES, {"demo/_C.so": "12.8"}),
        bases=(Base(file=WHEEL.file, sha256=WHEEL.sha256),),
        sdist=Sdist(file="demo-1.0.tar.gz", sha256=Sha256("b" * 64)),
        source=SOURCE,
        builds_with=(),
        pin=Pin(repository="https://github.com/a/demo", commit="c" * 40),
        proven=True,
        toolchains=(),
        machine="x86_64",
    )
    return whole._replace(**changes)


def read(libraries: dict[str, LibraryFacts], releases: dict[str, str]) -> Read:
    return Read(replace(WHEEL, libraries=libraries), FILES, releases)


def test_a_wheel_and_its_source_make_an_overlay() -> None:
    made = draft.draft(found())
    target = made.recipe.targets["cu128"]
    assert made.recipe.native_inputs == ("setup.py", "csrc/**")
    assert target.generated == ("demo/version.py", "demo/**.so")
    assert (target.architectures, target.ptx, target.torch) == (CODE.sass, CODE.ptx, ">=2.8")
    assert (made.notes, made.unfit, made.remarks.behind) == ((), "", {})
    assert made.remarks.above["targets.cu128"].startswith("Overlay lane: a base wheel is pinned.")


def test_what_is_not_said_is_open_with_a_remark() -> None:
    made = draft.draft(
        found(
            said=Said("", ("torch",), "", ()),
            pin=Pin(repository="", commit=""),
            sdist=Sdist(
                file="x.tar.gz", sha256=Sha256("b" * 64), unproven=(Unproven(paths=("x",), reason=""),)
            ),
        )
    )
    assert made.recipe.summary == "demo 1.0"
    assert '[pin]\nrepository = ""  # TODO: the project' in writing.text(made.recipe, made.remarks)
    assert {key: words.partition(":")[0] for key, words in made.remarks.behind.items()} == {
        "pin.repository": "TODO", "pin.commit": "TODO",
        "sdist.unproven[0].reason": "TODO",
    }  # fmt: skip


def test_two_majors_of_cuda_are_for_a_person_to_choose_from() -> None:
    two = read({"demo/_C.so": LIBRARY, "demo/_D.so": LIBRARY}, {"demo/_C.so": "12.8", "demo/_D.so": "13.0"})
    made = draft.draft(found(wheel=two))
    assert made.recipe.targets["cu"].cuda == ""
    words = "TODO: a target has one CUDA; demo/_C.so is of CUDA 12.8, demo/_D.so is of CUDA 13.0"
    assert made.remarks.behind["targets.cu.cuda"] == words


def test_a_library_of_cuda_s_own_does_not_decide() -> None:
    more = replace(
        LIBRARY, modules=(replace(CODE, sass=(Arch("8.0"),), kernels=90),), run_path=("/build/lib", "$ORIGIN")
    )
    both = read({"demo.libs/libnvjpeg.so.13": more, "demo/_C.so": LIBRARY}, {"demo/_C.so": "12.8"})
    target = draft.draft(found(wheel=both)).recipe.targets["cu128"]
    assert target.architectures == CODE.sass
    assert [(one.library, one.architectures) for one in target.exempt] == [
        ("demo.libs/libnvjpeg.so.13", (Arch("8.0"),))
    ]
    assert target.run_path == {"demo.libs/libnvjpeg.so.13": ("$ORIGIN",)}


def test_a_release_that_no_code_says_is_open_and_what_is_loaded_is_told() -> None:
    made = draft.draft(found(wheel=read({"demo/_C.so": LIBRARY}, {})))
    assert (
        made.remarks.behind["targets.cu.cuda"]
        == "TODO: demo/_C.so does not say it; loaded is libcudart.so.12"
    )


def test_without_ptx_or_a_source_it_is_said_what_remains() -> None:
    bare = replace(LIBRARY, modules=(replace(CODE, ptx=()),))
    made = draft.draft(
        found(wheel=read({"demo/_C.so": bare}, {}), source={}, sdist=Sdist(file="", sha256=Sha256("")))
    )
    recipe = made.recipe
    assert (recipe.native_inputs, recipe.pin, recipe.sdist, made.unfit) == ((), NO_PIN, NO_SDIST, "")
    assert recipe.source == Source(wheel=WHEEL.file, sha256=WHEEL.sha256)
    assert any("the wheel holds no PTX" in one for one in made.notes)
    assert any("says that its source is not proven" in one for one in made.notes)
    assert f"{40 * 'c'}, which the wheel names, of https://github.com/a/demo" in made.remarks.above["source"]


def test_without_an_archive_a_commit_is_enough() -> None:
    made = draft.draft(found(sdist=NO_SDIST, proven=False))
    assert (made.recipe.source, made.recipe.pin.commit, made.recipe.level) == (
        None,
        40 * "c",
        ProofLevel.REPOSITORY,
    )
    assert made.recipe.native_inputs == ("setup.py", "csrc/**")
    assert "pin.commit" not in made.remarks.behind


def test_a_package_in_a_subfolder_has_a_root_and_an_unsound_wheel_takes_no_overlay() -> None:
    moved = {f"python/{path}" if path.startswith("demo/") else path: blob for path, blob in SOURCE.items()}
    made = draft.draft(found(source=moved))
    assert (made.recipe.source_root, made.unfit) == ("python", "")
    fault = Fault(check="wheel", subject=WHEEL.file, detail="another tag")
    unsound = Read(replace(WHEEL, faults=(fault,)), FILES, {"demo/_C.so": "12.8"})
    assert draft.draft(found(wheel=unsound)).unfit == "the wheel is not sound: wheel: another tag"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (["csrc/a.cu", "demo/__init__.py", "demo/ops/b.cu"], ("csrc/**", "demo/ops/**")),
        (["src/demo/__init__.py", "src/demo/a.cu", "CMakeLists.txt"], ("CMakeLists.txt", "src/demo/a.cu")),
        (["lib/x/include/a.h", "doc/a.cu", "benchmarks/b.cu"], ("lib/**",)),
        (["a.cu"], ("a.cu",)),
    ],
)
def test_without_a_wheel_packages_are_told_from_native_code(
    source: list[str], expected: tuple[str, ...]
) -> None:
    held = dict.fromkeys(source, "1")
    assert draft.native_inputs(found(wheel=None, source=held), "") == expected
