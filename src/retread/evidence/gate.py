"""The gate of an index: which keys may vouch for what, and whether the evidence of a wheel is all there.

Pure: bytes and records in, one admission or one list of everything that is lacking out. No clock is read: a statement
does not expire, and a time that it tells decides nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Annotated, Literal, NamedTuple

import msgspec
from packaging.version import InvalidVersion

from retread import arch, pypa, strict, version
from retread.arch import Arch
from retread.errors import GateError, WheelError
from retread.evidence import agreement, signing, soundness, statements
from retread.evidence.agreement import Told
from retread.evidence.signing import Key
from retread.evidence.statements import Attested, Inheritance, Kind
from retread.fields import Architecture, Positive, Table, Text
from retread.prooflevel import ProofLevel
from retread.records import Record
from retread.smoke.level import Level
from retread.smoke.tally import Inherited, Tried, Verdict, counts, where
from retread.wheel.metadata import parse_name
from retread.wheel.statement import Proof

PROVE = "retread attest {wheel} --builder KEY"
"""The command that signs what a builder states; the next one, what a tester found."""
TRY = "retread smoke {wheel} --level {level}, and retread attest {wheel} --tester KEY"
THERE = (
    "retread kit {wheel}, python {kit}.kit.pyz --json report.json --level {level} under Windows, "
    "retread smoke --attach report.json, and retread attest {wheel} --tester KEY"
)
"""The same of a wheel that this system cannot run."""

KeyName = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^{signing.NAME.pattern}$(?!\n)",
        description="a key's name: small letters, digits, '.', '_', '-'",
    ),
]


class Trusted(Table, frozen=True, kw_only=True):
    """A public key and the name under which it speaks."""

    name: KeyName
    key: str
    """As ``retread key list`` prints it."""


class PolicyFile(Table, frozen=True, kw_only=True):
    """The file of a policy."""

    builder: tuple[Trusted, ...] = ()
    """Whose word counts on how a wheel was built."""
    tester: tuple[Trusted, ...] = ()
    """Whose word counts on what its tests found."""
    allow_unproven: bool = True
    """Whether ``--allow-unproven REASON`` lets a wheel in without evidence."""
    unproven: tuple[Literal["jit", "gpu"], ...] = ()
    """Levels that a wheel may lack with ``--allow-unproven REASON``, though all else is demanded: where
    ``allow-unproven`` is false."""
    list_days: Positive | None = None
    """How many days ago the revocation list may have been signed; without it any time ago, or never."""
    gpu: tuple[Architecture, ...] = ()
    """Capabilities of GPUs on which every wheel has to pass, whatever it says of itself."""
    triton: tuple[Text, ...] = ()
    """Versions of Triton under which every wheel has to pass, whatever it says of itself."""
    emulated: bool = True
    """Whether a level without a GPU counts that ran under an emulator, and not on a machine of the wheel's."""
    inherited: bool = False
    """Whether a wheel all of whose kernels have the machine code of another one that passed on a GPU is proven on it.

    Nothing of the wheel itself ran there: without it only what did counts.
    """
    compilers: tuple[Literal["nvcc", "clang"], ...] = ()
    """Which may have compiled device code: ``["nvcc"]`` keeps clang's wheels out; without it each may."""
    source: ProofLevel | None = None
    """How far the source of a wheel has to be proven: ``proven``, ``repository``, ``wheel``.

    Without it a wheel alone is not proven, but ``--allow-unproven`` lets it in; with it nothing lets in what is less.
    """


class Policy(NamedTuple):
    """Whose word counts, and on what."""

    builders: tuple[Key, ...]
    testers: tuple[Key, ...]
    allow_unproven: bool = True
    list_days: int | None = None
    floor: Proof = Proof(gpu=(), triton=())
    """What every wheel has to be proven by: its own record is its builder's word, and a tester's work is not his."""
    compilers: tuple[str, ...] = ()
    """Which may have compiled device code; each may when there are none."""
    source: ProofLevel | None = None
    """How far the source has to be proven, of unproven wheels, too."""
    emulated: bool = True
    """Whether what ran under an emulator counts."""
    inherited: bool = False
    """Whether what ran of another wheel counts, where all the machine code is the same."""
    unproven: tuple[str, ...] = ()
    """Levels that a wheel may lack for a reason, though nothing else."""


class Voucher(Record, frozen=True, kw_only=True):
    """A key that the policy names, and the envelope that it signed as builder or as tester."""

    envelope: str
    kind: Kind
    key: str
    id: str


class Admission(Record, frozen=True, kw_only=True):
    """Why a wheel was let in: who vouches for it and what the tests found; or the reason to do without."""

    wheel: str
    sha256: str
    vouchers: tuple[Voucher, ...] = ()
    tried: tuple[Tried, ...] = ()
    triton: tuple[str, ...] = ()
    """Versions under which the jit level passed."""
    reports: tuple[str, ...] = ()
    """Digests of the smoke reports that the test results were taken from."""
    inherited: tuple[Inherited, ...] = ()
    """What ran of other wheels, and for how many kernels of this one it holds."""
    unproven: str = ""


class _Heard(NamedTuple):
    """A statement of this wheel, and the keys that may say so and did."""

    envelope: str
    said: Attested
    keys: tuple[Key, ...]
    void: str
    """Why it counts for nothing; empty for one that counts."""

    @property
    def proves(self) -> bool:
        """Say whether it counts towards what the policy demands."""
        return self.said.ok and not self.void


_ROLES = ("builder", "tester")
_LINES = "'retread key list' prints each key as the policy wants it"
_EXAMPLE = "mend the file; docs/concepts/publishing-keys.md says what stands in one"


def parse_policy(data: bytes, *, name: str) -> Policy:
    """Return the policy in ``data``, TOML; GateError lists every fault with its key path."""
    try:
        table = strict.table(data)
    except ValueError as error:
        raise GateError(f"policy {name} is not TOML: {error}", hint=_EXAMPLE) from None
    file, faults = strict.read(PolicyFile, table)
    roles: dict[str, tuple[Key, ...]] = {}
    if file is not None:
        for role, listed in (("builder", file.builder), ("tester", file.tester)):
            roles[role] = tuple(_keys(role, listed, faults))
        faults += _doubles([(role, key) for role, keys in roles.items() for key in keys])
    if file is None or faults:
        raise GateError(
            f"policy {name} has {'a fault' if len(faults) == 1 else f'{len(faults)} faults'}",
            faults=faults,
            hint=_LINES if any(one.startswith(_ROLES) for one in faults) else _EXAMPLE,
        )
    floor = Proof(gpu=file.gpu, triton=file.triton)
    return Policy(
        roles["builder"],
        roles["tester"],
        file.allow_unproven,
        file.list_days,
        floor,
        file.compilers,
        file.source,
        file.emulated,
        file.inherited,
        file.unproven,
    )


def _keys(role: str, listed: Sequence[Trusted], faults: list[str]) -> Iterator[Key]:
    """Yield the keys of a role; what is wrong with them goes to ``faults``."""
    if not listed:
        faults.append(f"{role}: no key; without one no wheel is ever proven")
    for index, one in enumerate(listed):
        try:
            yield signing.from_line(one.name, one.key)
        except GateError as error:
            faults.append(f"{role}[{index}].key: {error.message}")


def _doubles(named: Sequence[tuple[str, Key]]) -> Iterator[str]:
    for index, (role, key) in enumerate(named):
        for other_role, other in named[:index]:
            if key.public == other.public:
                why = "; builder and tester must not be one" if role != other_role else ""
                yield f"{role} {key.name}: is the key of {other_role} {other.name}{why}"
            elif key.name == other.name:
                yield f"{role} {key.name}: there is another key of that name, {other_role} {other.id[:16]}"


def demand(
    policy: Policy,
    wheel: str,
    sha256: str,
    *,
    proof: Proof,
    envelopes: Mapping[str, bytes],
    told: Iterable[Told] = (),
    jit: bool = True,
    level: ProofLevel | None = ProofLevel.PROVEN,
    spared: Collection[str] = (),
) -> Admission:
    """Return why the wheel may be listed; GateError with all that is lacking, and which command gives it.

    Demanded are a builder's statement and a tester's results: static, what ``proof`` or the policy names, and ``jit``,
    which a wheel for no torch has not: it has nothing that Triton compiles. ``level`` is how far the wheel says that
    its source is proven, None for one that says nothing. Results of the levels that are ``spared`` may be missing.
    ``envelopes`` are by file name, and each must be sound: what is served is believed. ``told`` is what the wheel and
    its reports say, which must be what the envelopes and the wheel's name say.
    """
    named = [("builder", key) for key in policy.builders] + [("tester", key) for key in policy.testers]
    faults = list(_doubles(named))
    heard: list[_Heard] = []
    for name in sorted(envelopes):
        try:
            heard.append(_hear(policy, wheel, sha256, name, envelopes[name]))
        except GateError as error:
            faults.append(soundness.told(error))
    faults += disagreements(wheel, told, {one.envelope: one.said for one in heard})
    faults += _of_compiler(policy, wheel)
    faults += _of_source(level, policy.source or (level and ProofLevel.REPOSITORY))
    levels = [one for one in (Level.STATIC, *([Level.JIT] if jit else ())) if one not in spared]
    proof = _without(_both(policy.floor, proof), spared)
    faults += _lacking(wheel, heard, proof, levels, inherited=policy.inherited)
    if faults:
        raise GateError(
            f"{wheel} is not proven as the policy demands",
            faults=faults,
            hint=f"put the evidence beside the wheel{_way_out(policy, spared)}",
        )
    return _admission(wheel, sha256, heard)


def _way_out(policy: Policy, spared: Collection[str]) -> str:
    """Return what the policy lets through without evidence, if that can still help."""
    if policy.allow_unproven:
        return "; or --allow-unproven REASON, which every reader will see"
    if policy.unproven and not spared:
        return f"; the policy lets it lack {', '.join(policy.unproven)} alone, with --allow-unproven REASON"
    return ""


def disagreements(wheel: str, told: Iterable[Told], said: Mapping[str, Attested]) -> Iterator[str]:
    """Yield what is told in two places and not the same: of the wheel's name, of ``told``, and of its envelopes."""
    try:
        name = tuple(agreement.of_name(wheel))
    except WheelError as error:
        yield error.message
        return
    built = [agreement.of_provenance(name, wheel, one.made) for name, one in sorted(said.items()) if one.made]
    built += [
        agreement.of_inheritance(name, one.inherited) for name, one in sorted(said.items()) if one.inherited
    ]
    yield from agreement.faults(chain(name, told, *built))


def contradictions(wheel: str, told: Iterable[Told], envelopes: Mapping[str, bytes]) -> Iterator[str]:
    """Yield what envelopes state, whoever signed them, that the wheel and its reports do not; no policy is asked."""
    said = {}
    for name in sorted(envelopes):
        try:
            said[name] = statements.parse(signing.payload(envelopes[name], name=name), name=name)
        except GateError as error:
            yield soundness.told(error)
    yield from disagreements(wheel, told, said)


def admit_unproven(
    policy: Policy, wheel: str, sha256: str, reason: str, level: ProofLevel | None = ProofLevel.PROVEN
) -> Admission:
    """Return the admission of a wheel without evidence; GateError when the policy forbids it or no reason is given."""
    if not policy.allow_unproven:
        raise GateError(
            f"{wheel}: the policy lets no wheel in without evidence (allow-unproven = false)",
            hint="publish it with its evidence, or let the policy name the levels that may be missing: "
            'unproven = ["gpu"]',
        )
    for fault in (*_of_compiler(policy, wheel), *_of_source(level, policy.source)):
        raise GateError(fault)
    told = " ".join(reason.split())
    if not told:
        raise GateError(f"{wheel}: --allow-unproven needs a reason", hint="readers of the index will see it")
    return Admission(wheel=wheel, sha256=sha256, unproven=told)


def _hear(policy: Policy, wheel: str, sha256: str, name: str, envelope: bytes) -> _Heard:
    """Return what an envelope states of this wheel; GateError when it is unsound, of another, or not theirs to say."""
    known = (*policy.builders, *policy.testers)
    payload, kind, ids = signing.verify(envelope, known, name=name)
    said = soundness.of_wheel(payload, kind, wheel, sha256, name=name)
    return _Heard(name, said, _entitled(policy, said, ids, name), _void(policy, said))


def _void(policy: Policy, said: Attested) -> str:
    """Return why a statement counts for nothing under a policy, sound as it is."""
    if said.emulator and not policy.emulated:
        return f"it ran under {said.emulator}, and the policy demands a machine of the wheel's own"
    return said.outside


def _entitled(policy: Policy, said: Attested, ids: Sequence[str], name: str) -> tuple[Key, ...]:
    """Return the keys that signed and may say such a thing; GateError when there is none, or it speaks as another."""
    role, may = ("builder", policy.builders) if said.kind is Kind.PROVENANCE else ("tester", policy.testers)
    keys = tuple(key for key in may if key.id in ids)
    if not keys:
        known = (*policy.builders, *policy.testers)
        signers = ", ".join(dict.fromkeys(key.name for key in known if key.id in ids))
        raise GateError(
            f"{name} is signed by {signers}, who is no {role} in this policy",
            hint=f"have a {role} sign it: {', '.join(key.name for key in may)}",
        )
    signers = ", ".join(key.name for key in keys)
    if said.by not in {key.name for key in keys}:
        raise GateError(
            f"{name} speaks for {role} {said.by!r}, and is signed by {signers}",
            hint="give the key one name, in the policy and where it signs",
        )
    return keys


def _of_compiler(policy: Policy, wheel: str) -> Iterator[str]:
    """Yield that the policy keeps out what this compiler made; the wheel's version says which, and is held to it."""
    with suppress(WheelError):  # such a name is refused for itself
        found = version.compiler(parse_name(wheel).version)
        if policy.compilers and found not in policy.compilers:
            yield (
                f"{wheel}: its device code was compiled by {found}, and the policy takes "
                f"{' and '.join(policy.compilers)} alone"
            )


def _of_source(level: ProofLevel | None, least: ProofLevel | None) -> Iterator[str]:
    """Yield that the source is proven less far than is demanded."""
    if least and not (level and level.reaches(least)):
        said = level.words if level else "nothing of its source"
        yield f"'{least.words}' is demanded, and the wheel says: {said}"


def _both(one: Proof, other: Proof) -> Proof:
    """Return what is as much as both."""
    gpu, triton = (*one.gpu, *other.gpu), (*one.triton, *other.triton)
    return Proof(gpu=tuple(dict.fromkeys(gpu)), triton=tuple(dict.fromkeys(triton)))


def _without(proof: Proof, spared: Collection[str]) -> Proof:
    """Return what is left of a proof without the levels that may be missing."""
    gpu = () if Level.GPU in spared else proof.gpu
    return Proof(gpu=gpu, triton=() if Level.JIT in spared else proof.triton)


def _lacking(
    wheel: str, heard: Sequence[_Heard], proof: Proof, asked: Sequence[Level], *, inherited: bool
) -> Iterator[str]:
    """Yield what is not there, and every test that failed where the wheel promised that it would not."""
    tests = [one.said for one in heard if one.said.kind is Kind.TEST]
    if not any(one.said.kind is Kind.PROVENANCE for one in heard):
        yield f"no builder states how it was built: {PROVE.format(wheel=wheel)}"
    for said in tests:
        if not said.ok and not said.outside:
            failed = f": {', '.join(said.failures[:5])}" if said.failures else ""
            more = f" and {len(said.failures) - 5} more" if len(said.failures) > 5 else ""
            became = f"{said.failed} failed, {said.passed} passed{failed}{more}: mend it, then"
            if counts(said).verdict is Verdict.NOTHING:
                became = f"{Verdict.NOTHING}, {said.skipped} skipped: where it can run,"
            yield f"{_level(said)}: {became} {_command(wheel, said.level)}"
    there = [one.said for one in heard if one.said.kind is Kind.TEST and one.proves]
    levels = {said.level for said in there}
    for level in asked:
        if level not in levels and not (level is Level.JIT and proof.triton):
            yield f"no {level} test result: {_command(wheel, level)}{_aside(heard, level)}"
    for wanted in dict.fromkeys(proof.triton):
        if not any(said.level == Level.JIT and _is_release(said.triton, wanted) for said in there):
            yield f"no jit test result under Triton {wanted}: {_command(wheel, Level.JIT)}{_aside(heard, Level.JIT)}"
    for one in dict.fromkeys(proof.gpu):
        heirs = [said.short for said in _inherited(heard) if _is_capability(said.run.capability, one)]
        if inherited and any(said.whole for said in heirs):
            continue
        if not any(said.level == Level.GPU and _is_capability(said.capability, one) for said in there):
            where = f"no gpu test result of a GPU of capability {'.'.join(map(str, arch.parts(one)[:2]))}"
            yield f"{where} (unproven: gpu): {_command(wheel, Level.GPU)}{_aside(heard, Level.GPU)}{_partly(heirs)}"


def _aside(heard: Sequence[_Heard], level: Level) -> str:
    """Return why results that are there do not count."""
    void = [one.void for one in heard if one.said.kind is Kind.TEST and one.said.level == level and one.void]
    return f" (there is one that proves nothing: {void[0]})" if void else ""


def _partly(heirs: Sequence[Inherited]) -> str:
    """Return what ran of other wheels, which does not stand for a run of this one."""
    told = [
        f"{one.kernels} of its {one.of} kernels have the code of {one.wheel}, which passed" for one in heirs
    ]
    why = (
        "the policy demands a run of the wheel itself"
        if any(one.whole for one in heirs)
        else "the rest did not run"
    )
    return f" ({'; '.join(told)}; {why})" if told else ""


def _inherited(heard: Sequence[_Heard]) -> list[Inheritance]:
    return [one.said.inherited for one in heard if one.said.inherited]


def _command(wheel: str, level: str) -> str:
    command = THERE if _is_windows(wheel) else TRY
    return command.format(wheel=wheel, level=level, kit=wheel.removesuffix(".whl"))


def _is_windows(wheel: str) -> bool:
    with suppress(WheelError):  # such a name is refused for itself
        return any(tag.rpartition("-")[2].startswith("win") for tag in parse_name(wheel).tag_set)
    return False


def _level(said: Attested) -> str:
    return f"{said.level} ({_where(said)})" if _where(said) else said.level


def _where(said: Attested) -> str:
    return where(said.level, said.triton, ((said.gpu, said.capability),), said.emulator)


def _is_release(found: str, wanted: str) -> bool:
    """Say whether a Triton is of the release that is wanted, built by whomever."""
    try:
        return pypa.version(pypa.version(found).public) == pypa.version(wanted)
    except InvalidVersion:
        return found == wanted


def _is_capability(found: str, wanted: Arch) -> bool:
    return arch.parts(arch.parse(found))[:2] == arch.parts(wanted)[:2]


def _admission(wheel: str, sha256: str, heard: Sequence[_Heard]) -> Admission:
    tests = [one.said for one in heard if one.said.kind is Kind.TEST and one.proves]
    return Admission(
        wheel=wheel,
        sha256=sha256,
        vouchers=tuple(
            Voucher(envelope=one.envelope, kind=one.said.kind, key=key.name, id=key.id)
            for one in heard
            for key in one.keys
        ),
        tried=tuple(
            Tried(level=said.level, where=_where(said), torch=said.torch, **counts(said)._asdict())
            for said in tests
        ),
        triton=tuple(dict.fromkeys(said.triton for said in tests if said.level == Level.JIT and said.triton)),
        reports=tuple(dict.fromkeys(said.report for said in tests)),
        inherited=tuple(one.short for one in _inherited(heard)),
    )  # fmt: skip
