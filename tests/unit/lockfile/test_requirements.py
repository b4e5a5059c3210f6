"""What makes a file the lock of a build: the same reader as for ``audit-lock``, and nothing that is not pinned."""

from __future__ import annotations

import pytest

from retread.errors import RecipeError, UsageError
from retread.lockfile import readers, requirements

HASH = "sha256:" + 64 * "a"
LOCK = f"""\
# made by uv
build==1.3.0 \\
    --hash={HASH} \\
    --hash={HASH}
setuptools==80.9.0 ; python_full_version >= '3.12' \\
    --hash={HASH}
setuptools==79.0.1 ; python_full_version < '3.12' \\
    --hash={HASH}
Torch==2.11.0 \\
    --hash={HASH}
    # via -r requires.in
"""
LINE = LOCK.count("\n") + 1
"""Where what is added stands."""


def refusal(lock: str | bytes, *requires: str) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        requirements.check_lock(
            lock if isinstance(lock, bytes) else lock.encode(), requires, name="demo-1.2-cu130"
        )
    return caught.value


def told(lock: str | bytes, *requires: str) -> list[str]:
    return list(refusal(lock, *requires).faults)


@pytest.mark.parametrize(
    "requires", [(), ("build>=1.3", "setuptools>=79,<82", "torch==2.11.0"), ("BUILD", "setuptools==79.0.1")]
)
def test_a_lock_of_what_is_required(requires: tuple[str, ...]) -> None:
    requirements.check_lock(LOCK.encode(), requires, name="demo-1.2-cu130")


def test_a_lock_from_windows_and_one_with_a_file_by_its_address() -> None:
    more = f"demo @ https://a.example/demo-1.0-py3-none-any.whl --hash={HASH}\n"
    windows = f"\ufeff{LOCK}{more}".replace("\n", "\r\n").encode()
    requirements.check_lock(windows, ["build", "demo==1.0"], name="demo-1.2-cu130")


def test_the_user_is_told_which_file_is_wrong_where_and_what_to_do() -> None:
    assert str(
        refusal(f"{LOCK}ninja==1.13.0\n-r more.txt\n", "torch==2.12.0", "setuptools>=81", "wheel")
    ) == (
        "recipes/locks/demo-1.2-cu130.txt is not a lock of what the recipe requires\n"
        f"  - line {LINE}: ninja==1.13.0 is not pinned by version and sha256\n"
        f"  - line {LINE + 1}: what more.txt asks for is not in this file; one file has to hold all of it\n"
        "  - torch==2.12.0: the lock has 2.11.0\n"
        "  - setuptools>=81: the lock has 80.9.0, 79.0.1\n"
        "  - wheel: the lock has nothing of it\n"
        "  next: make it anew: retread recipe lock"
    )


@pytest.mark.parametrize(
    "line",
    [
        "ninja==1.13.0", f"ninja==1.13.0 --hash=sha512:{128 * '0'}", "ninja===1.13.0", "./ninja", "-e ./ninja",
        "--editable=./ninja", "ninja @ git+https://git.example/ninja@v1", "ninja @ https://a.example/ninja-1.zip",
    ],
)  # fmt: skip
def test_what_an_environment_may_hold_but_a_lock_has_to_pin(line: str) -> None:
    said = line.partition(" --hash")[0].removeprefix("-e ").removeprefix("--editable=")
    assert told(f"{LOCK}{line}\n", "build") == [f"line {LINE}: {said} is not pinned by version and sha256"]


@pytest.mark.parametrize(
    "line",
    [
        f"ninja>=1.12 --hash={HASH}", f"ninja --hash={HASH}", f"ninja==1.* --hash={HASH}",
        f"ninja==1.12,==1.13 --hash={HASH}", "ninja==1.13 --hash=sha256:00", "--frobnicate", "-rmore.txt",
        "<<<<<<< HEAD", "not a requirement", "https://a.example/ninja-1.whl", f"--hash={HASH}", "--hash=x",
    ],
)  # fmt: skip
def test_a_build_and_an_audit_refuse_the_same_lines_in_the_same_words(line: str) -> None:
    text = f"{LOCK}{line}\n"
    with pytest.raises(UsageError) as caught:
        readers.read(text.encode(), name="requirements.txt")
    assert told(text, "build") == list(caught.value.faults)
    assert caught.value.faults[0].startswith(f"line {LINE}: ")


def test_a_comment_does_not_hide_the_line_behind_it_from_either() -> None:
    text = f"# why \\\nbuild==1.3.0 --hash={HASH}\n"
    assert [one.project for one in readers.read(text.encode(), name="requirements.txt")] == ["build"]
    requirements.check_lock(text.encode(), ["build"], name="demo-1.2-cu130")


def test_what_is_no_lock_at_all() -> None:
    assert told("", "build") == ["build: the lock has nothing of it"]
    assert told(b"build==1\ntorch\xff==2.11.0\n", "build") == ["line 2: not UTF-8"]


def test_a_long_list_of_faults_is_cut() -> None:
    assert told("ninja==1\n" * 25)[19:] == [
        "line 20: ninja==1 is not pinned by version and sha256",
        "... and 5 more",
    ]
