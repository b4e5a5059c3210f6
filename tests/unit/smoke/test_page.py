"""The page of a smoke report: standalone, well-formed, and nothing in the report becomes markup."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser
from typing import Any

import pytest
from msgspec.structs import replace

import reports
from reports import case, failed, measured, report, run, sample, skipped
from retread.smoke.page import page
from retread.smoke.report import SmokeReport

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """A page as a browser takes it apart: elements that are closed in order, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data))

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.seen if tag == name]

    @property
    def text(self) -> str:
        return " ".join(" ".join(text.split()) for tag, text in self.texts if tag != "style")


def shown(*cases: Any, **changes: Any) -> Page:
    return Page(page(report(run(*cases, **changes))))


def test_the_page_says_wheel_sha256_and_verdict() -> None:
    found = Page(page(sample()))
    text = found.text
    assert ("h1", sample().wheel) in found.texts
    assert ("p", "SMOKE TESTS FAILED (1 of 104 cases)") in found.texts
    assert ("dd", 64 * "a") in found.texts
    assert {"class": "verdict bad"} in found.tags("p")
    assert "NVIDIA H200, capability 9.0, 150.1 GB, 149.5 GB free" in text
    assert "580.95.05, serves CUDA up to 13.0" in text
    assert "2025-11-22T10:01:40Z" in text
    assert "demo/_C_unused.so" in text


def test_the_page_needs_nothing_else() -> None:
    text = page(sample())
    found = Page(text)
    assert {tag for tag, _ in found.seen} & {"script", "link", "img", "iframe", "object", "form"} == set()
    for _, attributes in found.seen:
        assert not {name for name in attributes if name.startswith("on") or name == "src"}
        assert str(attributes.get("href", "#")).startswith("#")
    assert re.search(r"https?:|@import|url\(", text) is None
    assert any(one.get("name") == "viewport" for one in found.tags("meta"))
    assert "prefers-color-scheme: dark" in text


def test_ids_are_unique_and_links_lead_somewhere() -> None:
    found = Page(page(sample()))
    ids = [attributes["id"] for _, attributes in found.seen if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(one["href"])[1:] for one in found.tags("a")} <= set(ids)
    for svg in found.tags("svg"):
        assert set(str(svg["aria-labelledby"]).split()) <= set(ids)


def test_failures_come_before_the_runs_with_their_stacks() -> None:
    text = page(sample())
    assert text.index('id="failures"') < text.index('id="run-1"')
    found = Page(text)
    stacks = [data for tag, data in found.texts if tag == "pre"]
    assert stacks == [reports.FAULT.stack, reports.AGAIN.stack]
    assert (
        "with CUDA_LAUNCH_BLOCKING=1 AcceleratorError: CUDA error: an illegal memory access was encountered, "
        "in demo/ops/sparse24.py:91 in sparsify, kernel _meta_kernel" in found.text
    )


def test_equal_failures_are_one_group_with_a_count() -> None:
    found = shown(*(failed(f"a/{number}") for number in range(3)), failed("b/0", reason="another"))
    assert [text for tag, text in found.texts if (tag == "h3" and "a/" in text) or text == "b/0"][:2] == [
        "3 cases alike, as a/0",
        "b/0",
    ]
    assert "All 3 cases" in found.text
    assert [tag for tag, _ in found.seen].count("article") == 2


def test_without_failures_there_is_no_such_section() -> None:
    found = shown(case("a/b"))
    assert "Failures" not in found.text
    assert {"class": "verdict good"} in found.tags("p")


def test_a_failure_of_which_nothing_is_known() -> None:
    found = shown(failed("a/b", reason="", fault=None, again=None))
    assert "no reason given" in found.text
    assert found.tags("pre") == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (report(), "There was no run."),
        (report(run(unable="there is <no> GPU")), "Could not run here: there is <no> GPU"),
        (report(run(skipped("a/b", "no <f32>")), ok=True), "1 no <f32> a/b"),
    ],
)
def test_a_report_without_cases_claims_nothing(given: SmokeReport, words: str) -> None:
    found = Page(page(given))
    assert words in found.text
    assert "NOT PROVEN (nothing ran)" in found.text
    assert {"class": "verdict warn"} in found.tags("p")
    assert found.tags("svg") == []


def test_skipped_cases_and_notes_are_grouped() -> None:
    found = shown(
        *[skipped(f"a/{index}", "no f32") for index in range(3)], case("a/9", note="smaller"), case("a/8")
    )
    assert "Skipped cases what is said for example 3 no f32 a/0" in found.text
    assert "Notes cases what is said for example 1 smaller a/9" in found.text
    assert "a: 2 passed, 0 failed, 3 skipped" in found.text


def test_charts_and_tables_hold_what_was_measured() -> None:
    found = Page(page(sample()))
    assert len(found.tags("svg")) == 2
    dots = [one for one in found.tags("path") if str(one["class"]).startswith("dot")]
    assert len(dots) == 65 + 3  # the legend has one for each dtype
    assert len(found.tags("rect")) == 3
    assert "demo is as fast as torch or faster for 2 of 3 shapes" in found.text
    assert "8x2048x32x128 1.9 2.41 1.27 577" in found.text


@pytest.mark.parametrize("error", [None, float("nan"), float("inf"), "nan", True, 10**400])
def test_errors_that_are_no_finite_number_are_named(error: Any) -> None:
    found = shown(measured("a/odd", error), measured("a/even", 0.001))
    assert "1 without a finite error" in found.text
    assert len([one for one in found.tags("path") if "kind" in str(one["class"])]) == 2
    assert "svg" not in [tag for tag, _ in shown(measured("a/odd", error)).seen]


@pytest.mark.parametrize(
    "bad", ["<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "{{ 7*7 }}", "]]>&amp;"]
)
def test_nothing_in_a_report_becomes_markup(bad: str) -> None:
    fault = replace(reports.FAULT, type=bad, message=bad, where=bad, kernel=bad, stack=bad)
    around = reports.on_gpu(
        python=bad, platform=bad, torch=bad, torch_cuda=bad, triton=bad, packages={bad: bad}, driver=bad,
        driver_cuda=bad, outside=bad, gpus=(replace(reports.GPU, name=bad, capability=bad),),
    )  # fmt: skip
    numbers = {"error": 0.5, "tolerance": 1, "operator": bad, "dtype": bad, bad: bad}
    cases = (
        failed(bad, suite=bad, reason=bad, fault=fault, again=fault, note=bad, libraries=(bad,)),
        failed(f"{bad}2", suite=bad, reason="", fault=fault, again=None),
        skipped(bad, bad, suite=bad),
        case(f"x{bad}", suite=bad, note=bad, numbers=numbers),
        case(f"y{bad}", numbers={**numbers, "error": None}),
        case(f"speed/{bad}", numbers={"shape": bad, "demo_ms": 1, "torch_ms": 2}),
        case("speed/verdict", numbers={"sentence": bad}),
    )
    text = page(
        report(
            run(*cases, surroundings=around, untouched=(bad,)), run(unable=bad, untouched=(bad,)),
            wheel=bad, project=bad, version=bad, recipe=bad, target=bad, sha256=bad, kit=bad, digest=bad,
        )
    )  # fmt: skip
    found = Page(text)
    assert {tag for tag, _ in found.seen} & {"script", "img"} == set()
    assert not [name for _, attributes in found.seen for name in attributes if name.startswith("on")]
    assert bad in found.text
    assert bad in [data for tag, data in found.texts if tag == "pre"]


def test_characters_that_no_page_may_hold_are_replaced() -> None:
    wild = failed("a/\x00b", reason="\x1b[31m", fault=replace(reports.FAULT, stack="\ud800\x0b"), again=None)
    text = page(report(run(wild, measured("a/\x01", 0.001))))
    text.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b\x0e-\x1f]", text)
    assert "a/\ufffdb" in text


def test_a_large_report_is_a_page_of_bearable_size() -> None:
    cases = [measured(f"attention/op{index % 9}/bf16/{index}", 0.001 + index / 1e5) for index in range(600)]
    large = report(run(*cases, *[failed(f"a/{index}") for index in range(40)]))
    page(sample())  # reads the template
    started = time.process_time()
    text = page(large)
    assert time.process_time() - started < 1
    assert len(text) < 600_000
    assert len(Page(text).tags("tr")) > 640
