"""The workflows: every step is what a person can type, nothing that strangers write gets near a shell or a secret."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from retread.cli import main

ROOT = Path(__file__).parents[3]
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
    assert all(job["environment"] == "release" for job in WORKFLOWS["release"]["jobs"].values())
    assert not [text for text in texts.values() if re.search(r"pull_request_target|workflow_run:", text)]


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
