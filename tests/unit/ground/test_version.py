"""Versions of patched wheels sort by revision, and every resolver takes them for the upstream version."""

from __future__ import annotations

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from retread import version
from retread.errors import PublishError


def test_version_names_upstream_cuda_and_revision() -> None:
    assert version.patched("0.0.35", "12.8", 1) == "0.0.35+cu128.1"
    assert version.patched("0.0.29.post3", "12.4", 12) == "0.0.29.post3+cu124.12"
    assert version.patched("0.0.35", "13.0", 1) == "0.0.35+cu130.1"


def test_revision_ten_is_newer_than_nine() -> None:
    made = [version.patched("0.0.35", "12.8", revision) for revision in (1, 2, 9, 10, 11, 100)]
    assert sorted(made, key=Version) == made
    assert sorted(made) != made


def test_patched_is_newer_than_upstream_and_older_than_its_post_release() -> None:
    patched = Version(version.patched("0.0.34", "12.8", 7))
    assert Version("0.0.34") < Version("0.0.34+cu128") < patched < Version("0.0.34.post1") < Version("0.0.35")


@pytest.mark.parametrize("wanted", ["==0.0.35", "~=0.0.35", ">=0.0.35", "<=0.0.35"])
def test_a_requirement_on_upstream_takes_the_patched_wheel(wanted: str) -> None:
    assert version.patched("0.0.35", "12.8", 3) in SpecifierSet(wanted)


def test_retreads_own_version_is_one() -> None:
    assert Version(version.__version__)


def test_what_is_no_version_is_refused() -> None:
    with pytest.raises(InvalidVersion):
        version.patched("0.0.35+local", "12.8", 1)


def test_a_version_of_ours_is_taken_apart_as_it_was_put_together() -> None:
    for upstream, cuda, revision in (
        ("0.0.35", "12.8", 2),
        ("0.0.29.post3", "13.0", 12),
        ("1!2.0rc1", "9.2", 1),
    ):
        found = version.release(version.patched(upstream, cuda, revision))
        assert found == (upstream, version.channel(cuda), revision, "nvcc")
        assert version.cuda(found.channel) == cuda


def test_what_clang_compiled_says_so_and_never_takes_an_nvcc_wheels_place() -> None:
    made = version.patched("0.0.29.post3", "12.8", 7, version.CLANG)
    assert made == "0.0.29.post3+cu128.clang.7"
    assert version.release(made) == ("0.0.29.post3", "cu128", 7, "clang")
    assert Version("0.0.29.post3") < Version(made) < Version(version.patched("0.0.29.post3", "12.8", 1))
    newer = version.patched("0.0.29.post3", "12.8", 10, version.CLANG)
    assert Version(made) < Version(newer)


@pytest.mark.parametrize(
    "other",
    ["1.2", "1.2+cpu", "1.2+cu128", "1.2+cu128.1.2", "1.2+rocm6.1", "1.2+cu128.clang", "1.2+cu128.gcc.1"],
)
def test_a_version_of_no_channel_is_refused_with_an_example(other: str) -> None:
    with pytest.raises(PublishError, match=r"belongs to no channel: it is not like 1\.2\+cu128\.1"):
        version.release(other)


def test_a_folder_of_another_name_is_of_no_cuda() -> None:
    assert [version.cuda(name) for name in ("cpu", "cu", "cu8", "")] == ["", "", "", ""]
