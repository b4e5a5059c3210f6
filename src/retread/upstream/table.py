"""How what the index means for recipes looks in a terminal. Pure: records in, text out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from retread.source.records import Applied, Verdict
from retread.text.tables import columns, plain, wrapped
from retread.upstream import outlook
from retread.upstream.outlook import Jit, JitState, Need, Outlook, RecipeOutlook, Task, Upstream

_INDENT: Final = 8 * " "
_SHORT: Final = {
    Verdict.APPLIES: "as it is",
    Verdict.OFFSET: "at other lines",
    Verdict.UPSTREAM: "in upstream",
    Verdict.GONE: "target gone",
    Verdict.CONFLICT: "conflicting",
}


def table(outlook: Outlook) -> str:
    """Return a row for each recipe, then what stands behind each row."""
    heads = ("recipe", "newest upstream", "the series on it", "needed still", "jit")
    lines = list(columns(heads, [_row(one) for one in outlook.recipes], text=range(len(heads))))
    for one in outlook.recipes:
        lines += ["", one.recipe, *_details(one)]
    return plain([*lines, "", outlook.title])


def task(task: Task) -> str:
    """Return one thing to do as a sentence."""
    words = [task.action.format(task.subject), task.why, task.detail]
    return ": ".join(filter(None, words))


def _row(one: RecipeOutlook) -> tuple[str, ...]:
    return (one.recipe, _newest(one), _series(one.upstream), _need(one.need), _jit(one.jit))


def _newest(one: RecipeOutlook) -> str:
    if one.upstream is None:
        return "unknown"
    if not one.upstream.newer:
        return f"{one.upstream.version}, its own"
    return f"{one.upstream.version}{', NEW' if one.heir == one.recipe else ''}"


def _series(upstream: Upstream | None) -> str:
    if upstream is None:
        return "unknown"
    counts = Counter(applied.verdict for applied in upstream.series)
    return ", ".join(f"{counts[one]} {_SHORT[one]}" for one in Verdict if counts[one]) or "no patches"


def _need(need: Need | None) -> str:
    if need is None:
        return "unknown"
    return "yes" if need.kept_by else "NO"


def _jit(jit: Jit | None) -> str:
    if jit is None:
        return "left out"
    return "FAILED" if jit.state is JitState.FAILED else str(jit.state)


def _details(one: RecipeOutlook) -> Iterator[str]:
    if one.upstream:
        yield from _upstream(one.upstream, one.heir if one.heir != one.recipe else "")
    if one.need:
        reasons = "; ".join(one.need.kept_by) or f"nothing: {one.need.wheel} does all that it does"
        yield from _said("kept by", reasons)
    if one.jit:
        yield from _said("jit", outlook.jit_words(one.jit))
        for text in one.jit.failures:
            yield from wrapped(f"FAILED {text}", _INDENT, _INDENT + "  ")
        for text in one.jit.skips:
            yield from wrapped(text, _INDENT, _INDENT + "  ")
    for text in one.errors:
        yield from _said("error", text)
    for each in one.tasks:
        yield from _said("to do", task(each))


def _upstream(found: Upstream, heir: str) -> Iterator[str]:
    source = "proven to be the pinned commit" if found.proven else "of which no commit is known"
    kept = f"; {heir} is the recipe that goes on from there" if heir else ""
    yield from _said("source", f"{found.file}, {source}{kept}")
    rows = [(one.name, str(one.verdict), _detail(one, found)) for one in found.series]
    yield from (f"    {line}" for line in columns(("patch", "verdict", ""), rows, text=(0, 1, 2)))


def _detail(one: Applied, found: Upstream) -> str:
    fate = outlook.fate(found, one.name)
    words = [one.detail]
    if fate and one.verdict in outlook.STOPS:
        words.append(f"bump says {fate}")
    if one.name in found.superfluous and one.verdict is not Verdict.UPSTREAM:
        fixed = "its header says that upstream fixed it"
        words.append(fixed if one.verdict is Verdict.CONFLICT else "nothing is left to patch")
    return "; ".join(filter(None, words))


def _said(name: str, words: str) -> list[str]:
    return wrapped(f"{name}: {words}", "    ", _INDENT)
