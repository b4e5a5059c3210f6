"""What a gate judges, held against who signed it: claims, keys and verdicts, and wheels that make each claim.

``python tests/helpers/gatetable.py`` prints the table; ``--write`` puts it into docs/reference/robustness.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import structs

import compiles
from reports import case, failed, report, run, surroundings
from retread.arch import Arch
from retread.evidence import keyfiles, signing, statements
from retread.evidence.gate import Policy
from retread.evidence.names import ENVELOPE
from retread.evidence.signing import Key
from retread.records import Sha256
from retread.smoke import reading
from retread.smoke.level import Level
from retread.smoke.report import Run
from retread.wheel.statement import Proof, Statement
from tinycuda import sha256
from tinyindex import NOW, digest, make_wheel, statement_of

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "robustness.md"
BEGIN, END = "<!-- gate table: begin -->", "<!-- gate table: end -->"
NAMES = ("builder", "tester", "stranger", "former-builder", "former-tester")
SIGNERS: dict[str, tuple[str, str]] = {
    "builder and tester": ("builder", "tester"),
    "and an unknown key": ("builder stranger", "tester stranger"),
    "builder alone": ("builder", ""),
    "tester alone": ("", "tester"),
    "builder for both": ("builder", "builder"),
    "tester for both": ("tester", "tester"),
    "each for the other": ("tester", "builder"),
    "unknown keys": ("stranger", "stranger"),
    "keys taken out of the policy": ("former-builder", "former-tester"),
    "nobody": ("", ""),
}
"""Who signed how the wheel was built, and what its tests found."""
VERDICTS = {"L": "listed", "-": "not proven", "X": "refused"}
"""The letters of the table; what is not proven can be listed for a reason, what is refused can not."""
SOUND = "LL--------"
NEVER = "----------"


def same(said: Statement) -> Statement:
    """Change nothing."""
    return said


def claiming(**changes: Any) -> Callable[[Statement], Statement]:
    """Return what changes a statement."""
    return lambda said: structs.replace(said, **changes)


def promising(**changes: Any) -> Callable[[Statement], Statement]:
    """Return what changes the promise of a statement."""
    return lambda said: structs.replace(said, promise=structs.replace(said.promise, **changes))


def nothing(wheel: Path) -> None:
    """Do nothing to a wheel."""


class Claim(NamedTuple):
    """A wheel with its evidence: how each differs from the sound one, and the verdict for every signer."""

    verdicts: str = NEVER
    wheel: Mapping[str, Any] = {}
    """For ``make_wheel``."""
    signed: Callable[[Statement], Statement] = same
    """What the builder signs, where it is not what the wheel says."""
    inside: Sha256 | None = None
    """The digest of retread.json that the builder signs."""
    runs: tuple[Run, ...] = ()
    """What the tester found, if not that all is well."""
    before: Callable[[Path], object] = nothing
    """What is done to the wheel before it is signed, and after."""
    after: Callable[[Path], object] = nothing
    policy: Mapping[str, Any] = {}
    """What the policy demands beyond its keys."""


def _run(level: Level, *cases: Any, **around: Any) -> Run:
    bare = surroundings(
        **{**({"torch": "", "triton": "", "packages": {}} if level == "static" else {}), **around}
    )
    return run(*(cases or (case("demo/one"), case("demo/two"))), level=level, surroundings=bare)


STATIC, JIT = _run(Level.STATIC), _run(Level.JIT)


def _longer(wheel: Path) -> None:
    make_wheel(wheel.parent, code="MORE = 1\n")


def _renamed(wheel: Path) -> None:
    """Give bytes and evidence the name of the next revision."""
    for file in list(wheel.parent.iterdir()):
        file.rename(file.with_name(file.name.replace("cu128.1", "cu128.2")))


def _edited(wheel: Path) -> None:
    """Raise a number in the smoke report, whose digest is then another."""
    for file in wheel.parent.glob("*.smoke-*.json"):
        file.write_text(file.read_text().replace("0.25", "0.26"))


def _provenance(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """Return what changes what a builder signed; without one, it lies there all the same."""

    def act(wheel: Path) -> None:
        path = wheel.with_name(f"{wheel.name}.provenance{ENVELOPE}")
        path.write_bytes(change(path.read_bytes() if path.exists() else b"{}"))

    return act


def _badly_signed(envelope: bytes) -> bytes:
    """Return an envelope with one character of each signature changed; one that nobody signed is none."""
    table = json.loads(envelope)
    for one in table.get("signatures", []):
        one["sig"] = ("B" if one["sig"][0] == "A" else "A") + one["sig"][1:]
    return json.dumps(table).encode()


def _audited(**changes: Any) -> Callable[[Path], None]:
    def act(wheel: Path) -> None:
        said = {"schema": 1, "wheel": wheel.name, "sha256": sha256(wheel.read_bytes()), "size": 1, "target": "x",
                "ok": True, "checks": [], **changes}  # fmt: skip
        wheel.with_name(f"{wheel.name}.audit.json").write_text(json.dumps(said))

    return act


def _of_recipe(wheel: Path) -> None:
    """Let the smoke report be one of another recipe's wheel."""
    (path,) = wheel.parent.glob("*.smoke-*.json")
    made = reading.parse(path.read_bytes(), name=path.name)
    path.write_bytes(reading.write(reading.sealed(structs.replace(made, recipe="easy"), made.runs)))


def _without_report(wheel: Path) -> None:
    for file in wheel.parent.glob("*.smoke-*.json"):
        file.unlink()


BY_CLANG = {
    "version": "1.2+cu128.clang.1",
    "said": claiming(lane="source", base=None, compiled=compiles.compiled(compiles.CLANG)),
}
NINE, OTHER_TRITON = Proof(gpu=(Arch("9.0"),), triton=()), Proof(gpu=(), triton=("3.6.0",))
CLAIMS: dict[str, Claim] = {
    "all is as it should be": Claim(SOUND),
    "the smoke report does not lie beside it": Claim(SOUND, after=_without_report),
    "wheel: its bytes changed since": Claim("XXXXXXXXXX", after=_longer),
    "wheel: its bytes under another revision's name": Claim("XXXXXXXXXX", after=_renamed),
    "wheel: the file name has another platform than WHEEL": Claim(
        "XXXXXXXXXX",
        before=lambda wheel: wheel.rename(
            wheel.with_name(wheel.name.replace("any", "manylinux_2_28_x86_64"))
        ),
    ),
    "wheel: the platform that WHEEL says": Claim(SOUND, {"tag": "py3-none-manylinux_2_28_x86_64"}),
    "retread.json: another recipe": Claim(wheel={"said": claiming(recipe="demo-0")}),
    "retread.json: another target": Claim(wheel={"said": claiming(target="cu124")}),
    "retread.json: another version": Claim(wheel={"said": claiming(version="1.1+cu128.1")}),
    "retread.json: the promise of another version": Claim(wheel={"said": promising(version="1.1+cu128.1")}),
    "provenance: another recipe": Claim(signed=claiming(recipe="demo-0")),
    "provenance: another commit": Claim(signed=claiming(commit=40 * "d")),
    "provenance: fewer patches": Claim(signed=claiming(series=())),
    "provenance: another lane": Claim(signed=claiming(lane="source")),
    "provenance: another retread.json": Claim(inside=digest("another")),
    "provenance: garbage": Claim("XXXXXXXXXX", after=_provenance(lambda _: b"garbage")),
    "provenance: a character of its signature changed": Claim("XXXXXXX--X", after=_provenance(_badly_signed)),
    "smoke: a test failed": Claim(runs=(STATIC, _run(Level.JIT, failed("demo/one")))),
    "smoke: no jit level": Claim(runs=(STATIC,)),
    "smoke: under a torch that the wheel does not promise": Claim(
        runs=(STATIC, _run(Level.JIT, outside="torch 2.6 is below >=2.8"))
    ),
    "smoke: the report was edited": Claim("XXXXXXXXXX", after=_edited),
    "smoke: the report of another recipe": Claim(after=_of_recipe),
    "audit: it holds": Claim(SOUND, after=_audited()),
    "audit: it failed": Claim(after=_audited(ok=False)),
    "audit: of another wheel": Claim("XXXXXXXXXX", after=_audited(sha256=64 * "0")),
    "audit: garbage": Claim("XXXXXXXXXX", after=_audited(schema="garbage")),
    "floor: the wheel demands a GPU, none tried it": Claim(wheel={"said": promising(proof=NINE)}),
    "floor: the policy demands a GPU, none tried it": Claim(policy={"floor": NINE}),
    "floor: the policy demands a GPU, one tried it": Claim(
        SOUND, runs=(STATIC, JIT, run(case("demo/one"))), policy={"floor": NINE}
    ),
    "floor: the policy demands another Triton": Claim(policy={"floor": OTHER_TRITON}),
    "compiler: nvcc, and the policy takes nvcc": Claim(SOUND, policy={"compilers": ("nvcc",)}),
    "compiler: clang, and the policy takes either": Claim(SOUND, BY_CLANG),
    "compiler: clang, and the policy takes nvcc": Claim(wheel=BY_CLANG, policy={"compilers": ("nvcc",)}),
    "compiler: nvcc in the name, clang in retread.json": Claim(wheel={"said": BY_CLANG["said"]}),
    "compiler: clang, of which the provenance says nothing": Claim(
        wheel=BY_CLANG, signed=claiming(compiled=None)
    ),
}
"""What is claimed -> the wheel and the verdicts, one for each of the signers."""


HOLDERS = ("builder", "tester", "stranger", "former-builder")
"""Who signed a revocation list."""
TODAY = NOW + 30 * 86400


class Listing(NamedTuple):
    """What became of a revocation list, and what a check finds, for each of its signers: H when it holds, T if not."""

    verdicts: str
    days: tuple[int, ...] = (0,)
    """How many days ago it was signed, each time."""
    after: Callable[[list[bytes]], bytes | None] = lambda lists: lists[-1]
    """What lies there in the end, of all the lists that were signed."""
    policy: Mapping[str, Any] = {}


WEEK = {"list_days": 7}
LISTS: dict[str, Listing] = {
    "never signed": Listing("HHHH", days=()),
    "never signed, and the policy demands one": Listing("TTTT", days=(), policy=WEEK),
    "signed today": Listing("HTTT", policy=WEEK),
    "signed 30 days ago": Listing("HTTT", days=(29,)),
    "signed 30 days ago, and the policy demands 7": Listing("TTTT", days=(29,), policy=WEEK),
    "an older one put back": Listing("TTTT", days=(2, 1), after=lambda lists: lists[0]),
    "gone": Listing("TTTT", after=lambda lists: None),
    "no list": Listing("TTTT", after=lambda lists: b"{}"),
    "with a byte changed": Listing(
        "TTTT", after=lambda lists: lists[-1].replace(b'"payload":"e', b'"payload":"f')
    ),
}
"""What lies in an index as its revocation list."""


class Gate:
    """The keys, and a folder for wheels."""

    def __init__(self, folder: Path) -> None:
        self.keys = {name: keyfiles.new(folder / "keys", name) for name in NAMES}
        self.folder = folder

    def policy(self, claim: Claim, *trusted: tuple[str, str]) -> Policy:
        """Return what the claim's policy is when the keys of these signers may vouch."""
        both = trusted or (("builder", "tester"),)
        keys = [
            tuple(dict.fromkeys(self.keys[one] for pair in both for one in pair[role].split()[:1]))
            for role in (0, 1)
        ]
        return Policy(keys[0], keys[1])._replace(**claim.policy)

    def wheel(self, claim: Claim, signers: tuple[str, str], folder: Path) -> Path:
        """Make a wheel as a claim has it in a folder, signed by some; return where it lies now."""
        wheel = make_wheel(folder, **claim.wheel)
        wheel = claim.before(wheel) or wheel
        assert isinstance(wheel, Path)
        self._sign(wheel, claim, signers)
        claim.after(wheel)
        (found,) = folder.glob("*.whl")
        return found

    def _sign(self, wheel: Path, claim: Claim, signers: tuple[str, str]) -> None:
        data = statement_of(wheel)
        said = statements_of(data)
        runs = claim.runs or (STATIC, JIT)
        project, version = wheel.name.split("-")[:2]
        made = report(
            *runs, wheel=wheel.name, sha256=Sha256(sha256(wheel.read_bytes())), project=project, version=version,
            recipe=said.recipe, target=said.target,
        )  # fmt: skip
        made = reading.sealed(made, list(runs))
        wheel.with_name(f"{wheel.name}.smoke-static-jit.json").write_bytes(reading.write(made))
        builders, testers = (tuple(self.keys[name] for name in names.split()) for names in signers)
        inside = claim.inside or Sha256(sha256(data))
        if builders:
            built = statements.provenance(
                wheel.name, made.sha256, claim.signed(said), inside, builder=builders[0].name, finished=NOW
            )
            _put(wheel, "provenance", built, builders)
        for one in runs if testers else ():
            _put(
                wheel, f"test-{one.level}", statements.test_result(made, one, tester=testers[0].name), testers
            )


def statements_of(data: bytes) -> Statement:
    """Return what a wheel's ``retread.json`` says."""
    import msgspec

    return msgspec.json.decode(data, type=Statement)


def _put(wheel: Path, kind: str, payload: bytes, keys: tuple[Key, ...]) -> None:
    """Put a statement beside a wheel, in one envelope that all of these keys signed."""
    tables = [json.loads(signing.sign(payload, statements.PAYLOAD_TYPE, key)) for key in keys]
    whole = {**tables[0], "signatures": [one["signatures"][0] for one in tables]}
    wheel.with_name(f"{wheel.name}.{kind}{ENVELOPE}").write_bytes(json.dumps(whole).encode())


def markdown() -> str:
    """Return the tables as docs/reference/robustness.md shows them."""
    marks, held = {"L": "listed", "-": "-", "X": "refused"}, {"H": "holds", "T": "-"}
    claims = {what: [marks[one] for one in claim.verdicts] for what, claim in CLAIMS.items()}
    lists = {what: [held[one] for one in listing.verdicts] for what, listing in LISTS.items()}
    holders = [one.replace("former-builder", "taken out of the policy") for one in HOLDERS]
    return f"{_table(['claim', *SIGNERS], claims)}\n{_table(['revocation list', *holders], lists)}"


def _table(head: list[str], rows: Mapping[str, list[str]]) -> str:
    lines = [head, ["---"] * len(head), *([what, *cells] for what, cells in rows.items())]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def written(page: str) -> str:
    """Return the page with the table in its place."""
    before, _, rest = page.partition(f"{BEGIN}\n")
    return f"{before}{BEGIN}\n{markdown()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(written(PAGE.read_text()))
    else:
        print(markdown(), end="")
