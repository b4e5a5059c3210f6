"""The scripts of a release: signed, proven and listed, or refused before anything happens; no secret stays behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from retread.audit import promise
from retread.evidence import signing
from retread.recipe import reading
from retread.records import Sha256
from retread.wheel.statement import FileStatement, Statement
from standins import until
from tinyindex import COMMIT, RECIPE, make_keys, make_wheel, prove, tree

SCRIPTS = Path(__file__).parents[3] / "scripts"
RETREAD = Path(sys.executable).with_name("retread")
PLAN, JOB = "release.json", "demo-1-cu128-py3.9"
SECRETS = ("RETREAD_INDEX", "RETREAD_BUILDER_KEY", "RETREAD_TESTER_KEY")
MEANT = {
    "RETREAD_INDEX": "where the wheels are listed",
    "RETREAD_BUILDER_KEY": "the text of the builder's .key file",
    "RETREAD_TESTER_KEY": "the text of the tester's .key file",
    "AWS_SECRET_ACCESS_KEY": "who may write to s3://bucket/wheels",
}
GH = """\
#!/bin/sh
# Plays GitHub's program: a run and an issue are what the environment says, artifacts lie in a folder.
echo "$@" >> "$GH_LOG"
case "$1 $2" in
"run list") echo "$GH_RUN" ;;
"run download") cp -r "$GH_ARTIFACTS"/. "$5" ;;
"issue list") echo "$GH_ISSUE" ;;
"api repos/{owner}/{repo}/actions/runs/7") echo "$GH_RUN" ;;
"api repos/{owner}/{repo}/branches/main") echo true ;;
"api repos/"*) echo false ;;
esac
"""


def of_the_recipe(one: Statement) -> Statement:
    """Return what a wheel says of itself that is made of the recipe."""
    made = reading.parse_recipe(RECIPE.encode(), name="demo-1")
    return msgspec.structs.replace(
        one,
        series=(),
        sdist=FileStatement(file="demo-1.2.tar.gz", sha256=Sha256(64 * "a")),
        base=FileStatement(file="demo-1.2-py3-none-any.whl", sha256=Sha256(64 * "b")),
        promise=promise.promise(made, made.targets["cu128"], one.version),
    )


class Shop:
    """A folder with a recipe, a policy, a proven wheel that nobody signed for, and the secrets of a release."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.temporary = root / "tmp"
        for folder in ("tmp", "recipes", "patches/demo/1.2", "bin"):
            (root / folder).mkdir(parents=True)
        (root / "recipes" / "demo-1.toml").write_text(RECIPE)
        (root / "patches" / "demo" / "1.2" / "series").write_text("")
        keys = make_keys(root / "keys")
        rows = [
            f'[[{role}]]\nname = "{role}"\nkey = "{signing.line(key)}"'
            for role, key in keys._asdict().items()
        ]
        (root / "index-policy.toml").write_text("\n".join(["allow-unproven = false", *rows]))
        self.wheel = prove(make_wheel(root / "dist", said=of_the_recipe), keys)
        for envelope in (root / "dist").glob("*.dsse.json"):
            envelope.unlink()
        self.environment = {
            **os.environ,
            "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
            "TMPDIR": str(self.temporary),
            "RETREAD": str(RETREAD),
            "RETREAD_INDEX": str(root / "index"),
            "RETREAD_BUILDER_KEY": (root / "keys" / "builder.key").read_text(),
            "RETREAD_TESTER_KEY": (root / "keys" / "tester.key").read_text(),
        }
        self.retread("release", "plan", "--out", "release.json")

    def retread(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run retread in the folder."""
        return subprocess.run([RETREAD, *words], cwd=self.root, capture_output=True, text=True, check=False)

    def program(self, name: str, text: str) -> Path:
        """Put a program on the PATH."""
        path = self.root / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(
        self, script: str, *arguments: str, code: int = 0, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a script; check how it ends, that it leaves nothing temporary, and that it tells no secret."""
        done = subprocess.run(
            [SCRIPTS / script, *arguments], cwd=self.root, env={**self.environment, **changes},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done
        assert list(self.temporary.iterdir()) == []
        for name in ("builder", "tester"):
            secret = (self.root / "keys" / f"{name}.key").read_text().splitlines()[1]
            assert secret not in done.stdout + done.stderr
        return done


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "shop")


def test_a_release_signs_lists_and_checks_and_again_does_nothing(shop: Shop) -> None:
    done = shop.run("release.sh", "dist", PLAN, RETREAD_BASE="https://wheels.example")
    assert done.stdout == f"{shop.wheel.name}\n"
    assert done.stderr.rstrip().splitlines()[-1].startswith("sound: 1 action, 1 project, 1 file")
    page = json.loads((shop.root / "index/cu128/simple/demo/index.json").read_bytes())
    assert [file["filename"] for file in page["files"]] == [shop.wheel.name]
    shop.run("release.sh", "dist", PLAN)
    history = subprocess.run(
        [RETREAD, "index", "history", "index", "--json"], cwd=shop.root, capture_output=True, check=True
    )
    assert len(json.loads(history.stdout)) == 1


@pytest.mark.parametrize("empty", [False, True], ids=["missing", "empty"])
@pytest.mark.parametrize("secret", [*SECRETS, "AWS_SECRET_ACCESS_KEY"])
def test_a_missing_secret_is_named_before_anything_happens(shop: Shop, secret: str, empty: bool) -> None:
    before = tree(shop.root)
    if secret.startswith("AWS"):
        shop.environment |= {"RETREAD_INDEX": "s3://bucket/wheels", "AWS_ACCESS_KEY_ID": "somebody"}
    shop.environment.pop(secret, None)
    done = shop.run("release.sh", "dist", PLAN, code=2, **({secret: ""} if empty else {}))
    told, meant = done.stderr.splitlines()
    assert told == f"release: missing or empty: {secret}; nothing was signed or listed"
    assert meant.startswith(f"  {secret}: ")
    assert MEANT[secret] in meant
    assert tree(shop.root) == before


def test_all_that_is_missing_is_named_at_once(shop: Shop) -> None:
    for name in SECRETS:
        del shop.environment[name]
    told = shop.run("release.sh", code=2).stderr.splitlines()
    assert told[0] == f"release: missing or empty: {' '.join(SECRETS)}; nothing was signed or listed"
    assert [line.partition(":")[0].strip() for line in told[1:]] == [*SECRETS]


def test_a_script_without_its_words_says_which_it_takes(shop: Shop) -> None:
    key = {"RETREAD_KEY": shop.environment["RETREAD_BUILDER_KEY"]}
    for words in ((), ("", "")):
        assert shop.run("release.sh", *words, code=2).stderr == (
            "release: name the folder of the wheels and the plan of the release: release.sh FOLDER PLAN\n"
        )
        assert "make sign KEY=NAME" in shop.run("sign.sh", *words, code=2, **key).stderr
        told = shop.run("sign.sh", *words, code=2).stderr.splitlines()
        assert told == [
            "sign: missing or empty: RETREAD_KEY; nothing was signed",
            "  RETREAD_KEY: signs the statements: the text of NAME's .key file ('retread key new')",
        ]


def test_without_policy_or_wheel_nothing_is_released(shop: Shop) -> None:
    assert "there is no wheel in empty/" in shop.run("release.sh", "empty", PLAN, code=2).stderr
    told = shop.run("release.sh", "dist", PLAN, code=2, RETREAD_POLICY="other.toml").stderr
    assert "there is no policy other.toml" in told
    told = shop.run("release.sh", "dist", "other.json", code=2).stderr
    assert "there is no plan other.json of the release; make one: make release-plan" in told


def test_what_the_gate_refuses_is_not_listed(shop: Shop) -> None:
    done = shop.run(
        "release.sh", "dist", PLAN, code=19, RETREAD_TESTER_KEY=shop.environment["RETREAD_BUILDER_KEY"]
    )
    assert "is no tester in this policy" in done.stderr
    assert not (shop.root / "index").exists()


def test_a_release_that_is_not_whole_lists_nothing_and_names_what_lacks(shop: Shop) -> None:
    """One that another recipe makes is missing; then the one that is there is of a recipe that was changed since."""
    other = shop.root / "recipes" / "other-1.toml"
    other.write_text(RECIPE.replace("demo", "other"))
    (shop.root / "patches" / "other" / "1.2").mkdir(parents=True)
    (shop.root / "patches" / "other" / "1.2" / "series").write_text("")
    assert shop.retread("release", "plan", "--out", PLAN).stdout == f"{PLAN}\n"
    done = shop.run("release.sh", "dist", PLAN, code=20)
    assert done.stderr.splitlines()[-1] == (
        "  - other-1.2+cu128.1-py3-none-any.whl is missing: the job other-1-cu128-py3.9 makes it, or "
        "'retread build other-1 --target cu128 --lane overlay --python 3.9'"
    )
    other.unlink()
    recipe = shop.root / "recipes" / "demo-1.toml"
    recipe.write_text(RECIPE.replace(64 * "a", 64 * "c"))
    shop.retread("release", "plan", "--out", PLAN)
    done = shop.run("release.sh", "dist", PLAN, code=20)
    assert f"{shop.wheel.name}: it is not of the recipe that the release was planned by" in done.stderr
    assert not (shop.root / "index").exists()


WAITING = """\
#!/bin/sh
# What retread would see: the keys' folder and files, and whether the secrets are in its environment.
for word; do case $word in *.key) key=$word;; esac; done
stat -c %a "$(dirname "$key")" "$key" > seen.part
env | grep -c RETREAD_.*_KEY >> seen.part
mv seen.part seen
exec sleep 60
"""


def test_a_release_that_is_cancelled_takes_its_keys_along(shop: Shop) -> None:
    shop.environment["RETREAD"] = str(shop.program("waiting", WAITING))
    process = subprocess.Popen(
        [SCRIPTS / "release.sh", "dist", PLAN], cwd=shop.root, env=shop.environment, start_new_session=True
    )
    until((shop.root / "seen").exists)
    assert len(list(shop.temporary.iterdir())) == 1
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 143
    assert (shop.root / "seen").read_text().split() == ["700", "600", "0"]
    assert list(shop.temporary.iterdir()) == []


def test_what_was_signed_where_no_wheel_is_lets_the_wheel_in(shop: Shop, tmp_path: Path) -> None:
    """Each key is on a machine of its own, which gets the statements and gives envelopes."""
    words = ("--builder", "builder", "--tester", "tester", "--out", "statements")
    subprocess.run([RETREAD, "statement", shop.wheel, *words], cwd=shop.root, check=True)
    names = {path.name for path in (shop.root / "statements").iterdir()}
    assert len(names) > 1
    for role, kind in (("builder", ".provenance."), ("tester", ".test-")):
        alone = tmp_path / role
        shutil.copytree(shop.root / "statements", alone)
        key = shop.environment[f"RETREAD_{role.upper()}_KEY"]
        done = shop.run("sign.sh", role, str(alone), RETREAD_KEY=key)
        made = [Path(line) for line in done.stdout.splitlines()]
        assert {path.name.replace(".dsse.json", ".statement.json") for path in made} == {
            name for name in names if kind in name
        }
        for path in made:
            path.rename(shop.wheel.parent / path.name)
    again = tree(shop.root / "statements")
    assert names == {path.name for path in (shop.root / "statements").iterdir()}
    index = ("--index", "index", "--policy", "index-policy.toml")
    done = subprocess.run(
        [RETREAD, "publish", shop.wheel, *index], cwd=shop.root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{shop.wheel.name}\n"), done.stderr
    assert tree(shop.root / "statements") == again


def test_nothing_is_signed_that_is_no_statement_or_of_another_s_name(shop: Shop) -> None:
    folder = shop.root / "statements"
    folder.mkdir()
    key = {"RETREAD_KEY": shop.environment["RETREAD_BUILDER_KEY"]}
    assert (
        "no statement in statements is made in the name of builder"
        in shop.run("sign.sh", "builder", "statements", code=17, **key).stderr
    )
    (folder / "a.whl.provenance.statement.json").write_text('{"sign": "me"}')
    assert (
        "states neither a build nor a test result"
        in shop.run("sign.sh", "builder", "statements", code=19, **key).stderr
    )
    assert (
        "sign: missing or empty: RETREAD_KEY" in shop.run("sign.sh", "builder", "statements", code=2).stderr
    )
    assert len(list(folder.iterdir())) == 1


OURS = "me/retread me/retread .github/workflows/wheels.yml push main"


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (OURS, ""),
        (OURS.replace("push", "workflow_dispatch").replace("wheels.yml", "wheels.yml@main"), ""),
        (OURS.replace(" me/", " fork/"), "is of fork/retread, not of me/retread"),
        (OURS.replace("wheels.yml", "ci.yml"), "is of the workflow .github/workflows/ci.yml"),
        (OURS.replace("push", "pull_request"), "was started by a pull_request"),
        (OURS.replace("main", "mine"), "is for mine, which is no protected branch"),
        (OURS.replace("push main", "push"), "is not told as it should be"),
    ],
)  # fmt: skip
def test_only_our_own_runs_of_protected_branches_are_tried(
    shop: Shop, tmp_path: Path, run: str, told: str
) -> None:
    shop.program("gh", GH)
    shop.environment |= {"GH_LOG": str(tmp_path / "log"), "GH_RUN": run}
    done = shop.run("run-check.sh", "7", code=2 if told else 0)
    assert (f"run-check: run 7 {told}" in done.stderr) if told else (done.stderr == "")


def test_a_run_is_named_by_its_number(shop: Shop) -> None:
    for run in ("", "7/../../x", "7 8", "-1"):
        assert "name a run by its number" in shop.run("run-check.sh", run, code=2).stderr


def test_what_a_run_made_is_collected_with_the_reports_of_its_gpus(shop: Shop, tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    for name in (f"wheel-{JOB}", f"report-{JOB}-cc9.0", "release-plan"):
        (artifacts / name).mkdir(parents=True)
    [report] = shop.wheel.parent.glob("*.smoke-*.json")
    report.rename(artifacts / f"report-{JOB}-cc9.0" / "report.json")
    shop.wheel.rename(artifacts / f"wheel-{JOB}" / shop.wheel.name)
    shop.program("gh", GH)
    shop.environment |= {"GH_LOG": str(tmp_path / "log"), "GH_ARTIFACTS": str(artifacts), "GH_RUN": "7"}
    told = shop.run("collect.sh", COMMIT, "elsewhere", code=2).stderr
    assert "collect: run 7 left no plan of its release; start 'wheels' again" in told
    (shop.root / PLAN).rename(artifacts / "release-plan" / PLAN)
    done = shop.run("collect.sh", COMMIT, "dist")
    assert done.stdout == f"dist/{shop.wheel.name}\n"
    assert (shop.root / "dist" / PLAN).is_file()
    assert report.is_file(), "the report lies beside the wheel that it is about"
    asked = (tmp_path / "log").read_text().splitlines()[2:]
    assert asked[0].startswith(f"run list --workflow wheels.yml --commit {COMMIT} --status success")
    assert asked[1].startswith("run download 7 --dir ")


def test_a_commit_without_a_run_is_told(shop: Shop, tmp_path: Path) -> None:
    shop.program("gh", GH)
    shop.environment |= {"GH_LOG": str(tmp_path / "log"), "GH_RUN": ""}
    assert (
        f"no run of the workflow 'wheels' for {COMMIT} succeeded"
        in shop.run("collect.sh", COMMIT, "dist", code=2).stderr
    )
    assert "name the commit" in shop.run("collect.sh", "", "dist", code=2).stderr


@pytest.mark.parametrize(
    ("attention", "issue", "done"),
    [
        (True, "", "issue create --label watch --title Upstream moved --body-file body.md"),
        (True, "12", "issue edit 12 --title Upstream moved --body-file body.md"),
        (False, "12", "issue close 12 --comment Nothing wants attention any more."),
        (False, "", None),
    ],
)
def test_there_is_one_issue(
    shop: Shop, tmp_path: Path, attention: bool, issue: str, done: str | None
) -> None:
    shop.program("gh", GH)
    shop.environment |= {"GH_LOG": str(tmp_path / "log"), "GH_ISSUE": issue}
    told = {"attention": attention, "title": "Upstream moved"}
    (shop.root / "watch.json").write_text(json.dumps(told))
    shop.run("issue.sh", "watch.json", "body.md")
    asked = [line for line in (tmp_path / "log").read_text().splitlines() if not line.startswith("label")]
    assert asked[1:] == ([done] if done else [])
