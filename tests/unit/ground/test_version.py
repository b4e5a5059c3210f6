"""Versions of patched wheels sort by revision, and every resolver takes them for the upstream version."""

from __future__ import annotations

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from retread import version


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
