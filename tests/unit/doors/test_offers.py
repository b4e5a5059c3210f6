"""Offers: only what is named as a file of the project counts; the newest release is neither yanked nor a trial."""

from __future__ import annotations

from packaging.tags import parse_tag
from packaging.version import Version

from retread.doors.net import offers
from retread.doors.net.offers import Offer

TAGS = sorted(parse_tag("cp311-cp311-manylinux_2_28_x86_64") | parse_tag("py3-none-any"), key=str)


def read(*files: str, yanked: str = "", project: str = "tiny_cuda") -> list[Offer]:
    found = [offers.read(file, project, sha256=64 * "a", yanked=file == yanked) for file in files]
    return [one for one in found if one]


ODD = (
        "tiny_cuda.tar.gz", "other-1.0.tar.gz", "tiny_cuda_more-1.0.tar.gz", "tiny_cuda-1.0.zip", "tiny_cuda-1.0.exe",
        "tiny_cuda-one.tar.gz", "tiny_cuda-1.0-py3-none.whl", "../tiny_cuda-1.0.tar.gz", "tiny_cuda-1.0\n.tar.gz",
        "tiny_cuda-1.0-py3-none-<img src=x>.whl", "tiny_cuda-1.0-py3-none-`any`.whl", "",
        "tiny_cuda-1.0-py3-none-@me.whl",
)  # fmt: skip


def test_what_is_not_named_as_a_file_of_the_project_is_none() -> None:
    assert {file: found for file in ODD if (found := read(file))} == {}


def test_a_file_is_read_by_its_name() -> None:
    sdist, wheel = read("Tiny.CUDA-1.0.post1.tar.gz", "tiny_cuda-1.0.post1-py3-none-any.whl", yanked="no")
    assert (sdist.version, sdist.tags, sdist.yanked) == (Version("1.0.post1"), frozenset(), False)
    assert (wheel.version, wheel.tags) == (sdist.version, parse_tag("py3-none-any"))
    assert sdist.sha256 == 64 * "a"
    odd = offers.read("tiny_cuda-1.0.tar.gz", "tiny-cuda", sha256="not a digest")
    assert odd
    assert odd.sha256 == ""


def test_the_newest_source_is_a_release_with_a_source() -> None:
    found = offers.newest_source(
        read(
            "tiny_cuda-1.9.tar.gz", "tiny_cuda-1.10.tar.gz", "tiny_cuda-1.13.tar.gz", "tiny_cuda-2.0rc1.tar.gz",
            "tiny_cuda-1.11.dev3.tar.gz", "tiny_cuda-1.12-py3-none-any.whl", "tiny_cuda-1.8-py3-none-any.whl",
            "tiny_cuda-1.14+cu128.1.tar.gz",
            yanked="tiny_cuda-1.13.tar.gz",
        )
    )  # fmt: skip
    assert found
    assert found.sdist.file == "tiny_cuda-1.10.tar.gz"
    assert list(map(str, found.without_source)) == ["1.12"]
    assert offers.newest_source(read("tiny_cuda-1.8-py3-none-any.whl", "tiny_cuda-1.9rc1.tar.gz")) is None


def test_the_newest_wheel_is_one_that_this_python_takes() -> None:
    found = read(
        "tiny_cuda-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl", "tiny_cuda-2.14.0-cp399-cp399-win_amd64.whl",
        "tiny_cuda-2.15.0-cp311-cp311-manylinux_2_28_x86_64.whl", "tiny_cuda-2.16.0.tar.gz",
        "tiny_cuda-2.9.0-py3-none-any.whl",
        yanked="tiny_cuda-2.15.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    )  # fmt: skip
    assert offers.newest_wheel(found, TAGS) == "2.13.0"
    assert offers.newest_wheel(found[1:2], TAGS) == ""


def test_the_fitting_wheel_is_the_best_of_its_version() -> None:
    found = read(
        "tiny_cuda-1.1-py3-none-any.whl", "tiny_cuda-1.1-cp311-cp311-manylinux_2_28_x86_64.whl",
        "tiny_cuda-1.2-py3-none-any.whl", "tiny_cuda-1.1.tar.gz", "tiny_cuda-1.3-py3-none-any.whl",
        yanked="tiny_cuda-1.3-py3-none-any.whl",
    )  # fmt: skip
    best = offers.fitting(found, Version("1.1"), TAGS)
    assert best is found[1]
    assert offers.fitting(found, Version("1.1"), TAGS[::-1]) is found[0]
    assert offers.fitting(found, Version("1.3"), TAGS) is None
