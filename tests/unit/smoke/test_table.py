"""Smoke reports in a terminal: what failed and what was not tried stands there plainly."""

from __future__ import annotations

import re
from typing import Any

import pytest
from msgspec.structs import replace

import reports
from reports import case, failed, measured, report, run, sample, skipped
from retread.smoke import details, table
from retread.smoke.level import Level
from retread.smoke.report import Fault


def lines(*cases: Any, **changes: Any) -> list[str]:
    """Return the lines of the only run of a report."""
    return table.table(report(run(*cases, **changes))).splitlines()[4:-2]


def test_the_first_line_says_wheel_and_verdict() -> None:
    first = table.table(sample()).splitlines()[0]
    assert first == "demo-1.2+cu128.1-cp39-abi3-linux_x86_64.whl: SMOKE TESTS FAILED (1 of 104 cases)"


def test_a_run_says_under_what_it_ran_and_counts_by_suite() -> None:
    shown = lines(case("a/b"), case("a/c"), skipped("longer/x", "no"))
    assert shown[:5] == [
        "gpu: NVIDIA H200 (9.0), driver 580.95.05 (CUDA 13.0), torch 2.9.1 (CUDA 12.8),",
        "    Triton 3.5.1, Python 3.12.7, 93.1 s",
        "    suite   passed  failed  skipped",
        "    a            2       0        0",
        "    longer       0       0        1",
    ]


def test_a_bare_machine_is_described_as_bare() -> None:
    bare = reports.surroundings(torch="", torch_cuda="", triton="")
    assert lines(case("a/b"), surroundings=bare)[0].startswith(
        "gpu: no GPU, no torch, no Triton, Python 3.12.7"
    )
    without = reports.surroundings(torch_cuda="")
    assert "torch 2.9.1 (without CUDA)" in lines(case("a/b"), surroundings=without)[0]


def test_unable_and_outside_are_said() -> None:
    shown = lines(
        unable="there is no GPU", surroundings=reports.surroundings(outside="torch 2.5 is below 2.9")
    )
    assert shown[1:] == [
        "  outside of what the wheel promises: torch 2.5 is below 2.9",
        "  could not run here: there is no GPU",
    ]


def test_a_failure_shows_all_that_is_known_of_it() -> None:
    shown = lines(failed("a/b", note="the GPU's context was lost"))
    assert shown[4:] == [
        "  FAILED a/b (0.2 s)",
        "    reason: RuntimeError: CUDA error: no kernel image is available",
        "    where: demo/ops/sparse24.py:88 in sparsify",
        "    kernel: demo::sparse24_sparsify",
        "    note: the GPU's context was lost",
        "    with CUDA_LAUNCH_BLOCKING=1: AcceleratorError: CUDA error: an illegal memory",
        "      access was encountered, in demo/ops/sparse24.py:91 in sparsify, kernel",
        "      _meta_kernel",
    ]


def test_a_failure_of_which_nothing_is_known() -> None:
    bare = failed("a/b", reason="", fault=None, again=None)
    assert lines(bare, level=Level.JIT)[-2:] == ["  FAILED a/b (0.2 s)", "    reason: no reason given"]
    assert lines(bare)[-1] == "    with CUDA_LAUNCH_BLOCKING=1: passed, or was not run again"
    died = Fault(type="SIGSEGV", message="", where="", kernel="", stack="")
    assert lines(failed("a/b", reason="", fault=died, again=died))[-2:] == [
        "    reason: SIGSEGV",
        "    with CUDA_LAUNCH_BLOCKING=1: SIGSEGV",
    ]


def test_skipped_cases_are_grouped_by_reason_the_most_frequent_first() -> None:
    shown = lines(skipped("a/1", "rare"), *[skipped(f"a/{index}", "no f32") for index in range(2, 14)])
    at = shown.index("  skipped:")
    assert shown[at + 1 :] == ["     12  no f32", "         for example a/2", "      1  rare", "         a/1"]


def test_notes_are_of_cases_that_did_not_fail() -> None:
    shown = lines(case("a/1", note="smaller"), case("a/2", note="smaller"), failed("a/3", note="lost"))
    at = shown.index("  notes:")
    assert shown[at + 1 :] == ["      2  smaller", "         for example a/1"]


def test_errors_name_the_worst_case_of_each_operator() -> None:
    shown = lines(
        measured("attention/flash/f16/1", 0.002),
        measured("attention/flash/f16/2", 0.009),
        measured("attention/flash/f16/3", None),
        measured("attention/cutlass/f32/1", float("nan")),
    )
    assert shown[-3:] == [
        "    operator           cases  not finite  worst  in",
        "    attention/flash        3           1    0.9  attention/flash/f16/2",
        "    attention/cutlass      1           1      -",
    ]


def test_times_stand_in_a_table_with_the_sentence_of_the_suite() -> None:
    shown = table.table(sample()).splitlines()
    at = shown.index("  speed; a ratio above 1 means that demo is faster than torch:")
    assert shown[at + 1 : at + 7] == [
        "    shape           demo ms  torch ms  ratio  TFLOP/s",
        "    1x4096x16x64      0.412     0.388  0.942      334",
        "    8x2048x32x128       1.9      2.41   1.27      577",
        "    decode 32x8192    0.091     0.402   4.42       41",
        "  demo is as fast as torch or faster for 2 of 3 shapes; the slowest is",
        "  1x4096x16x64 (0.94)",
    ]


def test_a_library_that_some_run_touched_is_not_untouched() -> None:
    both = report(
        run(case("a/b", libraries=("demo/_C.so",))),
        run(case("a/b", libraries=("demo/_C_flash.so",))),
        run(unable="no GPU", untouched=()),
    )
    assert details.untouched(both) == ["demo/_C_unused.so"]
    assert table.table(both).splitlines()[-1] == "no case called into: demo/_C_unused.so"
    assert (
        details.untouched_words(report(run(case("a/b"), untouched=())))
        == "no library of the wheel was left out"
    )


@pytest.mark.parametrize(
    "empty", [report(), report(run(unable="no GPU")), report(run(skipped("a/b", "no")), ok=True)]
)
def test_a_report_without_cases_claims_nothing(empty: Any) -> None:
    shown = table.table(empty)
    assert "NOT PROVEN (nothing ran)" in shown.splitlines()[0]
    assert shown.splitlines()[-1] == "nothing ran: nothing is known of any library"


def test_what_a_terminal_would_obey_is_replaced() -> None:
    wild = failed("a/\x1b[2Jb\u202e", reason="one\ntwo\x07", fault=replace(reports.FAULT, kernel="\x9bk"))
    for text in (table.table(report(run(wild))), table.evidence([report(run(wild))])):
        assert all(char == "\n" or char.isprintable() for char in text)
        assert r"a/\x1b[2Jb\u202e" in text
        assert r"one two\x07" in text


def test_lines_are_short_and_do_not_end_in_spaces() -> None:
    long = report(run(failed("a/b", reason="word " * 100), skipped("a/c", "word " * 100)))
    for text in (table.table(sample()), table.table(long), table.evidence([sample()])):
        assert [line for line in text.split("\n") if line != line.rstrip() or len(line) > 110] == []


def test_evidence_has_a_line_for_each_run() -> None:
    other = report(run(case("a/b", libraries=("demo/_C_unused.so",))), run(unable="there is no GPU"))
    assert table.evidence([sample(), other]).splitlines() == [
        "demo-1.2+cu128.1-cp39-abi3-linux_x86_64.whl",
        f"sha256 {64 * 'a'}",
        "    level   result  GPU                torch  Triton  passed  failed  skipped  remarks",
        "    static  passed  -                  -      -            3       0        0",
        "    jit     passed  -                  2.9.1  3.5.1       12       0        1"
        "  for 8.0 9.0 10.0 12.0",
        "    jit     passed  -                  2.8.0  3.4.0       12       0        1"
        "  for 8.0 9.0 10.0 12.0; outside",
        "    gpu     FAILED  NVIDIA H200 (9.0)  2.9.1  3.5.1       69       1        5",
        "    gpu     passed  NVIDIA H200 (9.0)  2.9.1  3.5.1        1       0        0",
        "    gpu     unable  NVIDIA H200 (9.0)  2.9.1  3.5.1        0       0        0  there is no GPU",
        "  FAILED gpu sparse24/sparsify/bf16: RuntimeError: CUDA error: no kernel image",
        "    is available",
        "  demo/_C.so: no case called into it in 1 of 2 reports",
        "  demo/_C_flash.so: no case called into it in 1 of 2 reports",
        "  demo/_C_unused.so: no case called into it in 1 of 2 reports",
    ]


def test_evidence_calls_a_run_of_skipped_cases_what_the_report_calls_it() -> None:
    idle = report(run(skipped("a/b", "no")), ok=True)
    assert re.search(r"^    gpu +nothing ran +NVIDIA", table.evidence([idle]), re.MULTILINE)


def test_evidence_keeps_wheels_apart() -> None:
    other = report(run(case("a/b")), sha256=64 * "d", wheel="other.whl")
    shown = table.evidence([sample(), other, sample()])
    assert re.findall(r"^(.*\.whl)$", shown, re.MULTILINE) == [sample().wheel, "other.whl"]
    assert len(re.findall(r"FAILED gpu [^\n]*\n +is available\s+\(2 times\)$", shown, re.MULTILINE)) == 1
    assert table.evidence([]) == "no smoke reports"


def test_equal_failures_are_one_group_with_a_count() -> None:
    shown = lines(*(failed(f"a/{number}") for number in range(30)), failed("b/0", reason="another"))
    assert [line for line in shown if "FAILED" in line] == [
        "  FAILED 30 cases alike, as a/0 (0.2 s)",
        "  FAILED b/0 (0.2 s)",
    ]
    assert sum("reason: RuntimeError: CUDA error" in line for line in shown) == 1
    also = " ".join(" ".join(shown).partition("also: ")[2].split())
    assert also.startswith("a/1, a/2, ")
    assert "a/20, ... and 9 more" in also


def test_evidence_groups_equal_failures_too() -> None:
    found = table.evidence([report(run(*(failed(f"a/{number}", reason="wrong") for number in range(3))))])
    assert [line for line in found.splitlines() if "wrong" in line] == [
        "  FAILED gpu a/0 and 2 others, alike: wrong"
    ]
