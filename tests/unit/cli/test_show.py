"""What people read: plans, wheels, audits and the store as tables that line up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from retread.arch import Arch
from retread.audit.report import AuditReport, Check
from retread.cli import show
from retread.doors.store import Entry, Kind
from retread.elf import facts
from retread.elf.facts import Kernels, LibraryFacts, Module
from retread.recipe import workspace
from retread.recipe.lane import Lane
from retread.recipe.plan import Forecast, Plan, Step, settled
from retread.recipe.series import Change, ChangeKind
from retread.records import Sha256
from retread.source.records import Applied, Verdict
from retread.wheel.comparison import Comparison, Difference, Side, Tier, What
from retread.wheel.facts import Fault, WheelFacts
from retread.wheel.statement import FileStatement, PatchStatement, Promise, Statement

DIGEST = Sha256(64 * "a")


def archs(text: str) -> tuple[Arch, ...]:
    return tuple(Arch(one) for one in text.split())


def library(*modules: tuple[str, str], run_path: tuple[str, ...] = ()) -> LibraryFacts:
    return LibraryFacts(
        machine="x86_64",
        needed=(),
        run_path=run_path,
        versions=(),
        undefined=(),
        modules=tuple(
            Module(index=index, sass=archs(sass), ptx=archs(ptx)) for index, (sass, ptx) in enumerate(modules)
        ),
    )


PLAN = Plan(
    schema=1,
    recipe="demo-1.2",
    target="cu128",
    wheel="demo-1.2+cu128.1-py3-none-any.whl",
    lane=Lane.OVERLAY,
    reason="the series is empty",
    torch=">=2.10",
    python=">=3.9",
    architectures=archs("8.0 10.0"),
    ptx=archs("8.0"),
    forecast=Forecast(
        seconds=35.0,
        memory=160_000_000,
        free_memory=8_000_000_000,
        disk=450_000_000,
        free_disk=60_000_000_000,
        lacks=(),
    ),
    steps=settled(
        [
            Step(stage="fetch", subject="demo-1.2.tar.gz", cached=True, reason="pinned by sha256 aaaa"),
            Step(stage="graft", subject="demo/_C.so", cached=False, reason="lacks 10.0 12.0"),
        ]
    ),
)
WHEEL = WheelFacts(
    file="demo-1.2-py3-none-any.whl",
    sha256=DIGEST,
    size=3_345_678,
    project="demo",
    version="1.2",
    tags=("py3-none-any",),
    requires=("torch>=2.10", "numpy"),
    members=5,
    libraries={
        "demo/_C.so": library(("7.5 8.0 9.0a", "8.0"), ("7.5 8.0 9.0a", "8.0"), ("9.0a", "")),
        "demo/plain.so": library(run_path=("$ORIGIN", "$ORIGIN/..")),
    },
    statement=None,
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
    commit="3da0fc922521aaecebc35e3938b5110bd5cb7195",
    submodules=(),
    commit_time=0,
    sdist=FileStatement(file="demo-1.2.tar.gz", sha256=DIGEST),
    base=FileStatement(file="demo-1.2-py3-none-any.whl", sha256=DIGEST),
    compiled=None,
    series=(
        PatchStatement(
            name="0001-a.patch",
            sha256=DIGEST,
            subject="Do the thing",
            breaks="",
            affects="",
            upstream="not reported",
            drop_when="",
        ),
    ),
    toolchain=None,
    libraries={},
    promise=Promise(
        project="demo", version="1.2+cu128.1",
        cuda="12.8", torch="", architectures=(), ptx=(), exempt=(), requires=(), run_path={}, note="No Blackwell."
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("modules", "device", "verdict"),
    [
        ([("8.0", "8.0")], "8.6", "native"),
        ([("8.0", "8.0")], "10.0", "jit"),
        ([("8.0", "8.0")], "7.5", "none"),
        ([("9.0a", "")], "9.0", "native"),
        ([("9.0a", "")], "10.0", "none"),
        ([("9.0a", "9.0a")], "10.0", "none"),
        ([("8.0", "9.0a")], "9.0", "jit"),
        ([("10.0f", "")], "10.3", "native"),
        ([("8.0 10.0", "8.0"), ("8.0", "8.0")], "10.0", "jit"),
        ([("8.0 10.0", "8.0"), ("8.0", "")], "10.0", "part"),
        ([("", "8.0")], "8.0", "jit"),
    ],
)
def test_the_worst_module_decides(modules: list[tuple[str, str]], device: str, verdict: str) -> None:
    assert facts.coverage(library(*modules), Arch(device)) == verdict


def test_a_plan_names_lane_steps_and_reasons() -> None:
    assert show.plan(PLAN).splitlines() == [
        "demo-1.2 cu128 -> demo-1.2+cu128.1-py3-none-any.whl",
        "for torch >=2.10, Python >=3.9",
        "for GPUs 8.0 10.0; newer ones from PTX 8.0",
        "lane: overlay (the series is empty)",
        "time: about 40 s",
        "memory: 160.0 MB; 8.0 GB are free",
        "disk: 450.0 MB at most; 60.0 GB are free",
        "  stage  state     what             decided by",
        "  fetch  in store  demo-1.2.tar.gz  sha256 aaaa",
        "  graft  to do     demo/_C.so       lacks 10.0 12.0",
    ]


def forecast(**changes: Any) -> list[str]:
    """Return what a plan says between its lane and its steps."""
    found = show.plan(replace(PLAN, forecast=replace(PLAN.forecast, **changes), steps=PLAN.steps[:1]))
    return found.splitlines()[4:-2]


def test_a_plan_says_what_nobody_can_know_yet() -> None:
    assert forecast(seconds=None, memory=None)[:2] == [
        "time: its first compile here will show",
        "memory: as many compiles at a time as fit; 8.0 GB are free",
    ]


def test_a_plan_of_what_is_in_the_store_takes_nothing() -> None:
    assert forecast(seconds=0.0, memory=0, disk=0) == [
        "time: next to none, since the finished wheel is in a store"
    ]


def test_a_plan_says_what_the_machine_cannot_have() -> None:
    assert forecast(
        disk=61_000_000_000, lacks=("cuda-12.8: nvcc: no connection", "there is no C++ compiler")
    )[3:] == [
        "note: there may be too little disk",
        "this machine cannot have:",
        "  - cuda-12.8: nvcc: no connection",
        "  - there is no C++ compiler",
    ]


def test_a_plan_cuts_long_names_in_the_middle() -> None:
    name = "nvidia_cuda_nvcc_cu12-12.8.93-py3-none-manylinux2010_x86_64.manylinux_2_12_x86_64.whl"
    step = replace(PLAN.steps[0], subject=name)
    last = show.plan(replace(PLAN, steps=(step,))).splitlines()[-1]
    assert last == "  fetch  in store  nvidia_cuda_nvcc...86_64.whl  sha256 aaaa"


def test_a_series_names_each_verdict() -> None:
    applied = [
        Applied(name="0001-a.patch", verdict=Verdict.APPLIES),
        Applied(name="0002-longer.patch", verdict=Verdict.CONFLICT, detail="demo/x.py:7"),
    ]
    assert show.series("demo-1.2", applied).splitlines() == [
        "demo-1.2",
        "  0001-a.patch       applies",
        "  0002-longer.patch  does not apply  demo/x.py:7",
    ]
    assert show.series("demo-1.2", []) == "demo-1.2\n  (no patches)"


def test_a_wheel_says_how_each_gpu_is_served() -> None:
    assert show.wheel(WHEEL).splitlines() == [
        f"demo-1.2-py3-none-any.whl  3.3 MB  sha256 {DIGEST}",
        "requires: torch>=2.10, numpy",
        "",
        "demo/_C.so  (x86_64)",
        "  2 modules: native 7.5 8.0 9.0a; PTX 8.0",
        "  1 module: native 9.0a; PTX none",
        "  native code      9.0 (H100, H200)",
        "  IN PART          7.5 (Turing), 8.0 (A100), 8.6 (RTX 30), 8.9 (RTX 40, L40): 2 of 3 kernels, 2 of 3 modules",
        "  IN PART          10.0 (B200), 10.3 (B300), 12.0 (RTX 50): 2 of 3 kernels, "
        "2 of 3 modules, 2 of them by JIT",
        "",
        "demo/plain.so  (x86_64)",
        "  run path: $ORIGIN:$ORIGIN/..",
        "  no GPU code",
    ]


def test_of_what_cannot_be_read_nothing_is_claimed() -> None:
    told = list(show.library("x.so", replace(library(), unread=("x.so: it is cut short",))))
    assert told[1:] == ["  cannot be read: x.so: it is cut short", "  no GPU code in what was read"]


def test_jit_is_told_apart() -> None:
    lines = list(show.library("x.so", library(("8.0", "8.0"))))
    assert "  by JIT from PTX  9.0 (H100, H200), 10.0 (B200), 10.3 (B300), 12.0 (RTX 50)" in lines
    assert "  NO CODE          7.5 (Turing)" in lines


def test_a_gpu_that_comes_with_an_arm_processor_is_told_for_that_alone() -> None:
    spark = {one: "DGX Spark" in str([*show.library("x.so", replace(library(("8.0", "8.0")), machine=one))])
             for one in ("x86_64", "aarch64", "i686")}  # fmt: skip
    assert spark == {"x86_64": False, "aarch64": True, "i686": False}


def test_a_wheel_of_retreads_says_what_went_in() -> None:
    assert show.wheel(replace(WHEEL, statement=STATEMENT)).splitlines()[2:5] == [
        "made by retread 0.1.0: demo-1.2 cu128, lane overlay, commit 3da0fc922521; source proven",
        "  0001-a.patch: Do the thing (upstream: not reported)",
        "note: No Blackwell.",
    ]


def test_a_wheel_without_libraries() -> None:
    assert show.wheel(replace(WHEEL, libraries={}, requires=())).splitlines()[1:] == [
        "requires: nothing",
        "",
        "no shared objects",
    ]


def test_modules_without_kernels_and_those_to_be_linked_are_told_apart() -> None:
    found = LibraryFacts(
        machine="x86_64", needed=(), run_path=(), versions=(), undefined=(),
        modules=(
            Module(index=0, sass=archs("9.0"), ptx=(), kernels=0),
            Module(index=1, sass=archs("9.0"), ptx=(), kernels=3),
            Module(index=2, sass=(), ptx=(), kernels=None),
        ),
        relocatable=(Module(index=0, sass=archs("9.0"), ptx=archs("9.0"), kernels=3),),
        kernels=(Kernels(sass=archs("9.0"), ptx=archs("9.0"), count=3, names=("a", "b", "c")),),
        unread=("x.so: at 0x10: cut short",),
    )  # fmt: skip
    assert list(show.library("x.so", found)) == [
        "x.so  (x86_64)",
        "  cannot be read: x.so: at 0x10: cut short",
        "  2 modules: native 9.0; PTX none; 1 without kernels",
        "  1 module: code that is linked when it is loaded, for no GPU yet",
        "  1 relocatable module: native 9.0; PTX 9.0",
        "  native code      9.0 (H100, H200)",
        "  by JIT from PTX  10.0 (B200), 10.3 (B300), 12.0 (RTX 50)",
        "  NO CODE          7.5 (Turing), 8.0 (A100), 8.6 (RTX 30), 8.9 (RTX 40, L40)",
    ]
    assert list(show.lacking({"x.so": found}, Arch("8.0"))) == [
        "", "x.so: 3 kernels without code for 8.0", "  a", "  b", "  c",
    ]  # fmt: skip


def test_what_was_not_looked_into_and_what_is_wrong_is_noted() -> None:
    fault = Fault(check="wheel", subject="demo.whl", detail="WHEEL: Tag is 'a'")
    unread = {f"demo/{number}.zip": "a zip archive" for number in range(22)}
    lines = show.wheel(replace(WHEEL, libraries={}, unread=unread, faults=(fault,))).splitlines()
    assert lines[2:7] == ["", "no shared objects", "", "not looked into:", "  demo/0.zip: a zip archive"]
    assert lines[-3:] == ["  and 2 more", "", "note: wheel: demo.whl: WHEEL: Tag is 'a'"]


def test_rules_hold_only_of_what_was_read() -> None:
    found = show.audit(report(target="", ok=True, unread={"demo/x.so": "a text"})).splitlines()
    assert found[-3:] == [
        "not looked into:", "  demo/x.so: a text", "demo.whl: the rules of any wheel hold for what was read",
    ]  # fmt: skip
    failing = show.audit(report(target="", wheel="x.so", unread={"demo/x.so": "a text"})).splitlines()
    assert failing[-1] == "x.so: the rules of any file DO NOT HOLD"


def report(**changes: Any) -> AuditReport:
    checks = (
        Check(check="record", subject="demo.whl", ok=True, detail="5 members, every hash right"),
        Check(check="sass", subject="demo/_C.so", ok=False, detail="1 of 18 modules: module 7 lacks 10.0"),
    )
    found = AuditReport(
        schema=1, wheel="demo.whl", sha256=DIGEST, size=1, target="demo-1.2 cu128", ok=False, checks=checks
    )
    return replace(found, **changes)


def test_an_audit_names_what_does_not_hold() -> None:
    assert show.audit(report()).splitlines() == [
        "  ok    record  demo.whl    5 members, every hash right",
        "  FAIL  sass    demo/_C.so  1 of 18 modules: module 7 lacks 10.0",
        "demo.whl: the promise of demo-1.2 cu128 DOES NOT HOLD",
    ]


def test_an_audit_without_a_target() -> None:
    assert show.audit(report(target="", ok=True)).splitlines()[-1] == "demo.whl: the rules of any wheel hold"


def test_a_store_counts_its_rooms() -> None:
    entries = [
        Entry(Kind.WHEELS, "k", Path("w"), 2_000_000, 100_000.0),
        Entry(Kind.CUBINS, "a", Path("a"), 5_000, 0.0),
        Entry(Kind.CUBINS, "b", Path("b"), 5_000, 20_000.0),
    ]
    assert show.store(Path("/store"), entries, {}, now=100_000.0).splitlines() == [
        "/store  (2 used in the last day)",
        "  cubins  2 entries  10 kB",
        "  wheels  1 entry    2.0 MB",
        "  all     3 entries  2.0 MB",
    ]
    assert show.store(Path("/store"), [], {}, now=0.0).splitlines()[1] == "  all  0 entries  0 kB"


def test_a_store_counts_what_lies_beside_its_entries() -> None:
    entries = [Entry(Kind.WHEELS, "k", Path("w"), 2_000_000, 0.0)]
    beside = {"work": 3_000_000, "sccache": 500_000}
    assert show.store(Path("/store"), entries, beside, now=100_000.0).splitlines() == [
        "/store  (0 used in the last day)",
        "  wheels   1 entry  2.0 MB",
        "  sccache           500 kB",
        "  work              3.0 MB",
        "  all      1 entry  5.5 MB",
    ]


def comparison(tier: Tier, *differences: Difference) -> Comparison:
    side = Side(file="demo-1.2-py3-none-any.whl", sha256=DIGEST)
    return Comparison(schema=1, first=side, second=side, tier=tier, differences=differences)


COMMENT = Difference(member="demo/_C.so", kind=What.SECTION, detail=".comment (19 bytes)", runs=False)
MISSING = Difference(member="demo/x.py", kind=What.FIRST, detail="", runs=True)


def test_a_comparison_says_what_matters_first() -> None:
    assert show.comparison(comparison(Tier.IDENTICAL)) == "identical: the same bytes"
    assert show.comparison(comparison(Tier.DIFFERENT, COMMENT, MISSING)).splitlines() == [
        "different: what is installed can behave differently",
        "  matters   demo/x.py   only in first",
        "  harmless  demo/_C.so  section        .comment (19 bytes)",
    ]
    long = show.comparison(comparison(Tier.SAME_CODE, *[COMMENT] * 42)).splitlines()
    assert (len(long), long[-1]) == (42, "  and 2 more")


@pytest.mark.parametrize(
    "text",
    [
        show.plan(PLAN),
        show.comparison(comparison(Tier.DIFFERENT, COMMENT, MISSING)),
        show.wheel(replace(WHEEL, statement=STATEMENT)),
        show.audit(report()),
        show.series("demo-1.2", [Applied(name="0001-a.patch", verdict=Verdict.APPLIES)]),
    ],
)
def test_nothing_ends_in_spaces(text: str) -> None:
    assert [line for line in text.split("\n") if line != line.rstrip()] == []
    assert not text.endswith("\n")


def test_recipes_say_for_whom_each_target_is_and_how_it_is_made() -> None:
    """The first is the table's head; a recipe's targets stand below its summary."""
    root = Path(__file__).parents[3]
    wheels = ["xformers-0.0.29.post3+cu128.clang.1-cp312-cp312-manylinux_2_34_x86_64.whl"]
    wheels += ["xformers-0.0.35+cu128.2-py39-none-manylinux_2_28_x86_64.whl"]  # another revision
    wheels += ["xformers-0.0.35+cu128.1-py39-none-win_amd64.whl", "audit.json"]
    found = show.recipes(
        [workspace.load(root, f"xformers-{one}") for one in ("0.0.29.post3", "0.0.35")], wheels
    )
    lines = [re.sub(r"  +", "  ", line) for line in found.splitlines()]
    assert lines[0] == "  target  platform  torch  Python  GPUs  lane  built here"
    assert lines[1].startswith("xformers-0.0.29.post3  xFormers 0.0.29.post3: ")
    assert lines[2:5] == [
        "  cu128  x86_64  ==2.8.0  >=3.9,<3.14  8.0 9.0 10.0 12.0  source  yes",
        "  cu130  x86_64  ==2.11.0  >=3.10,<3.15  9.0 10.0 12.0  source  no",
        "  cu124  x86_64  ==2.6.0  3.9 3.10 3.11 3.12  6.0 7.0 7.5 8.0 9.0a  overlay  no",
    ]
    assert lines[6:8] == [
        f"  cu128  {platform}  >=2.10  >=3.9  7.5 8.0 9.0a 10.0 12.0  overlay  {built}"
        for platform, built in (("x86_64", "no"), ("win_amd64", "yes"))
    ]
    only = show.recipes(
        [workspace.load(root, "xformers-0.0.35")], wanted=lambda one: "12.1" in one.architectures
    )
    assert [line.split()[:2] for line in only.splitlines()[2:]] == [["cu130", "aarch64"]]


def test_a_target_that_the_series_closes_is_shown_as_that() -> None:
    loaded = workspace.load(Path(__file__).parents[3], "xformers-0.0.34")
    change = Change(path="xformers/csrc/x.cu", kind=ChangeKind.MODIFY)
    closed = loaded._replace(patches=(replace(loaded.patches[0], changes=(change,)),))
    lines = show.recipes([closed]).splitlines()
    assert ["  none: closed by the series  " in line for line in lines[2:]] == [True, True, False]
    assert re.search(r"  source +no$", lines[4])


def test_the_steps_of_a_plan_fit_80_columns() -> None:
    step = replace(PLAN.steps[0], subject="x" * 60, reason="changes with the base wheel and the source")
    last = show.plan(replace(PLAN, steps=(step,))).splitlines()[-1]
    assert last.endswith("  the base wheel and the source")
    assert len(last) <= 80


def test_checks_that_say_the_same_of_several_files_are_one_line_and_failures_stay_apart() -> None:
    def check(subject: str, detail: str, *, ok: bool = True) -> Check:
        return Check(check="machine", subject=subject, ok=ok, detail=detail)

    checks = [check(f"demo/{name}.so", "x86_64, tags linux_x86_64") for name in "abc"]
    checks += [check(f"demo/{name}.so", "aarch64", ok=False) for name in "de"]
    long = Check(check="providers", subject="demo/a.so", ok=True, detail="torch: " + "libtorch_cuda.so " * 12)
    shown = show.audit(report(checks=(*checks, long))).splitlines()
    assert shown[:5] == [
        "  ok    machine    3 files    x86_64, tags linux_x86_64 (demo/a.so and 2 more)",
        "  FAIL  machine    demo/d.so  aarch64",
        "  FAIL  machine    demo/e.so  aarch64",
        "  ok    providers  demo/a.so",
        "        torch: libtorch_cuda.so libtorch_cuda.so libtorch_cuda.so",
    ]
    assert max(map(len, shown)) <= 80


def test_a_rule_that_is_waived_is_shown_as_that_with_its_reason() -> None:
    check = Check(check="glibc", subject="demo/a.so", ok=False, detail="needs 2.34", waived="a new system")
    assert show.audit(report(checks=(check,))).splitlines()[0] == (
        "  waived  glibc  demo/a.so  needs 2.34 (a new system)"
    )
