"""What was decided of an index in a bucket: an object for each action, and its bundle until all is in its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from retread import strict
from retread.doors.bucket import Bucket
from retread.errors import PublishError
from retread.index.folder import Action
from retread.index.layout import HIDDEN
from retread.records import Record

A = TypeVar("A")
T = TypeVar("T")
R = TypeVar("R", bound=Record)
STAGED = f"{HIDDEN}/staged"
ACTIONS = f"{HIDDEN}/actions"


class Decided(Record, frozen=True, kw_only=True):
    """What an action's object says."""

    action: Action
    bundle: str
    """The name of its bundle, which is there until everything is in its place."""


class Position(NamedTuple):
    """How far an index is: it did not change while this did not."""

    actions: int
    staged: tuple[str, ...]


def action(number: int) -> str:
    """Return the object that decides an action."""
    return f"{ACTIONS}/{number:08}.json"


def bundles(bucket: Bucket) -> list[str]:
    """Return the bundles that were not put in place, or never will be."""
    return [one.name for one in bucket.list(STAGED)]


def number(name: str) -> int:
    """Return of which action an object or a bundle is; PublishError for another name."""
    match = re.match(r"(\d{8,})[-.]", name.rpartition("/")[2])
    if not match:
        raise PublishError(f"{name} is not the index's", hint="remove that object")
    return int(match[1])


def position(bucket: Bucket) -> Position:
    """Return how far an index is."""
    return Position(max(numbers(bucket), default=0), tuple(bundles(bucket)))


def actions(bucket: Bucket) -> list[Action]:
    """Return what was ever done, the first action first."""
    return each(lambda one: of(bucket, one), numbers(bucket))


def decided(bucket: Bucket, number: int) -> Decided | None:
    """Return what was decided as action ``number``; None while nothing was."""
    return record(bucket, action(number), Decided)


def numbers(bucket: Bucket) -> list[int]:
    """Return the numbers of all actions, the first one first."""
    return sorted(number(one.name) for one in bucket.list(ACTIONS))


def of(bucket: Bucket, one: int) -> Action:
    """Return an action; PublishError when there is none of this number."""
    found = record(bucket, action(one), Decided)
    if found is None:
        raise PublishError(f"{bucket.address}/{action(one)} is missing")
    return found.action


def record(bucket: Bucket, name: str, kind: type[R]) -> R | None:
    """Return what an object holds, or None when it is not there; PublishError when it is damaged."""
    data = bucket.read(name)
    try:
        return None if data is None else strict.decoded(data, kind)
    except ValueError as error:
        raise PublishError(
            f"{bucket.address}/{name} is damaged: {error}", hint="put it back from a copy"
        ) from None


def absent(bucket: Bucket) -> PublishError:
    """Return the error for a bucket without an index."""
    return PublishError(f"{bucket.address} holds no index", hint="'retread publish' makes one")


def each(function: Callable[[A], T], some: Iterable[A], at_once: int = 16) -> list[T]:
    """Call a function for each, some at once; the first error ends it, once those that run have ended."""
    with ThreadPoolExecutor(at_once) as pool:
        waiting = [pool.submit(function, one) for one in some]
        try:
            return [one.result() for one in waiting]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
