"""Known miscompiles: which releases of CUDA gave wrong code for which architectures, by whose report.

Plans, grafts and audits ask the list, each of what it knows: a target of its toolchain, a graft of its ptxas, an audit
of what machine code says of itself. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from retread.arch import Arch
from retread.errors import PlanError
from retread.recipe.waiver import key
from retread.records import Record


class Miscompile(Record, frozen=True, kw_only=True):
    """Releases whose machine code for some architectures was wrong."""

    name: str
    """The rule that it breaks: ``miscompile-`` and a word."""
    since: str
    """The first version of ptxas, as machine code names it, that is known to be wrong: 13.2 or 13.2.51."""
    fixed: str = ""
    """The first that is right again; nothing while there is none."""
    architectures: tuple[Arch, ...] = ()
    """For which it is wrong; all of them when there are none."""
    what: str
    """What was wrong."""
    instead: str
    """What to do."""
    source: tuple[str, ...]
    """Where it was reported."""


KNOWN: Final = (
    Miscompile(
        name="miscompile-nvcc13-sm103",
        since="13.0",
        architectures=(Arch("10.3"), Arch("10.3a"), Arch("10.3f")),
        what="nvcc 13.x code for sm_103 gave wrong results on B300 (causal-conv1d: fwd and update, errors of 0.4 to "
        "0.6 in bf16), where code for sm_100 of the same source was bit-exact on the same GPU",
        instead="leave 10.3 out: code for 10.0 runs on it",
        source=(
            "https://github.com/Dao-AILab/causal-conv1d/issues/105",
            "https://github.com/Dao-AILab/causal-conv1d/pull/106",
        ),
    ),
    Miscompile(
        name="miscompile-nvcc132-sm120",
        since="13.2.51",
        fixed="13.2.86",
        architectures=(Arch("12.0"), Arch("12.0a"), Arch("12.0f")),
        what="nvcc 13.2.0 and 13.2.1 dropped the mask of byte reads from a packed int for sm_120: 66 of 2619 matrix "
        "products of ggml were wrong, and none with 13.2.2 or 13.4.2",
        instead="take CUDA 13.2.2 or newer, or one before 13.2",
        source=(
            "https://github.com/ggml-org/llama.cpp/pull/28784",
            "https://github.com/ggml-org/llama.cpp/issues/28581",
        ),
    ),
    Miscompile(
        name="miscompile-ptxas-12.3.103",
        since="12.3.103",
        fixed="12.3.107",
        what="XLA's maintainers refuse to run ptxas 12.3.103 for a defect that can affect its code, on every GPU",
        instead="take another build of ptxas: 12.3.107 is the next",
        source=("https://github.com/openxla/xla/pull/7344",),
    ),
)
"""Machine code of these releases for these architectures was seen to give wrong results.

An entry stands here when a public report names the releases and the architecture, and code of another release, or for
another architecture, was right for the same source: there is a way round it. Defects that every release has, or that
one kernel showed under options of its own, are not here. A list in a file would have to be read by every build.
"""


def hits(
    denied: Iterable[Miscompile], cuda: str, architectures: Iterable[Arch]
) -> Iterator[tuple[Miscompile, tuple[Arch, ...]]]:
    """Yield the entries that code of a release for some architectures is of, each with these of them.

    ``cuda`` is a release, or a build of one where that is known; a release counts when all of its builds are of it.
    """
    wanted = tuple(architectures)
    for one in denied:
        found = tuple(each for each in wanted if not one.architectures or each in one.architectures)
        if found and _covers(one, cuda):
            yield one, found


def told(one: Miscompile, cuda: str, architectures: Iterable[Arch]) -> str:
    """Return an entry's text for code of a release for some architectures."""
    return f"{' '.join(architectures)} by CUDA {cuda}: {one.what} ({', '.join(one.source)}); {one.instead}"


def demand_none(
    denied: Iterable[Miscompile],
    cuda: str,
    architectures: Collection[Arch],
    *,
    what: str,
    waived: Mapping[str, str] | None = None,
    target: str = "",
) -> None:
    """Raise PlanError when code of a release for these architectures is known to be wrong, and nobody waived it.

    ``what`` is made, for messages; ``target`` is the recipe's, if there is one.
    """
    found = [one for one in hits(denied, cuda, architectures) if one[0].name not in (waived or {})]
    if found:
        first = found[0][0].name
        raise PlanError(
            f"{what}: CUDA {cuda} is known to miscompile",
            faults=[f"{one.name}: {told(one, cuda, some)}" for one, some in found],
            hint=f'where it does not matter, say why: {key(target, first)} = "reason"'
            if target
            else "a recipe can waive it with a reason",
        )


def _covers(one: Miscompile, cuda: str) -> bool:
    """Say whether all that a version can be lies between the first wrong and the first right one."""
    low = _parts(cuda)
    high = (*low, *(9999,) * (3 - len(low)))
    return _parts(one.since) <= low and (not one.fixed or high < _parts(one.fixed))


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
