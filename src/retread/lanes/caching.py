"""The compile cache that stands beside a compile: this machine's folder, and the one that machines share behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from retread import variables
from retread.doors import proc
from retread.doors.console import NOTE
from retread.lanes.lane import Wish
from retread.units import counted
from retread.variables import SCCACHE

if TYPE_CHECKING:
    from retread.compile.sandbox import Cache
    from retread.compile.stage import CacheFacts


@contextmanager
def cache(
    wish: Wish, folder: Path, scratch: Path, caller: Mapping[str, str], say: Callable[[str], None]
) -> Iterator[Cache]:
    """Yield the compile cache in ``folder``, with a way to the shared one where the caller's environment names that.

    A cold compile gets an empty one in ``scratch``, and nothing else.
    """
    from retread.compile.depot import Depot
    from retread.compile.sandbox import Cache
    from retread.doors import objects

    program = proc.find("sccache", why="it caches what is compiled") if wish.cache else None
    found = Cache(program, scratch / "sccache" if wish.cold else folder, wish.fresh and not wish.cold)
    address = caller.get(SCCACHE)
    if program is None or not address:
        yield found
        return
    mode = "SCCACHE_REDIS_RW_MODE" if address.startswith("redis") else "SCCACHE_S3_RW_MODE"
    gives = caller.get(mode, "").upper() != "READ_ONLY"
    with variables.named(SCCACHE, caller):
        place = objects.at(address)
    with Depot(address, place, say, gives=gives) as depot:
        yield found._replace(depot=depot)


def caller(wish: Wish, environment: Mapping[str, str]) -> Mapping[str, str]:
    """Return the caller's environment; of a cold compile, without what leads the compile cache anywhere."""
    names = (SCCACHE, "SCCACHE_") if wish.cold else ()
    return {name: value for name, value in environment.items() if not name.startswith(names)}


def told(facts: CacheFacts, wish: Wish, caller: Mapping[str, str]) -> Iterator[str]:
    """Yield what a user wants to know of a cache after a compile."""
    from retread.compile.sandbox import remote

    said = f"{counted(facts.hits, 'hit')}, {counted(facts.misses, 'miss')}"
    if facts.where:
        said += f"; {facts.where}: {facts.taken} taken, {facts.given} given"
    if facts.errors:
        said += f"; {counted(facts.errors, 'error')}"
    yield f"    compile cache: {said}"
    if not facts.where and wish.cache and (name := remote(caller)):
        yield f"    {NOTE} the cache that {name} names did not answer; there was this machine's alone"
