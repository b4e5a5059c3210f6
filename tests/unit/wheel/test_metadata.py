"""Text edits of what a wheel says about itself: only the lines meant change, and bad texts are refused."""

from __future__ import annotations

import base64
import hashlib
from email.parser import Parser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retread.errors import WheelError
from retread.records import Sha256
from retread.wheel import metadata

TEXT = (
    "Metadata-Version: 2.4\n"
    "Name: xFormers\n"
    "version:  0.0.35\n"
    "Summary: one\n        and two\n"
    "Requires-Dist: torch>=2.10\n"
    "Requires-Dist: numpy\n"
    'Requires-Dist: torch; extra == "dev"\n'
    "Dynamic: author\n"
    "\n"
    "Version: 9 stands in the body\n\rRequires-Dist: too\n"
)
WHEEL = (
    "Wheel-Version: 1.0\nGenerator: setuptools (79.0.1)\nRoot-Is-Purelib: false\n"
    "Tag: py39-none-manylinux_2_28_x86_64\n\n"
)
CONTENT = Sha256(hashlib.sha256(b"x").hexdigest())
URLSAFE = base64.urlsafe_b64encode(hashlib.sha256(b"x").digest()).decode().rstrip("=")
RECORD = "d-1.dist-info/RECORD"


def test_set_version_changes_one_line() -> None:
    changed = metadata.set_version(TEXT, "0.0.35+CU128.1")
    assert changed == TEXT.replace("version:  0.0.35\n", "Version: 0.0.35+cu128.1\n", 1)
    assert metadata.parse_metadata(changed) == ("xformers", "0.0.35+cu128.1")


def test_line_ends_are_kept() -> None:
    text = TEXT.partition("\n\n")[0].replace("\n", "\r\n") + "\r\n\r\nbody\n"
    changed = metadata.set_requirement(metadata.set_version(text, "1"), "einops")
    assert changed.count("\n") == changed.count("\r\n") + 1
    assert 'extra == "dev"\r\nRequires-Dist: einops\r\nDynamic' in changed


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("torch==2.11.0", ["torch==2.11.0", "numpy", 'torch; extra == "dev"']),
        ("NumPy<3", ["torch>=2.10", "NumPy<3", 'torch; extra == "dev"']),
        ("torch<3; extra == 'dev'", ["torch>=2.10", "numpy", "torch<3; extra == 'dev'"]),
        ("torch[opt]", ["torch>=2.10", "numpy", 'torch; extra == "dev"', "torch[opt]"]),
        ("einops>=0.8", ["torch>=2.10", "numpy", 'torch; extra == "dev"', "einops>=0.8"]),
    ],
)
def test_set_requirement(requirement: str, expected: list[str]) -> None:
    changed = metadata.set_requirement(TEXT, requirement)
    assert list(metadata.requirements(changed)) == expected
    assert Parser().parsestr(changed).get_all("Requires-Dist") == expected
    others = [line for line in TEXT.split("\n") if not line.startswith("Requires-Dist")]
    assert [line for line in changed.split("\n") if not line.startswith("Requires-Dist")] == others


def test_set_requirement_replaces_all_of_a_kind_and_adds_the_first() -> None:
    text = "Metadata-Version: 2.1\nName: a\nVersion: 1\nRequires-Dist: torch>=2\nRequires-Dist: torch<3"
    assert metadata.set_requirement(text, "torch==2.9") == text.partition("Requires")[0] + (
        "Requires-Dist: torch==2.9\n"
    )
    assert metadata.set_requirement("Name: a", "torch") == "Name: a\nRequires-Dist: torch\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "METADATA states Metadata-Version 0 times, not once"),
        (TEXT.replace("Dynamic", "Version"), "METADATA states Version 2 times, not once"),
        (TEXT.replace("2.4", "3.0"), "has Metadata-Version 3.0, which retread does not know"),
        (TEXT.replace("0.0.35", "rolling"), "'rolling' is not a version"),
        (TEXT.replace("Summary: one", "Summary: one\rVersion: 2"), "has a lone carriage return in 'Summary"),
        (TEXT.replace("Dynamic: ", "Dynamic "), "has a line that is no 'Field: value': 'Dynamic author"),
        ("\ufeff" + TEXT, "has a line that is no 'Field: value'"),
    ],
)
def test_bad_metadata_is_refused(text: str, fault: str) -> None:
    with pytest.raises(WheelError, match="next: ") as caught:
        metadata.set_version(text, "1.0")
    assert fault in str(caught.value)


def test_bad_requirement_is_refused() -> None:
    with pytest.raises(WheelError, match="'torch=2' is not a requirement"):
        metadata.set_requirement(TEXT, "torch=2")


@given(st.text(alphabet="AVersion-Dist: \r\n\t1.\u2028é", max_size=60))
def test_any_text_is_edited_or_refused(noise: str) -> None:
    text = "Metadata-Version: 2.1\nName: a\nVersion: 1\nSummary: x\n" + noise
    try:
        changed = metadata.set_version(text, "2")
    except WheelError:
        return
    assert changed.replace("Version: 2\n", "Version: 1\n", 1) == text
    assert Parser().parsestr(changed)["Version"] == "2"


def test_wheel_file_is_left_alone_unless_tags_change() -> None:
    tag = "py39-none-manylinux_2_28_x86_64"
    assert metadata.parse_wheel_file(WHEEL) == (frozenset({tag}), "")
    assert metadata.set_tags(WHEEL, [tag]) is WHEEL
    changed = metadata.set_tags(WHEEL, ["cp39-abi3-b", "cp39-abi3-a"])
    assert changed == WHEEL.replace(f"Tag: {tag}", "Tag: cp39-abi3-a\nTag: cp39-abi3-b")


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("1.0", "2.0", "WHEEL has Wheel-Version 2.0; retread knows version 1"),
        ("1.0", "one", "WHEEL states Wheel-Version as ['one'], not once as '1.0'"),
        ("Tag", "Tug", "WHEEL has no Tag"),
        ("-none-", "-", "WHEEL has no Tag, or one that is not like"),
        ("Generator: setuptools", "Build: 1\nBuild: 2", "WHEEL states Build more than once"),
        ("Generator: ", "Generator", "WHEEL has a line that is no 'Field: value'"),
    ],
)
def test_bad_wheel_file_is_refused(old: str, new: str, fault: str) -> None:
    with pytest.raises(WheelError) as caught:
        metadata.parse_wheel_file(WHEEL.replace(old, new))
    assert fault in caught.value.message


def test_wheel_names() -> None:
    name = metadata.parse_name("nvidia_nvcc-12.8.93-1a-py2.py3-none-manylinux1_x86_64.linux_x86_64.whl")
    assert (name.project, name.version, name.build) == ("nvidia-nvcc", "12.8.93", "1a-")
    assert len(name.tag_set) == 4
    patched = name.with_version("12.8.93+CU128.1")
    assert patched.file_name == (
        "nvidia_nvcc-12.8.93+cu128.1-1a-py2.py3-none-manylinux1_x86_64.linux_x86_64.whl"
    )
    assert metadata.moved("nvidia_nvcc-12.8.93.dist-info/RECORD", patched.stem) == (
        "nvidia_nvcc-12.8.93+cu128.1.dist-info/RECORD"
    )
    assert metadata.moved("a-1.data/scripts/x", "a-2") == "a-2.data/scripts/x"
    assert metadata.moved("pkg/a-1.dist-info/x", "a-2") == "pkg/a-1.dist-info/x"
    assert metadata.moved("data", "a-2") == "data"


@pytest.mark.parametrize("name", ["demo.whl", "demo-1.0-py3-none.whl", "demo-x-py3-none-any.whl", "demo.zip"])
def test_bad_wheel_names_are_refused(name: str) -> None:
    with pytest.raises(WheelError, match="is not the file name of a wheel"):
        metadata.parse_name(name)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "is empty or holds control characters"),
        ("a\0b", "is empty or holds control characters"),
        ("a\\b", "holds a backslash"),
        ("/a", "is an absolute path"),
        ("c:a", "is an absolute path"),
        ("a//b", "has an empty, '.' or '..' component"),
        ("a/..", "has an empty, '.' or '..' component"),
        ("./a", "has an empty, '.' or '..' component"),
    ],
)
def test_bad_member_names(name: str, fault: str) -> None:
    assert fault in metadata.name_fault(name)


def test_member_names_that_clash() -> None:
    assert metadata.name_clash(["a/", "a/b", "a.py", "A.py", "a/c"]) is None
    assert not any(map(metadata.name_fault, ["a/", "a/b", "..a/b..", "C"]))
    assert metadata.name_clash(["a", "b", "a"]) == ("a", "occurs twice")
    assert metadata.name_clash(["a/b/c", "a/b"]) == ("a/b/c", "lies in 'a/b', which is a file")


def test_canonical_order() -> None:
    names = ["d-1.dist-info/RECORD", "z.py", "d-1.dist-info/sboms/a", "d-1.dist-info/METADATA", "a/b", "a.py"]
    assert metadata.canonical_order(names, "d-1.dist-info") == [
        *("a.py", "a/b", "z.py", "d-1.dist-info/METADATA", "d-1.dist-info/sboms/a", "d-1.dist-info/RECORD")
    ]


def test_record_is_written_and_read() -> None:
    text = metadata.record_text([("b,c.py", CONTENT, 1), ("a.py", CONTENT, 1)], RECORD)
    assert text == f'"b,c.py",sha256={URLSAFE},1\na.py,sha256={URLSAFE},1\n{RECORD},,\n'
    files = {"a.py": (CONTENT, 1), "b,c.py": (CONTENT, 1), RECORD: (CONTENT, 9)}
    assert metadata.check_record(text, RECORD, files) == []
    assert metadata.check_record(text, RECORD, files | {"d-1.dist-info/RECORD.jws": (CONTENT, 1)}) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "RECORD does not list 'a.py'"),
        (f"a.py,sha256={URLSAFE},1\n" * 2, "RECORD lists 'a.py' twice"),
        ("b.py,,\n", "RECORD lists 'b.py', which is not in the wheel"),
        (f"{RECORD},sha256={URLSAFE},1\n", "RECORD lists itself with a hash or a size"),
        (f"{RECORD},,5\n", "RECORD lists itself with a hash or a size"),
        ("a.py,,1\n", "'a.py': RECORD states no hash or no size"),
        (f"a.py,sha256={URLSAFE},\n", "'a.py': RECORD states no hash or no size"),
        ("a.py,md5=abc,1\n", "'a.py': RECORD states a md5 hash; retread checks sha256"),
        (f"a.py,sha256={URLSAFE},2\n", "'a.py': RECORD states 2 bytes, the wheel holds 1"),
        (f"a.py,sha256={URLSAFE}=,1\n", f"the wheel holds {URLSAFE}"),
        (f"a.py,sha256={CONTENT},1\n", f"the wheel holds {URLSAFE}"),
        (f"a.py,{URLSAFE},1\n", "RECORD lists 'a.py': `hash` does not follow the required format"),
        ("a.py,sha9=abc,1\n", "RECORD lists 'a.py': invalid hash algorithm 'sha9'"),
        (f"a.py,sha256={URLSAFE},+1\n", "RECORD lists 'a.py' with size '+1', not a plain number"),
        ("a.py\n", "RECORD cannot be read: Row Index 0: expected 3 elements, got 1"),
        ("a" * 200_000, "RECORD cannot be read: field larger than field limit"),
    ],
)
def test_bad_records_are_refused(text: str, fault: str) -> None:
    files = {"a.py": (CONTENT, 1), RECORD: (CONTENT, 9)}
    assert fault in "\n".join(metadata.check_record(text, RECORD, files))


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("demo-1.2-cp312-cp312-linux_x86_64.whl", "demo-1.2-cp312-cp312-manylinux_2_28_x86_64.whl"),
        ("demo-1.2-1-cp39-abi3-linux_x86_64.whl", "demo-1.2-1-cp39-abi3-manylinux_2_28_x86_64.whl"),
        (
            "demo-1.2-cp39-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "demo-1.2-cp39-abi3-manylinux_2_28_x86_64.whl",
        ),
        ("demo-1.2-py2.py3-none-any.whl", "demo-1.2-py2.py3-none-any.whl"),
    ],
)
def test_another_platform(name: str, becomes: str) -> None:
    parsed = metadata.parse_name(name)
    found = parsed.with_platform("manylinux_2_28_x86_64")
    assert found.file_name == becomes
    assert found == metadata.parse_name(becomes)
    assert parsed.file_name == name
