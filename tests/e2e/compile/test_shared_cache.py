"""A compile cache that machines share, in a real Redis and a real S3, before the real nvcc and the real sccache."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cacheservers
from cacheservers import PASSWORD, Redis, forget
from nativecuda import FILES
from tinycuda import Project, Result, diff

pytestmark = [
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.skipif(cacheservers.REDIS is None, reason="redis-server is not installed"),
]
HOST = FILES["csrc/host.cpp"]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    with cacheservers.redis(tmp_path) as server:
        yield server


@pytest.fixture
def work(make_native: Callable[[str], Project], redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("RETREAD_SCCACHE", redis.address)
    project = make_native("project")
    forget(project)
    return project


def good(project: Project, *arguments: str) -> tuple[Path, Result]:
    result = project.build(*arguments)
    assert result.code == 0, result.err
    return project.root / result.wheel, result


def cache(wheel: Path) -> dict[str, Any]:
    return dict(json.loads(wheel.with_name(f"{wheel.name}.compile.json").read_bytes())["cache"])


def host(number: str) -> str:
    """Return a series' change of the one unit that g++ alone compiles."""
    return diff("csrc/host.cpp", HOST, HOST.replace('"7"', f'"{number}"'))


@pytest.mark.parametrize("kind", ["redis", "s3"])
def test_what_one_machine_compiled_another_takes(
    work: Project, redis: Redis, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with cacheservers.s3("objects") as variables:
        where = redis.shown
        if kind == "s3":
            where = "s3://objects/of/all"
            for name, value in {**variables, "RETREAD_SCCACHE": where}.items():
                monkeypatch.setenv(name, value)
        wheel, _ = good(work)
        first, before = cache(wheel), wheel.read_bytes()
        assert (first["hits"], first["errors"], first["taken"], first["where"]) == (0, 0, 0, where)
        assert first["misses"] >= 3
        assert first["given"] >= first["misses"]
        forget(work)
        wheel, result = good(work)
        second = cache(wheel)
        assert (second["misses"], second["errors"], second["given"]) == (0, 0, 0), second
        assert second["hits"] >= 3
        assert second["taken"] >= 3
        assert f"{where}: {second['taken']} taken, 0 given" in result.err
        assert wheel.read_bytes() == before
        assert work.run("audit", str(wheel)).code == 0
    for path in (*(work.root / "dist").iterdir(), *(work.store / "work").glob("*/*.log")):
        assert PASSWORD.encode() not in path.read_bytes(), path
    with zipfile.ZipFile(wheel) as archive:
        assert (
            "redis"
            not in archive.read(next(n for n in archive.namelist() if n.endswith("retread.json"))).decode()
        )


def test_a_hit_is_no_evidence_and_a_cold_compile_tells(work: Project, redis: Redis) -> None:
    good(work)
    known = redis.keys()
    work.series(host("9"))
    good(work)
    (other,) = redis.keys() - known
    known = redis.keys()
    work.series(host("5"))
    wheel, _ = good(work)
    (poisoned,) = redis.keys() - known
    known = redis.keys()
    result = work.run("reproduce", "--cold", str(wheel))
    assert (result.code, result.out.split(":")[0]) == (0, "identical"), result.out + result.err
    assert redis.keys() == known
    assert "install the build environment" in result.err
    redis.client.set(poisoned, redis.client.get(other))
    forget(work)
    wheel, _ = good(work)
    assert cache(wheel)["misses"] == 0
    assert work.run("audit", str(wheel)).code == 0, "which cannot know what a unit was to hold"
    result = work.run("reproduce", "--cold", str(wheel), "--json")
    assert result.code == 12, result.err
    assert json.loads(result.out)["tier"] == "different"


def test_rubbish_is_compiled_anew_and_whoever_only_reads_gives_nothing(
    work: Project, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, _ = good(work)
    before, known = wheel.read_bytes(), redis.keys()
    for name in known:
        redis.client.set(name, b"rubbish")
    forget(work)
    monkeypatch.setenv("SCCACHE_REDIS_RW_MODE", "READ_ONLY")
    wheel, result = good(work)
    assert (cache(wheel)["hits"], cache(wheel)["given"]) == (0, 0)
    assert wheel.read_bytes() == before
    assert {redis.client.get(name) for name in redis.keys()} == {b"rubbish"}  # noqa: SIM118
    assert "note:" not in result.err


def test_a_cache_that_takes_nothing_is_told_once(work: Project, redis: Redis) -> None:
    redis.client.config_set("maxmemory", "1mb")
    wheel, result = good(work)
    assert result.err.count("what is compiled here is not given to others") == 1, result.err
    assert f"cannot write {redis.shown}/" in result.err
    assert PASSWORD not in result.err
    assert cache(wheel)["errors"] >= 1


def test_a_cache_that_is_gone_is_done_without(work: Project, redis: Redis) -> None:
    redis.stop()
    wheel, result = good(work)
    told = "no answer, or one that breaks off; the rest is compiled without the shared cache"
    assert result.err.count(told) == 1, result.err
    assert f"note: cannot read {redis.shown}/" in result.err
    assert cache(wheel)["misses"] >= 3


def test_a_cache_of_sccache_s_own_that_is_gone_is_done_without(
    work: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RETREAD_SCCACHE")
    monkeypatch.setenv("SCCACHE_REDIS_ENDPOINT", "redis://127.0.0.1:9")
    _, result = good(work)
    assert (
        "the cache that SCCACHE_REDIS_ENDPOINT names did not answer; there was this machine's alone"
        in result.err
    )
