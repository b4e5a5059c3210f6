"""How 'make docs' makes a site of these pages: they are written for a repository's page, their links are led on."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from retread.version import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "retread"
version = release = __version__
extensions = ["myst_parser"]
nitpicky = True
smartquotes = False  # dashes of options stay dashes
html_theme = "furo"
html_title = f"retread {__version__}"
html_show_copyright = False
html_copy_source = False
html_domain_indices = html_use_index = False
myst_heading_anchors = 6

DOCS = Path(__file__).parent.resolve()
SHOWN = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "development/contributing.md",
    "SECURITY.md": "development/security.md",
    "CHANGELOG.md": "development/changelog.md",
}
"""Files beside docs/ that are pages of the site, too -> the page that includes them."""
_LINK = re.compile(
    r"^(?P<fence>`{3,}).*?^(?P=fence)$|`[^`]+`|\]\((?P<link>[^)\s]+)\)", re.MULTILINE | re.DOTALL
)


def led_on(text: str, folder: Path) -> str:
    """Return a page of ``folder`` with links as the site has them: to its own pages, counted from docs/."""

    def link(match: re.Match[str]) -> str:
        target = match["link"]
        if target is None or target.startswith("#") or "://" in target:
            return match[0]
        path, hash_, anchor = target.partition("#")
        place = Path(os.path.normpath(folder / path))
        if place.is_dir():
            place /= "README.md"
        shown = SHOWN.get(os.path.relpath(place, DOCS.parent), os.path.relpath(place, DOCS))
        return f"](/{shown}{hash_}{anchor})"

    return _LINK.sub(link, text)


def setup(app: Sphinx) -> dict[str, object]:
    """Lead links on in pages of docs/ and in what they include."""
    app.connect("source-read", _page)
    app.connect("include-read", _included)
    return {"parallel_read_safe": True}


def _page(app: Sphinx, name: str, text: list[str]) -> None:
    text[0] = led_on(text[0], (DOCS / name).parent)


def _included(app: Sphinx, path: Path, parent: str, text: list[str]) -> None:
    text[0] = led_on(text[0], (DOCS / path).parent)
