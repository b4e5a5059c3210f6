"""What the index means for recipes as the text of an issue: Markdown, in which foreign words can do nothing. Pure.

Whatever others wrote stands in code spans, in which a page shows no link, no image, no mention and no HTML.
"""

from __future__ import annotations

from markupsafe import Markup

from retread.text import markup
from retread.text.markup import code
from retread.upstream import outlook
from retread.upstream.outlook import JitState, Outlook, RecipeOutlook, Task


def text(outlook: Outlook) -> str:
    """Return the issue's text: what is to do for each recipe, then how each stands."""
    return (
        markup.render("issue.md", (("code", code), ("task", _task), ("stand", _stand)), outlook=outlook)
        + "\n"
    )


def _task(task: Task) -> Markup:
    words = task.action.format(code(task.subject))
    words += f": {task.why}" if task.why else ""
    return Markup(f"{words} ({code(task.detail)})" if task.detail else words)


def _stand(one: RecipeOutlook) -> Markup:
    """Return in a line how a recipe stands."""
    found: list[str] = []
    if one.upstream:
        known = one.heir if one.upstream.newer and one.heir != one.recipe else ""
        found.append(f"newest is {code(one.upstream.version)}" + (f", see {code(known)}" if known else ""))
    if one.need and one.need.kept_by:
        more = len(one.need.kept_by) - 1
        found.append(f"kept by {code(one.need.kept_by[0])}" + (f" and {more} more" if more else ""))
    if one.jit and one.jit.state is not JitState.FAILED:
        found.append(f"jit {code(outlook.jit_words(one.jit))}")
    return Markup("; ".join(found) or "nothing is known of it")
