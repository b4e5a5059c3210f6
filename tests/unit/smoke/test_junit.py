"""JUnit XML: what CI systems read, whatever stands in the report."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring

import pytest
from msgspec.structs import replace

import reports
from reports import case, failed, report, run, sample, skipped
from retread import units
from retread.smoke import junit
from retread.smoke.report import Run, SmokeReport


def parsed(found: SmokeReport) -> Element:
    """Return the XML as a reader gets it: through bytes."""
    return fromstring(junit.xml(found).encode("utf-8"))


def one(element: Element, path: str) -> Element:
    found = element.findall(path)
    assert len(found) == 1, path
    return found[0]


def test_counts_add_up() -> None:
    root = parsed(sample())
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "104", "failures": "1", "errors": "0", "skipped": "7",
    }  # fmt: skip
    for key in ("tests", "failures", "skipped"):
        assert root.get(key) == str(sum(int(suite.get(key) or "") for suite in root))
    for suite in root:
        assert suite.get("tests") == str(len(suite.findall("testcase")))
        assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
        assert suite.get("skipped") == str(len(suite.findall("testcase/skipped")))


def test_there_is_a_suite_for_each_run_and_suite() -> None:
    assert [suite.get("name") for suite in parsed(sample())] == [
        "static: wheel",
        "jit torch 2.9.1 Triton 3.5.1: kernels",
        "jit torch 2.8.0 Triton 3.4.0: kernels",
        "gpu: attention",
        "gpu: sparse24",
        "gpu: speed",
    ]


def test_no_two_cases_are_the_same_to_a_reader() -> None:
    twice = report(run(case("a/b")), run(case("a/b")), *sample().runs)
    names = [(found.get("classname"), found.get("name")) for found in parsed(twice).iter("testcase")]
    assert len(set(names)) == len(names) == 106
    assert {str(where).count(".") for where, _ in names} == {1}


def test_a_failure_holds_both_runs() -> None:
    failure = one(parsed(report(run(failed("a/b")))), ".//failure")
    assert failure.get("message") == "RuntimeError: CUDA error: no kernel image is available"
    assert failure.get("type") == "RuntimeError"
    text = failure.text or ""
    assert reports.FAULT.stack.strip() in text
    assert "where: demo/ops/sparse24.py:88 in sparsify\nkernel: demo::sparse24_sparsify\n" in text
    assert "\n\nRun alone with CUDA_LAUNCH_BLOCKING=1:\nAcceleratorError: CUDA error: an illegal" in text


def test_equal_failures_say_how_many_and_one_has_the_whole_account() -> None:
    root = parsed(report(run(*(failed(f"a/{number}", reason="wrong") for number in range(3)), failed("b/0"))))
    assert root.get("failures") == "4"
    found = root.findall(".//failure")
    assert [one.get("message") for one in found[:3]] == ["wrong (3 cases alike)"] * 3
    assert [one.text for one in found[1:3]] == ["as a/0"] * 2
    assert reports.FAULT.stack.strip() in (found[0].text or "")
    assert found[3].get("message") == "RuntimeError: CUDA error: no kernel image is available"


def test_a_failure_without_a_fault_is_one() -> None:
    failure = one(parsed(report(run(failed("a/b", reason="", fault=None, again=None)))), ".//failure")
    assert (failure.get("message"), failure.text) == ("no reason given", None)


def test_a_level_that_could_not_run_is_one_skipped_case() -> None:
    root = parsed(report(run(unable="there is no GPU")))
    assert [root.get(key) for key in ("tests", "failures", "skipped")] == ["1", "0", "1"]
    found = one(root, "testsuite/testcase")
    assert (found.get("classname"), found.get("name")) == ("gpu.run", "run")
    assert one(found, "skipped").get("message") == "there is no GPU"


def test_a_report_without_runs_is_valid() -> None:
    root = parsed(report())
    assert (root.get("tests"), list(root)) == ("0", [])


@pytest.mark.parametrize(
    ("found", "words"),
    [(run(case("a/b")), "passed"), (run(skipped("a/b", "no")), "nothing ran"), (run(unable="no"), "unable")],
)
def test_a_run_says_its_result(found: Run, words: str) -> None:
    said = parsed(report(found, ok=True)).findall("testsuite/properties/property")
    assert [each.get("value") for each in said if each.get("name") == "result"] == [words]


def test_skipped_cases_say_why() -> None:
    assert one(parsed(report(run(skipped("a/b", "no f32")))), ".//skipped").get("message") == "no f32"


def test_properties_say_of_what_and_under_what() -> None:
    suite = parsed(sample())[-1]
    found = {one.get("name"): one.get("value") for one in suite.findall("properties/property")}
    assert found == {
        "wheel": "demo-1.2+cu128.1-cp39-abi3-linux_x86_64.whl", "sha256": 64 * "a",
        "recipe": "demo-1.2", "target": "cu128", "kit": 64 * "b",
        "level": "gpu", "result": "FAILED", "gpu": "NVIDIA H200 (9.0)",
        "driver": "580.95.05", "driver_cuda": "13.0", "torch": "2.9.1", "torch_cuda": "12.8", "triton": "3.5.1",
        "python": "3.12.7", "platform": "linux-x86_64", "package numpy": "2.3.4", "package torch": "2.9.1",
    }  # fmt: skip
    assert suite.get("timestamp") == "2025-11-22T10:01:40"


def test_numbers_and_notes_are_kept() -> None:
    found = case("a/b", note="smaller", numbers={"error": 0.5, "tolerance": None, "nan": float("nan")})
    out = one(parsed(report(run(found))), ".//system-out")
    assert out.text == "note: smaller\nerror: 0.5\ntolerance: None\nnan: nan"


@pytest.mark.parametrize("bad", ["\x00", "\x1b", "\x0b", "\ufffe", "\uffff", "\ud800"])
def test_characters_that_xml_forbids_are_replaced(bad: str) -> None:
    fault = replace(reports.FAULT, stack=f"st{bad}ack", message=f"m{bad}", kernel=bad)
    wild = report(
        run(failed(f"a/{bad}", reason=f"r{bad}", note=f"n{bad}", fault=fault), skipped("a/c", f"s{bad}")),
        run(unable=f"u{bad}", surroundings=reports.on_gpu(triton=bad)),
        wheel=f"w{bad}.whl",
    )
    root = parsed(wild)
    assert root.get("name") == "w\ufffd.whl"
    assert one(root, ".//failure").get("message") == "r\ufffd"
    assert "st\ufffdack" in (one(root, ".//failure").text or "")


def test_markup_is_text() -> None:
    nasty = "<script>&]]>\"'"
    root = parsed(report(run(failed(nasty, reason=nasty, fault=replace(reports.FAULT, stack=nasty)))))
    assert one(root, ".//testcase").get("name") == nasty
    assert one(root, ".//failure").get("message") == nasty
    assert nasty in (one(root, ".//failure").text or "")


def test_times_are_numbers_whatever_was_measured() -> None:
    root = parsed(report(run(case("a/b", seconds=1.23456), case("a/c", seconds=float("nan")))))
    assert [found.get("time") for found in root.iter("testcase")] == ["1.235", "0.000"]
    assert root.get("time") == "0.000"


def test_a_moment_is_written_in_utc() -> None:
    assert units.utc(0) == "1970-01-01T00:00:00Z"
    assert units.utc(10**15) == "1000000000000000"
