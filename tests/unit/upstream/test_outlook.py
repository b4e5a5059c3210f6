"""What an index means for a recipe: which patches users lack, which wheels serve a target, what there is to do."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from packaging.version import Version

from reports import case, failed, report, run, skipped
from retread.arch import Arch
from retread.elf.facts import LibraryFacts, Module
from retread.errors import FetchError, PlanError, RecipeError
from retread.recipe.model import Base, Exemption, Pin, Recipe, Sdist, Target
from retread.recipe.series import Change, ChangeKind, Patch
from retread.recipe.trial import Trial
from retread.records import Sha256
from retread.smoke.level import Level
from retread.smoke.report import Run
from retread.source.records import Applied, Verdict
from retread.upstream import outlook
from retread.upstream.outlook import Action, Jit, JitState, Need, RecipeOutlook, Upstream
from retread.wheel.facts import WheelFacts

DIGEST = Sha256(64 * "a")
TARGET = Target(
    cuda="12.8",
    torch=">=2.10",
    revision=1,
    architectures=(Arch("8.0"), Arch("10.0")),
    ptx=(),
    base=(Base(file="demo-1.2-py3-none-any.whl", sha256=DIGEST),),
    smoke=Trial(torch="2.13.0", triton=("3.6.0", "3.7.1")),
    exempt=(Exemption(library="demo/fa.so", architectures=(Arch("9.0a"),), reason="old GPUs alone"),),
)
RECIPE = Recipe(
    name="demo-1.2",
    project="demo",
    version="1.2",
    summary="A demonstration",
    pin=Pin(repository="https://example.org/demo", commit=40 * "0"),
    sdist=Sdist(file="demo-1.2.tar.gz", sha256=DIGEST),
    native_inputs=("csrc/**",),
    targets={"cu128": TARGET},
)
NAMES = {verdict: f"000{number}-{verdict.name.lower()}.patch" for number, verdict in enumerate(Verdict)}
SERIES = tuple(Applied(name=name, verdict=verdict, detail="demo/x.py:3") for verdict, name in NAMES.items())


def patch(*paths: str, upstream: str = "not reported", kind: ChangeKind = ChangeKind.MODIFY) -> Patch:
    return Patch(
        name="0001-demo.patch", sha256=DIGEST, subject="s", breaks="b", affects="a", upstream=upstream,
        drop_when="d", changes=tuple(Change(path=path, kind=kind) for path in paths), crlf=False,
    )  # fmt: skip


def upstream(*series: Applied, **changes: Any) -> Upstream:
    fields = {
        "version": "1.3", "file": "demo-1.3.tar.gz", "sha256": DIGEST, "newer": True, "proven": False,
        "without_source": (), "series": series, "superfluous": (),
    }  # fmt: skip
    return Upstream(**{**fields, **changes})


def library(*sass: str, needed: str = "libcudart.so.12") -> LibraryFacts:
    modules = (Module(index=0, sass=tuple(map(Arch, sass)), ptx=(Arch("8.0"),)),) if sass else ()
    return LibraryFacts(
        machine="x86_64", needed=(needed,), run_path=(), versions=(), undefined=(), modules=modules
    )


def wheel(requires: str = "torch>=2.10", **libraries: LibraryFacts) -> WheelFacts:
    return WheelFacts(
        file="demo-1.3-py3-none-any.whl", sha256=DIGEST, size=1, project="demo", version="1.3",
        tags=("py3-none-any",), requires=(requires, "numpy"), members=1, statement=None,
        libraries={f"demo/{name}.so": facts for name, facts in libraries.items()},
    )  # fmt: skip


def judge(**answers: Any) -> RecipeOutlook:
    fields = {"upstream": None, "need": None, "jit": None, **answers}
    return outlook.judge(fields.pop("recipe", RECIPE), fields.pop("heir", "demo-1.2"), **fields)


def told(found: RecipeOutlook) -> list[tuple[Action, str]]:
    return [(task.action, task.subject) for task in found.tasks]


# The series.


def test_the_heir_is_the_project_s_highest_recipe() -> None:
    older, newer = (
        replace(RECIPE, name="demo-1.1", version="1.1"),
        replace(RECIPE, name="new", version="1.10"),
    )
    foreign = replace(RECIPE, name="other-9", project="other", version="9")
    family = {one.name: one for one in (older, RECIPE, newer, foreign)}
    assert outlook.heir(older, family) == outlook.heir(newer, family) == "new"
    assert outlook.heir(RECIPE, {"twin": replace(RECIPE, name="twin")}) == "demo-1.2"


@pytest.mark.parametrize(
    ("verdict", "header", "files", "lost"),
    [
        (Verdict.UPSTREAM, "not reported", ["a/x.py"], True),
        (Verdict.APPLIES, "fixed in 1.3 (1234567)", ["a/x.py"], False),
        (Verdict.CONFLICT, "not reported", ["a/x.py"], False),
        (Verdict.CONFLICT, "fixed in 1.3 (1234567); so they say", ["a/x.py"], True),
        (Verdict.CONFLICT, "fixed in 1.4 (1234567)", ["a/x.py"], False),
        (Verdict.CONFLICT, "fixed in main (1234567)", ["a/x.py"], False),
        (Verdict.GONE, "fixed in 1.2 (1234567)", ["a/y.py"], True),
        (Verdict.GONE, "not reported", ["c.py"], True),
        (Verdict.GONE, "not reported", ["a/y.py"], False),
        (Verdict.GONE, "not reported", ["b/x.py"], False),
    ],
)
def test_users_lack_a_patch_unless_upstream_has_it_or_nothing_of_its_aim_is_left(
    verdict: Verdict, header: str, files: list[str], lost: bool
) -> None:
    applied = Applied(name="0001-demo.patch", verdict=verdict)
    one = patch("a/x.py", "a/y.py", upstream=header)
    assert outlook.superfluous(one, applied, Version("1.3"), files) is lost


def test_what_upstream_lacks_keeps_the_recipe() -> None:
    found = upstream(*SERIES[:3], superfluous=(SERIES[2].name,))
    assert outlook.kept_by_series(RECIPE, found) == [
        f"{SERIES[0].name} (applies)",
        f"{SERIES[1].name} (applies at other lines)",
    ]
    assert outlook.kept_by_series(RECIPE, upstream(newer=False)) == ["1.2 is the newest release"]


# The wheel.

FULL = library("8.0", "10.0")


@pytest.mark.parametrize(
    ("facts", "lacks"),
    [
        (wheel(C=FULL, plain=library()), []),
        (wheel(C=FULL, fa=library("9.0a")), []),
        (wheel(C=library("8.0", "10.0f", needed="libc.so.6")), []),
        (wheel(C=library("8.0", "9.0a")), ["upstream's demo/C.so has no native code for 10.0"]),
        (wheel(C=library("8.0", "10.0", needed="libcudart.so.13")), ["upstream's demo/C.so is for CUDA 13"]),
        (wheel(plain=library()), ["the upstream wheel holds no GPU code"]),
        (wheel(C=FULL, fa=library("8.0")), ["upstream's demo/fa.so has no native code for 9.0a"]),
        (wheel("torch==2.15.0", C=FULL), ["the upstream wheel is for torch ==2.15.0, the target for >=2.10"]),
        (wheel("torch<2.14,>=2.10", C=FULL), ["the upstream wheel is for torch <2.14,>=2.10, the target for >=2.10"]),
        (wheel("torch; sys_platform == 'none'", C=FULL), []),
    ],
)  # fmt: skip
def test_a_wheel_serves_a_target_or_it_is_said_what_it_lacks(facts: WheelFacts, lacks: list[str]) -> None:
    assert outlook.kept_by_wheel(RECIPE, facts) == [f"cu128: {one}" for one in lacks]


# The jit level.


def test_the_first_target_of_the_overlay_lane_is_tried_under_other_versions() -> None:
    compiled = replace(TARGET, base=())
    recipe = replace(RECIPE, targets={"cu130": compiled, "cu128": TARGET})
    assert outlook.overlay_target(recipe, ()) == "cu128"
    again = outlook.retried(recipe, "cu128", Trial(torch="2.16.0", triton=("3.10.0",))).targets
    assert again["cu128"].smoke == replace(TARGET.smoke, torch="2.16.0", triton=("3.10.0",))  # type: ignore[type-var]
    assert again["cu130"] is compiled
    with pytest.raises(PlanError) as caught:
        outlook.overlay_target(replace(RECIPE, targets={"cu130": compiled}), (patch("csrc/a.cu"),))
    assert caught.value.faults == (
        "cu130: targets.cu130.base: no base wheel is pinned; "
        "0001-demo.patch touches csrc/a.cu, a native input (csrc/**)",
    )


def test_a_report_becomes_numbers_and_its_first_failures() -> None:
    good = run(case("a/1"), skipped("a/2", "no"), level=Level.JIT)
    bad = run(
        case("b/0"),
        *(failed(f"b/{number}", reason=f"wrong: {number}") for number in range(1, 8)),
        level=Level.JIT,
    )
    passed = outlook.jit(report(good), torch="2.15.0", triton="3.9.0")
    assert (passed.state, passed.passed, passed.skipped, passed.failed) == (JitState.PASSED, 1, 1, 0)
    assert passed.skips == ("1 skipped: no",)
    broken = outlook.jit(report(good, bad), torch="2.15.0", triton="3.9.0")
    assert (broken.state, broken.failed, len(broken.failures)) == (JitState.FAILED, 7, 5)
    assert broken.failures[0] == "b/1: wrong: 1"


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (run(level=Level.JIT), "nothing ran, no case"),
        (run(unable="there is no Triton", level=Level.JIT), "nothing ran, there is no Triton"),
        (
            run(skipped("a/1", "too old"), skipped("a/2", "too old"), level=Level.JIT),
            "nothing ran, 2 skipped",
        ),
    ],
)
def test_kernels_that_nobody_compiled_have_neither_passed_nor_failed(made: Run, words: str) -> None:
    found = outlook.jit(report(made, ok=True), torch="2.15.0", triton="3.9.0")
    assert found.state is JitState.NOTHING
    assert outlook.jit_words(found) == f"torch 2.15.0, Triton 3.9.0: {words}"
    assert judge(jit=found).tasks == ()


# What is to be done.


def test_the_heir_of_a_new_release_is_told_about_every_patch() -> None:
    found = judge(upstream=upstream(*SERIES, without_source=("1.4",)))
    assert told(found) == [
        (Action.PIN, "1.3"),
        (Action.DROP, NAMES[Verdict.UPSTREAM]),
        (Action.AIM, NAMES[Verdict.GONE]),
        (Action.REMAKE, NAMES[Verdict.CONFLICT]),
        (Action.LOOK, "1.4"),
    ]
    done = upstream(*SERIES, superfluous=(NAMES[Verdict.GONE], NAMES[Verdict.CONFLICT]))
    assert [action for action, _ in told(judge(upstream=done))] == [Action.PIN, *(3 * [Action.DROP])]


def test_another_recipe_s_release_asks_nothing_of_this_one() -> None:
    found = judge(upstream=upstream(*SERIES), heir="demo-1.3", need=Need(wheel="", kept_by=("a patch",)))
    assert found.tasks == ()
    assert outlook.outlook([found]).attention is False


def test_a_needless_recipe_goes_and_its_patches_with_it() -> None:
    found = judge(upstream=upstream(*SERIES), need=Need(wheel="demo-1.3-py3-none-any.whl", kept_by=()))
    assert told(found) == [(Action.RETIRE, "demo-1.3-py3-none-any.whl")]


def test_failing_kernels_and_errors_want_attention() -> None:
    broken = Jit(
        state=JitState.FAILED, torch="2.15.0", triton="3.9.0", passed=2, failed=1, failures=("a: b",)
    )
    errors = [
        FetchError("no connection", faults=["one", "two"]),
        RecipeError("bad"),
    ]
    found = judge(jit=broken, errors=errors)
    assert told(found) == [
        (Action.MEND, "torch 2.15.0, Triton 3.9.0"),
        (Action.ASK, "demo-1.2"),
        (Action.ASK, "demo-1.2"),
    ]
    assert found.tasks[0].why == "1 of 3 cases fail"
    assert found.errors == ("no connection: one", "bad")
    assert judge(jit=replace(broken, state=JitState.UNFIT)).tasks == ()


def test_the_title_names_recipes_while_they_are_few() -> None:
    quiet, loud = judge(), outlook.unread("demo-1.3", RecipeError("bad"))
    titles = [outlook.outlook([quiet, *(number * [loud])]).title for number in range(4)]
    assert titles == [
        "Upstream: nothing to do",
        "Upstream: demo-1.3 wants attention",
        "Upstream: demo-1.3 and demo-1.3 want attention",
        "Upstream: 3 recipes want attention",
    ]
