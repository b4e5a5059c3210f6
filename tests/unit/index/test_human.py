"""The pages for people: everything that is known of a wheel is said, nothing of it becomes markup, links lead on."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
import tomllib
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urljoin

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from listings import PATCHES, TRIED, hosted, project
from retread.arch import Arch
from retread.index.layout import place
from retread.index.listing import Hosted, Project
from retread.index.pages import human
from retread.index.pages.human import channel_page, front_page, project_page
from retread.records import Sha256
from retread.smoke.tally import Inherited, Tried
from retread.text import markup


def test_rules_that_a_wheel_was_not_held_to_are_said_on_its_page() -> None:
    page = project_page(project(hosted(waived={"glibc": "built on a <new> system"})), base=BASE)
    assert b'<dt>glibc</dt><dd class="warn">built on a &lt;new&gt; system</dd>' in page
    assert b"not held to" not in project_page(project(hosted()), base=BASE)
    assert b"waived" not in msgspec.json.encode(hosted())


def test_what_ran_of_another_wheel_is_said_to_be_that() -> None:
    ran = Inherited(
        wheel="demo-x86_64.whl", sha256=Sha256(64 * "a"), where="NVIDIA H200, 9.0", kernels=29, of=50
    )
    page = project_page(project(hosted(inherited=(ran,))), base=BASE).decode()
    assert "29 of its 50 kernels have the machine code of <code>demo-x86_64.whl</code>" in page
    assert "Nothing of this wheel ran there; its other kernels have run nowhere." in page
    whole = project_page(project(hosted(inherited=(replace(ran, kernels=50),))), base=BASE).decode()
    assert "Nothing of this wheel ran there." in whole
    assert b"inherited" not in msgspec.json.encode(hosted())


def archs(text: str) -> tuple[Arch, ...]:
    return tuple(map(Arch, text.split()))


BASE = "https://wheels.example"
HERE = f"{BASE}/cu128/simple/demo/page.html"
NASTY = "</option></style><script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"
VERSIONS = ("0.0.9+cu128.1", "0.0.35+cu128.1", "0.0.35+cu128.2", "0.0.35+cu128.10")
WINDOWS = "other-0.0.35+cu128.1-cp39-abi3-win_amd64.whl"
VOID = {"meta", "br"}


class Page(HTMLParser):
    """A page as a browser takes it apart: elements that are closed in order, attributes, text."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.copied: list[str] = []
        self.feed(page.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data))
        if self.open[-2:] == ["pre", "code"]:
            self.copied.append(data)

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.seen if tag == name]

    def of(self, name: str) -> list[str]:
        return [" ".join(data.split()) for tag, data in self.texts if tag == name]

    @property
    def links(self) -> list[str]:
        return [str(one["href"]) for one in self.tags("a")]

    @property
    def text(self) -> str:
        return " ".join(" ".join(text.split()) for tag, text in self.texts if tag not in {"style", "script"})


def of_project(*files: Hosted, base: str = BASE, **changes: Any) -> Page:
    return Page(project_page(project(*files, **changes), base=base))


def of_channel(*projects: Project) -> Page:
    return Page(channel_page("cu128", projects, base=BASE))


def copied(*files: Hosted) -> list[str]:
    """Return the lines to copy: pip's, uv's settings, uv's, poetry's."""
    return of_project(*files).copied


def test_a_wheel_says_what_it_holds() -> None:
    one = hosted()
    found = of_project(one)
    for words in (
        one.file, one.sha256, one.commit, "CUDA 12.8", "torch >=2.10", "Triton 3.6.0, 3.7.1", "Python >=3.9",
        "lane overlay", "2026-11-22 10:00 UTC", "117.3 MB", "demo/_C.so 8.0, 9.0a, 10.0, 12.0",
        "demo/flash_attn_3/_C.so 8.0, 9.0a", "gpu NVIDIA H200, 9.0 2.13.0 1204 0 17", "jit Triton 3.6.0 2.13.0 96 0 0",
        "static - 2.13.0 412 0 3", "Proven: listed with the signed evidence below.",
    ):  # fmt: skip
        assert words in found.text
    for patch in PATCHES:
        for words in (
            patch.subject,
            patch.breaks,
            patch.affects,
            patch.upstream,
            patch.drop_when,
            patch.sha256,
        ):
            assert words in found.text


def test_links_lead_to_the_wheel_its_evidence_and_up() -> None:
    one = hosted()
    links = [unquote(urljoin(HERE, link)) for link in of_project(one).links]
    assert links == [
        f"{BASE}/index.html",
        f"{BASE}/cu128/index.html",
        f"{HERE}#{one.version}",
        *(f"{BASE}/{place(name, one.sha256)}" for name in (one.file, *one.sidecars)),
    ]
    assert of_project(one).of("a")[-3:] == ["provenance.dsse.json", "test-static.dsse.json", "audit.json"]


def test_the_newest_version_comes_first() -> None:
    found = of_project(*(hosted(version=version) for version in VERSIONS))
    assert found.of("h2") == ["Install 0.0.35+cu128.10", "Which version", *reversed(VERSIONS)]
    assert len(found.tags("details")) == 3 + 3
    assert [one["id"] for one in found.tags("section")[2:]] == list(reversed(VERSIONS))


def test_a_version_is_picked_by_torch_python_and_gpu_and_each_has_its_lines() -> None:
    old = hosted(
        version="0.0.30+cu128.1", torch="==2.7.0", file="demo-0.0.30+cu128.1-cp312-cp312-linux_x86_64.whl"
    )
    found = of_project(hosted(libraries={"a.so": archs("8.0 10.0"), "b.so": archs("8.0")}), old)
    text = found.text
    assert "Which version version platform torch Python GPUs with native code 0.0.35+cu128.1 x86_64" in text
    assert "0.0.30+cu128.1 x86_64 ==2.7.0 3.12 " in text
    assert "A100 (8.0), RTX 30 (8.6), RTX 40, L40 (8.9), B200 (10.0) * , B300 (10.3) * 0.0.30" in text
    pips = [one for one in found.copied if one.startswith("pip ")]
    assert [one.rpartition("==")[2] for one in pips] == ["0.0.35+cu128.1", "0.0.30+cu128.1"]


def test_patches_are_said_once_for_a_version_unless_its_wheels_differ() -> None:
    wheels = [hosted(file=f"demo-1.0-cp3{minor}-none-any.whl", version="1.0") for minor in (10, 11)]
    assert of_project(*wheels).text.count(PATCHES[0].subject) == 1
    found = of_project(wheels[0], replace(wheels[1], patches=PATCHES[1:]))
    assert found.text.count(PATCHES[0].subject) == 1
    assert found.text.count(PATCHES[1].subject) == 2


def test_yanked_and_unproven_are_said_with_the_reason() -> None:
    found = of_project(hosted(yanked="wrong kernel", unproven="no GPU at hand"))
    assert "Yanked: wrong kernel." in found.text
    assert "Unproven: it was let in without the evidence" in found.text
    assert "The reason: no GPU at hand" in found.text
    assert "Proven" not in found.text
    assert "Yanked: no reason was given." in of_project(hosted(yanked="")).text
    assert found.of("span") == ["yanked", "unproven"]


def test_failed_tests_of_a_wheel_that_is_let_in_are_said_with_the_reason() -> None:
    runs = (
        Tried(level="static", where="", torch="", passed=9, failed=1, skipped=0),
        Tried(level="jit", where="Triton 3.9.0", torch="2.13.0", passed=94, failed=2, skipped=0),
    )
    bad = hosted(unproven="we need it", tried=runs)
    found = of_project(bad)
    words = "asks for. 3 of its tests FAILED. The reason: we need it"
    assert found.text.count(words) == 2, "at the wheel and where it is installed"
    assert of_channel(project(bad)).of("span") == ["unproven: 3 of its tests FAILED; we need it"]
    assert "FAILED" not in of_project(hosted(unproven="we need it")).text


def test_a_gpu_that_comes_with_an_arm_processor_is_told_for_its_wheels_alone() -> None:
    code = {"a.so": archs("12.0 12.1")}
    for tag, told in (("x86_64", False), ("aarch64", True)):
        file = f"demo-0.0.30+cu128.1-cp312-cp312-linux_{tag}.whl"
        assert ("DGX Spark (12.1)" in of_project(hosted(file=file, libraries=code)).text) is told


def test_what_is_not_known_is_said() -> None:
    found = of_project(
        hosted(triton=(), libraries={}, tried=(), sidecars=(), patches=(), requires_python="", torch="")
    )
    for words in (
        "Triton not tried",
        "no library with GPU code",
        "No test of it is on record",
        "Evidence None.",
    ):
        assert words in found.text
    assert "Patches" not in found.text


def test_failed_and_empty_runs_stand_out() -> None:
    runs = (
        Tried(level="jit", where="Triton 3.9.0", torch="2.13.0", passed=94, failed=2, skipped=0),
        Tried(level="gpu", where="NVIDIA B200, 10.0", torch="2.13.0", passed=0, failed=0, skipped=9),
    )
    cells = [one["class"] for one in of_project(hosted(tried=runs)).tags("td") if one.get("class")]
    assert cells == ["number good", "number bad", "number", "number warn", "number ", "number"]


def test_lines_to_copy_ask_this_index_alone() -> None:
    pip, toml, uv, poetry = copied(hosted())
    index = f"{BASE}/cu128/simple/"
    assert shlex.split(pip) == ["pip", "install", "--index-url", index, "demo==0.0.35+cu128.1"]
    assert tomllib.loads(toml) == {
        "tool": {
            "uv": {
                "index": [{"name": "retread-cu128", "url": index, "explicit": True}],
                "sources": {"demo": {"index": "retread-cu128"}},
            }
        }
    }
    assert uv == "uv add demo==0.0.35+cu128.1"
    source, add = poetry.splitlines()
    assert source == f"poetry source add --priority=explicit retread-cu128 {index}"
    assert add == "poetry add --source retread-cu128 demo==0.0.35+cu128.1"
    assert "extra-index" not in of_project(hosted()).text


def test_an_address_with_odd_characters_is_quoted() -> None:
    base = "https://u$er:p'w\"@wheels.example/a b/"
    pip, toml, _, poetry = of_project(hosted(), base=base).copied
    index = f"{base}cu128/simple/"
    assert shlex.split(pip)[3] == index
    assert tomllib.loads(toml)["tool"]["uv"]["index"][0]["url"] == index
    assert shlex.split(poetry)[5] == index


@pytest.mark.parametrize(
    ("others", "wanted"),
    [
        ([{"version": "0.0.36+cu128.1", "yanked": "bad"}], "0.0.35+cu128.1"),
        ([{"version": "0.0.36+cu128.1", "unproven": "no GPU"}], "0.0.35+cu128.1"),
        ([{"version": "0.0.36.dev1+cu128.1"}], "0.0.35+cu128.1"),
        ([{"version": "0.0.35+cu128.10"}, {"version": "0.0.35+cu128.9"}], "0.0.35+cu128.10"),
    ],
)
def test_lines_take_the_newest_wheel_that_can_be_recommended(
    others: list[dict[str, Any]], wanted: str
) -> None:
    assert copied(hosted(), *(hosted(**one) for one in others))[2] == f"uv add demo=={wanted}"


def test_an_unproven_wheel_is_recommended_with_its_reason_alone() -> None:
    found = of_project(hosted(unproven="no GPU at hand"))
    assert found.text.index("no GPU at hand") < found.text.index("pip install")


def test_without_a_usable_wheel_there_is_nothing_to_copy() -> None:
    yanked = of_project(hosted(yanked="bad"))
    assert "Every wheel is yanked" in yanked.text
    empty = of_project()
    assert "No wheel is listed." in empty.text
    assert "0 versions, 0 wheels in channel cu128" in empty.text
    assert yanked.tags("pre") == empty.tags("pre") == []


def test_the_channel_shows_every_release_and_links_to_it() -> None:
    found = of_channel(
        project(
            hosted(project="xformers"), hosted(project="xformers", version="0.0.34+cu128.1", yanked="bad")
        ),
        project(hosted(unproven="no GPU"), hosted(file="demo-b.whl")),
        project(name="owned"),
    )
    assert len([one for one in found.tags("tr") if "data-torch" in one]) == 3
    assert found.links == [
        "../index.html",
        "simple/demo/page.html", "simple/demo/page.html#0.0.35%2Bcu128.1",
        "simple/xformers/page.html", "simple/xformers/page.html#0.0.35%2Bcu128.1",
        "simple/xformers/page.html", "simple/xformers/page.html#0.0.34%2Bcu128.1",
        "simple/owned/page.html",
    ]  # fmt: skip
    assert found.of("span") == ["unproven (1 of 2 wheels): no GPU", "proven", "yanked: bad"]
    assert "9.0a, 10.0 * , 12.0 *" in found.text
    assert not [one for one in found.tags("tr") if "hidden" in one]


def test_the_filter_knows_which_torch_and_which_gpu_a_wheel_serves() -> None:
    code = {"_C.so": (Arch("8.0"), Arch("9.0a"))}
    found = of_channel(
        project(hosted(torch=">=2.9,<2.11", tried=(), libraries=code)),
        project(hosted(project="other", torch="==2.11.*", libraries={}, cuda="12.9", file=WINDOWS)),
        project(hosted(project="odd", torch="whatever", tried=(replace(TRIED[0], torch="2.10.1+cu128"),))),
    )
    rows = [one for one in found.tags("tr") if "data-torch" in one]
    assert [one["data-torch"] for one in rows] == ["2.9 2.10.1", "", "2.11"]
    assert [one["data-gpu"] for one in rows] == ["8.0 8.6 8.9 9.0", "8.0 8.6 8.9 9.0 10.0 10.3 12.0 12.1", ""]
    assert [one["data-platform"] for one in rows] == ["x86_64", "x86_64", "win_amd64"]
    assert [one["data-cuda"] for one in rows] == ["12.8", "12.8", "12.9"]
    offered = [str(one["value"]) for one in found.tags("option")]
    assert offered == [
        "", "2.11", "2.10.1", "2.9",
        "", "12.9", "12.8",
        "", "x86_64", "win_amd64",
        "", "8.0", "8.6", "8.9", "9.0", "10.0", "10.3", "12.0", "12.1",
    ]  # fmt: skip
    assert {one["name"] for one in found.tags("select")} == {"torch", "cuda", "platform", "gpu"}


def test_only_the_channel_has_a_script_and_its_policy_names_it() -> None:
    page = channel_page("cu128", [project(hosted())], base=BASE)
    found = Page(page)
    (script,) = [data for tag, data in found.texts if tag == "script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [one["content"] for one in found.tags("meta") if "http-equiv" in one]
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    (shelf,) = [one for one in found.tags("div") if one.get("id") == "filter"]
    assert "hidden" in shelf
    for plain in (of_project(hosted()), Page(front_page(["cu128"], base=BASE))):
        assert plain.tags("script") == []


def test_an_empty_channel_and_an_empty_index_say_so() -> None:
    found = of_channel()
    assert "No wheel is listed here." in found.text
    assert found.tags("script") == []
    assert "There is no channel yet." in Page(front_page([], base=BASE)).text


def test_the_front_lists_the_newest_cuda_first() -> None:
    found = Page(front_page(["cu128", "cu1210", "cu130", "nightly"], base=f"{BASE}/"))
    assert found.links == [f"{one}/index.html" for one in ("nightly", "cu1210", "cu130", "cu128")]
    assert "CUDA 12.8 For installers: https://wheels.example/cu128/simple/" in found.text


def test_pages_need_nothing_else() -> None:
    for page in (
        project_page(project(hosted()), base=BASE),
        channel_page("cu128", [project(hosted())], base=BASE),
        front_page(["cu128"], base=BASE),
    ):
        found = Page(page)
        assert {tag for tag, _ in found.seen} & {"link", "img", "iframe", "object", "form"} == set()
        assert not [name for _, one in found.seen for name in one if name.startswith("on") or name == "src"]
        assert not [link for link in found.links if ":" in link]
        assert re.search(rb"@import|url\(", page) is None
        assert any(one.get("name") == "viewport" for one in found.tags("meta"))
        assert b"prefers-color-scheme: dark" in page


def hostile(bad: str) -> Hosted:
    patch = replace(
        PATCHES[0],
        name=bad,
        sha256=Sha256(bad),
        subject=bad,
        breaks=bad,
        affects=bad,
        upstream=bad,
        drop_when=bad,
    )
    return Hosted(
        file=bad, sha256=Sha256(bad), size=1, project=bad, version="1.0", uploaded=bad, requires_python=bad,
        metadata_sha256=Sha256(bad), yanked=None, unproven=bad, sidecars=(bad,), cuda=bad, torch=bad, triton=(bad,),
        lane=bad, commit=bad, libraries={bad: (Arch("9.0"),)}, patches=(patch,),
        tried=(replace(TRIED[2], level=bad, torch=bad, where=bad), replace(TRIED[2], where=bad)),
    )  # fmt: skip


def shape(page: Page) -> list[str]:
    return [tag for tag, _ in page.seen]


def nasty(bad: str) -> list[Page]:
    """Return all pages of which every text is ``bad``."""
    one = hostile(bad)
    both = Project(channel=bad, name=bad, files=(one, replace(one, version="2.0", yanked=bad)))
    return [
        Page(project_page(both, base=bad)),
        Page(channel_page(bad, [both, Project(channel=bad, name=bad, files=())], base=bad)),
        Page(front_page([bad], base=bad)),
    ]


@settings(deadline=None, max_examples=15)
@given(st.text(st.sampled_from("<>&\"'/={}%# abc")).map(lambda text: f"x{text}x"))
def test_no_text_changes_the_markup(bad: str) -> None:
    assert [shape(page) for page in nasty(bad)] == [shape(page) for page in nasty("x")]


def test_nothing_becomes_markup() -> None:
    for page, scripts in zip(nasty(NASTY), (0, 1, 0), strict=True):
        assert page.tags("img") == []
        assert len(page.tags("script")) == scripts
        assert not [name for _, one in page.seen for name in one if name.startswith("on")]
        assert " ".join(NASTY.split()) in page.text


def test_characters_that_no_page_may_hold_are_replaced() -> None:
    page = project_page(project(hosted(unproven="\x00\ud800")), base=BASE)
    assert "The reason: \ufffd\ufffd" in page.decode()


@settings(deadline=None, max_examples=15)
@given(st.permutations([hosted(version=version) for version in VERSIONS] + [hosted(file="demo-b.whl")]))
def test_the_order_of_the_files_does_not_matter(files: list[Hosted]) -> None:
    ordered = sorted(files, key=lambda one: one.file)
    assert project_page(project(*files), base=BASE) == project_page(project(*ordered), base=BASE)
    channels = [channel_page("cu128", [project(*each)], base=BASE) for each in (files, ordered)]
    assert channels[0] == channels[1]


def test_what_many_wheels_share_is_made_once() -> None:
    many = [
        project(*(hosted(project=f"p{i}", version=f"0.{n}+cu128.1") for n in range(20))) for i in range(5)
    ]
    forget()
    pages = [project_page(one, base=BASE) for one in many]
    # Their cards, the row of a version; of each project: its lines, its first version and all others.
    assert markup.form.cache_info().misses == 1 + 1 + 3 * 5
    page = channel_page("cu128", many, base=BASE)
    assert markup.form.cache_info().misses == 18, "rows of all releases"
    assert [one.count(b"Run the attention op") for one in pages] == 5 * [20]
    assert page.count(b"<tr data-torch") == 100


def test_wheels_that_differ_share_nothing() -> None:
    kinds = [hosted(), hosted(yanked=""), hosted(yanked="bad"), hosted(unproven="bad"), hosted(tried=())]
    whole = [project_page(project(one), base=BASE) for one in kinds]
    forget()
    assert [project_page(project(one), base=BASE) for one in reversed(kinds)] == whole[::-1]
    assert len(set(whole)) == len(kinds)


def test_a_wheel_is_told_by_itself_whatever_others_share_with_it() -> None:
    wheels = [
        hosted(file=f"demo-1.0-cp3{minor}-cp3{minor}-linux_{machine}.whl", version="1.0", size=minor * 10**6)
        for minor in (9, 12)
        for machine in ("x86_64", "aarch64")
    ]
    together = of_project(*wheels).text
    for one in wheels:
        card = together[together.index(one.file) :].partition(" Evidence ")[0]
        assert f"size {one.size / 1e6:.1f} MB sha256 {one.sha256} " in card
        assert card in of_project(one).text


def forget() -> None:
    """Forget what was made of other wheels."""
    for kept in (human._kind, human._served, human._section, human._row, markup.form):
        kept.cache_clear()
