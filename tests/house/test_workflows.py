"""The workflows: every step is what a person can type, nothing that strangers write gets near a shell or a secret."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import locks
from retread.cli import main

ROOT = Path(__file__).parents[2]
WORKFLOWS = {
    path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")
}
TARGETS = set(
    re.findall(
        r"\w[\w-]*", re.search(r"^\.PHONY:((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    )
)
MAY_WRITE = {
    "docs": {"id-token", "pages"},
    "release": {"attestations", "id-token"},
    "watch": {"contents", "issues", "pull-requests"},
}
PATHS = {"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"}
REDIRECTION = re.compile(r' >> "\$GITHUB_(OUTPUT|STEP_SUMMARY)"$')


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", ())


RUNS = sorted({step["run"] for one in WORKFLOWS.values() for step in steps(one) if "run" in step})


def is_known(command: str) -> bool:
    """Say whether a step is one command that exists: a target, retread, GitHub's program, a kit."""
    words = shlex.split(REDIRECTION.sub("", command).removeprefix("sudo "))
    match words:
        case ["make", target, *rest]:
            return target in TARGETS and all(re.fullmatch(r"[A-Z]+=[\w. -]+", word) for word in rest)
        case ["retread", *arguments]:
            return bool(main.parser().parse_args(arguments))
        case ["gh", *_] | ["python3", "kit.pyz", *_]:
            return True
    return False


@pytest.mark.parametrize("command", RUNS)
def test_a_step_is_one_command_that_exists(command: str) -> None:
    assert not set(re.sub(REDIRECTION, "", command)) & set("\n;|&$`")
    assert is_known(command)


def test_the_rule_finds_what_it_should() -> None:
    assert {"wheel", "install-check", "collect", "issue"} < TARGETS
    assert not is_known("make whel")
    assert not is_known("pip install torch")
    with pytest.raises(SystemExit):
        is_known("retread bild")


def test_each_target_that_makefile_names_is_there() -> None:
    rules = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert rules == TARGETS


def test_an_action_is_pinned_once_and_says_its_version() -> None:
    used: dict[str, set[str]] = {}
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        for name, pin in re.findall(r"uses: ([\w./-]+)@(.*)", path.read_text()):
            assert re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", pin), (path.name, name)
            used.setdefault(name, set()).add(pin)
    assert {name: pins for name, pins in used.items() if len(pins) > 1} == {}


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_rights_are_given_job_by_job_and_time_is_limited(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert workflow["permissions"] == {}
    assert "concurrency" in workflow
    for job in workflow["jobs"].values():
        assert job["permissions"]
        assert "timeout-minutes" in job or "uses" in job
        given = {right for right, level in job["permissions"].items() if level == "write"}
        assert given <= MAY_WRITE.get(name, set())


def test_secrets_are_the_release_s_alone_and_no_stranger_starts_it() -> None:
    texts = {path.stem: path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")}
    assert [name for name, text in texts.items() if "secrets." in text or "secrets:" in text] == ["release"]
    assert list(WORKFLOWS["release"][True]) == ["push"]  # YAML reads the key 'on' as true
    assert not [text for text in texts.values() if re.search(r"pull_request_target|workflow_run:", text)]


def test_each_key_is_in_a_job_of_its_own_with_an_environment_and_meets_no_wheel() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    held = {name: set(re.findall(r"secrets\.(\w+)", yaml.dump(job))) for name, job in jobs.items()}
    assert held == {
        "collect": set(),
        "builder": {"RETREAD_BUILDER_KEY"},
        "tester": {"RETREAD_TESTER_KEY"},
        "publish": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    }
    environments = {name: job.get("environment") for name, job in jobs.items()}
    assert environments == {
        "collect": None, "builder": "release-builder", "tester": "release-tester", "publish": "release",
    }  # fmt: skip
    for name in ("builder", "tester"):
        taken = [one["with"] for one in jobs[name]["steps"] if "download-artifact" in one.get("uses", "")]
        assert [one["name"] for one in taken] == ["statements"]
        assert jobs[name]["permissions"] == {"contents": "read"}
        assert jobs[name]["env"] == {"LOCK": "sign"}


def test_a_job_installs_what_a_lock_pins_and_no_lock_is_older_than_what_is_asked_for() -> None:
    for workflow in WORKFLOWS.values():
        for job in workflow["jobs"].values():
            if any(step.get("run", "").startswith("make ") for step in job.get("steps", ())):
                assert {**workflow.get("env", {}), **job.get("env", {})}["LOCK"] in locks.JOBS
    assert {path.stem for path in locks.LOCKS.iterdir()} == set(locks.JOBS)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    for name in locks.JOBS:
        pinned = (locks.LOCKS / f"{name}.txt").read_text()
        assert "://" not in pinned
        versions = dict(re.findall(r"^([\w.-]+)==(\S+)", pinned, re.MULTILINE))
        assert pinned.count("--hash=sha256:") >= len(versions)
        for one in map(Requirement, locks.requires(project, name)):
            assert one.specifier.contains(versions[canonicalize_name(one.name)]), f"make locks: {one}"


def test_what_is_beside_a_signing_key_is_what_signing_takes() -> None:
    """Whatever else a lock would bring could read the key."""
    program = (
        "import sys; before = {*sys.modules}\n"  # what some package's .pth file loads into every Python
        "import importlib.metadata as m; from retread.cli import main\n"
        "import cryptography.hazmat.primitives.asymmetric.ed25519\n"
        "main.run(['sign', '.', '--key', 'nosuch.key'])\n"
        "known = m.packages_distributions()\n"
        "print(*{one for name in {*sys.modules} - before for one in known.get(name.partition('.')[0], ())})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=PATHS, capture_output=True, text=True, check=True
    )
    pinned = set(re.findall(r"^([\w.-]+)==", (locks.LOCKS / "sign.txt").read_text(), re.MULTILINE))
    assert set(done.stdout.split()) - {"retread"} <= {*pinned, "typing_extensions"}
    assert pinned <= {*locks.SIGNING, "cffi", "pycparser", "typing-extensions"}


def test_a_run_is_asked_whose_it_is_before_its_kits_reach_a_machine_of_our_own() -> None:
    jobs = WORKFLOWS["smoke"]["jobs"]
    assert "make run-check" in [step.get("run") for step in jobs["plan"]["steps"]]
    assert jobs["trial"]["needs"] == "plan"


def test_a_pull_request_s_code_reaches_no_machine_of_our_own() -> None:
    ours = [
        name
        for name, one in WORKFLOWS.items()
        if any("matrix.labels" in str(job.get("runs-on")) for job in one["jobs"].values())
    ]
    assert ours == ["smoke"]
    assert set(WORKFLOWS["smoke"][True]) == {"workflow_call", "workflow_dispatch"}
    callers = [
        job
        for one in WORKFLOWS.values()
        for job in one["jobs"].values()
        if "smoke.yml" in job.get("uses", "")
    ]
    assert len(callers) == 1
    assert callers[0]["if"].startswith("github.event_name != 'pull_request' && ")


def test_every_night_static_and_jit_run_and_what_is_left_out_is_said() -> None:
    nights = [one["cron"] for one in WORKFLOWS["wheels"][True]["schedule"]]
    made, gpu = (WORKFLOWS["wheels"]["jobs"][name] for name in ("made", "gpu"))
    plan, build = (WORKFLOWS["reusable"]["jobs"][name] for name in ("plan", "build"))
    assert sorted(one.split()[4] for one in nights) == ["0", "1-6"]  # each day once
    assert made["uses"] == "$/.github/workflows/reusable.yml"
    assert made["with"]["lane"] == f"${{{{ github.event.schedule == '{nights[0]}' && 'overlay' || '' }}}}"
    assert made["with"]["since"].startswith("${{ github.event_name != 'schedule' && ")
    assert made["with"].keys() == WORKFLOWS["reusable"][True]["workflow_call"]["inputs"].keys()
    assert plan["env"]["LANE"] == "${{ inputs.lane }}"
    assert [one["run"] for one in plan["steps"] if "SUMMARY" in one.get("run", "")]
    assert build["env"]["LEVEL"] == "static jit"
    assert "make smoke COLD=1" in [one.get("run") for one in build["steps"]]
    assert "github.event_name != 'schedule'" in gpu["if"]


GH = """\
#!/bin/sh
case "$1 $2" in
"run list") echo 7;;
"run download")
  cd "$5"
  for job in a-cu128-py3.9 a-cu130-py3.11-aarch64; do
    mkdir "wheel-$job" "report-$job-cc9.0"
    touch "wheel-$job/$job.whl" "report-$job-cc9.0/report.json"
  done
  mkdir release-plan
  echo '{"wheels": [{"job": "a-cu128-py3.9"}]}' > release-plan/release.json;;
esac
"""


def test_a_release_collects_what_its_plan_names_and_no_other_platform(tmp_path: Path) -> None:
    for name, text in {"gh": GH, "retread": '#!/bin/sh\necho "$@" >> "$HEARD"\n'}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    variables = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "HEARD": str(tmp_path / "heard"),
        "TMPDIR": str(tmp_path),
    }
    command = ["sh", str(ROOT / "scripts" / "collect.sh"), "abc", str(tmp_path / "dist")]
    subprocess.run(command, env=variables, check=True, capture_output=True)
    assert sorted(one.name for one in (tmp_path / "dist").iterdir()) == ["a-cu128-py3.9.whl", "release.json"]
    assert re.findall(r"report-(\S+)/report.json", (tmp_path / "heard").read_text()) == [
        "a-cu128-py3.9-cc9.0"
    ]
