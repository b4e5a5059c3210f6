"""What ran of one wheel, told of another: claims that the wheel's own bytes and the policy are held against."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from house import ROOT
from reports import case, failed, on_gpu, report, run
from retread.arch import Arch
from retread.cli import main
from retread.errors import EvidenceError, GateError
from retread.evidence import attest, gate, keyfiles, signing, statements
from retread.index import candidate
from retread.records import Sha256
from retread.smoke import reading
from retread.smoke.level import Level
from retread.smoke.report import Run
from retread.wheel import sameness
from retread.wheel.statement import Proof
from tinycuda import sha256
from tinyindex import Keys, make_keys, make_wheel, prove

DATA = ROOT / "tests" / "data" / "fatbin"
HERE, THERE = "py3-none-linux_x86_64", "py3-none-linux_aarch64"
NINE = Proof(gpu=(Arch("9.0"),), triton=("3.5.1",))
GPU = run(case("attention/x"), surroundings=on_gpu())


@pytest.fixture
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.getbasetemp() / "inheriting")


def wheel(folder: Path, tag: str, library: str) -> Path:
    return make_wheel(
        folder, tag=tag, version="1.2+cu130.1", members={"demo/_C.so": (DATA / library).read_bytes()}
    )


def tried(made: Path, *runs: Run) -> None:
    about = {"project": "demo", "version": "1.2+cu130.1", "recipe": "demo-1", "target": "cu130"}
    found = report(*runs, wheel=made.name, sha256=Sha256(sha256(made.read_bytes())), **about)
    made.with_name(f"{made.name}.smoke-gpu.json").write_bytes(reading.write(reading.sealed(found, runs)))


@pytest.fixture
def both(tmp_path: Path, keys: Keys) -> tuple[Path, Path]:
    """Return a wheel that ran on a GPU, and one for another machine with the same kernels, proven but for that."""
    own, other = wheel(tmp_path, HERE, "libadd.so"), wheel(tmp_path, THERE, "libadd-aarch64.so")
    tried(own, GPU)
    return own, prove(other, keys)


def inherit(both: tuple[Path, Path], keys: Keys, scratch: Path, change: Callable[[Any], None] = id) -> Path:
    """Sign what the second wheel inherits of the first, after a change of what is stated; return the envelope."""
    scratch.mkdir()
    [(place, payload)] = attest.inheriting(both[1], both[0], "tester", scratch=scratch).items()
    told = json.loads(payload)
    change(told)
    envelope = place.with_name(f"{place.name}.dsse.json")
    envelope.write_bytes(signing.sign(json.dumps(told).encode(), statements.PAYLOAD_TYPE, keys.tester))
    return envelope


def ask(made: Path, keys: Keys, scratch: Path, **changes: Any) -> gate.Admission:
    scratch.mkdir()
    one = candidate.read(made, scratch)
    policy = keys.policy._replace(**changes)
    return gate.demand(
        policy, made.name, one.hosted.sha256, proof=NINE, envelopes=one.beside.envelopes, told=one.told
    )


def test_what_ran_of_the_same_code_is_inherited_by_name(
    both: tuple[Path, Path], keys: Keys, tmp_path: Path
) -> None:
    envelope = inherit(both, keys, tmp_path / "1")
    assert re.fullmatch(r".*_aarch64\.whl\.inherited-gpu-nvidia-h200-[0-9a-f]{8}\.dsse\.json", envelope.name)
    said = statements.parse(signing.payload(envelope.read_bytes(), name="x"), name="x").inherited
    assert said
    assert (said.ran.name, said.ran.digest.sha256) == (both[0].name, sha256(both[0].read_bytes()))
    assert (list(said.kernels), said.others, said.without) == (["add_one"], (), 0)
    with pytest.raises(GateError) as caught:
        ask(both[1], keys, tmp_path / "2")
    [fault] = caught.value.faults
    assert "no gpu test result of a GPU of capability 9.0" in fault
    assert (
        f"(1 of its 1 kernels have the code of {both[0].name}, which passed; the policy demands a run"
        in fault
    )
    admission = ask(both[1], keys, tmp_path / "3", inherited=True)
    assert [(one.where, one.kernels, one.of) for one in admission.inherited] == [("NVIDIA H200, 9.0", 1, 1)]
    (tmp_path / "4").mkdir()
    assert candidate.read(both[1], tmp_path / "4").hosted.inherited == admission.inherited


CLAIMS: dict[str, tuple[Callable[[Any], None], str]] = {
    "other code": (lambda said: said["kernels"].update(add_one=64 * "0"), "kernel add_one on 9.0: the wheel"),
    "no such kernel": (
        lambda said: said["kernels"].update(more=64 * "0"),
        "more on 9.0: the wheel says nothing",
    ),
    "fewer": (lambda said: said.update(without=1), "kernels on 9.0: the wheel says 1 with machine code"),
    "failed": (lambda said: said["run"].update(failed=1), "only what passed can be inherited"),
    "another level": (lambda said: said["run"].update(level="static"), "a GPU has to have run it"),
    "emulated": (lambda said: said["run"].update(emulator="qemu"), "a GPU has to have run it"),
    "of itself": (lambda said: said["ran"]["digest"].update(sha256=said["self"]), "is the wheel itself"),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_that_is_not_so_refuses_the_wheel(
    both: tuple[Path, Path], keys: Keys, tmp_path: Path, claim: str
) -> None:
    change, word = CLAIMS[claim]

    def edit(told: Any) -> None:
        said = told["predicate"]
        said["self"] = told["subject"][0]["digest"]["sha256"]
        change(said)
        del said["self"]

    inherit(both, keys, tmp_path / "1", edit)
    with pytest.raises(GateError) as caught:
        ask(both[1], keys, tmp_path / "2", inherited=True)
    assert word in "\n".join(caught.value.faults)


def test_a_builder_s_key_says_nothing_of_what_ran(
    both: tuple[Path, Path], keys: Keys, tmp_path: Path
) -> None:
    inherit(both, Keys(keys.builder, keys.builder), tmp_path / "1")
    with pytest.raises(GateError) as caught:
        ask(both[1], keys, tmp_path / "2", inherited=True)
    assert "signed by builder, who is no tester in this policy" in "\n".join(caught.value.faults)


def test_a_part_of_the_kernels_proves_no_gpu(both: tuple[Path, Path], keys: Keys, tmp_path: Path) -> None:
    heirs = [gate.Inherited(wheel="a.whl", sha256=Sha256(64 * "a"), where="x", kernels=29, of=50)]
    assert not heirs[0].whole
    assert gate._partly(heirs) == (
        " (29 of its 50 kernels have the code of a.whl, which passed; the rest did not run)"
    )


def test_nothing_is_inherited_of_what_did_not_pass(tmp_path: Path, keys: Keys) -> None:
    own, other = wheel(tmp_path, HERE, "libadd.so"), wheel(tmp_path, THERE, "libadd-aarch64.so")
    with pytest.raises(EvidenceError, match=f"no report of a GPU on which {re.escape(own.name)} passed"):
        attest.inheriting(other, own, "tester", scratch=tmp_path)
    tried(own, run(failed("attention/x"), surroundings=on_gpu()))
    with pytest.raises(EvidenceError, match="no report of a GPU on which"):
        attest.inheriting(other, own, "tester", scratch=tmp_path)


def test_a_gpu_takes_the_newest_code_that_it_runs() -> None:
    one, two = Sha256(64 * "1"), Sha256(64 * "2")
    bodies = {(Arch("8.0"), "k"): (one,), (Arch("8.6"), "k"): (two,), (Arch("9.0a"), "k"): (one,)}
    on_86, on_80, on_89 = (sameness.on(Arch(device), bodies) for device in ("8.6", "8.0", "8.9"))
    assert on_86 == on_89 != on_80
    assert sameness.on(Arch("9.0"), bodies).keys() == {"k"}
    assert sameness.on(Arch("10.0"), bodies) == {}
    assert sameness.shared({"k": one, "l": one}, {"k": one, "l": two}, 3) == ({"k": one}, ("l",), 3)


def test_attest_says_who_has_to_sign_and_writes_what_is_inherited(
    both: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RETREAD_STORE", str(tmp_path / "store"))
    keyfiles.new(tmp_path, "lab")
    asked = ["attest", str(both[1]), "--inherit", str(both[0])]
    assert main.run([*asked, "--builder", "nosuch.key"]) == 2
    assert "--inherit says what tests found of another wheel" in capsys.readouterr().err
    assert main.run([*asked, "--tester", str(tmp_path / "lab.key")]) == 0
    assert ".inherited-gpu-nvidia-h200-" in capsys.readouterr().out
    tried(both[1], run(case("package/x"), level=Level.STATIC))
    assert main.run([*asked, "--tester", str(tmp_path / "lab.key")]) == 0
    told = capsys.readouterr().out
    assert ".whl.test-static-" in told, "what ran of the wheel itself is signed, too"
    assert ".inherited-gpu-nvidia-h200-" in told
    assert main.run(["evidence", str(both[1])]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert (
        f"inherited: 1 of its 1 kernels have the machine code of {both[0].name}, which passed on NVIDIA H200"
        in told
    )
