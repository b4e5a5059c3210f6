"""Claims, keys and verdicts: who signed what decides whether a wheel is listed, and the docs have the same table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gatetable
from gatetable import CLAIMS, HOLDERS, LISTS, SIGNERS, TODAY, VERDICTS, Gate
from retread.doors import durable
from retread.errors import GateError, PublishError
from retread.index import actions, revoke
from retread.index.admission import Terms
from retread.index.check import check
from tinyindex import BASE, NOW, tree


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    return Gate(tmp_path_factory.mktemp("gate"))


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk."""

    def change(act: Callable[..., Any], *arguments: Any) -> Any:
        return None if act.__name__ == "fsync" else act(*arguments)

    monkeypatch.setattr(durable, "change", change)


class _Index:
    """An index of its own, and a scratch folder."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "index"
        self.scratch = folder / "scratch"
        self.scratch.mkdir(parents=True)

    def publish(self, wheel: Path, terms: Terms) -> str:
        """Publish a wheel and return the verdict."""
        session = actions.Session(self.root, NOW, lambda _: None, base=BASE)
        try:
            done = actions.publish(session, [wheel], terms, self.scratch)
        except GateError as error:
            return "not proven" if "--allow-unproven REASON" in error.hint else "refused"
        except PublishError:
            return "refused"
        assert [one.file for one in done.listed] == [wheel.name]
        return "listed"


@pytest.mark.parametrize("claim", CLAIMS)
def test_every_claim_has_its_verdict_whoever_signed_it(gate: Gate, tmp_path: Path, claim: str) -> None:
    said, found = CLAIMS[claim], {}
    for number, (names, signers) in enumerate(SIGNERS.items()):
        folder = tmp_path / str(number)
        wheel = gate.wheel(said, signers, folder / "dist")
        index = _Index(folder)
        before = tree(folder / "dist")
        found[names] = index.publish(wheel, Terms(gate.policy(said)))
        assert tree(folder / "dist") == before
        assert list(index.scratch.iterdir()) == []
        assert index.root.exists() == (found[names] == "listed")
        if found[names] == "listed":
            assert check(index.root, index.scratch, gate.policy(said)).faults == ()
    assert found == dict(zip(SIGNERS, (VERDICTS[one] for one in said.verdicts), strict=True))


@pytest.mark.parametrize("claim", [name for name, claim in CLAIMS.items() if claim.verdicts[0] != "L"])
def test_a_reason_lists_what_is_not_proven_and_nothing_that_is_refused(
    gate: Gate, tmp_path: Path, claim: str
) -> None:
    said = CLAIMS[claim]
    index = _Index(tmp_path)
    wheel = gate.wheel(said, ("builder", "tester"), tmp_path / "dist")
    verdict = index.publish(wheel, Terms(gate.policy(said), unproven="a test"))
    assert verdict == ("listed" if said.verdicts[0] == "-" and "compilers" not in said.policy else "refused")
    if verdict == "listed":
        assert "a test" in next(index.root.glob("*/simple/*/page.html")).read_text()


@pytest.mark.parametrize("names", [name for name, signers in SIGNERS.items() if all(signers)])
def test_a_check_judges_a_listed_wheel_as_publish_would(gate: Gate, tmp_path: Path, names: str) -> None:
    """It was listed under a policy that took these keys, or demanded less; now another is in force."""
    for number, claim in enumerate(
        one for one in CLAIMS.values() if one.verdicts == gatetable.SOUND or one.policy
    ):
        index, lax = _Index(tmp_path / str(number)), claim._replace(policy={})
        wheel = gate.wheel(claim, SIGNERS[names], tmp_path / str(number) / "dist")
        trusted = [SIGNERS[names]] if len(set(SIGNERS[names])) == 2 else []
        if not trusted:
            continue  # one key for both roles is no policy
        assert index.publish(wheel, Terms(gate.policy(lax, *trusted))) == "listed"
        verdict = VERDICTS[claim.verdicts[list(SIGNERS).index(names)]]
        faults = check(index.root, index.scratch, gate.policy(claim)).faults
        assert bool(faults) == (verdict != "listed"), (claim, faults)


@pytest.mark.parametrize("what", LISTS)
def test_a_check_demands_the_list_that_it_knows_of_a_builder(gate: Gate, tmp_path: Path, what: str) -> None:
    listing, found = LISTS[what], ""
    for holder in HOLDERS:
        index, lists = _Index(tmp_path / holder), []
        wheel = gate.wheel(gatetable.Claim(), ("builder", "tester"), tmp_path / holder / "dist")
        assert index.publish(wheel, Terms(gate.policy(gatetable.Claim()))) == "listed"
        for days in listing.days:
            revoke.renew(index.root, gate.folder / "keys" / f"{holder}.key", now=TODAY - days * 86400)
            lists.append((index.root / revoke.LIST).read_bytes())
        left = listing.after(lists) if lists else None
        (index.root / revoke.LIST).unlink(missing_ok=True)
        if left is not None:
            (index.root / revoke.LIST).write_bytes(left)
        policy = gate.policy(gatetable.Claim(policy=listing.policy))
        found += "T" if check(index.root, index.scratch, policy, TODAY).faults else "H"
    assert found == listing.verdicts


def test_the_docs_have_the_same_table() -> None:
    page = gatetable.PAGE.read_text()
    assert gatetable.written(page) == page, "python tests/helpers/gatetable.py --write puts it there"
