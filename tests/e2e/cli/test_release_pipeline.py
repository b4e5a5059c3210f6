"""From a clean clone to a wheel that pip installs from the index: what the workflows run, in their order.

Everything is real but GitHub and the GPU: a store that holds at most the cubins that test_xformers.py assembled, the
user's package index, keys of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tinycuda import git

pytestmark = [pytest.mark.network, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[3]
RECIPE = "xformers-0.0.35"
NAME = f"{RECIPE}-cu128-py3.9"
ONE = {"RECIPES": RECIPE, "PLATFORM": "x86_64"}
"""What a release has here: with target and lane, one wheel."""
WHEEL = "xformers-0.0.35+cu128.1-py39-none-manylinux_2_28_x86_64.whl"
_UNTOLD = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
"""What the tests see, without what a make that runs them tells the makes below it."""
TRITONS = 'triton = ["3.6.0", "3.7.1", "3.8.0", "3.9.0"]'


class Clone:
    """A clean clone with an empty store, in which targets are typed as a job of a workflow has them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = root.with_name("store")
        self.dist = root / "dist"
        self.retread = root / ".venv" / "bin" / "retread"
        self.environment = {
            **_UNTOLD, "PYTHON": sys.executable, "RETREAD_STORE": str(self.store),
            "RECIPE": RECIPE, "TARGET": "cu128", "LANE": "overlay", "FOR": "3.9", "LEVEL": "static jit",
        }  # fmt: skip

    def run(self, *line: str | Path, code: int = 0, **changes: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            line,
            cwd=self.root,
            env={**self.environment, **changes},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def make(self, *words: str, code: int = 0, **changes: str) -> subprocess.CompletedProcess[str]:
        return self.run("make", *words, code=code, **changes)

    def change(self, old: str, new: str) -> None:
        path = self.root / "recipes" / f"{RECIPE}.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def plan(self, *words: str) -> Any:
        name, _, value = self.make("matrix", "JSON=plan", *words).stdout.partition("=")
        assert name == "plan"
        assert value.count("\n") == 1, "GitHub reads one line"
        return json.loads(value)


@pytest.fixture(scope="module")
def clone(large_folder: Path, shared_cubins: Path) -> Clone:
    """Clone the repository, with what is not committed yet, and set it up."""
    root = large_folder / "clone"
    git(REPOSITORY, "clone", "--quiet", str(REPOSITORY), str(root))
    for path in git(REPOSITORY, "ls-files", "-z", "--modified", "--others", "--exclude-standard").split("\0"):
        if path and (REPOSITORY / path).is_file():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / path, root / path)
        elif path:
            (root / path).unlink(missing_ok=True)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "as it is")
    made = Clone(root)
    made.make("setup")
    return made


@pytest.fixture(scope="module")
def wheel(clone: Clone) -> Path:
    """Make the wheel; the machine dies in the middle, and the job is run again."""
    clone.change(TRITONS, 'triton = ["3.6.0"]')  # each takes a minute
    clone.change('gpu = ["9.0"]', "gpu = []")  # there is no GPU here, and the wheel says by what it is proven
    first = subprocess.Popen(
        ["make", "wheel"], cwd=clone.root, env=clone.environment, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert first.stderr
    assert any(line.startswith("  prove the base wheel") for line in first.stderr)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    again = clone.make("wheel")
    assert again.stdout == f"dist/{WHEEL}\n"
    assert "fetch xformers" not in again.stderr, "it goes on where it was"
    assert "graft 10.0 12.0 into xformers/_C.so" in again.stderr
    return clone.root / again.stdout.strip()


@pytest.fixture(scope="module")
def report(clone: Clone, wheel: Path) -> Path:
    """Try the wheel without a GPU."""
    clone.make("smoke")
    return wheel.with_name(f"{wheel.name}.smoke-static-jit.json")


@pytest.fixture(scope="module")
def secrets(clone: Clone) -> dict[str, str]:
    """Make keys and the policy that knows them, and return what a release's environment holds."""
    keys, rows = clone.root.with_name("keys"), ["allow-unproven = false"]
    keys.mkdir()
    for role in ("builder", "tester"):
        [made] = json.loads(clone.run(clone.retread, "key", "new", role, "--folder", keys, "--json").stdout)
        rows.append(f'[[{role}]]\nname = "{role}"\nkey = "{made["key"]}"')
    (clone.root / "index-policy.toml").write_text("\n".join(rows))
    texts = {
        f"RETREAD_{role.upper()}_KEY": (keys / f"{role}.key").read_text() for role in ("builder", "tester")
    }
    return {**texts, "RETREAD_INDEX": str(clone.root.with_name("index"))}


@pytest.fixture(scope="module")
def address(clone: Clone, report: Path, secrets: dict[str, str]) -> Iterator[str]:
    """Release what was made, and serve the index."""
    clone.make("release", **ONE, **secrets)
    served = subprocess.Popen(
        [clone.retread, "serve", secrets["RETREAD_INDEX"], "--port", "0", "--quiet"],
        cwd=clone.root, env=clone.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert served.stdout
    yield served.stdout.readline().strip()
    served.terminate()
    served.communicate(timeout=20)


def test_the_matrix_is_empty_until_something_of_a_wheel_changes(clone: Clone) -> None:
    told = clone.make("matrix", "JSON=plan", "SINCE=HEAD")
    assert json.loads(told.stdout.removeprefix("plan="))["count"] == 0
    assert told.stderr == "nothing of which a wheel is made changed since HEAD\n"
    (clone.root / "patches" / "xformers" / "0.0.35" / "NOTES").write_text("new\n")
    found = clone.plan("SINCE=HEAD", "GPUS=9.0")
    (clone.root / "patches" / "xformers" / "0.0.35" / "NOTES").unlink()
    assert NAME in [one["name"] for one in found["include"]]
    assert all(one["why"] == "patches/xformers/0.0.35/NOTES changed" for one in found["include"])
    assert found["trials"]["include"][0]["labels"] == ["self-hosted", "linux", "x64", "cc-9.0"]
    assert {one["wheel"].partition("-py")[2] for one in found["unproven"]} == {"3.9-win-amd64"}
    every = clone.plan()
    assert every["count"] + len(every["left_out"]) > 20, "without a base it is everything"
    assert {one["lane"] for one in every["include"]} == {"overlay"}, "LANE is said"
    clone.make("matrix", "SINCE=nowhere", code=2)


def test_a_wheel_whose_machine_died_is_made_by_the_next_and_keeps_its_promise(
    clone: Clone, wheel: Path
) -> None:
    assert wheel.name == WHEEL
    assert f"{WHEEL}: the promise of {RECIPE} cu128 holds" in clone.make("audit").stdout


def test_the_wheel_passes_where_there_is_no_gpu(report: Path) -> None:
    runs = {
        run["level"]: {case["id"]: case for case in run["cases"]}
        for run in json.loads(report.read_bytes())["runs"]
    }
    static, jit = runs["static"], runs["jit"]
    assert static["package/import/xformers.ops"]["outcome"] == "passed"
    assert static["package/undisturbed"]["outcome"] == "passed"
    assert {case["outcome"] for case in jit.values()} == {"passed", "skipped"}
    for blackwell in ("sm_100", "sm_120"):
        cases = [case for name, case in jit.items() if f"/{blackwell}/" in name]
        assert len(cases) > 30
        assert all(case["outcome"] == "passed" for case in cases)
        assert all(case["numbers"]["ptx_target"].startswith(blackwell) for case in cases)


def test_the_kit_refuses_a_machine_without_a_gpu(clone: Clone, report: Path) -> None:
    clone.make("kit", KIT="dist/kit.pyz")
    done = clone.run(_torch(clone), "dist/kit.pyz", "--level", "gpu", "--json", "report.json", code=18)
    assert "torch" in done.stderr
    assert not (clone.root / "report.json").exists()


def test_a_release_without_its_secrets_or_its_gpu_lists_nothing(
    clone: Clone, report: Path, secrets: dict[str, str]
) -> None:
    without = {**secrets, "RETREAD_TESTER_KEY": ""}
    told = clone.make("release", code=2, **ONE, **without).stderr
    assert "release: missing or empty: RETREAD_TESTER_KEY; nothing was signed or listed" in told
    assert not list(clone.dist.glob("*.dsse.json"))
    policy = clone.root / "index-policy.toml"
    usual = policy.read_text()
    policy.write_text(f'gpu = ["9.0"]\n{usual}')
    told = clone.make("release", code=2, **ONE, **secrets).stderr
    policy.write_text(usual)
    assert "no gpu test result of a GPU of capability 9.0" in told
    assert "Error 19" in told
    assert not Path(secrets["RETREAD_INDEX"]).exists()


def test_pip_installs_what_was_released(clone: Clone, address: str) -> None:
    done = clone.make("install-check", f"ADDRESS={address}", FOR="", TORCH=str(_torch(clone)))
    assert done.stdout == "installed and imported: xformers 0.0.35+cu128.1\n"


def test_what_was_signed_goes_into_another_index_without_a_secret(clone: Clone, address: str) -> None:
    done = clone.make("publish", "INDEX=other")
    assert re.search(r"^sound: 1 action, 1 project, 1 file", done.stdout, re.MULTILINE)


def _torch(clone: Clone) -> Path:
    """Return the Python of the environment with torch that the smoke test made."""
    [torch] = (clone.store / "environments").glob("*/*/venv/lib/python3*/site-packages/torch")
    return torch.parents[3] / "bin" / "python"
