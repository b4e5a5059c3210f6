"""The gate: nothing counts but what the right key signed about this very wheel, and all that lacks is told at once."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import compiles
from reports import case, failed, on_gpu, report, run, surroundings
from retread.arch import Arch
from retread.errors import GateError
from retread.evidence import agreement, gate, keyfiles, signing, statements
from retread.evidence.gate import Admission, Policy
from retread.evidence.signing import Key
from retread.prooflevel import ProofLevel
from retread.records import Sha256
from retread.smoke.level import Level
from retread.smoke.report import Run
from retread.smoke.tally import Tried
from retread.wheel.statement import DeviceTools, Proof

WHEEL = "demo-1.2+cu128.1-cp39-abi3-linux_x86_64.whl"
DIGEST = 64 * "a"
SAID = compiles.STATEMENT


def command(level: str) -> str:
    return gate.TRY.format(wheel=WHEEL, level=level)


def pairs(*names: str) -> list[Key]:
    with tempfile.TemporaryDirectory() as folder:
        return [keyfiles.new(Path(folder), name) for name in names]


CI, SECOND, LAB, OTHER_LAB, STRANGER = pairs("ci", "second", "lab", "other-lab", "stranger")
POLICY = Policy(builders=(CI, SECOND), testers=(LAB, OTHER_LAB))
STATIC = run(case("wheel/record"), level=Level.STATIC, surroundings=surroundings(triton=""))
OUTSIDE = "torch 2.8.0 is outside of >=2.9"


def jit(triton: str = "3.5.1", **changes: Any) -> Run:
    return run(case("kernels/x"), level=Level.JIT, surroundings=surroundings(triton=triton, **changes))


def gpu(capability: str = "9.0", **changes: Any) -> Run:
    about = on_gpu().gpus[0]
    changed = type(about)(name=f"GPU {capability}", capability=capability, memory=1, free=1)
    return run(case("attention/x"), surroundings=on_gpu(gpus=(changed,), **changes))


def proof(key: Key = CI, *, wheel: str = WHEEL, sha256: str = DIGEST, builder: str = "") -> bytes:
    made = statements.provenance(
        wheel, sha256, SAID, Sha256(64 * "e"), builder=builder or key.name, finished=1
    )
    return signing.sign(made, statements.PAYLOAD_TYPE, key)


def found(one: Run, key: Key = LAB, *, sha256: str = DIGEST, tester: str = "") -> bytes:
    whole = report(one, sha256=Sha256(sha256))
    return signing.sign(
        statements.test_result(whole, one, tester=tester or key.name), statements.PAYLOAD_TYPE, key
    )


def both(*envelopes: bytes) -> bytes:
    tables = [json.loads(one) for one in envelopes]
    return json.dumps({**tables[0], "signatures": [one["signatures"][0] for one in tables]}).encode()


FULL = {
    "p": proof(),
    "static": found(STATIC),
    "jit": found(jit()),
    "gpu": found(gpu()),
}


def ask(
    envelopes: dict[str, bytes],
    policy: Policy = POLICY,
    *,
    capabilities: Sequence[str] = ("9.0",),
    triton: Sequence[str] = ("3.5.1",),
) -> Admission:
    return gate.demand(
        policy,
        WHEEL,
        DIGEST,
        proof=Proof(gpu=tuple(Arch(one) for one in capabilities), triton=tuple(triton)),
        envelopes=envelopes,
    )


def lacking(envelopes: dict[str, bytes], policy: Policy = POLICY, **wanted: Sequence[str]) -> tuple[str, ...]:
    with pytest.raises(GateError, match="is not proven as the policy demands") as caught:
        ask(envelopes, policy, **wanted)
    assert caught.value.message.startswith(WHEEL)
    assert "--allow-unproven REASON" in caught.value.hint
    return caught.value.faults


def test_a_wheel_with_all_its_evidence_is_let_in_and_the_pages_know_why() -> None:
    admission = ask(FULL)
    assert [(one.envelope, one.kind, one.key) for one in admission.vouchers] == [
        ("gpu", "test", "lab"),
        ("jit", "test", "lab"),
        ("p", "provenance", "ci"),
        ("static", "test", "lab"),
    ]
    assert {one.id for one in admission.vouchers} == {CI.id, LAB.id}
    assert admission.tried == (
        Tried(level="gpu", where="GPU 9.0, 9.0", torch="2.9.1", passed=1, failed=0, skipped=0),
        Tried(level="jit", where="Triton 3.5.1", torch="2.9.1", passed=1, failed=0, skipped=0),
        Tried(level="static", where="", torch="2.9.1", passed=1, failed=0, skipped=0),
    )
    assert (admission.triton, admission.reports, admission.unproven) == (("3.5.1",), (64 * "c",), "")


def test_of_a_wheel_for_no_torch_no_jit_level_is_asked() -> None:
    proof = Proof(gpu=(), triton=())
    held = {name: FULL[name] for name in ("p", "static")}
    assert gate.demand(POLICY, WHEEL, DIGEST, proof=proof, envelopes=held, jit=False).vouchers
    with pytest.raises(GateError) as caught:
        gate.demand(POLICY, WHEEL, DIGEST, proof=proof, envelopes=held)
    assert caught.value.faults == (f"no jit test result: {command('jit')}",)


LEVELS = (*ProofLevel, None)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("least", LEVELS)
def test_what_is_less_proven_than_the_policy_demands_stays_out(
    least: ProofLevel | None, level: ProofLevel | None
) -> None:
    policy = POLICY._replace(source=least)
    said = level.words if level else "nothing of its source"
    wanted = least or ProofLevel.REPOSITORY
    fault = f"'{wanted.words}' is demanded, and the wheel says: {said}"
    enough = (level is None and least is None) or bool(level and level.reaches(wanted))
    proof = Proof(gpu=(), triton=())
    if enough:
        assert gate.demand(policy, WHEEL, DIGEST, proof=proof, envelopes=FULL, level=level)
    else:
        with pytest.raises(GateError) as caught:
            gate.demand(policy, WHEEL, DIGEST, proof=proof, envelopes=FULL, level=level)
        assert caught.value.faults == (fault,)
    if enough or least is None:
        assert gate.admit_unproven(policy, WHEEL, DIGEST, "why", level).unproven == "why"
    else:
        with pytest.raises(GateError, match=f"^{re.escape(fault)}$"):
            gate.admit_unproven(policy, WHEEL, DIGEST, "why", level)


def test_without_anything_everything_is_demanded_with_the_command_that_gives_it() -> None:
    assert lacking({}, capabilities=("9.0", "12.0"), triton=("3.5.1", "3.6.0")) == (
        f"no builder states how it was built: {gate.PROVE.format(wheel=WHEEL)}",
        f"no static test result: {command('static')}",
        f"no jit test result under Triton 3.5.1: {command('jit')}",
        f"no jit test result under Triton 3.6.0: {command('jit')}",
        f"no gpu test result of a GPU of capability 9.0 (unproven: gpu): {command('gpu')}",
        f"no gpu test result of a GPU of capability 12.0 (unproven: gpu): {command('gpu')}",
    )


@pytest.mark.parametrize(
    ("without", "told"),
    [
        ("p", "no builder states how it was built"),
        ("static", "no static test result"),
        ("jit", "no jit test result under Triton 3.5.1"),
        ("gpu", "no gpu test result of a GPU of capability 9.0"),
    ],
)
def test_each_piece_is_missed_alone(without: str, told: str) -> None:
    (fault,) = lacking({name: data for name, data in FULL.items() if name != without})
    assert fault.startswith(told)


def test_jit_is_demanded_of_a_target_that_names_no_triton_too() -> None:
    rest = {name: data for name, data in FULL.items() if name != "jit"}
    (fault,) = lacking(rest, triton=())
    assert fault.startswith("no jit test result: ")
    assert ask({**rest, "jit": found(jit(triton="9.9"))}, triton=()).triton == ("9.9",)


def test_gpu_is_demanded_only_of_capabilities_that_the_target_names() -> None:
    rest = {name: data for name, data in FULL.items() if name != "gpu"}
    assert ask(rest, capabilities=())
    (fault,) = lacking(FULL, capabilities=("10.0",))
    assert fault.startswith("no gpu test result of a GPU of capability 10.0")
    assert ask(FULL, capabilities=("9.0a",))  # which is the name of its code, not of another GPU


@pytest.mark.parametrize(
    ("there", "wanted", "enough"),
    [
        ("3.6.0", "3.6.0", True),
        ("3.6.0", "3.6", True),
        ("3.6.0+git1234", "3.6.0", True),
        ("3.6.1", "3.6.0", False),
        ("3.6.0.post1", "3.6.0", False),
        ("", "3.6.0", False),
        ("a build", "3.6.0", False),
    ],
)  # fmt: skip
def test_the_release_of_triton_counts(there: str, wanted: str, enough: bool) -> None:
    envelopes = {**FULL, "jit": found(jit(there))}
    if enough:
        assert ask(envelopes, triton=(wanted,))
    else:
        assert len(lacking(envelopes, triton=(wanted,))) == 1


def test_a_stranger_vouches_for_nothing() -> None:
    first, second = lacking({**FULL, "p": proof(STRANGER, builder="ci")})
    assert first.startswith("p is signed by no key that is known here (next: it is signed by ")
    assert second.startswith("no builder states")


def test_a_tester_cannot_say_how_it_was_built_nor_a_builder_that_it_works() -> None:
    first, second = lacking({**FULL, "p": proof(LAB)})
    assert (
        first
        == "p is signed by lab, who is no builder in this policy (next: have a builder sign it: ci, second)"
    )
    assert second.startswith("no builder states")
    first, second = lacking({**FULL, "jit": found(jit(), CI)})
    assert first.startswith("jit is signed by ci, who is no tester in this policy")
    assert second.startswith("no jit test result")


def test_a_policy_names_what_a_wheel_may_lack_and_all_else_is_demanded() -> None:
    keys = entry("builder", CI) + entry("tester", LAB)
    policy = read('allow-unproven = false\nunproven = ["gpu"]\n' + keys)
    assert policy.unproven == ("gpu",)
    without = {name: data for name, data in FULL.items() if name != "gpu"}

    def spared(envelopes: dict[str, bytes]) -> Admission:
        return gate.demand(
            policy,
            WHEEL,
            DIGEST,
            proof=Proof(gpu=(Arch("9.0"),), triton=("3.5.1",)),
            envelopes=envelopes,
            spared=policy.unproven,
        )

    assert {one.level for one in spared(without).tried} == {"static", "jit"}
    with pytest.raises(GateError) as caught:
        spared({name: data for name, data in without.items() if name != "static"})
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["no static test result"]
    with pytest.raises(GateError, match="is not proven as the policy demands") as caught:
        ask(without, policy)
    assert "(unproven: gpu)" in caught.value.faults[0]
    assert wrong('unproven = ["gpus"]\n' + keys) == (
        "unproven[0]: invalid enum value 'gpus' (did you mean 'gpu'?): expected jit or gpu",
    )


def test_a_reason_is_offered_where_the_policy_takes_one() -> None:
    closed = POLICY._replace(allow_unproven=False)
    offers = []
    for policy in (POLICY, closed, closed._replace(unproven=("gpu",))):
        with pytest.raises(GateError) as caught:
            ask({}, policy)
        offers.append(caught.value.hint.removeprefix("put the evidence beside the wheel"))
    assert offers == [
        "; or --allow-unproven REASON, which every reader will see",
        "",
        "; the policy lets it lack gpu alone, with --allow-unproven REASON",
    ]


def test_nobody_speaks_under_the_name_of_another() -> None:
    first, _ = lacking({**FULL, "p": proof(SECOND, builder="ci")})
    assert first.startswith("p speaks for builder 'ci', and is signed by second")
    first, _ = lacking({**FULL, "gpu": found(gpu(), OTHER_LAB, tester="lab")})
    assert first.startswith("gpu speaks for tester 'lab', and is signed by other-lab")


def test_an_envelope_without_signature_or_with_a_wrong_one_is_refused() -> None:
    unsigned = json.dumps({**json.loads(FULL["p"]), "signatures": []}).encode()
    assert lacking({**FULL, "p": unsigned})[0].startswith("p is not signed at all")
    swapped = json.dumps(
        {**json.loads(FULL["p"]), "signatures": json.loads(FULL["jit"])["signatures"]}
    ).encode()
    assert lacking({**FULL, "p": swapped})[0].startswith("p: the signature of lab is wrong")


def test_evidence_of_another_wheel_is_refused() -> None:
    first, second = lacking({**FULL, "p": proof(sha256=64 * "b")})
    assert first.startswith(f"p is about another wheel: {WHEEL} with sha256 {64 * 'b'}, not {DIGEST}")
    assert second.startswith("no builder states")
    assert "is about another wheel" in lacking({**FULL, "jit": found(jit(), sha256=64 * "b")})[0]


def test_the_same_bytes_under_another_name_are_another_wheel() -> None:
    other = WHEEL.replace("cu128.1", "cu128.2")
    first, _ = lacking({**FULL, "p": proof(wheel=other)})
    assert first.startswith(f"p is about {other}; the same bytes are called {WHEEL} here")


def test_what_was_signed_as_something_else_is_no_statement() -> None:
    made = statements.provenance(WHEEL, DIGEST, SAID, Sha256(64 * "e"), builder="ci", finished=1)
    first, second = lacking({**FULL, "p": signing.sign(made, "application/vnd.retread.revocations+json", CI)})
    assert first.startswith("p was signed as 'application/vnd.retread.revocations+json'")
    assert second.startswith("no builder states")


def test_a_signed_payload_that_is_no_statement_is_told_with_its_faults() -> None:
    broken = json.loads(
        statements.provenance(WHEEL, DIGEST, SAID, Sha256(64 * "e"), builder="ci", finished=1)
    )
    del broken["predicate"]["runDetails"]
    envelope = signing.sign(json.dumps(broken).encode(), statements.PAYLOAD_TYPE, CI)
    first, _ = lacking({**FULL, "p": envelope})
    assert "predicate.runDetails: missing" in first


def test_a_failed_test_refuses_though_another_run_passed() -> None:
    bad = run(failed("a/b"), case("c/d"), level=Level.JIT, surroundings=surroundings(triton="3.5.1"))
    (fault,) = lacking({**FULL, "again": found(bad)})
    assert fault.startswith("jit (Triton 3.5.1): 1 failed, 1 passed: a/b: mend it, then retread smoke ")
    many = run(*(failed(f"a/{number}") for number in range(9)))
    assert (
        "9 failed, 0 passed: a/0, a/1, a/2, a/3, a/4 and 4 more: " in lacking({**FULL, "gpu": found(many)})[0]
    )


def test_a_result_of_skipped_cases_alone_is_called_what_it_is() -> None:
    said = json.loads(statements.test_result(report(jit()), jit(), tester="lab"))
    said["predicate"]["result"] = "FAILED"  # as statements from before have it, whose failures are none
    said["predicate"]["configuration"][0]["annotations"].update(passed=0, skipped=3)
    idle = signing.sign(json.dumps(said).encode(), statements.PAYLOAD_TYPE, LAB)
    (fault,) = lacking({**FULL, "again": idle})
    assert fault == f"jit (Triton 3.5.1): nothing ran, 3 skipped: where it can run, {command('jit')}"
    assert len(lacking({**FULL, "jit": idle})) == 2


def test_a_result_outside_of_the_promise_neither_proves_nor_refuses() -> None:
    (fault,) = lacking({**FULL, "jit": found(jit(outside=OUTSIDE))})
    assert fault.startswith("no jit test result under Triton 3.5.1: ")
    assert fault.endswith(f" (there is one that proves nothing: {OUTSIDE})")
    bad = run(failed("a/b"), surroundings=on_gpu(outside=OUTSIDE))
    admission = ask({**FULL, "more": found(bad), "old": found(jit("3.4.0", outside=OUTSIDE))})
    assert (len(admission.tried), admission.triton) == (3, ("3.5.1",))


def test_two_builders_may_sign_one_statement_and_both_vouch() -> None:
    made = statements.provenance(WHEEL, DIGEST, SAID, Sha256(64 * "e"), builder="ci", finished=1)
    envelope = both(*(signing.sign(made, statements.PAYLOAD_TYPE, key) for key in (CI, SECOND)))
    admission = ask({**FULL, "p": envelope})
    assert [one.key for one in admission.vouchers if one.kind == "provenance"] == ["ci", "second"]


def test_a_tester_that_signs_beside_the_builder_does_not_become_one() -> None:
    made = statements.provenance(WHEEL, DIGEST, SAID, Sha256(64 * "e"), builder="ci", finished=1)
    envelope = both(*(signing.sign(made, statements.PAYLOAD_TYPE, key) for key in (LAB, CI, STRANGER)))
    admission = ask({**FULL, "p": envelope})
    assert [one.key for one in admission.vouchers if one.kind == "provenance"] == ["ci"]


def test_one_key_for_both_roles_is_refused_by_its_bytes_whatever_it_is_called() -> None:
    twin = LAB._replace(name="harmless", id=64 * "0")
    faults = lacking(FULL, Policy(builders=(CI, twin), testers=(LAB,)))
    assert faults == ("tester lab: is the key of builder harmless; builder and tester must not be one",)


def test_a_policy_without_keys_proves_nothing() -> None:
    faults = lacking(FULL, Policy(builders=(), testers=()))
    assert len(faults) == 4 + 4  # no envelope counts, so each thing is lacking, too
    assert sum("signed by no key that is known here" in fault for fault in faults) == 4


def test_everything_is_told_at_once() -> None:
    faults = lacking(
        {
            "a": b"rubbish",
            "p": proof(sha256=64 * "b"),
            "s": found(STATIC, CI),
            "g": found(run(failed("x/y"))),
        },
        Policy(builders=(CI,), testers=(LAB, CI._replace(name="me"))),
        capabilities=("9.0", "12.0"),
    )
    for told in (
        "tester me: is the key of builder ci",
        "a is no DSSE envelope",
        "p is about another wheel",
        "s speaks for tester 'ci', and is signed by me",
        "gpu (NVIDIA H200, 9.0): 1 failed",
        "no builder states how it was built",
        "no static test result",
        "no jit test result",
        "capability 9.0",
        "capability 12.0",
    ):
        assert [fault for fault in faults if told in fault], told


def test_the_order_of_the_files_does_not_matter() -> None:
    assert ask(dict(reversed(FULL.items()))) == ask(FULL)


def test_a_wrong_clock_does_not_matter() -> None:
    made = statements.provenance(
        WHEEL, DIGEST, SAID, Sha256(64 * "e"), builder="ci", finished=253_402_300_799
    )
    early = run(case("wheel/record"), level=Level.STATIC, started=0)
    assert ask(
        {**FULL, "p": signing.sign(made, statements.PAYLOAD_TYPE, CI), "static": found(early)}
    )  # the year 9999, and 1970


def entry(role: str, key: Key, name: str = "") -> str:
    return f'[[{role}]]\nname = "{name or key.name}"\nkey = "{signing.line(key)}"\n'


def read(text: str) -> Policy:
    return gate.parse_policy(text.encode(), name="policy.toml")


def wrong(text: str) -> tuple[str, ...]:
    with pytest.raises(GateError, match=r"policy policy\.toml has (a fault|\d+ faults)") as caught:
        read(text)
    of_keys = any(one.startswith(("builder", "tester")) for one in caught.value.faults)
    assert caught.value.hint.startswith("'retread key list' prints" if of_keys else "mend the file; docs/")
    return caught.value.faults


def test_a_policy_is_read_from_what_key_list_prints() -> None:
    policy = read(entry("builder", CI) + entry("tester", LAB) + entry("tester", OTHER_LAB))
    public = [key._replace(secret=None) for key in (CI, LAB, OTHER_LAB)]
    assert policy == Policy(builders=(public[0],), testers=(public[1], public[2]), allow_unproven=True)
    assert ask(FULL, policy) == ask(FULL)


def test_a_policy_may_forbid_the_unproven() -> None:
    policy = read("allow-unproven = false\n" + entry("builder", CI) + entry("tester", LAB))
    assert not policy.allow_unproven
    with pytest.raises(GateError, match="lets no wheel in without evidence"):
        gate.admit_unproven(policy, WHEEL, DIGEST, "in a hurry")


BY_CLANG = WHEEL.replace("cu128.1", "cu128.clang.1")


def test_a_policy_may_demand_nvcc() -> None:
    keys = entry("builder", CI) + entry("tester", LAB)
    policy = read('compilers = ["nvcc"]\n' + keys)
    assert ask(FULL, policy) == ask(FULL)
    told = f"{BY_CLANG}: its device code was compiled by clang, and the policy takes nvcc alone"
    with pytest.raises(GateError) as caught:
        gate.demand(policy, BY_CLANG, DIGEST, proof=Proof(gpu=(), triton=()), envelopes={})
    assert told in caught.value.faults
    with pytest.raises(GateError) as caught:
        gate.admit_unproven(policy, BY_CLANG, DIGEST, "in a hurry")
    assert caught.value.message == told
    assert gate.admit_unproven(read(keys), BY_CLANG, DIGEST, "in a hurry").unproven == "in a hurry"


def test_a_compiler_that_no_policy_can_demand() -> None:
    assert "compilers[0]" in wrong('compilers = ["gcc"]\n' + entry("builder", CI) + entry("tester", LAB))[0]


@pytest.mark.parametrize(
    ("version", "device", "fault"),
    [
        ("1.2+cu128.1", compiles.NVCC, ""),
        ("1.2+cu128.clang.1", compiles.CLANG, ""),
        ("1.2+cu128.1", compiles.CLANG, "nvcc, retread.json says clang"),
        ("1.2+cu128.clang.1", compiles.NVCC, "clang, retread.json says nvcc"),
    ],
)
def test_who_compiled_is_said_alike_by_name_and_provenance(
    version: str, device: DeviceTools, fault: str
) -> None:
    said = replace(
        SAID,
        version=version,
        compiled=compiles.compiled(device),
        promise=replace(SAID.promise, version=version),
    )
    file = WHEEL.replace("1.2+cu128.1", version)
    made = statements.provenance(file, DIGEST, said, Sha256(64 * "e"), builder=CI.name, finished=1)
    signed = {"p": signing.sign(made, statements.PAYLOAD_TYPE, CI)}
    told = list(gate.contradictions(file, agreement.of_statement(said, Sha256(64 * "e")), signed))
    found = [one for one in told if one.startswith("compiler of device code")]
    assert bool(found) == bool(fault)
    assert not fault or found[0] == f"compiler of device code: the file name says {fault}"


def test_no_wheel_asks_less_of_itself_than_the_policy_does() -> None:
    keys = entry("builder", CI) + entry("tester", LAB)
    assert ask(FULL, read('gpu = ["9.0"]\n' + keys)) == ask(FULL)
    with pytest.raises(GateError) as caught:
        ask(FULL, read('gpu = ["9.0", "12.0"]\ntriton = ["3.9.0"]\n' + keys))
    assert [fault.partition(": ")[0] for fault in caught.value.faults] == [
        "no jit test result under Triton 3.9.0",
        "no gpu test result of a GPU of capability 12.0 (unproven",
    ]
    with pytest.raises(GateError) as caught:
        read('gpu = ["9.9"]\ntriton = [""]\n' + keys)
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["gpu[0]", "triton[0]"]


def test_the_unproven_come_in_with_a_reason_and_not_without() -> None:
    admission = gate.admit_unproven(POLICY, WHEEL, DIGEST, " the B200\nis away ")
    assert (admission.unproven, admission.vouchers, admission.tried) == ("the B200 is away", (), ())
    with pytest.raises(GateError, match="needs a reason"):
        gate.admit_unproven(POLICY, WHEEL, DIGEST, " \n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["builder: no key; without one no wheel is ever proven", "tester: no key; without"]),
        (entry("builder", CI), ["tester: no key"]),
        (entry("builder", CI) + entry("testers", LAB), ["testers: unknown key (did you mean 'tester'?)"]),
        (
            entry("builder", CI) + entry("tester", CI, "another"),
            ["tester another: is the key of builder ci; builder and tester must not be one"],
        ),
        (
            entry("builder", CI) + entry("builder", CI, "b") + entry("tester", LAB),
            ["builder b: is the key of builder ci"],
        ),
        (entry("builder", CI) + entry("tester", LAB, "ci"), ["tester ci: there is another key of that name, builder"]),
        (entry("builder", CI, "C I") + entry("tester", LAB), ["builder[0].name: expected a key's name"]),
        (entry("builder", CI).replace('key = "', 'key = "x') + entry("tester", LAB), ["builder[0].key: key ci is no"]),
        (entry("builder", CI) + '[[tester]]\nname = "a"\n', ["tester[0].key: missing"]),
        (entry("builder", CI) + '[[tester]]\nname = "a"\nkey = "RSA"\nkind = 1\n', ["tester[0].kind: unknown key"]),
        ("builder = 3\n", ["builder: expected an array, got an integer"]),
        ('allow-unproven = "no"\n', ["allow-unproven: expected a boolean, got a string"]),
    ],
    ids=lambda value: "policy" if isinstance(value, str) else "told",  # keys are new in each process
)  # fmt: skip
def test_a_policy_with_faults_is_refused_with_all_of_them(text: str, told: list[str]) -> None:
    faults = wrong(text)
    assert len(faults) == len(told)
    for fault, start in zip(faults, told, strict=True):
        assert fault.startswith(start)


@pytest.mark.parametrize("data", [b"\xff", b"builder = [", b"a = 1\na = 2\n", b"x = " + b"[" * 5000])
def test_what_is_no_toml_is_refused(data: bytes) -> None:
    with pytest.raises(GateError, match=r"policy\.toml is not TOML"):
        gate.parse_policy(data, name="policy.toml")


def test_a_wheel_for_windows_is_tried_there_and_is_unproven_until_then() -> None:
    wheel = "demo-1.2+cu128.1-cp39-abi3-win_amd64.whl"
    with pytest.raises(GateError) as caught:
        gate.demand(POLICY, wheel, DIGEST, proof=Proof(gpu=(Arch("12.0"),), triton=()), envelopes={})
    *_, told = caught.value.faults
    assert told == (
        f"no gpu test result of a GPU of capability 12.0 (unproven: gpu): retread kit {wheel}, python "
        f"{wheel.removesuffix('.whl')}.kit.pyz --json report.json --level gpu under Windows, retread smoke --attach "
        f"report.json, and retread attest {wheel} --tester KEY"
    )


def test_a_policy_tells_an_emulator_from_a_machine() -> None:
    emulated = {
        **FULL,
        "static": found(replace(STATIC, surroundings=surroundings(emulator="qemu-aarch64 7.2"))),
    }
    assert "under qemu-aarch64 7.2" in {one.where for one in ask(emulated).tried}
    [fault] = lacking(emulated, POLICY._replace(emulated=False))
    assert fault.startswith("no static test result")
    assert "it ran under qemu-aarch64 7.2, and the policy demands a machine of the wheel's own" in fault
    assert ask(FULL, POLICY._replace(emulated=False))
    parsed = read(f"emulated = false\ninherited = true\n{entry('builder', CI)}{entry('tester', LAB)}")
    assert (parsed.emulated, parsed.inherited) == (False, True)
