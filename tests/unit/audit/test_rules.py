"""Audits: each promise of a target broken once, and the line that a user reads then."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

import compiles
from retread.arch import Arch
from retread.audit import manylinux, rules
from retread.audit.report import Check
from retread.elf import facts as elf_facts
from retread.elf.facts import CodeFacts, LibraryFacts, Made, Module
from retread.recipe.miscompiles import Miscompile
from retread.records import Sha256
from retread.wheel.facts import Fault, WheelFacts
from retread.wheel.statement import CompileStatement, Exempt, Promise

LIB, FA3 = "demo/_C.so", "demo/flash_attn_3/_C.so"


def archs(text: str) -> tuple[Arch, ...]:
    return tuple(Arch(one) for one in text.split())


def library(modules: int = 18, sass: str = "8.0 9.0a 10.0", ptx: str = "8.0", **facts: Any) -> LibraryFacts:
    found = LibraryFacts(
        machine="x86_64",
        needed=("libc.so.6", "libcuda.so.1"),
        run_path=("$ORIGIN/../nvidia",),
        versions=("CXXABI_1.3", "GLIBC_2.2.5", "GLIBC_2.9", "GLIBC_2.14", "GLIBCXX_3.4.24"),
        undefined=("cudaLaunchKernel", "memcpy"),
        modules=tuple(Module(index=index, sass=archs(sass), ptx=archs(ptx)) for index in range(modules)),
    )
    return replace(found, **facts)


def wheel(*tags: str, **changes: Any) -> WheelFacts:
    found = WheelFacts(
        file="demo-1.2+cu128.1-cp39-abi3-manylinux_2_28_x86_64.whl",
        sha256=Sha256(64 * "a"),
        size=1000,
        project="demo",
        version="1.2+cu128.1",
        tags=tags or ("cp39-abi3-manylinux_2_28_x86_64",),
        requires=("torch>=2.10", "numpy"),
        members=79,
        libraries={LIB: library()},
        statement=None,
    )
    return replace(found, **changes)


def promise(**changes: Any) -> Promise:
    found = Promise(
        project="demo",
        version="1.2+cu128.1",
        cuda="12.8",
        torch=">=2.10",
        architectures=archs("8.0 9.0a 10.0"),
        ptx=archs("8.0"),
        exempt=(),
        requires=(),
        run_path={LIB: ("$ORIGIN/../nvidia",)},
        note="",
    )
    return replace(found, **changes)


EXEMPT = Exempt(library=FA3, architectures=archs("9.0a"), ptx=(), reason="Hopper alone")


def with_library(facts: LibraryFacts) -> WheelFacts:
    return wheel(libraries={LIB: facts})


def failed(checks: tuple[Check, ...]) -> list[tuple[str, str, str]]:
    return [(one.check, one.subject, one.detail) for one in checks if not one.ok]


def detail(checks: tuple[Check, ...], check: str, subject: str = LIB) -> str:
    (found,) = [one for one in checks if (one.check, one.subject) == (check, subject)]
    return found.detail


def test_what_some_modules_have_beside_is_neither_lacking_nor_too_much() -> None:
    modules = (*library(1).modules, Module(index=1, sass=archs("6.1 8.0 9.0a 10.0"), ptx=archs("8.0")))
    mixed = with_library(replace(library(), modules=modules))
    assert failed(rules.audit(mixed, promise(some=archs("6.1")))) == []
    assert failed(rules.audit(mixed, promise())) == [
        ("sass", LIB, "1 of 2 modules: module 1 has 6.1, which is not promised")
    ]


def test_a_module_without_kernels_lacks_nothing_though_it_has_ptx() -> None:
    modules = (*library(1).modules, Module(index=1, sass=archs("5.2"), ptx=archs("5.2"), kernels=0))
    assert failed(rules.audit(with_library(replace(library(), modules=modules)), promise())) == []


NEWER = library(versions=("GLIBC_2.34",))


def waivers(checks: tuple[Check, ...]) -> list[tuple[str, str, bool, str]]:
    return [(one.check, one.subject, one.fails, one.waived) for one in checks if one.waived or not one.ok]


def test_a_waived_rule_does_not_fail_where_the_base_breaks_it_and_nowhere_else() -> None:
    asked, other = promise(waived={"glibc": "a new system"}), "demo/_D.so"
    both = wheel(libraries={LIB: NEWER, other: replace(NEWER, run_path=())})
    assert waivers(rules.audit(both, asked))[0] == ("glibc", LIB, False, "a new system")
    found = waivers(rules.audit(both, asked, broken={("glibc", LIB)}))
    assert found == [("glibc", LIB, False, "a new system"), ("glibc", other, True, "")]
    assert waivers(rules.audit(wheel(libraries={LIB: NEWER}), promise())) == [("glibc", LIB, True, "")]


def test_no_waiver_covers_what_a_target_promises() -> None:
    asked = promise(
        waived={"sass": "why not", "version": "why not"}, architectures=archs("8.0 12.0"), version="2"
    )
    assert {one[0] for one in waivers(rules.audit(wheel(), asked)) if one[2]} == {"sass", "version"}


def test_a_waiver_that_sealing_made_needless_is_said() -> None:
    (found,) = [
        one for one in rules.audit(wheel(), promise(waived={"wheel": "old tags"})) if one.check == "waiver"
    ]
    assert found == Check(
        check="waiver",
        subject="wheel",
        ok=True,
        detail="the base wheel breaks it and this one does not: old tags",
    )


DENIED = Miscompile(
    name="miscompile-x",
    since="13.0",
    architectures=archs("10.3"),
    what="wrong",
    instead="do not",
    source=("url",),
)
WRONG = library(made=(Made(cuda="13.0.88", by="a note", images=2, sass=archs("9.0 10.3"), ptx=()),))


def test_machine_code_that_is_known_to_be_wrong_fails_unless_a_recipe_says_why() -> None:
    found = waivers(rules.audit(with_library(WRONG), promise(), denied=[DENIED]))
    assert found == [("miscompile-x", LIB, True, "")]
    assert detail(rules.audit(with_library(WRONG), None, denied=[DENIED]), "miscompile-x") == (
        "10.3 by CUDA 13.0.88: wrong (url); do not"
    )
    asked = promise(waived={"miscompile-x": "tried on B300"})
    assert waivers(rules.audit(with_library(WRONG), asked, denied=[DENIED], broken=())) == [
        ("miscompile-x", LIB, False, "tried on B300")
    ]
    assert failed(rules.audit(wheel(), asked, denied=[DENIED])) == [
        ("waiver", "miscompile-x", "stale: no code of the wheel is of it; take the waiver out")
    ]


def test_a_sound_wheel_holds_and_says_what_was_looked_at() -> None:
    checks = rules.audit(wheel(), promise(), {LIB: library(sass="8.0 9.0a")})
    assert failed(checks) == []
    assert [(one.check, one.subject, one.detail) for one in checks] == [
        ("record", wheel().file, "79 members, every hash right"),
        ("machine", LIB, "x86_64, tags manylinux_2_28_x86_64"),
        ("glibc", LIB, "needs glibc 2.14, the tag allows 2.28"),
        ("providers", LIB, "the system: libc.so.6; NVIDIA's driver: libcuda.so.1"),
        ("version", "demo 1.2+cu128.1", "is the wheel's"),
        ("requires", "torch>=2.10", "in METADATA"),
        ("sass", LIB, "8.0 9.0a 10.0 in 18 of 18 modules"),
        ("ptx", LIB, "8.0 in 18 of 18 modules"),
        ("run path", LIB, "$ORIGIN/../nvidia"),
        ("undefined symbols", LIB, "none new against the base (2)"),
        ("needed libraries", LIB, "none new against the base (2)"),
        ("modules", LIB, "18 modules, 18 in the base"),
    ]


def test_any_wheel_without_a_promise_gets_the_general_checks() -> None:
    assert [one.check for one in rules.audit(wheel(), None)] == ["record", "machine", "glibc", "providers"]


# Architectures.


def test_one_module_of_eighteen_without_sm_100_fails_and_is_named() -> None:
    modules = list(library().modules)
    modules[7] = replace(modules[7], sass=archs("8.0 9.0a"))
    assert failed(rules.audit(with_library(replace(library(), modules=tuple(modules))), promise())) == [
        ("sass", LIB, "1 of 18 modules: module 7 lacks 10.0")
    ]


def test_an_architecture_that_was_not_promised_fails() -> None:
    assert failed(rules.audit(with_library(library(sass="8.0 9.0a 10.0 12.0")), promise()))[0] == (
        "sass",
        LIB,
        "18 of 18 modules: module 0 has 12.0, which is not promised; module 1 has 12.0, which is not promised; "
        "module 2 has 12.0, which is not promised",
    )


def test_lacking_and_having_too_much_is_told_in_one_line() -> None:
    assert failed(rules.audit(with_library(library(1, sass="8.0 9.0", ptx="9.0")), promise())) == [
        ("sass", LIB, "1 of 1 modules: module 0 lacks 9.0a 10.0 and has 9.0, which is not promised"),
        ("ptx", LIB, "1 of 1 modules: module 0 lacks 8.0 and has 9.0, which is not promised"),
    ]


def test_a_library_without_gpu_code_is_left_alone_beside_one_that_has_it() -> None:
    found = wheel(libraries={LIB: library(), "demo/plain.so": library(0)})
    checks = rules.audit(found, promise())
    assert failed(checks) == []
    assert not [one for one in checks if one.subject == "demo/plain.so" and one.check in {"sass", "ptx"}]


def test_a_wheel_that_lost_all_gpu_code_fails() -> None:
    assert failed(rules.audit(with_library(library(0)), promise())) == [
        ("sass", wheel().file, "no library has GPU code")
    ]
    assert failed(rules.audit(with_library(library(0)), None, {LIB: library()})) == [
        ("modules", LIB, "0 modules, 18 in the base")
    ]


def test_an_exempt_library_is_held_to_what_its_exemption_says() -> None:
    exempt = promise(exempt=(EXEMPT,))
    sound = wheel(libraries={LIB: library(), FA3: library(153, sass="9.0a", ptx="")})
    checks = rules.audit(sound, exempt)
    assert failed(checks) == []
    assert detail(checks, "sass", FA3) == "9.0a in 153 of 153 modules (exempt: Hopper alone)"
    assert detail(checks, "ptx", FA3) == "nothing in 153 of 153 modules (exempt: Hopper alone)"
    grown = wheel(libraries={LIB: library(), FA3: library(1, sass="9.0a 10.0", ptx="8.0")})
    assert failed(rules.audit(grown, exempt)) == [
        ("sass", FA3, "1 of 1 modules: module 0 has 10.0, which is not promised"),
        ("ptx", FA3, "1 of 1 modules: module 0 has 8.0, which is not promised"),
    ]
    empty = wheel(libraries={LIB: library(), FA3: library(0)})
    assert failed(rules.audit(empty, exempt)) == [("sass", FA3, "no GPU code, promised is 9.0a")]


def test_an_exempt_library_that_is_not_there() -> None:
    assert failed(rules.audit(wheel(), promise(exempt=(EXEMPT,)))) == [
        ("exempt", FA3, f"no such library in the wheel, which has {LIB}")
    ]


def test_common_is_what_every_module_has() -> None:
    modules = (
        Module(index=0, sass=archs("10.0 8.0 9.0a"), ptx=archs("8.0")),
        Module(index=1, sass=archs("8.0 10.0"), ptx=()),
    )
    assert elf_facts.common(library(modules=0)) == ((), ())
    assert elf_facts.common(replace(library(), modules=modules)) == (("8.0", "10.0"), ())


# The platform.


@pytest.mark.parametrize(
    ("tags", "needs", "fault"),
    [
        (["manylinux_2_28_x86_64"], "GLIBC_2.28", None),
        (["manylinux_2_28_x86_64"], "GLIBC_2.29", "needs glibc 2.29, the tag allows 2.28"),
        (["manylinux_2_28_x86_64"], "GLIBC_2.3.4", None),
        (["manylinux_2_5_x86_64"], "GLIBC_2.14", "needs glibc 2.14, the tag allows 2.5"),
        (["manylinux2014_x86_64"], "GLIBC_2.17", None),
        (["manylinux2014_x86_64"], "GLIBC_2.18", "needs glibc 2.18, the tag allows 2.17"),
        (["manylinux1_x86_64"], "GLIBC_2.6", "needs glibc 2.6, the tag allows 2.5"),
        (["manylinux2010_x86_64"], "GLIBC_2.12", None),
        (
            ["manylinux_2_28_x86_64", "manylinux_2_24_x86_64"],
            "GLIBC_2.27",
            "needs glibc 2.27, the tag allows 2.24",
        ),
        (
            ["manylinux2014_x86_64", "manylinux_2_28_x86_64"],
            "GLIBC_2.18",
            "needs glibc 2.18, the tag allows 2.17",
        ),
        (["linux_x86_64"], "GLIBC_2.99", None),
        (["manylinux_2_28_x86_64"], "GLIBC_ABI_DT_RELR", "needs glibc 2.36, the tag allows 2.28"),
    ],
)
def test_the_oldest_glibc_of_the_tags_counts(tags: list[str], needs: str, fault: str | None) -> None:
    found = wheel(
        *(f"cp39-abi3-{tag}" for tag in tags), libraries={LIB: library(versions=("GLIBC_2.2.5", needs))}
    )
    assert failed(rules.audit(found, None)) == ([("glibc", LIB, fault)] if fault else [])


def test_no_tag_no_limit() -> None:
    assert [one.check for one in rules.audit(wheel("cp39-abi3-linux_x86_64"), None)] == [
        "record",
        "machine",
        "providers",
    ]


def test_a_library_without_glibc_runs_on_any() -> None:
    checks = rules.audit(with_library(library(versions=())), None)
    assert detail(checks, "glibc") == "needs glibc of any age, the tag allows 2.28"


@pytest.mark.parametrize(
    "tags",
    [
        ["py3-none-any"],
        ["cp39-abi3-manylinux_2_28_aarch64"],
        ["cp39-abi3-manylinux_2_28_x86_64", "cp39-abi3-manylinux_2_28_aarch64"],
    ],
)
def test_a_machine_that_the_tags_do_not_name(tags: list[str]) -> None:
    platforms = ", ".join(sorted(tag.rpartition("-")[2] for tag in tags))
    assert failed(rules.audit(wheel(*tags), None)) == [("machine", LIB, f"x86_64, tags {platforms}")]


@pytest.mark.parametrize(
    ("tag", "version", "fault"),
    [
        ("manylinux_2_28_x86_64", "GLIBCXX_3.4.24", None),
        ("manylinux_2_28_x86_64", "GLIBCXX_3.4.25", "needs GLIBCXX_3.4.25, newer than manylinux_2_28 has"),
        ("manylinux_2_28_x86_64", "CXXABI_1.3.11", None),
        ("manylinux_2_28_x86_64", "CXXABI_1.3.13", "needs CXXABI_1.3.13, newer than manylinux_2_28 has"),
        ("manylinux_2_28_x86_64", "CXXABI_TM_1", None),
        ("manylinux2014_x86_64", "GLIBCXX_3.4.20", "needs GLIBCXX_3.4.20, newer than manylinux_2_17 has"),
        ("manylinux_2_34_x86_64", "GLIBCXX_3.4.29", None),
        ("manylinux_2_5_x86_64", "GLIBCXX_3.4.9", "needs GLIBCXX_3.4.9, newer than manylinux_2_5 has"),
        ("linux_x86_64", "GLIBCXX_3.4.99", None),
    ],
)
def test_libstdcxx_is_held_to_the_tag_as_glibc_is(tag: str, version: str, fault: str | None) -> None:
    found = wheel(f"cp39-abi3-{tag}", libraries={LIB: library(versions=(version,))})
    assert failed(rules.audit(found, None)) == ([("libstdc++", LIB, fault)] if fault else [])


def test_a_wheel_may_bring_its_own_libstdcxx() -> None:
    new = library(versions=("GLIBCXX_3.4.30",), needed=("libstdc++.so.6",))
    own = {LIB: new, "demo.libs/libstdc++.so.6": library(versions=())}
    assert failed(rules.audit(wheel(libraries=own), None)) == []
    assert [one[0] for one in failed(rules.audit(with_library(new), None))] == ["libstdc++"]


def test_a_library_of_a_musllinux_wheel_asks_nothing_of_glibc() -> None:
    tag = "cp39-abi3-musllinux_1_2_x86_64"
    glibc = library(versions=("GLIBC_2.14",), needed=("libc.so.6",))
    assert failed(rules.audit(wheel(tag, libraries={LIB: glibc}), None)) == [
        ("musl", LIB, "asks for GLIBC_2.14, libc.so.6, which is glibc's")
    ]
    musl = library(versions=("GLIBCXX_3.4.24",), needed=("libc.musl-x86_64.so.1",))
    checks = rules.audit(wheel(tag, libraries={LIB: musl}), None)
    assert detail(checks, "musl") == "asks for nothing of glibc's"


def test_absolute_paths_are_the_builders_own() -> None:
    found = library(needed=("/home/ci/libx.so", "libc.so.6"), run_path=("$ORIGIN", "/home/ci/lib"))
    told = "names folders of the machine that built it: /home/ci/libx.so, /home/ci/lib"
    assert ("paths", LIB, told) in failed(rules.audit(with_library(found), None))


# What is wrong though it can be read, and what was not.


def test_every_fault_of_the_wheel_fails() -> None:
    fault = Fault(check="wheel", subject=wheel().file, detail="WHEEL: Tag is wrong")
    lies = Fault(check="record", subject=wheel().file, detail="RECORD does not list 'x'")
    assert failed(rules.audit(wheel(faults=(fault,)), None)) == [
        ("wheel", wheel().file, "WHEEL: Tag is wrong")
    ]
    checks = rules.audit(wheel(faults=(lies,)), None)
    assert [one.detail for one in checks if one.check == "record"] == ["RECORD does not list 'x'"]


def test_code_that_cannot_be_read_fails() -> None:
    found = with_library(library(unread=("demo.whl: demo/_C.so: module 3: cut short",)))
    told = "cannot be read: demo.whl: demo/_C.so: module 3: cut short"
    assert failed(rules.audit(found, None)) == [("GPU code", LIB, told)]


def test_code_outside_of_shared_objects_is_held_to_the_promise() -> None:
    cubin = CodeFacts(kind="cubin", modules=(Module(index=0, sass=archs("8.0"), ptx=(), kernels=2),))
    found = wheel(code={"demo/k.cubin": cubin})
    assert detail(rules.audit(found, None), "GPU code", "demo/k.cubin") == "1 module, 0 kernels"
    assert ("sass", "demo/k.cubin", "1 of 1 modules: module 0 lacks 9.0a 10.0") in failed(
        rules.audit(found, promise())
    )
    exempt = Exempt(library="demo/k.cubin", architectures=archs("8.0"), ptx=(), reason="one GPU")
    assert failed(rules.audit(found, promise(exempt=(exempt,)))) == []


def test_a_module_without_kernels_lacks_nothing() -> None:
    modules = (
        *(replace(one, kernels=3) for one in library().modules),
        Module(index=18, sass=archs("8.0"), ptx=(), kernels=0),
    )
    checks = rules.audit(with_library(replace(library(), modules=modules)), promise())
    assert failed(checks) == []
    assert detail(checks, "sass") == "8.0 9.0a 10.0 in 18 of 18 modules"


def test_ptx_that_the_driver_links_is_ptx() -> None:
    linked = replace(
        library(1, ptx=""), relocatable=(Module(index=0, sass=archs("8.0"), ptx=archs("8.0"), kernels=1),)
    )
    assert failed(rules.audit(with_library(linked), promise())) == []
    assert elf_facts.common(linked) == (("8.0", "9.0a", "10.0"), ("8.0",))


def test_a_program_for_another_machine_is_data() -> None:
    other = library(machine="aarch64", versions=("GLIBC_2.99",))
    assert failed(rules.audit(wheel(libraries={"demo/agent": other}), None)) == []
    assert failed(rules.audit(wheel(libraries={"demo/agent.so": other}), None))[0][0] == "machine"


# Requirements.


@pytest.mark.parametrize(
    ("requires", "said"),
    [
        (("torch>=2.9", "numpy"), "METADATA says torch>=2.9"),
        (("torch", "numpy"), "METADATA says torch"),
        (("Torch<3", "numpy"), "METADATA says Torch<3"),
        (("numpy",), "METADATA says nothing of it"),
        (('torch>=2.10; python_version < "3.10"',), 'METADATA says torch>=2.10; python_version < "3.10"'),
        (("torch[extra]>=2.10",), "METADATA says torch[extra]>=2.10"),
    ],
)
def test_a_requirement_that_metadata_does_not_make(requires: tuple[str, ...], said: str) -> None:
    assert failed(rules.audit(wheel(requires=requires), promise())) == [("requires", "torch>=2.10", said)]


def test_spelling_of_a_requirement_is_no_matter() -> None:
    found = wheel(requires=("Torch >= 2.10", "nvidia_cuda.runtime-cu12<13,>=12.8"))
    checks = rules.audit(found, promise(requires=("torch>=2.10", "nvidia-cuda-runtime-cu12>=12.8,<13")))
    assert failed(checks) == []
    assert len([one for one in checks if one.check == "requires"]) == 2


# Run paths.


def test_run_paths() -> None:
    bare = with_library(library(run_path=()))
    assert failed(rules.audit(bare, promise())) == [("run path", LIB, "none")]
    assert failed(rules.audit(bare, promise(run_path={}))) == []
    longer = with_library(library(run_path=("$ORIGIN/../nvidia", "/opt/cuda")))
    assert failed(rules.audit(longer, promise())) == [
        ("paths", LIB, "names folders of the machine that built it: /opt/cuda"),
        ("run path", LIB, "$ORIGIN/../nvidia:/opt/cuda"),
    ]
    promised = promise(run_path={LIB: ("$ORIGIN/../nvidia", "/opt/cuda")})
    assert failed(rules.audit(longer, promised)) == []


def test_a_run_path_for_no_library() -> None:
    assert failed(rules.audit(wheel(), promise(run_path={"demo/*_x.so": ("$ORIGIN",)}))) == [
        ("run path", "demo/*_x.so", f"no such library in the wheel, which has {LIB}")
    ]


def test_the_first_glob_that_fits_gives_the_run_path() -> None:
    both = {"demo/_C.so": ("$ORIGIN/../nvidia",), "demo/*.so": ("$ORIGIN",)}
    assert failed(rules.audit(wheel(), promise(run_path=both))) == []


# The base wheel.


def test_new_symbols_and_libraries_against_the_base() -> None:
    base = {LIB: library(undefined=("memcpy",), needed=("libc.so.6",))}
    assert failed(rules.audit(wheel(), promise(), base)) == [
        ("undefined symbols", LIB, "new: cudaLaunchKernel"),
        ("needed libraries", LIB, "new: libcuda.so.1"),
    ]
    assert failed(rules.audit(wheel(), promise())) == []


def test_fewer_symbols_than_the_base_are_fine() -> None:
    base = {
        LIB: library(undefined=("a", "cudaLaunchKernel", "memcpy"), needed=("a", "libc.so.6", "libcuda.so.1"))
    }
    assert failed(rules.audit(wheel(), promise(), base)) == []


def test_a_library_that_nobody_provides_fails_whatever_else_the_target_requires() -> None:
    bare = wheel(libraries={LIB: library(needed=("libcudart.so.12",))}, requires=("torch>=2.10", "numpy"))
    fault = ("providers", LIB, "nothing provides libcudart.so.12 (torch 2.11.0 is for CUDA 13)")
    assert failed(rules.audit(bare, promise())) == [fault]
    assert failed(rules.audit(bare, promise(requires=("numpy",)))) == [fault]


def test_a_library_more_or_less_than_the_base() -> None:
    assert failed(rules.audit(wheel(), promise(), {})) == [
        ("base", LIB, "the base wheel has no such library")
    ]
    base = {LIB: library(), FA3: library()}
    assert failed(rules.audit(wheel(), promise(), base)) == [
        ("base", FA3, f"no such library in the wheel, which has {LIB}")
    ]


def test_a_wheel_of_another_version_or_project_fails() -> None:
    for other in (promise(version="1.2+cu128.2"), promise(project="other")):
        (fault,) = failed(rules.audit(wheel(), other))
        assert fault[0] == "version"
        assert fault[-1] == "the wheel is demo 1.2+cu128.1"


DEBIAN = ("Debian clang version 22.1.8 (1~deb13u5)", "GCC: (Debian 12.2.0-14) 12.2.0")
GNU = ("GCC: (GNU) 8.5.0",)


@pytest.mark.parametrize(
    ("version", "said", "names", "faults"),
    [
        ("1.2+cu128.1", compiles.compiled(), GNU, []),
        ("1.2+cu128.clang.1", compiles.compiled(compiles.CLANG), DEBIAN, []),
        ("1.2+cu128.1", compiles.compiled(compiles.CLANG), DEBIAN, ["1.2+cu128.1"]),
        ("1.2+cu128.clang.1", compiles.compiled(), GNU, ["1.2+cu128.clang.1"]),
        ("1.2+cu128.1", compiles.compiled(), DEBIAN, [LIB]),
        ("1.2+cu128.clang.1", compiles.compiled(compiles.CLANG), GNU, [LIB]),
        ("1.2+cu128.1", compiles.compiled(host="Debian clang version 22.1.8"), DEBIAN, []),
        ("1.2+cu128.1", compiles.compiled(None), GNU, []),
        ("1.2+cu128.clang.1", compiles.compiled(None, toolkit="Debian clang 22.1.8, no nvcc"), DEBIAN, []),
        ("1.2+cu128.1", None, DEBIAN, []),
    ],
)
def test_version_statement_and_libraries_name_one_compiler(
    version: str, said: CompileStatement | None, names: tuple[str, ...], faults: list[str]
) -> None:
    statement = replace(compiles.STATEMENT, lane="source", version=version, compiled=said)
    found = wheel(version=version, statement=statement, libraries={LIB: library(compilers=names)})
    checks = [one for one in rules.audit(found, None) if one.check == "compiler"]
    assert [one.subject for one in checks if not one.ok] == faults
    assert bool(checks) == (said is not None)


def test_a_requirement_beside_the_promised_one_fails() -> None:
    (fault,) = failed(rules.audit(wheel(requires=("torch>=2.10", "torch==2.5.0")), promise()))
    assert (fault[0], fault[-1]) == ("requires", "METADATA says torch>=2.10, torch==2.5.0")


# The tag of what was compiled.


@pytest.mark.parametrize(
    ("versions", "tag"),
    [
        (("GLIBC_2.2.5", "GLIBC_2.14"), "manylinux_2_17_x86_64"),
        (("GLIBC_2.17", "GLIBCXX_3.4.19"), "manylinux_2_17_x86_64"),
        (("GLIBC_2.18",), "manylinux_2_24_x86_64"),
        (("GLIBC_2.28", "GLIBCXX_3.4.24"), "manylinux_2_28_x86_64"),
        (("GLIBC_2.17", "GLIBCXX_3.4.29"), "manylinux_2_34_x86_64"),
        (("GLIBC_2.35",), "manylinux_2_35_x86_64"),
        (("GLIBC_2.99",), "linux_x86_64"),
        (("GLIBCXX_3.4.99",), "linux_x86_64"),
    ],
)
def test_a_compiled_library_claims_the_oldest_platform_that_offers_its_symbols(
    versions: tuple[str, ...], tag: str
) -> None:
    assert manylinux.platform_tag([library(versions=versions)]) == tag


def test_the_library_that_asks_for_most_decides() -> None:
    old, new = library(versions=("GLIBC_2.14",)), library(versions=("GLIBC_2.34",))
    assert manylinux.platform_tag([old, new]) == manylinux.platform_tag([new, old]) == "manylinux_2_34_x86_64"


def test_the_machine_is_the_libraries_own() -> None:
    found = manylinux.platform_tag([library(machine="aarch64", versions=("GLIBC_2.17",))])
    assert found == "manylinux_2_17_aarch64"


def test_without_libraries_there_is_no_platform() -> None:
    assert manylinux.platform_tag([]) == ""


def test_what_needs_a_newer_machine_than_was_promised_is_named() -> None:
    tagged = wheel("cp39-abi3-manylinux_2_24_x86_64")
    assert manylinux.newer(tagged, "manylinux_2_28") == []
    new = library(versions=("GLIBC_2.14", "GLIBC_2.34", "GLIBCXX_3.4.19"))
    found = replace(wheel("cp39-abi3-manylinux_2_34_x86_64"), libraries={LIB: new, FA3: library(versions=())})
    assert manylinux.newer(found, "manylinux_2_28") == [
        "auditwheel found cp39-abi3-manylinux_2_34_x86_64",
        "demo/_C.so asks for GLIBC_2.34, which is in manylinux_2_34",
    ]
    assert (
        manylinux.newer(wheel("cp39-abi3-linux_x86_64"), "manylinux_2_28")[0]
        == "auditwheel found cp39-abi3-linux_x86_64"
    )
