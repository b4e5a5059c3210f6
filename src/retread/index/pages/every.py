"""Every page of an index by the name of its file, for people and for installers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from retread.index.listing import Project
from retread.index.pages import human, simple

CHANNEL_LIMIT = 500
"""Wheels up to which a channel's page for people is made anew by every publish, so that no publish takes long."""


def project(one: Project, *, base: str) -> dict[str, bytes]:
    """Return the pages of a project."""
    return {
        "index.html": simple.simple_html(one),
        "index.json": simple.simple_json(one),
        "page.html": human.project_page(one, base=base),
    }


def root(channel: str, names: Sequence[str]) -> dict[str, bytes]:
    """Return the list of what a channel owns."""
    return {"index.html": simple.root_html(channel, names), "index.json": simple.root_json(channel, names)}


def channel(name: str, projects: Sequence[Project], *, base: str) -> dict[str, bytes]:
    """Return a channel's page for people."""
    return {"index.html": human.channel_page(name, projects, base=base)}


def front(channels: Sequence[str], *, base: str) -> dict[str, bytes]:
    """Return the first page of the index."""
    return {"index.html": human.front_page(channels, base=base)}
