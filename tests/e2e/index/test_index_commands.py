"""The commands of a private index as users type them: what they print, how they end, and what they leave behind."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from msgspec import structs
from msgspec.structs import replace

import older
from reports import case, failed, on_gpu, report, run, skipped, surroundings
from retread.cli import main
from retread.cli.index import TRYING
from retread.evidence import signing
from retread.index import actions, revoke
from retread.records import Sha256
from retread.smoke import reading
from retread.smoke.level import Level
from retread.smoke.report import Run
from retread.wheel.statement import CompileStatement
from tinycuda import Result, names, sha256
from tinyindex import BASE, RECIPE, Keys, make_keys, make_wheel, statement_of, tree

WHEEL = "demo-1.2+cu128.1-py3-none-any.whl"
SECOND = "demo-1.2+cu128.2-py3-none-any.whl"
TRIED = RECIPE.replace('["3.5.1"]', '["3.5.1", "3.6.0"]') + 'gpu = ["9.0"]\n'


def ran(level: str, **changes: Any) -> Run:
    """Return what a run of a level found: two cases that passed."""
    bare = surroundings(torch="", triton="", packages={})
    around = {"static": bare, "jit": surroundings(**changes), "gpu": on_gpu(**changes)}[level]
    return run(case("demo/one"), case("demo/two"), level=Level(level), surroundings=around)


class Desk:
    """A folder with keys, a policy and a workspace, in which commands are typed."""

    def __init__(self, folder: Path, made: Path, keys: Keys, read: Any) -> None:
        self.folder = folder
        self.index = folder / "index"
        self._read = read
        shutil.copytree(made, folder / "keys")
        self.policy(keys._asdict())
        (folder / "recipes").mkdir()
        (folder / "recipes" / "demo-1.toml").write_text(TRIED)
        (folder / "patches" / "demo" / "1.2").mkdir(parents=True)
        (folder / "patches" / "demo" / "1.2" / "series").write_text("")

    def recipe(self, project: str) -> None:
        """Write a recipe of another project: demo's, under its name."""
        (self.folder / "recipes" / f"{project}-1.toml").write_text(TRIED.replace("demo", project))
        shutil.copytree(self.folder / "patches" / "demo", self.folder / "patches" / project)

    def policy(self, listed: dict[str, signing.Key], first: str = "", file: str = "policy.toml") -> None:
        """Write a policy: role -> key."""
        rows = [
            f'[[{role}]]\nname = "{key.name}"\nkey = "{signing.line(key)}"\n' for role, key in listed.items()
        ]
        (self.folder / file).write_text("\n".join([first, *rows]))

    def run(self, *arguments: str, code: int = 0) -> Result:
        """Run the command line in the folder, and check how it ends."""
        self._read()
        there, handler = Path.cwd(), signal.getsignal(signal.SIGTERM)
        os.chdir(self.folder)
        try:
            ended = main.run(arguments)
        except SystemExit as end:  # argparse
            ended = end.code if isinstance(end.code, int) else 1
        finally:
            os.chdir(there)
            signal.signal(signal.SIGTERM, handler)
        found = Result(ended, *self._read())
        assert found.code == code, found
        assert not list((Path(os.environ["RETREAD_STORE"]) / "scratch").glob("*"))
        return found

    def refused(self, code: int, *arguments: str) -> str:
        """Run what is refused; return the complaint. Nothing is printed, and no file changes."""
        before = self.tree()
        found = self.run(*arguments, code=code)
        assert found.out == ""
        assert self.tree() == before
        return found.err

    def tree(self) -> dict[str, str]:
        """Return every file and folder but the lock, which an attempt may make in an index that is there."""
        folders = {str(path.relative_to(self.folder)): "" for path in self.folder.rglob("*") if path.is_dir()}
        found = {**folders, **tree(self.folder)}
        return {path: text for path, text in found.items() if path != "index/.retread/lock"}

    def wheel(self, *arguments: Any, **changes: Any) -> str:
        """Write a wheel, and return how a command names it."""
        return f"dist/{make_wheel(self.folder / 'dist', *arguments, **changes).name}"

    def tried(self, wheel: str, *runs: Run, name: str = "") -> None:
        """Put a smoke report beside a wheel."""
        path = self.folder / wheel
        project, version = path.name.split("-")[:2]
        digest = Sha256(sha256(path.read_bytes()))
        said = json.loads(statement_of(path) or "{}")
        made = reading.sealed(
            report(
                *runs, wheel=path.name, sha256=digest, project=project, version=version,
                recipe=said.get("recipe", ""), target=said.get("target", ""),
            ),
            runs,
        )  # fmt: skip
        beside = f"{path.name}.smoke-{name}.json" if name else reading.file_name(made)
        path.with_name(beside).write_bytes(reading.write(made))

    def tried_badly(self, wheel: str) -> str:
        """Put a smoke report beside a wheel of which a case failed."""
        bare = surroundings(torch="", triton="", packages={})
        self.tried(wheel, run(case("demo/one"), failed("demo/two"), level="static", surroundings=bare))
        return wheel

    def attest(self, wheel: str) -> list[str]:
        """Sign how a wheel was built and what its reports found; return the names of the envelopes."""
        done = self.run("attest", wheel, "--builder", "keys/builder.key", "--tester", "keys/tester.key")
        return [Path(line).name for line in done.out.splitlines()]

    def prove(self, wheel: str) -> str:
        """Put all that the recipe demands beside a wheel."""
        self.tried(wheel, ran("static"), ran("jit"), ran("jit", triton="3.6.0"), ran("gpu"))
        self.attest(wheel)
        return wheel

    def publish(self, *wheels: str) -> Result:
        """Publish wheels under the policy."""
        return self.run("publish", *wheels, "--index", "index", "--policy", "policy.toml", "--base", BASE)

    def unproven(self, *wheels: str) -> Result:
        """Publish wheels without evidence."""
        return self.run("publish", *wheels, "--index", "index", "--allow-unproven", "the lab is closed")

    def page(self) -> Any:
        """Return the files on the page of demo."""
        return json.loads((self.index / "cu128/simple/demo/index.json").read_bytes())["files"]

    def digest(self, wheel: str) -> str:
        """Return a wheel's sha256."""
        return sha256((self.folder / wheel).read_bytes())


@pytest.fixture
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "keys"


@pytest.fixture
def keys(made: Path) -> Keys:
    return make_keys(made)


@pytest.fixture
def desk(tmp_path: Path, made: Path, keys: Keys, capsys: pytest.CaptureFixture[str], _once: None) -> Desk:
    (tmp_path / "desk").mkdir()
    return Desk(tmp_path / "desk", made, keys, capsys.readouterr)


# Keys.


def test_a_key_is_made_and_shown_as_a_policy_wants_it(desk: Desk) -> None:
    made = desk.run("key", "new", "h200-lab", "--folder", "deep/down")
    assert made.err == "made deep/down/h200-lab.key, for you alone, and h200-lab.pub\n"
    folder = desk.folder / "deep/down"
    assert names(folder) == ["h200-lab.key", "h200-lab.pub"]
    assert stat.S_IMODE((folder / "h200-lab.key").stat().st_mode) == 0o600
    pem = (folder / "h200-lab.pub").read_text().splitlines()[1]
    assert made.out.splitlines()[1:] == ['name = "h200-lab"', f'key = "{pem}"']
    assert desk.run("key", "list", "--folder", "deep/down").out == made.out
    [shown] = json.loads(desk.run("key", "list", "--folder", "deep/down", "--json").out)
    assert shown == {"name": "h200-lab", "id": sha256(base64.b64decode(pem)), "key": pem}
    assert made.out.splitlines()[0] == f"# {shown['id']}"
    [other] = json.loads(desk.run("key", "new", "b", "--folder", "deep/down", "--json").out)
    assert [
        one["name"] for one in json.loads(desk.run("key", "list", "--folder", "deep/down", "--json").out)
    ] == [
        "b",
        "h200-lab",
    ]
    assert other["key"] != pem
    assert desk.run("key", "list").out == "no keys\n"
    assert json.loads(desk.run("key", "list", "--json").out) == []


def test_a_key_is_never_overwritten_and_a_bad_name_makes_nothing(desk: Desk) -> None:
    told = desk.refused(2, "key", "new", "builder", "--folder", "keys")
    assert "keys/builder.key is there already" in told
    assert "a key is never overwritten" in told
    (desk.folder / "keys/builder.key").unlink()
    assert "keys/builder.pub is there already" in desk.refused(2, "key", "new", "builder", "--folder", "keys")
    for name in ("Lab", "../lab", "a b", ""):
        assert f"{name!r} is no name of a key" in desk.refused(2, "key", "new", name, "--folder", "new")
    assert "a file is in the way" in desk.refused(13, "key", "new", "lab", "--folder", "policy.toml")


def test_a_secret_that_others_may_read_is_refused(desk: Desk) -> None:
    (desk.folder / "keys/tester.key").chmod(0o640)
    assert "run 'chmod 600 keys/tester.key'" in desk.refused(19, "key", "list", "--folder", "keys")
    wheel = desk.wheel()
    desk.tried(wheel, ran("static"))
    # the builder's envelope would be right, but not half of what was asked for
    told = desk.refused(19, "attest", wheel, "--builder", "keys/builder.key", "--tester", "keys/tester.key")
    assert "is a secret that others may read" in told


# Attest.


def test_envelopes_lie_beside_the_wheel_and_each_report_keeps_its_own(desk: Desk) -> None:
    wheel = desk.wheel()
    desk.tried(wheel, ran("static"), ran("jit"), ran("jit", triton="3.6.0"))
    desk.tried(wheel, ran("gpu"))
    desk.tried(wheel, ran("gpu", torch="2.9.0"), name="gpu-again")
    made = desk.attest(wheel)
    assert [re.sub("-[0-9a-f]{8}(?=[.]dsse)", "", name.removeprefix(f"{WHEEL}.")) for name in made] == [
        "provenance.dsse.json",
        "test-gpu-nvidia-h200.dsse.json",
        "test-gpu-nvidia-h200.dsse.json",
        "test-static.dsse.json",
        "test-jit-3.5.1.dsse.json",
        "test-jit-3.6.0.dsse.json",
    ]
    beside = names(desk.folder / "dist")
    assert sorted(made) == [name for name in beside if name.endswith(".dsse.json")]
    assert len(set(made)) == 6
    assert desk.attest(wheel) == made  # signed again, nothing is added
    assert names(desk.folder / "dist") == beside
    shown = desk.run("attest", wheel, "--tester", "keys/tester.key", "--json")
    assert json.loads(shown.out) == [f"dist/{name}" for name in made[1:]]


def test_a_signed_build_names_the_statement_as_it_lies_in_the_wheel(desk: Desk) -> None:
    compiled = CompileStatement(
        native_digest="n", toolkit="nvcc 13.0", toolkit_digest="t", toolkit_origin="system", compiler="g++",
        python="3.12", lock="l", requires=(), environment={},
    )  # fmt: skip
    for told in (older.written, msgspec.json.encode):  # by a retread before the last fields; in another form
        wheel = desk.wheel(said=lambda one: structs.replace(one, compiled=compiled, base=None), told=told)
        desk.run("attest", wheel, "--builder", "keys/builder.key")
        with zipfile.ZipFile(desk.folder / wheel) as archive:
            inside = archive.read("demo-1.2+cu128.1.dist-info/retread.json")
        assert (b"image" in inside) is (told is not older.written)
        envelope = json.loads((desk.folder / f"{wheel}.provenance.dsse.json").read_bytes())
        signed = json.loads(base64.b64decode(envelope["payload"]))
        [named] = signed["predicate"]["runDetails"]["byproducts"]
        assert (named["name"], named["digest"]) == ("retread.json", {"sha256": sha256(inside)})
        (desk.folder / wheel).unlink()


def test_what_nobody_can_sign_for_is_refused(desk: Desk) -> None:
    wheel, bare = desk.wheel(), desk.wheel("bare", said=None)
    builder, tester = ("--builder", "keys/builder.key"), ("--tester", "keys/tester.key")
    assert "name a key: --builder KEY" in desk.refused(2, "attest", wheel)
    assert "there is no file dist/gone.whl" in desk.refused(2, "attest", "dist/gone.whl", *builder)
    told = desk.refused(17, "attest", wheel, *builder, *tester)
    assert f"no smoke report lies beside {wheel}\n  next: make one: retread smoke {wheel}\n" in told
    told = desk.refused(17, "attest", bare, *builder)
    assert "bare-1.2+cu128.1-py3-none-any.whl holds no retread.json: nothing says how it was built" in told
    assert "keys/builder.pub is a public key, which signs nothing" in desk.refused(
        2, "attest", wheel, "--builder", "keys/builder.pub"
    )
    assert "cannot read keys/gone.key" in desk.refused(19, "attest", wheel, "--builder", "keys/gone.key")
    desk.tried(bare, ran("static"))
    path = desk.folder / f"{bare}.smoke-static.json"
    path.rename(desk.folder / f"{wheel}.smoke-static.json")
    assert "is a report of another" in desk.refused(17, "attest", wheel, *tester)


# Publish.


def test_a_wheel_is_refused_with_all_that_it_lacks_then_proven_then_listed(desk: Desk) -> None:
    wheel = desk.wheel()
    line = ("publish", wheel, "--index", "index", "--policy", "policy.toml", "--base", BASE)
    told = desk.refused(19, *line)
    again = f"retread smoke {WHEEL} --level {{0}}, and retread attest {WHEEL} --tester KEY"
    assert told.splitlines() == [
        "retread: gate: the wheel is refused",
        f"  - {WHEEL}: no builder states how it was built: retread attest {WHEEL} --builder KEY",
        f"  - {WHEEL}: no static test result: {again.format('static')}",
        f"  - {WHEEL}: no jit test result under Triton 3.5.1: {again.format('jit')}",
        f"  - {WHEEL}: no jit test result under Triton 3.6.0: {again.format('jit')}",
        f"  - {WHEEL}: no gpu test result of a GPU of capability 9.0 (unproven: gpu): {again.format('gpu')}: "
        "put the evidence beside the wheel; or --allow-unproven REASON, which every reader will see",
        "  next: 'retread publish --allow-unproven REASON' lists it all the same",
    ]
    desk.tried(wheel, ran("static"), ran("jit"))
    desk.attest(wheel)
    told = desk.refused(19, *line)
    assert [text.split(": ")[1] for text in told.splitlines()[1:-1]] == [
        "no jit test result under Triton 3.6.0",
        "no gpu test result of a GPU of capability 9.0 (unproven",
    ]
    strict = 'allow-unproven = false\nunproven = ["gpu"]\n' + (desk.folder / "policy.toml").read_text()
    (desk.folder / "named.toml").write_text(strict)
    named = (
        "publish",
        wheel,
        "--index",
        "other",
        "--policy",
        "named.toml",
        "--allow-unproven",
        "no GPU here",
    )
    assert "no jit test result under Triton 3.6.0" in desk.refused(20, *named)
    desk.tried(wheel, ran("jit", triton="3.6.0"))
    desk.attest(wheel)
    assert desk.run(*named).out == f"{WHEEL}\n"
    page = (desk.folder / "other/cu128/simple/demo/page.html").read_text()
    assert "The reason: unproven: gpu: no GPU here" in page
    assert desk.run("index", "check", "other", "--policy", "named.toml").out.startswith("sound: 1 action")
    desk.tried(wheel, ran("gpu"))
    desk.attest(wheel)
    done = desk.run(*line)
    assert (done.out, done.err) == (f"{WHEEL}\n", "")
    [entry] = desk.page()
    assert (entry["filename"], entry["hashes"]) == (WHEEL, {"sha256": desk.digest(wheel)})
    page = (desk.index / "cu128/simple/demo/page.html").read_text()
    assert "NVIDIA H200, 9.0" in page
    assert BASE in page
    shown = desk.run("index", "check", "index", "--policy", "policy.toml")
    assert shown.out.startswith("sound: 1 action, 1 project, 1 file, ")


def test_the_recipe_is_found_by_root_and_without_it_nothing_is_proven(desk: Desk) -> None:
    wheel = desk.wheel()
    desk.tried(wheel, ran("static"), ran("jit"))
    desk.attest(wheel)
    desk.run("key", "new", "other", "--folder", "elsewhere/recipes")
    line = ("publish", wheel, "--index", "index", "--policy", "policy.toml")
    told = desk.refused(19, *line, "--root", "elsewhere")
    assert f"{WHEEL}: nothing says what it has to be tried on: there is no recipe 'demo-1'" in told
    (desk.folder / "elsewhere/recipes/demo-1.toml").write_text("no TOML")
    told = desk.refused(19, *line, "--root", "elsewhere")
    assert f"{WHEEL}: nothing says what it has to be tried on: demo-1.toml is not TOML" in told
    told = desk.refused(19, *line, "--root", ".")
    assert "no gpu test result of a GPU of capability 9.0" in told
    text = TRIED.replace('gpu = ["9.0"]', "gpu = []").replace(', "3.6.0"', "")
    (desk.folder / "recipes/demo-1.toml").write_text(text)
    moved = desk.wheel("demo", "1.3+cu128.1", said=lambda one: structs.replace(one, target="cu12"))
    told = desk.refused(19, "publish", moved, *line[1:])
    assert "demo-1 has no target cu12" in told
    assert json.loads(desk.run(*line, "--json").out)["listed"][0]["triton"] == ["3.5.1"]


def test_publish_again_does_nothing_and_says_so(desk: Desk) -> None:
    wheel = desk.prove(desk.wheel())
    desk.publish(wheel)
    before = desk.tree()
    again = desk.publish(wheel)
    assert (again.out, again.err) == ("", f"{WHEEL}: listed already, with the same bytes\n")
    shown = desk.run("publish", wheel, "--index", "index", "--policy", "policy.toml", "--json", "--quiet")
    assert json.loads(shown.out) == {"action": None, "listed": [], "known": [WHEEL]}
    assert shown.err == ""
    assert desk.tree() == before


def test_a_wheel_without_evidence_is_listed_for_a_reason_that_its_page_shows(desk: Desk) -> None:
    wheel = desk.wheel()
    told = desk.refused(19, "publish", wheel, "--index", "index")
    assert "no policy says whose evidence counts" in told
    done = desk.run("publish", wheel, "--index", "index", "--allow-unproven", "the lab is closed", "--json")
    shown = json.loads(done.out)
    assert (shown["action"]["number"], shown["action"]["reason"]) == (1, "the lab is closed")
    assert shown["listed"][0]["unproven"] == "the lab is closed"
    assert "the lab is closed" in (desk.index / "cu128/simple/demo/page.html").read_text()
    assert "the lab is closed" in desk.run("index", "history", "index").out
    other = desk.wheel("other")
    told = desk.refused(20, "publish", other, "--index", "index", "--allow-unproven", "\n")
    assert "a reason is one line of text" in told
    desk.publish(desk.prove(desk.wheel("demo", "1.2+cu128.2", patches=("b",))))
    assert [one["filename"] for one in desk.page()] == [WHEEL, SECOND]


def test_the_policy_may_forbid_wheels_without_evidence(desk: Desk, keys: Keys) -> None:
    desk.policy(keys._asdict(), "allow-unproven = false", file="index-policy.toml")  # the workspace's own
    told = desk.refused(20, "publish", desk.wheel(), "--index", "index", "--allow-unproven", "please")
    assert "the policy lets no wheel in without evidence (allow-unproven = false)" in told
    desk.run("publish", desk.prove(desk.wheel()), "--index", "index")


def test_a_wheel_whose_base_is_said_to_be_no_wheel_is_refused(desk: Desk, keys: Keys) -> None:
    desk.policy(keys._asdict(), file="index-policy.toml")
    wheel = desk.wheel(said=lambda one: structs.replace(one, base=structs.replace(one.base, file="x\n.whl")))
    told = desk.refused(19, "publish", desk.prove(wheel), "--index", "index")
    assert "retread.json: its base is no wheel: Invalid wheel filename" in told


def test_a_policy_that_proves_nothing_is_refused(desk: Desk, keys: Keys) -> None:
    wheel = desk.prove(desk.wheel())
    line = ("publish", wheel, "--index", "index", "--policy")
    desk.policy({"builder": keys.builder, "tester": keys.builder._replace(name="other")}, file="one.toml")
    told = desk.refused(19, *line, "one.toml")
    assert "tester other: is the key of builder builder; builder and tester must not be one" in told
    desk.policy({"builder": keys.tester, "tester": keys.builder}, file="swapped.toml")
    told = desk.refused(19, *line, "swapped.toml")
    assert f"{WHEEL}.provenance.dsse.json is signed by builder, who is no builder in this policy" in told
    desk.policy({"builder": keys.builder}, file="half.toml")
    assert "tester: no key" in desk.refused(19, *line, "half.toml")
    (desk.folder / "none.toml").write_text("[builder")
    assert "none.toml is not TOML" in desk.refused(19, *line, "none.toml")
    assert "there is no file gone.toml" in desk.refused(2, *line, "gone.toml")


def test_a_run_in_which_nothing_ran_is_neither_signed_nor_let_in(desk: Desk) -> None:
    wheel = desk.prove(desk.wheel())
    idle = run(skipped("demo/one", "no f32"), skipped("demo/two", "no f32"), surroundings=on_gpu())
    desk.tried(wheel, ran("static"), idle, name="static-gpu")
    told = desk.refused(17, "attest", wheel, "--builder", "keys/builder.key", "--tester", "keys/tester.key")
    assert told.endswith(
        f"retread: evidence: {WHEEL}: there is no gpu run to sign: nothing ran, 2 skipped: no f32\n"
        f"  next: run 'retread smoke {WHEEL} --level gpu' where it can run\n"
    )
    told = desk.refused(19, "publish", wheel, "--index", "index", "--policy", "policy.toml")
    assert (
        f"{WHEEL}.smoke-static-gpu.json tells of gpu (NVIDIA H200, 9.0): nothing ran, 2 skipped: no f32"
        in told
    )
    outside = replace(idle, surroundings=on_gpu(outside="torch 2.5 is below 2.8"))
    desk.tried(wheel, ran("static"), outside, name="static-gpu")
    desk.attest(wheel)
    desk.publish(wheel)


def test_a_wheel_is_not_proven_by_the_weaker_demands_of_another_recipe(desk: Desk) -> None:
    """A builder's key alone must not lower what a tester has to show."""
    easy = TRIED.replace('version = "1.2"', 'version = "1.1"').replace('["3.5.1", "3.6.0"]', "[]")
    easy = easy.replace('gpu = ["9.0"]\n', "").replace("demo-1.2", "demo-1.1").replace('"demo-1"', '"easy"')
    (desk.folder / "recipes" / "easy.toml").write_text(easy)
    (desk.folder / "patches" / "demo" / "1.1").mkdir()
    (desk.folder / "patches" / "demo" / "1.1" / "series").write_text("")
    wheel = desk.wheel(said=lambda one: structs.replace(one, recipe="easy"))
    desk.tried(wheel, ran("static"), ran("jit"))
    desk.attest(wheel)
    told = desk.refused(19, "publish", wheel, "--index", "index", "--policy", "policy.toml")
    assert f"{WHEEL}: upstream version: retread.json says 1.2, recipe easy says 1.1" in told
    shutil.rmtree(desk.folder / "dist")
    wheel = desk.wheel(said=lambda one: structs.replace(one, recipe="demo-1.1.post3", target="cu124"))
    desk.prove(wheel)
    told = desk.refused(19, "publish", wheel, "--index", "index", "--policy", "policy.toml")
    assert "there is no recipe 'demo-1.1.post3'" in told


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("", "'' is not the address of an index"),
        ("javascript:alert(1)", "'javascript:alert(1)' is not the address of an index"),
        ("https://a.example/\nx", "is not the address of an index"),
        ("https://a.example/ x", "is not the address of an index"),
        ('https://a.example/">', "is not the address of an index"),
        ("https:///x", "is not the address of an index"),
        ("https://a.example:port", "is not the address of an index"),
        ("https://user:geheim@a.example", "so it has no user, password"),
        ("https://a.example/?token=geheim", "so it has no user, password"),
    ],
)
def test_an_address_that_must_not_stand_on_a_page_is_refused(desk: Desk, base: str, words: str) -> None:
    wheel = desk.prove(desk.wheel())
    told = desk.refused(2, "publish", wheel, "--index", "index", "--policy", "policy.toml", "--base", base)
    assert words in told
    assert "geheim" not in told
    assert words in desk.refused(2, "index", "refresh", "index", "--base", base)


def test_a_failed_test_and_an_altered_envelope_refuse_the_wheel(desk: Desk) -> None:
    wheel = desk.prove(desk.wheel())
    bad = run(case("demo/one"), failed("demo/two"), surroundings=on_gpu())
    desk.tried(wheel, bad, name="gpu-bad")
    desk.attest(wheel)
    policy = ("--index", "index", "--policy", "policy.toml")
    told = desk.refused(19, "publish", wheel, *policy)
    assert "gpu (NVIDIA H200, 9.0): 1 failed, 1 passed: demo/two: mend it, then retread smoke" in told
    desk.recipe("other")
    other = desk.prove(desk.wheel("other"))
    path = desk.folder / f"{other}.provenance.dsse.json"
    right = json.loads(path.read_bytes())
    payload = base64.b64decode(right["payload"]).replace(b"overlay", b"source!")
    path.write_text(json.dumps({**right, "payload": base64.b64encode(payload).decode()}))
    told = desk.refused(19, "publish", wheel, other, *policy)
    assert "--allow-unproven REASON' lists it" not in told
    assert "of 2 wheels none is listed" in told
    assert "demo/two: mend it" in told
    assert f"{path.name}: the signature of builder is wrong: the file was altered" in told
    path.write_text(json.dumps(right))
    assert desk.run("publish", other, *policy).out == f"{Path(other).name}\n"


BESIDE: list[tuple[str, bytes | None, str]] = [
    ("{}.provenance.dsse.json", b"garbage", "is no DSSE envelope"),
    ("{}.provenance.dsse.json", b"", "the signature of builder is wrong: the file was altered"),
    ("{}.audit.json", b"garbage", "is not an audit's report"),
    ("{}.more.dsse.json", b"garbage", "lies beside it, and no publish put it there"),
    ("{}.provenance.dsse.json", None, "was published with it, and is missing"),
    ("foo.dsse.json", b"garbage", "foo.dsse.json is not the index's"),
]
PUBLISHED = ("{}.provenance.dsse.json", "{}.audit.json")
"""A file beside a wheel, what is written into it (nothing: another signature; None: it is taken away), what is said."""


@pytest.mark.parametrize(("name", "data", "told"), BESIDE)
def test_evidence_of_a_wheel_that_was_let_in_is_held_to_be_sound(
    desk: Desk, name: str, data: bytes | None, told: str
) -> None:
    wheel = desk.wheel()
    desk.attest(desk.tried_badly(wheel))
    audit = desk.folder / f"{wheel}.audit.json"
    audit.write_text(
        json.dumps({"schema": 1, "wheel": WHEEL, "sha256": desk.digest(wheel), "size": 1, "target": "x",
                    "ok": True, "checks": []})
    )  # fmt: skip
    line = ("publish", wheel, "--index", "index", "--policy", "policy.toml", "--allow-unproven", "why")
    done = desk.run(*line)
    assert f"note: let in unproven, {WHEEL}: static: 1 failed, 1 passed: demo/two: mend it" in done.err
    assert f"note: let in unproven, {WHEEL}: no jit test result under Triton 3.6.0" in done.err
    assert f"note: no --base was given: the pages name {TRYING}, which is this machine alone" in done.err
    assert (
        "1 of its tests FAILED. The reason: why" in (desk.index / "cu128/simple/demo/page.html").read_text()
    )
    check = ("index", "check", "index", "--policy", "policy.toml")
    assert desk.run(*check).out.startswith("sound: ")
    places = {next(desk.index.glob("files/*/*")): check, desk.folder / "dist": line}
    for folder, command in [*places.items()][: 2 if name in PUBLISHED and data is not None else 1]:
        path = folder / name.format(WHEEL)
        content = data or (b"" if data is None else _signed_otherwise(path))
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(content)
        said = desk.refused(20 if command is check else 19, *command)
        assert path.name in said
        assert told in said


def _signed_otherwise(path: Path) -> bytes:
    """Return an envelope with one character of its signature changed."""
    table = json.loads(path.read_bytes())
    text = table["signatures"][0]["sig"]
    table["signatures"][0]["sig"] = ("B" if text[0] == "A" else "A") + text[1:]
    return json.dumps(table).encode()


# What is done to an index.


@pytest.fixture
def listed(desk: Desk) -> Desk:
    """Return a desk with an index of two versions."""
    desk.unproven(desk.wheel())
    desk.unproven(desk.wheel("demo", "1.2+cu128.2", patches=("b",)))
    return desk


ROW = r" {4}%d  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d  %-9s %s\n"


def row(number: int, action: str, rest: str) -> str:
    """Return what a line of the history looks like."""
    return ROW % (number, action, re.escape(rest))


def test_a_version_is_yanked_unyanked_and_removed(listed: Desk) -> None:
    version = ("index", "demo", "1.2+cu128.1")
    done = listed.run("index", "yank", *version, "--reason", "it leaks")
    assert re.fullmatch(row(3, "yank", f"{WHEEL}  (it leaks)"), done.out)
    assert [one["yanked"] for one in listed.page()] == ["it leaks", False]
    told = listed.refused(20, "index", "yank", *version, "--reason", "it leaks")
    assert "demo 1.2+cu128.1 is yanked already, for this reason" in told
    done = listed.run("index", "unyank", *version)
    assert re.fullmatch(row(4, "unyank", WHEEL), done.out)
    assert [one["yanked"] for one in listed.page()] == [False, False]
    done = listed.run("index", "remove", *version, "--reason", "it must go", "--json")
    [shown] = json.loads(done.out)
    assert (shown["number"], shown["action"], shown["reason"]) == (5, "remove", "it must go")
    assert [one["filename"] for one in listed.page()] == [SECOND]
    assert not list(listed.index.glob(f"files/*/*/{WHEEL}"))
    other = listed.wheel(code="x = 1\n")
    told = listed.refused(20, "publish", other, "--index", "index", "--allow-unproven", "again")
    assert "this name is bound to other bytes for ever" in told
    assert listed.run("index", "check", "index").out.startswith("sound: 5 actions, 1 project, 1 file")


def test_what_cannot_be_done_is_refused(listed: Desk) -> None:
    for action in ("yank", "remove"):
        assert "--reason" in listed.refused(2, "index", action, "index", "demo", "1.2+cu128.1")
        told = listed.refused(20, "index", action, "index", "demo", "1.2+cu128.7", "--reason", "x")
        assert "listed are: 1.2+cu128.1, 1.2+cu128.2" in told
        for version in ("1.2", "1.2+local"):  # of no channel
            told = listed.refused(20, "index", action, "index", "demo", version, "--reason", "x")
            assert f"demo {version} is not listed\n  next: listed are: 1.2+cu128.1, 1.2+cu128.2" in told
        assert "nope" in listed.refused(20, "index", action, "index", "nope", "1.2+cu128.1", "--reason", "x")
        told = listed.refused(20, "index", action, "index", "demo", "1.2+cu128.1", "--reason", " ")
        assert "a reason is one line of text" in told
    for line in (
        ("publish", listed.wheel(), "--index", "index", "--allow-unproven"),
        *(
            ("index", action, "index", "demo", "1.2+cu128.1", "--reason")
            for action in ("yank", "unyank", "remove")
        ),
        ("index", "revoke", "index", "demo", "--advice", "y", "--key", "keys/builder.key", "--reason"),
    ):
        assert "a reason is wanted, and nothing was typed" in listed.refused(2, *line, "")
    assert "is not yanked" in listed.refused(20, "index", "unyank", "index", "demo", "1.2+cu128.1")
    assert "nope" in listed.refused(9, "index", "unyank", "index", "demo", "nope")
    for number in ("99", "-1"):
        told = listed.refused(20, "index", "rollback", "index", number)
        assert f"no going back to action {number}\n  next: name one from 0 to 1" in told
    assert "invalid int value" in listed.refused(2, "index", "rollback", "index", "first")


def test_with_one_action_only_what_was_before_it_is_there_to_go_back_to(desk: Desk) -> None:
    desk.run("publish", desk.wheel(), "--index", "index", "--allow-unproven", "the lab is closed")
    told = desk.refused(20, "index", "rollback", "index", "1")
    assert "next: name 0, what it was before its first action, without wheels: there is nothing else" in told
    desk.run("index", "rollback", "index", "0")
    assert desk.page() == []


def test_an_index_goes_back_and_its_history_tells(listed: Desk) -> None:
    done = listed.run("index", "rollback", "index", "1")
    assert re.fullmatch(row(3, "rollback", f"{SECOND}  (to 1)"), done.out)
    assert [one["filename"] for one in listed.page()] == [WHEEL]
    done = listed.run("index", "refresh", "index", "--base", "https://moved.example")
    assert re.fullmatch(row(4, "refresh", "cu128/demo"), done.out)
    assert "https://moved.example" in (listed.index / "cu128/simple/demo/page.html").read_text()
    listed.run("index", "rollback", "index", "2")
    assert [one["filename"] for one in listed.page()] == [WHEEL, SECOND]
    assert "https://moved.example" in (listed.index / "cu128/simple/demo/page.html").read_text()
    lines = [
        row(1, "publish", f"{WHEEL}  (the lab is closed)"),
        row(2, "publish", f"{SECOND}  (the lab is closed)"),
        row(3, "rollback", f"{SECOND}  (to 1)"),
        row(4, "refresh", "cu128/demo"),
        row(5, "rollback", f"{SECOND}  (to 2)"),
    ]
    assert re.fullmatch("".join(lines), listed.run("index", "history", "index").out)
    shown = json.loads(listed.run("index", "history", "index", "--json").out)
    assert [one["number"] for one in shown] == [1, 2, 3, 4, 5]
    assert [one.action for one in actions.history(listed.index)] == [one["action"] for one in shown]


def test_a_check_tells_each_damage_and_ends_with_20(listed: Desk) -> None:
    sound = listed.run("index", "check", "index")
    assert re.fullmatch(r"sound: 2 actions, 1 project, 2 files, [0-9,]+ bytes\n", sound.out)
    assert "check index: 1 project, 2 files" in sound.err
    assert json.loads(listed.run("index", "check", "index", "--json").out)["faults"] == []
    [path] = listed.index.glob(f"files/*/*/{WHEEL}")
    data = path.read_bytes()
    path.unlink()  # it may be a hard link to what was published
    path.write_bytes(data[:-1])
    (listed.index / "index.html").write_text("mine")
    told = listed.refused(20, "index", "check", "index")
    assert re.search(r"^ *check index: 1 project, 2 files +failed ", told, re.MULTILINE), told
    assert "retread: index: index is not sound\n  - " in told
    assert "\n  next: put back from a copy what was changed" in told
    assert WHEEL in told
    assert "\n  - index.html is not the page that the model gives" in told
    found = listed.run("index", "check", "index", "--json", code=20)
    assert len(json.loads(found.out)["faults"]) == told.count("\n  - ") >= 2


@pytest.mark.parametrize(
    "line",
    [
        ("index", "yank", "nothing", "demo", "1.2+cu128.1", "--reason", "x"),
        ("index", "unyank", "nothing", "demo", "1.2+cu128.1"),
        ("index", "unyank", "nothing", "demo", "1.2"),
        ("index", "remove", "nothing", "demo", "1.2+cu128.1", "--reason", "x"),
        ("index", "rollback", "nothing", "0"),
        ("index", "refresh", "nothing"),
        ("index", "history", "nothing"),
        ("index", "check", "nothing"),
        ("index", "revoke", "nothing", "demo", "--reason", "x", "--advice", "y", "--key", "keys/builder.key"),
        ("audit-lock", "requirements.txt", "--index", "nothing"),
        ("serve", "nothing", "--port", "0"),
    ],
    ids=lambda line: "-".join(line[:2]),
)
def test_a_folder_that_is_no_index_is_told_and_left_alone(desk: Desk, line: tuple[str, ...]) -> None:
    (desk.folder / "requirements.txt").write_text("demo==1.2+cu128.1\n")
    told = "nothing holds no index\n  next: 'retread publish' makes one"
    assert told in desk.refused(20, *line)
    (desk.folder / "nothing").mkdir()
    (desk.folder / "nothing" / "mine.txt").write_text("mine")
    assert told in desk.refused(20, *line)


UNPROVEN = ("--allow-unproven", "the lab is closed")


@pytest.mark.parametrize("mine", ["mine.txt", "dist/other.whl", "index.html", "cu128/simple/demo/"])
def test_no_index_begins_among_other_files(desk: Desk, mine: str) -> None:
    wheel, place = desk.wheel(), desk.folder / "full" / mine
    place.mkdir(parents=True) if mine.endswith("/") else place.parent.mkdir(parents=True)
    if not mine.endswith("/"):
        place.write_text("mine")
    told = desk.refused(20, "publish", wheel, "--index", "full", *UNPROVEN)
    assert "full holds no index, but other things" in told
    assert f"\n  - {mine.partition('/')[0]}\n" in told
    assert "next: name a folder that is new or empty" in told


def test_an_index_begins_where_nothing_is_but_what_every_disk_and_server_has(desk: Desk) -> None:
    wheel = desk.wheel()
    for folder in ("disk/lost+found", "disk/.well-known", "empty"):
        (desk.folder / folder).mkdir(parents=True)
    (desk.folder / "disk" / ".htaccess").write_text("AllowOverride None")
    for place in ("disk", "empty", "new/below"):
        assert desk.run("publish", wheel, "--index", place, *UNPROVEN).out == f"{Path(wheel).name}\n"
        assert desk.run("index", "check", place).code == 0
    assert (desk.folder / "disk" / ".htaccess").read_text() == "AllowOverride None"
    (desk.folder / "disk" / "mine.txt").write_text("mine")  # what came later is left alone, too
    other = desk.wheel("demo", "1.2+cu128.2", patches=("b",))
    assert desk.run("publish", other, "--index", "disk", *UNPROVEN).out == f"{Path(other).name}\n"
    assert (desk.folder / "disk" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("place", ["index/files/zz", "index/cu128/zz", "index/sub", "index/new/below"])
def test_no_index_begins_inside_another(listed: Desk, place: str) -> None:
    wheel, before = listed.wheel("demo", "1.2+cu128.3", patches=("c",)), tree(listed.index)
    told = listed.refused(20, "publish", wheel, "--index", place, *UNPROVEN)
    assert f"{place} lies in the index {listed.index}\n  next: name a place beside it" in told
    assert tree(listed.index) == before


def test_a_file_in_the_place_of_an_index_is_told(desk: Desk) -> None:
    (desk.folder / "mine.txt").write_text("mine")
    for place in ("mine.txt", "mine.txt/below"):
        told = desk.refused(13, "publish", desk.wheel(), "--index", place, *UNPROVEN)
        assert f"cannot write {desk.folder / place}: a file is in the way" in told
    assert (desk.folder / "mine.txt").read_text() == "mine"


# What must not be used.


@pytest.fixture
def locked(listed: Desk) -> Desk:
    """Return a desk with an index, a lock of its first version, and an environment that has it."""
    pinned = f"demo==1.2+cu128.1 --hash=sha256:{listed.digest(f'dist/{WHEEL}')}\nnumpy==2.3.4\n"
    (listed.folder / "requirements.txt").write_text(pinned)
    info = listed.folder / "venv/lib/python3.12/site-packages/demo-1.2+cu128.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Demo\nVersion: 1.2+cu128.1\n")
    return listed


REVOKE = (
    "index",
    "revoke",
    "index",
    "demo",
    "1.2+cu128.1",
    "--reason",
    "wrong on 12.0",
    "--advice",
    "use .2",
)
BUILDER, TESTER = ("--key", "keys/builder.key"), ("--key", "keys/tester.key")
POLICY = ("--index", "index", "--policy", "policy.toml")
SAID = "wrong on 12.0; use .2"


def test_what_is_revoked_is_found_in_a_lock_and_in_an_environment(locked: Desk) -> None:
    clean = locked.run("audit-lock", "requirements.txt", "--index", "index")
    assert (clean.out, clean.err) == ("2 locked, nothing revoked or yanked\n", "")
    bare = locked.run("audit-lock", "venv", *POLICY)
    assert bare.out == "1 locked, nothing revoked or yanked, 1 not compared\n"
    assert "note: not compared, 1 of 1: demo 1.2+cu128.1: the lock states no digest of it" in bare.err
    assert locked.run(*REVOKE, *BUILDER).out == "index/revoked.dsse.json\n"
    found = locked.run("audit-lock", "requirements.txt", *POLICY, code=21)
    line = f"revoked: demo 1.2+cu128.1 (sha256 {locked.digest(f'dist/{WHEEL}')}): {SAID}"
    assert found.out == f"{line}\n"
    assert found.err == (
        f"retread: revoked: 1 of what is locked must not be used\n  - {line}\n"
        "  next: replace each as it says, and lock again\n"
    )
    found = locked.run("audit-lock", "venv", *POLICY, code=21)
    assert found.out == f"revoked: demo 1.2+cu128.1 (by name and version, no sha256 is stated): {SAID}\n"
    [shown] = json.loads(locked.run("audit-lock", "venv", *POLICY, "--json", code=21).out)
    assert (shown["kind"], shown["version"], shown["advice"]) == ("revoked", "1.2+cu128.1", "use .2")
    (locked.folder / "requirements.txt").write_text("demo==1.2+cu128.2\n")
    locked.run("audit-lock", "requirements.txt", *POLICY)
    assert locked.run("index", "check", "index").out.startswith("sound: ")


def test_a_list_grows_and_says_each_thing_once(locked: Desk) -> None:
    locked.run(*REVOKE, *BUILDER)
    told = locked.refused(20, *REVOKE, *BUILDER)
    assert re.search(r"demo 1\.2\+cu128\.1 is revoked already, since \S+: wrong on 12\.0", told)
    more = ("index", "revoke", "index", "Demo", "--reason", "all of it", "--advice", "go", *BUILDER)
    locked.run(*more)
    envelope = json.loads((locked.index / "revoked.dsse.json").read_bytes())
    held = json.loads(base64.b64decode(envelope["payload"]))
    assert (held["serial"], len(held["entries"])) == (3, 2)
    (locked.folder / "requirements.txt").write_text("demo==9\n")
    found = locked.run("audit-lock", "requirements.txt", *POLICY, code=21)
    assert "revoked: demo 9 (by name and version, no sha256 is stated): all of it; go" in found.out


def test_a_list_that_another_retread_wrote_counts_by_its_own_bytes_and_grows(
    locked: Desk, keys: Keys
) -> None:
    locked.run(*REVOKE, *BUILDER)
    place = locked.index / "revoked.dsse.json"
    held = json.loads(base64.b64decode(json.loads(place.read_bytes())["payload"]))
    payload = json.dumps(dict(reversed(held.items()))).encode()
    place.write_bytes(signing.sign(payload, revoke.PAYLOAD_TYPE, keys.builder))
    assert SAID in locked.run("audit-lock", "requirements.txt", *POLICY, code=21).out
    assert "is revoked already" in locked.refused(20, *REVOKE, *BUILDER)
    locked.run("index", "revoke", "index", "Demo", "--reason", "all of it", "--advice", "go", *BUILDER)
    envelope = json.loads(place.read_bytes())
    assert len(json.loads(base64.b64decode(envelope["payload"]))["entries"]) == 2


def test_one_file_is_revoked_by_its_digest(locked: Desk) -> None:
    digest = locked.digest(f"dist/{SECOND}")
    version = (
        "index",
        "revoke",
        "index",
        "demo",
        "1.2+cu128.2",
        "--reason",
        "bad",
        "--advice",
        "go",
        *BUILDER,
    )
    told = locked.refused(20, *version, "--sha256", digest.upper())
    assert "demo cannot be revoked like this\n  - sha256" in told
    locked.run(*version, "--sha256", digest)
    locked.run("audit-lock", "requirements.txt", *POLICY)
    (locked.folder / "requirements.txt").write_text(f"demo==1.2+cu128.2 --hash=sha256:{digest}\n")
    assert f"sha256 {digest}" in locked.run("audit-lock", "requirements.txt", *POLICY, code=21).out


def test_bytes_that_the_index_never_had_are_an_error(locked: Desk) -> None:
    (locked.folder / "requirements.txt").write_text(f"demo==1.2+cu128.1 --hash=sha256:{64 * 'e'}\n")
    found = locked.run("audit-lock", "requirements.txt", *POLICY, code=21)
    assert found.out.startswith(f"unknown-bytes: demo 1.2+cu128.1 (sha256 {64 * 'e'}): ")


UV = """version = 1
revision = 3
requires-python = ">=3.12"

[[package]]
name = "demo"
version = "1.2+cu128.1"
source = {{ registry = "https://wheels.example/cu128/simple" }}
{sdist}wheels = [
    {{ url = "https://wheels.example/files/e7/x/demo-1.2%2Bcu128.1-py3-none-any.whl"{hash} }},
]
"""


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_a_lock_that_states_another_digest_is_compared_by_it(locked: Desk, algorithm: str) -> None:
    right = hashlib.new(algorithm, (locked.folder / "dist" / WHEEL).read_bytes()).hexdigest()
    lock, line = locked.folder / "uv.lock", ("audit-lock", "uv.lock", *POLICY, "--strict")
    lock.write_text(UV.format(sdist="", hash=f', hash = "{algorithm}:{right}"'))
    assert locked.run(*line).out == "1 locked, nothing revoked or yanked\n"
    lock.write_text(UV.format(sdist="", hash=f', hash = "{algorithm}:{len(right) * "0"}"'))
    told = locked.run("audit-lock", "uv.lock", *POLICY, code=21).out
    assert told.startswith("unknown-bytes: demo 1.2+cu128.1 (")
    assert f"with other bytes than {algorithm}:{len(right) * '0'}; do not install it" in told
    lock.write_text(UV.format(sdist="", hash=f', hash = "{algorithm}:00"'))
    assert f"'00' is not a {algorithm}" in locked.refused(2, *line)
    digest = locked.digest(f"dist/{WHEEL}")
    locked.run(*REVOKE, "--sha256", digest, *BUILDER)
    lock.write_text(UV.format(sdist="", hash=f', hash = "{algorithm}:{right}"'))
    assert f"revoked: demo 1.2+cu128.1 (sha256 {digest}" in locked.run(*line, code=21).out


@pytest.mark.parametrize("stated", ["", ', hash = "md5:d41d8cd98f00b204e9800998ecf8427e"'])
def test_what_could_not_be_compared_is_counted_and_named(locked: Desk, stated: str) -> None:
    (locked.folder / "uv.lock").write_text(UV.format(sdist="", hash=stated))
    found = locked.run("audit-lock", "uv.lock", *POLICY)
    assert found.out == "1 locked, nothing revoked or yanked, 1 not compared\n"
    told = f"demo 1.2+cu128.1 ({WHEEL}): the lock states no digest of it"
    assert found.err == f"note: not compared, 1 of 1: {told}\n"
    found = locked.run("audit-lock", "uv.lock", *POLICY, "--strict", code=21)
    assert "revoked: 1 of what is locked could not be compared with the index" in found.err
    assert f"  - {told}" in found.err


def test_the_digest_of_a_source_archive_is_not_that_of_the_wheel(locked: Desk) -> None:
    sdist = f'sdist = {{ url = "https://index.example/demo-1.2.tar.gz", hash = "sha256:{64 * "0"}" }}\n'
    (locked.folder / "uv.lock").write_text(UV.format(sdist=sdist, hash=""))
    locked.run(*REVOKE, "--sha256", locked.digest(f"dist/{WHEEL}"), *BUILDER)
    found = locked.run("audit-lock", "uv.lock", *POLICY, code=21)
    assert "revoked: demo 1.2+cu128.1 (by name and version, no sha256 is stated, from " in found.out
    assert f"note: not compared, 1 of 1: demo 1.2+cu128.1 ({WHEEL})" in found.err


def test_a_yank_is_a_warning_and_an_error_for_the_strict(locked: Desk) -> None:
    locked.run("index", "yank", "index", "demo", "1.2+cu128.1", "--reason", "slow")
    found = locked.run("audit-lock", "requirements.txt", "--index", "index")
    assert found.out.startswith("yanked: demo 1.2+cu128.1 (sha256 ")
    assert found.out.endswith("): slow; lock again: a range passes a yanked version over\n")
    assert found.err == ""
    found = locked.run("audit-lock", "requirements.txt", "--index", "index", "--strict", code=21)
    assert "retread: revoked: 1 of what is locked must not be used\n  - yanked: demo" in found.err
    shown = json.loads(locked.run("audit-lock", "requirements.txt", "--index", "index", "--json").out)
    assert [one["kind"] for one in shown] == ["yanked"]


def test_a_list_that_no_builder_signed_is_refused(locked: Desk) -> None:
    place = locked.index / "revoked.dsse.json"
    locked.run(*REVOKE, *TESTER)
    told = locked.refused(19, "audit-lock", "requirements.txt", *POLICY)
    assert "revoked.dsse.json is signed by no key that is known here" in told
    told = locked.refused(19, *REVOKE[:4], *REVOKE[5:], *BUILDER)  # nobody signs what another wrote
    assert "revoked.dsse.json is signed by no key that is known here" in told
    place.unlink()
    assert "revoked.dsse.json is gone" in locked.refused(20, *REVOKE, *BUILDER)
    locked.run("index", "renew", "index", *BUILDER)
    assert "(an empty list, for there was none)" in locked.run("index", "history", "index").out
    locked.run(*REVOKE, *BUILDER)
    right = json.loads(place.read_bytes())
    payload = base64.b64decode(right["payload"]).replace(b"wrong on 12.0", b"right on 12.0")
    place.write_text(json.dumps({**right, "payload": base64.b64encode(payload).decode()}))
    assert "the signature of builder is wrong" in locked.refused(19, "audit-lock", "venv", *POLICY)
    place.write_text(json.dumps({**right, "signatures": []}))
    assert "revoked.dsse.json is not signed at all" in locked.refused(19, "audit-lock", "venv", *POLICY)
    for text in ("{}", "[]", "nonsense", '{"payload": 7}'):
        place.write_text(text)
        for policy in (POLICY, POLICY[:2]):
            assert "no DSSE envelope" in locked.refused(19, "audit-lock", "venv", *policy)


def test_a_list_that_is_gone_or_older_than_the_last_one_is_noticed(locked: Desk) -> None:
    place = locked.index / "revoked.dsse.json"
    locked.run(*REVOKE, *BUILDER)
    first = place.read_bytes()
    locked.run("index", "revoke", "index", "Demo", "--reason", "all of it", "--advice", "go", *BUILDER)
    last = place.read_bytes()
    told = locked.run("index", "history", "index").out.splitlines()
    assert [line.split(maxsplit=2)[2].strip() for line in told[-2:]] == [
        "revoke      (demo 1.2+cu128.1: wrong on 12.0)",
        "revoke      (demo: all of it)",
    ]
    checks = (("audit-lock", "requirements.txt"), ("audit-lock", "venv"))
    for text, words in (
        (first, "revoked.dsse.json has serial number 2 of "),
        (None, "revoked.dsse.json is gone: the history knows one with serial number 3"),
    ):
        place.unlink() if text is None else place.write_bytes(text)
        for line in checks:
            for policy in (POLICY, POLICY[:2]):
                assert words in locked.refused(20, *line, *policy)
        for policy in (POLICY[2:], ()):
            assert words in locked.refused(20, "index", "check", "index", *policy)
        assert words in locked.refused(20, *REVOKE, *BUILDER)
    place.write_bytes(b"garbage")
    assert "revoked.dsse.json is no DSSE envelope" in locked.refused(20, "index", "check", "index")
    assert "no DSSE envelope" in locked.refused(19, "audit-lock", "venv", *POLICY)
    place.write_bytes(last)
    locked.run("index", "check", "index", *POLICY[2:])
    locked.run("audit-lock", "venv", *POLICY, code=21)
    locked.run("index", "rollback", "index", "1")
    assert place.read_bytes() == last  # what must not be used stays so


def test_a_policy_may_demand_a_list_and_that_it_is_fresh(
    locked: Desk, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked.policy(keys._asdict(), "list-days = 30\n")
    line = ("audit-lock", "requirements.txt", *POLICY)
    assert "there is no revoked.dsse.json, and the policy demands one" in locked.refused(20, *line)
    assert "the policy demands one" in locked.refused(20, "index", "check", "index", *POLICY[2:])
    assert locked.run("index", "renew", "index", *BUILDER).out == "index/revoked.dsse.json\n"
    assert locked.run(*line).out == "2 locked, nothing revoked or yanked\n"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 31 * 86_400)
    assert "31 days ago; the policy allows 30" in locked.refused(20, *line)
    assert "31 days ago; the policy allows 30" in locked.refused(20, "index", "check", "index", *POLICY[2:])
    locked.run("index", "renew", "index", *BUILDER)
    locked.run(*line)
    locked.policy(keys._asdict(), "list-days = 0\n")
    assert "list-days: expected an integer >= 1" in locked.refused(19, *line)


def test_an_envelope_of_something_else_is_no_list(locked: Desk, keys: Keys) -> None:
    place = locked.index / "revoked.dsse.json"
    place.write_bytes(signing.sign(b"{}", "text/plain", keys.builder))
    told = locked.refused(19, "audit-lock", "venv", *POLICY)
    assert "revoked.dsse.json holds text/plain, not a list of what is revoked" in told


def test_without_a_policy_it_says_that_nobody_checked_the_signature(locked: Desk) -> None:
    locked.run(*REVOKE, *TESTER)
    found = locked.run("audit-lock", "requirements.txt", "--index", "index", code=21)
    assert found.err.startswith(
        "note: no policy says whose list counts, so its signature was not checked (--policy)\n"
    )
    assert found.out.startswith("revoked: demo 1.2+cu128.1")


def test_only_a_secret_key_revokes(locked: Desk) -> None:
    told = locked.refused(2, *REVOKE, "--key", "keys/builder.pub")
    assert (
        "keys/builder.pub is a public key, which signs nothing\n  next: name its other half, builder.key"
        in told
    )
    assert "--key" in locked.refused(2, *REVOKE)
    assert "'one' is not a version" in locked.refused(9, *REVOKE[:4], "one", *REVOKE[5:], *BUILDER)


def test_a_lock_that_cannot_be_read_is_refused(locked: Desk) -> None:
    assert "there is no gone.txt" in locked.refused(2, "audit-lock", "gone.txt", *POLICY)
    assert "nothing is installed in keys" in locked.refused(2, "audit-lock", "keys", *POLICY)
    (locked.folder / "requirements.txt").write_text("demo>=1\nnumpy==2\n")
    assert "demo>=1 is not pinned with ==" in locked.refused(2, "audit-lock", "requirements.txt", *POLICY)
    (locked.folder / "pylock.toml").write_text(
        'lock-version = "1.0"\n[[packages]]\nname = "demo"\nversion = "1"\n'
    )
    told = locked.refused(2, "audit-lock", "pylock.toml", *POLICY)
    assert "pylock.toml cannot be read as pylock.toml\n  - Missing required value in 'created-by'" in told
    (locked.folder / "venv/lib/python3.12/site-packages/half-1.dist-info").mkdir()
    told = locked.refused(2, "audit-lock", "venv", *POLICY)
    assert "does not say what it is: its METADATA is missing or damaged" in told


# Serve.


@pytest.fixture
def server(listed: Desk) -> Iterator[subprocess.Popen[str]]:
    line = [
        sys.executable,
        "-c",
        "from retread.cli.main import main; main()",
        "serve",
        "index",
        "--port",
        "0",
    ]
    with subprocess.Popen(
        line, cwd=listed.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


def test_an_index_is_served_on_a_free_port_until_interrupted(
    listed: Desk, server: subprocess.Popen[str]
) -> None:
    assert server.stdout
    address = server.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    connection.request("GET", "/cu128/simple/demo/", headers=accept)
    answer = connection.getresponse()
    assert answer.status == 200
    [first, _] = json.loads(answer.read())["files"]
    connection.request(
        "GET", f"/cu128/simple/demo/{first['url']}".replace("/cu128/simple/demo/../../../", "/")
    )
    assert sha256(connection.getresponse().read()) == first["hashes"]["sha256"]
    connection.request("GET", "/.retread/history.jsonl")
    assert connection.getresponse().status == 404
    connection.close()
    server.send_signal(signal.SIGINT)
    out, err = server.communicate(timeout=30)
    assert (server.returncode, out) == (0, "")
    said = f"serving index at {address}; for trying it out: docs/serving says how to serve it really\n"
    assert err == said


def test_a_port_that_is_taken_is_told(listed: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = listed.refused(2, "serve", "index", "--port", str(port))
    assert f"cannot listen on 127.0.0.1 port {port}" in told
    assert "port 0 takes a free one" in told
