"""Every parser at an edge: what it reads, what it is begun with, and how an input of it is changed.

Seeds are the fixtures of tests/data and what the tests' helpers make; nothing is downloaded. A parser may raise what
its contract says, a refusal of ours nearly always, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

import debparts
import gpucode
import reports
import tinycuda
import tinyindex
from fuzz import mutate
from fuzz.mutate import Way
from retread import arch, pypa, strict
from retread.binary import files
from retread.doors.net import offers, pages
from retread.elf import device, fatbin, image, library, resources
from retread.errors import RetreadError
from retread.evidence import beside, gate, signing, statements
from retread.fit import catalogue, usage
from retread.index import release, revocations, serve
from retread.jobs import job, slurm
from retread.lockfile import readers, requirements
from retread.pe import library as pe
from retread.queue import hunks, incoming
from retread.recipe import proof, reading, series, symptom, toolchain
from retread.records import Sha256
from retread.smoke import reading as smoke
from retread.source import tree
from retread.toolkit import debian
from retread.wheel import contents, faults, metadata

ROOT: Final = Path(__file__).resolve().parents[2]
DATA: Final = ROOT / "tests" / "data"
DEMO: Final = "demo-1.2+cu128.1-py3-none-any.whl"
SHA256: Final = "a" * 64


class Parser(NamedTuple):
    """One parser at an edge."""

    read: Callable[[bytes, Path], object]
    """Reads an input; the folder is empty before and emptied after."""
    seeds: Callable[[], list[bytes]]
    way: Way
    raises: tuple[type[Exception], ...] = (RetreadError,)


def _data(*patterns: str) -> list[bytes]:
    return [path.read_bytes() for pattern in patterns for path in sorted(DATA.glob(pattern))]


def _texts(*texts: str) -> list[bytes]:
    return [text.encode() for text in texts]


# GPU code


def _elf(data: bytes, room: Path) -> None:
    path = room / "x.so"
    path.write_bytes(data)
    for lenient in (False, True):
        try:
            files.read(path, where="x.so", names=True, lenient=lenient)
        except RetreadError:
            continue
    files.kernels(path, where="x.so")


def _edit(data: bytes, room: Path) -> None:
    path = room / "x.so"
    path.write_bytes(data)
    library.edit(path, room / "y.so", run_path=("$ORIGIN/../lib",))
    found = library.fat_binaries(path)
    if found:
        library.edit(path, room / "y.so", fatbins={0: bytes(found[0].data) + bytes(-found[0].size % 8)})
    library.read(room / "y.so")


def _pe_edit(data: bytes, room: Path) -> None:
    """Change a Windows library; whatever is written has to be read again, with the same code and one image more."""
    path, new = room / "x.dll", room / "y.dll"
    path.write_bytes(data)
    found = pe.fat_binaries(path)
    held = fatbin.parse(gpucode.PLAIN, where="x")[0]
    pe.edit(path, new, fatbins={one.index: bytes(held.data) for one in found})
    made = pe.fat_binaries(new)
    assert [bytes(one.data) for one in made if one.offset >= len(data)] == [bytes(held.data)] * len(found)
    pe.read(new, lenient=True)


def _fatbin(data: bytes, _: Path) -> None:
    code, _unread = device.of_section(memoryview(data), where="x")
    device.survey(code, names=True)
    for one in fatbin.parse(data, where="x"):
        for entry in one.entries:
            fatbin.image(entry)


def _cubin(data: bytes, _: Path) -> None:
    code = device.of_cubin(memoryview(data), where="x")
    image.tables(data, where="x")
    list(resources.of_modules([code], where="x"))


def _ptx(data: bytes, _: Path) -> None:
    device.is_ptx(data[: files.HEAD])
    device.of_ptx(data, where="x")


def _packed() -> list[bytes]:
    return _data("fatbin/lz4.fatbin", "fatbin/zstd.fatbin")


# Wheels and archives


def _wheel(data: bytes, room: Path) -> None:
    path, scratch = room / tinycuda.WHEEL, room / "scratch"
    path.write_bytes(data)
    scratch.mkdir()
    for lenient in (True, False):
        try:
            contents.facts(path, scratch, lenient=lenient, names=True)
        except RetreadError:
            if not lenient:
                raise


def _ours(data: bytes, room: Path) -> None:
    path, scratch = room / DEMO, room / "scratch"
    path.write_bytes(data)
    scratch.mkdir()
    contents.examine(path, scratch)


@cache
def _made(room: Path) -> Mapping[str, bytes]:
    """Return a wheel of ours with all its evidence, by the ends of names."""
    wheel = tinyindex.prove(tinyindex.make_wheel(room), tinyindex.make_keys(room / "keys"))
    return {path.name: path.read_bytes() for path in wheel.parent.iterdir() if path.is_file()}


def _evidence(ending: str) -> list[bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = _made(Path(folder))
    return [data for name, data in made.items() if name.endswith(ending)]


def _seal(folder: str) -> Callable[[dict[str, bytes]], bytes]:
    def seal(members: dict[str, bytes]) -> bytes:
        return tinycuda.zip_bytes({**members, f"{folder}/RECORD": tinycuda.record(members, folder)})

    return seal


def _sdist(data: bytes, room: Path) -> None:
    path = room / tinycuda.SDIST
    path.write_bytes(data)
    (room / "into").mkdir()
    tree.from_unproven(path, room / "into")


def _metadata(data: bytes, _: Path) -> None:
    text = data.decode("utf-8", "replace")
    metadata.requires_python(text)
    metadata.requirements(text)
    metadata.parse_metadata(text)
    metadata.set_version(text, "1.2+cu128.1")
    metadata.set_requirement(text, "torch>=2.9")


def _wheel_file(data: bytes, _: Path) -> None:
    text = data.decode("utf-8", "replace")
    metadata.parse_wheel_file(text)
    metadata.set_tags(text, ["py3-none-any"])


def _record(data: bytes, _: Path) -> None:
    text = data.decode("utf-8", "replace")
    metadata.other_hashes(text)
    metadata.check_record(
        text, "x/RECORD", {"x/RECORD": (records_digest(), 0), "a.py": (records_digest(), 3)}
    )


def records_digest() -> metadata.Sha256:
    """Return a digest of the right shape."""
    return metadata.Sha256(SHA256)


def _entry_points(data: bytes, _: Path) -> None:
    list(faults.of_entry_points(data.decode("utf-8", "replace")))


def _names(data: bytes, _: Path) -> None:
    names = data.decode("utf-8", "surrogateescape").split("\n")
    metadata.name_clash(names)
    for name in names:
        metadata.name_fault(name)
        offers.read(name, "demo")
        for read in (
            metadata.parse_name,
            pypa.version,
            pypa.specifiers,
            pypa.requirement,
            arch.parse,
            symptom.parse,
        ):
            try:
                read(name)
            except (RetreadError, ValueError):
                continue
        serve.part(name, 1_000)


def _deb(data: bytes, room: Path) -> None:
    part = msgspec.structs.replace(_part(), file="clang_1_amd64.deb")
    (room / part.file).write_bytes(data)
    from retread.toolkit import layout

    (room / "into").mkdir()
    debian.data(part, room / part.file)
    layout._unpack(part, room / part.file, room / "into")


@cache
def _part() -> toolchain.Part:
    return toolchain.Part(
        component="clang", machine="x86_64", deb="pool/clang_1_amd64.deb", file="clang_1_amd64.deb",
        sha256=metadata.Sha256(SHA256), folder="usr",
    )  # fmt: skip


# What people write


def _name(data: bytes) -> str:
    """Return the name that a recipe or a toolchain gives itself, which has to be that of its file."""
    found = re.search(rb'^name = "([^"\n]*)"', data, re.MULTILINE)
    return found[1].decode("utf-8", "replace") if found else "x"


def _recipe(data: bytes, _: Path) -> None:
    reading.parse_recipe(data, name=_name(data))


def _toolchain(data: bytes, _: Path) -> None:
    toolchain.parse_toolchain(data, name=_name(data))


def _recipes() -> list[bytes]:
    found = [path.read_bytes() for path in sorted((ROOT / "recipes").glob("*.toml"))[:3]]
    return found or _texts(tinycuda.RECIPE)


def _toolchains() -> list[bytes]:
    return [
        path.read_bytes()
        for path in sorted((ROOT / "src" / "retread" / "recipe" / "toolchains").glob("*.toml"))[:3]
    ]


def _policy() -> list[bytes]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        keys = tinyindex.make_keys(Path(folder))
    listed = "".join(
        f'[[{role}]]\nname = "{key.name}"\nkey = "{signing.line(key)}"\n'
        for role, key in (("builder", keys.builder), ("tester", keys.tester))
    )
    return _texts(f'allow-unproven = false\nlist-days = 30\ngpu = ["9.0"]\ntriton = ["3.6.0"]\n\n{listed}')


def _lock(name: str) -> Callable[[bytes, Path], object]:
    return lambda data, _: readers.read(data, name=name)


def _requirements(data: bytes, _: Path) -> None:
    try:
        requirements.check_lock(data, ["demo>=1"], name="x")
    except RetreadError:
        readers.read(data, name="requirements.txt")


def _installed(data: bytes, _: Path) -> None:
    readers.from_records([readers.Installed("demo", "1.0", data.decode("utf-8", "replace"))])


def _patch(data: bytes, _: Path) -> None:
    name = "0001-change.patch"
    series.parse_series({"series": f"{name}\n".encode(), name: data}, where="patches")
    hunks.hunks(data.partition(b"\n---\n")[2])


def _patches() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "patches").glob("*/*/*.patch"))[:8]]


def _mbox(data: bytes, _: Path) -> None:
    for one in incoming.read(data, name="x.mbox").patches:
        incoming.paths(one.diff)


def _mails() -> list[bytes]:
    diff = tinycuda.diff(tinycuda.OPS, tinycuda.ops(), tinycuda.ops(VALUE_3=30))
    head = "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\nFrom: A <a@example.org>\n"
    plain = (
        f"{head}Subject: [PATCH 1/2] Change it\nBug: https://example.org/1\n\nWhy.\n---\n x | 2 +-\n\n{diff}"
    )
    parts = (
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/x-patch\n"
    )
    encoded = (
        f"{head}Subject: =?utf-8?q?Gr=C3=BCn?=\n{parts}Content-Transfer-Encoding: 8bit\n\n{diff}\n--b--\n"
    )
    debian_one = f"Description: Change it\n More of it.\n .\n And more.\nForwarded: not-needed\n\n{diff}"
    return _texts(plain, plain + plain, encoded, debian_one, f"Upstream-Status: Submitted [x]\n\n{diff}")


def _usage(data: bytes, _: Path) -> None:
    try:
        found = usage.names(data.decode("utf-8", "replace"), "xformers")
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # which the caller tells
        return
    usage.report(_known().usage[0], {"a.py": found}, "2.9", unread=())


@cache
def _known() -> catalogue.Catalogue:
    return catalogue.read((ROOT / "src" / "retread" / "fit" / "catalogue.json").read_bytes())


CODE: Final = """\
import xformers.ops as xops
from xformers.ops import memory_efficient_attention as mea, unbind
from xformers.components.attention import ScaledDotProduct

def f(q, k, v):
    x = mea(q, k, v, attn_bias=xops.LowerTriangularMask())
    return xops.fmha.attn_bias.BlockDiagonalMask.from_seqlens([1, 2]), x
"""


# Evidence, indexes


def _report(data: bytes, _: Path) -> None:
    report = smoke.parse(data, name="x.json")
    smoke.write(report)
    smoke.file_name(report)
    list(smoke.doubts(report))
    for one in report.runs:
        try:
            statements.test_result(report, one, tester="t")
        except RetreadError:
            continue


def _reports() -> list[bytes]:
    return [smoke.write(reports.sample()), *_evidence(".smoke-static-jit.json")]


def _sidecar(data: bytes, room: Path) -> None:
    wheel = room / DEMO
    wheel.with_name(f"{DEMO}.audit.json").write_bytes(data)
    beside.read(wheel, metadata.Sha256(SHA256))


def _audit() -> list[bytes]:
    check = {"check": "members", "subject": "demo", "ok": True, "detail": "all"}
    return _texts(
        json.dumps({"wheel": DEMO, "sha256": SHA256, "recipe": "demo", "target": "cu128", "checks": [check]})
    )


def _envelope(data: bytes, _: Path) -> None:
    payload = signing.payload(data, name="x.dsse.json")
    statements.parse(payload, name="x.dsse.json")


def _release(data: bytes, _: Path) -> None:
    found = release.parse(data, name="release.json")
    list(release.faults(found, [release.Given(DEMO)]))


def _jobs(data: bytes, _: Path) -> None:
    cluster = slurm.Cluster(Path("/x"), Path("/y"), Path("/z"), ("retread",), {})
    slurm.scripts(job.parse(data, name="jobs.json"), cluster)


def _listed() -> list[bytes]:
    """Return a job file with a build and a trial of its wheel."""
    needs = {
        "cores": 2,
        "memory_bytes": 1 << 30,
        "seconds": 300,
        "disk_bytes": 0,
        "gpu": None,
        "processor": "x86_64",
    }
    one = {
        "key": SHA256, "kind": "build", "name": "build-demo", "recipe": "demo-1.2", "target": "cu128",
        "lane": "overlay", "python": "3.9", "platform": "x86_64", "needs": needs, "inputs": {"the series": SHA256},
    }  # fmt: skip
    build = job.sealed(msgspec.convert(one, job.Job))
    changes = {"kind": job.Kind.SMOKE, "level": ("gpu",), "after": (build.key,)}
    trial = job.sealed(msgspec.structs.replace(build, name="smoke-demo-cc9.0", **changes))
    return [msgspec.json.encode(job.write([build, trial]))]


def _keyed(data: bytes, rng: random.Random) -> bytes:
    """Return a job file with some values changed, and mostly the keys that its jobs have then."""
    found = mutate.changed(json.loads(data), rng)
    with suppress(msgspec.ValidationError):
        if rng.random() < 0.9:
            return msgspec.json.encode(job.write(_again(msgspec.convert(found, job.JobFile).jobs)))
    return json.dumps(found).encode()[: mutate.LARGEST]


def _again(jobs: Iterable[job.Job]) -> Iterator[job.Job]:
    """Yield jobs with the keys that they have now, also where they name each other's."""
    now: dict[str, Sha256] = {}
    for one in jobs:
        new = job.sealed(msgspec.structs.replace(one, after=tuple(now.get(key, key) for key in one.after)))
        now[one.key] = new.key
        yield new


def _planned() -> list[bytes]:
    """Return plans of one wheel, whose tags are known, or not yet."""
    one = {
        "job": "demo-1-cu128-py3.9", "command": "retread build demo-1", "wheel": DEMO, "name": "demo",
        "version": "1.2+cu128.1", "local": "cu128.1", "tags": "py3-none-any", "recipe": "demo-1", "digest": SHA256,
        "target": "cu128", "python": "3.9", "platform": "x86_64", "lane": "overlay",
        "evidence": {"levels": ["static", "jit"], "gpu": [], "triton": ["3.5.1"]},
        "instead": [{"version": "1.2+cu128.clang.1", "local": "cu128.clang.1", "digest": SHA256}],
    }  # fmt: skip
    compiled = {**one, "tags": "", "wheel": "demo-1.2+cu128.1-*_x86_64.whl", "lane": "container"}
    return [
        json.dumps({"schema": 1, "wheels": wheels}).encode()
        for wheels in ([one], [compiled], [one, compiled])
    ]


def _revocations(data: bytes, _: Path) -> None:
    found = revocations.parse(data, name="revocations")
    revocations.demand_fresh(found, 100_000, 4_102_444_800)
    revocations.newer(found, revocations.renewed(found, "2026-01-01T00:00:00Z"))


def _revoked() -> list[bytes]:
    entry = {
        "project": "demo",
        "version": "1.0",
        "sha256": None,
        "file": None,
        "since": "2026-11-22T10:00:00Z",
        "reason": "x",
        "advice": "y",
    }
    name = "demo-1.0-py3-none-any.whl"
    more = {**entry, "version": "2.0", "sha256": SHA256, "file": name.replace("1.0", "2.0")}
    rows = [entry, more]
    return _texts(json.dumps({"schema": 1, "serial": 3, "issued": "2026-11-22T10:00:00Z", "entries": rows}))


def _html(data: bytes, _: Path) -> None:
    _page(pages.read(data, "text/html", "https://example.org/simple/demo/", "demo"))


def _json(data: bytes, _: Path) -> None:
    kind = "application/vnd.pypi.simple.v1+json"
    _page(pages.read(data, kind, "https://example.org/simple/demo/", "demo"))


def _page(found: Any) -> None:
    for one in found.packages:
        offers.read(one.filename, "demo", sha256=one.digests.get("sha256", ""), yanked=one.is_yanked)


def _pages() -> list[bytes]:
    file = {
        "filename": DEMO,
        "url": f"../{DEMO}",
        "hashes": {"sha256": SHA256},
        "requires-python": ">=3.9",
        "size": 3,
    }
    more = {**file, "filename": "demo-1.3.tar.gz", "yanked": "old", "upload-time": "2026-11-22T10:00:00.0Z"}
    page = {"meta": {"api-version": "1.1"}, "name": "demo", "versions": ["1.2"], "files": [file, more]}
    return _texts(json.dumps(page))


HTML: Final = f"""\
<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.1"><title>demo</title></head><body>
<a href="../{DEMO}#sha256={SHA256}" data-requires-python="&gt;=3.9" data-yanked="">{DEMO}</a><br/>
<a href="demo-1.3.tar.gz" data-dist-info-metadata="sha256={SHA256}">demo-1.3.tar.gz</a>
</body></html>
"""


def _proofs() -> list[bytes]:
    listing = "".join(
        f"100644 {hashlib.sha1(one).hexdigest()} {one.decode()}\n" for one in (b"a", b"b/c", b"b/d")
    )
    found = sorted((ROOT / "recipes" / "commits").glob("*"), key=lambda path: path.stat().st_size)[:1]
    return [
        *(path.read_bytes() for path in found),
        b'{"repository": "x", "commit": "x"}\n' + listing.encode(),
    ]


METADATA: Final = (
    "Metadata-Version: 2.1\nName: demo\nVersion: 1.2\nRequires-Python: >=3.9\nRequires-Dist: torch>=2.8\n"
    'Requires-Dist: triton; sys_platform == "linux" and extra == "x"\nLicense: a\n  b\n\nText.\n'
)
RECORD: Final = f'a.py,sha256={"A" * 43},3\n"b,c",sha512=x,4\nx/RECORD,,\n'
ENTRY_POINTS: Final = "[console_scripts]\ndemo = demo.cli:main [x]\n\n# so\n[other]\na=b\n"
NAMES: Final = "\n".join(
    (DEMO, "demo-1.3.tar.gz", "1.2+cu128.1", ">=1.2,<2; python_version < '3'", "demo[x]>=1; os_name == 'posix'", "9.0a",
     "AttributeError: Cannot set attribute 'src' directly [when triton >=3.3,<3.5]", "bytes=0-99", "a/b/c.py", "A/b/")
)  # fmt: skip

PARSERS: Final[dict[str, Parser]] = {
    "elf": Parser(_elf, lambda: _data("fatbin/*.so", "fit/*.so"), mutate.fields(mutate.elf_places)),
    "elf-edit": Parser(_edit, lambda: _data("fatbin/*.so"), mutate.fields(mutate.elf_places)),
    "archive": Parser(_elf, lambda: [gpucode.archive(a=gpucode.PLAIN)], mutate.raw),
    "windows": Parser(_elf, lambda: [gpucode.WINDOWS], mutate.fields(mutate.pe_places)),
    "windows-edit": Parser(_pe_edit, lambda: [gpucode.WINDOWS], mutate.fields(mutate.pe_places)),
    "fatbin": Parser(_fatbin, lambda: _data("fatbin/*.fatbin"), mutate.fields(mutate.fatbin_places)),
    "packed": Parser(_fatbin, _packed, mutate.raw),
    "cubin": Parser(_cubin, lambda: _data("fatbin/*.cubin", "kernels/*.cubin"), mutate.fields(mutate.elf_places)),
    "ptx": Parser(_ptx, lambda: _data("fatbin/*.ptx"), mutate.lines),
    "wheel": Parser(
        _wheel, lambda: [tinycuda.make_wheel(tinycuda.wheel_files())],
        mutate.zipped(mutate.lines, _seal(tinycuda.INFO)),
    ),
    "retread.json": Parser(
        _ours, lambda: _evidence(".whl"), mutate.zipped(mutate.tree, _seal("demo-1.2+cu128.1.dist-info"))
    ),
    "sdist": Parser(
        _sdist, lambda: [mutate.tar_of({f"tinycuda-1.0/{k}": v.encode() for k, v in tinycuda.FILES.items()})],
        mutate.gzipped,
    ),
    "deb": Parser(_deb, lambda: [debparts.clang_deb(), debparts.libc_deb()], mutate.package),
    "METADATA": Parser(_metadata, lambda: _texts(METADATA), mutate.lines),
    "WHEEL": Parser(_wheel_file, lambda: _texts(tinycuda.WHEEL_TEXT), mutate.lines),
    "RECORD": Parser(_record, lambda: _texts(RECORD), mutate.lines),
    "entry points": Parser(_entry_points, lambda: _texts(ENTRY_POINTS), mutate.lines),
    "names": Parser(_names, lambda: _texts(NAMES), mutate.lines),
    "recipe": Parser(_recipe, _recipes, mutate.lines),
    "toolchain": Parser(_toolchain, _toolchains, mutate.lines),
    "policy": Parser(lambda data, _: gate.parse_policy(data, name="x"), _policy, mutate.lines),
    "uv.lock": Parser(_lock("uv.lock"), lambda: _data("locks/uv.lock"), mutate.lines),
    "pylock": Parser(_lock("pylock.toml"), lambda: _data("locks/pylock*.toml"), mutate.lines),
    "poetry.lock": Parser(_lock("poetry.lock"), lambda: _data("locks/poetry.lock"), mutate.lines),
    "Pipfile.lock": Parser(_lock("Pipfile.lock"), lambda: _data("locks/Pipfile.lock"), mutate.tree),
    "requirements": Parser(_requirements, lambda: _data("locks/requirements*.txt", "native/lock.txt"), mutate.lines),
    "direct_url.json": Parser(
        _installed,
        lambda: _texts('{"url": "https://example.org/demo-1.0-py3-none-any.whl", "archive_info": '
                       '{"hashes": {"sha256": "' + SHA256 + '"}}}', '{"url": "file:///x", "dir_info": {}}'),
        mutate.tree,
    ),
    "patch": Parser(_patch, _patches, mutate.lines),
    "mbox": Parser(_mbox, _mails, mutate.lines),
    "usage": Parser(_usage, lambda: _texts(CODE), mutate.lines),
    "smoke report": Parser(_report, _reports, mutate.sealed),
    "audit.json": Parser(_sidecar, _audit, mutate.tree),
    "envelope": Parser(_envelope, lambda: _evidence(".dsse.json"), mutate.enveloped),
    "jobs": Parser(_jobs, _listed, _keyed),
    "release": Parser(_release, _planned, mutate.tree),
    "revocations": Parser(_revocations, _revoked, mutate.tree),
    "page, HTML": Parser(_html, lambda: _texts(HTML), mutate.lines, (RetreadError, ValueError)),
    "page, JSON": Parser(_json, _pages, mutate.tree, (RetreadError, ValueError)),
    "proof": Parser(lambda data, _: proof.parse(data, name="x"), _proofs, mutate.lines),
    "TOML": Parser(lambda data, _: strict.table(data), lambda: _data("locks/*.lock"), mutate.lines, (ValueError,)),
}  # fmt: skip
