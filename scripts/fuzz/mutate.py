"""How an input is changed: its bytes, its lines, or the structure of its format with every checksum right again.

A change of bytes alone rarely gets past a checksum, a digest or a length, so each format has a way of its own.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import lzma
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, Final

from retread.canonical import digest

Way = Callable[[bytes, random.Random], bytes]
"""What changes an input."""

LARGEST: Final = 1 << 20
"""Bytes of an input; more would only take time."""
NUMBERS: Final = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000,
                  0xFFFFFFFF, 1 << 32, 1 << 47, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
WORDS: Final = (
    b"", b" ", b"\n", b"\r", b"\r\n", b"\t", b"\0", b"\x1b[31m", b"\x85", b"\xe2\x80\xa8", b"\xff", b"\xed\xa0\x80",
    b"\xef\xbb\xbf", b"'", b'"', b"\\", b"\\ud800", b"\\u0000", b"#", b";", b"@", b"%", b"=", b"==", b">=", b"~=",
    b"[", b"]", b"{", b"}", b"(", b")", b"<", b">", b"/", b"../", b"..", b".", b"-", b"--", b"---\n", b"+++ b/x\n",
    b"0", b"-1", b"1e999", b"NaN", b"Infinity", b"null", b"true", b"9" * 30, b"9" * 5_000, b"0x" + b"f" * 4_000,
    b"1.0", b"1!1", b"1.0+cu128.1", b"1.*", b"!", b"a." * 2_000, b"(" * 500, b"[" * 2_000, b'{"a":' * 2_000,
    b" " * 3_000, b"A" * 70_000, b"<a>", b"<base href='//x'>", b"--hash=sha256:", b"-r x", b"=?utf-8?b?/?=", b"=?",
    b"\ndiff --git a/x b/x\n", b"GIT binary patch", b"From 0123456789012345678901234567890123456789 2001\n",
    b"sha512", b"[when torch >=2]", b"...", "é".encode(), "\u202e".encode(), "\U0001f600".encode(),
)  # fmt: skip
"""Texts at which parsers of some kind turn."""
VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 1 << 31, 1 << 63, 1 << 64, 10**40, 1.5, 1e308, -0.0, "", "x", "\0", "\x1b[2J", "..",
    "../x", "/", "9" * 5_000, "x" * 70_000, "é", "1.0", "py3-none-any", [], {}, [[]], {"": ""}, [None], "a" * 64,
    "2026-01-01T00:00:00Z", "9999-99-99T99:99:99Z", "9.0a", ">=1", "gpu",
)  # fmt: skip


def raw(data: bytes, rng: random.Random) -> bytes:
    """Return the bytes with one to six changes that know nothing of a format."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(_RAW)(out, rng)
    return bytes(out[:LARGEST])


def _at(out: bytearray, rng: random.Random) -> int:
    return rng.randrange(len(out) + 1)


def _flip(out: bytearray, rng: random.Random) -> None:
    if out:
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)


def _number(out: bytearray, rng: random.Random) -> None:
    size = rng.choice((1, 2, 4, 8))
    value = rng.choice((*NUMBERS, len(out), len(out) - 1, len(out) + 1)) + rng.choice((-1, 0, 0, 0, 1))
    at = _at(out, rng) // size * size
    out[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")


def _cut(out: bytearray, rng: random.Random) -> None:
    at = _at(out, rng)
    del out[at : at + rng.choice((1, 1, 2, 8, 64, len(out)))]


def _word(out: bytearray, rng: random.Random) -> None:
    at = _at(out, rng)
    word = rng.choice(WORDS)
    out[at : at + rng.choice((0, 0, 1, len(word)))] = word


def _again(out: bytearray, rng: random.Random) -> None:
    at = _at(out, rng)
    piece = bytes(out[at : at + rng.choice((1, 4, 32, 256))])
    times = rng.choice((1, 2, 10, 1_000))
    out[at:at] = piece * min(times, 100_000 // max(len(piece), 1))


def _moved(out: bytearray, rng: random.Random) -> None:
    at, to = _at(out, rng), _at(out, rng)
    piece = out[at : at + rng.choice((1, 4, 16, 64))]
    out[to : to + len(piece)] = piece


_RAW: Final = (_flip, _flip, _number, _number, _cut, _word, _again, _moved)


def lines(data: bytes, rng: random.Random) -> bytes:
    """Return a text with lines left out, doubled, swapped, joined or changed, each a word at a time."""
    if rng.random() < 0.2:
        return raw(data, rng)
    found = data.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, other = rng.randrange(len(found)), rng.randrange(len(found))
        match rng.randrange(7):
            case 0 if len(found) > 1:
                del found[at]
            case 1:
                found[at:at] = [found[other]] * rng.choice((1, 2, 300))
            case 2:
                found[at], found[other] = found[other], found[at]
            case 3:
                found[at] = b" " + found[at]
            case 4:
                found[at] = rng.choice(WORDS)
            case 5:
                found[at] = raw(found[at], rng)
            case _:
                words = found[at].split(b" ")
                words[rng.randrange(len(words))] = rng.choice((*WORDS, *words))
                found[at] = b" ".join(words)
    return b"\n".join(found)[:LARGEST]


def tree(data: bytes, rng: random.Random) -> bytes:
    """Return JSON with some values changed, left out, doubled or nested."""
    if rng.random() < 0.15:
        return raw(data, rng)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return raw(data, rng)
    text = json.dumps(changed(found, rng))
    if rng.random() < 0.1:
        text = text.replace("}", ', "payload": ""}', 1)
    return text.encode()[:LARGEST]


def changed(value: Any, rng: random.Random) -> Any:
    """Return a value of JSON with one to three of its values changed."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _changed(value, rng)
    return value


def _changed(value: Any, rng: random.Random) -> Any:
    inside = isinstance(value, dict | list) and value
    if not inside or rng.random() < 0.08:
        deep: Any = value
        for _ in range(rng.choice((1, 3, 400))):
            deep = [deep]
        return rng.choice((*VALUES, deep))
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = rng.choice(keys)
    step = rng.random()
    if step < 0.1:
        del value[key]
    elif step < 0.2 and isinstance(value, dict):
        value[rng.choice((*map(str, value), "x", "", "é", "\0"))] = value[key]
    elif step < 0.2:
        value[key:key] = [value[key]] * rng.choice((1, 2, 200))
    else:
        value[key] = _changed(value[key], rng)
    return value


def sealed(data: bytes, rng: random.Random) -> bytes:
    """Return a report with some values changed, and the digest of what it says now."""
    found = changed(json.loads(data), rng)
    if isinstance(found, dict) and rng.random() < 0.9:
        found["digest"] = digest(found)
    return json.dumps(found).encode()[:LARGEST]


def enveloped(data: bytes, rng: random.Random) -> bytes:
    """Return an envelope whose payload is changed, or which is changed itself."""
    if rng.random() < 0.3:
        return tree(data, rng)
    found = json.loads(data)
    found["payload"] = base64.b64encode(tree(base64.b64decode(found["payload"]), rng)).decode()
    return json.dumps(found).encode()


def fields(places: Callable[[bytes], Sequence[tuple[int, int]]]) -> Way:
    """Return the way that sets numbers at the ``places`` (offset, size) that a format has them at."""

    def way(data: bytes, rng: random.Random) -> bytes:
        found = places(data) if rng.random() < 0.75 else ()
        if not found:
            return raw(data, rng)
        out = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 3))):
            at, size = rng.choice(found)
            old = int.from_bytes(out[at : at + size], "little")
            near = (
                old + rng.choice((-8, -1, 1, 8)),
                old ^ 1 << rng.randrange(8 * size),
                old * 2,
                len(data) - old,
            )
            value = rng.choice((*NUMBERS, *near, *near, len(data), rng.randrange(len(data) + 1)))
            out[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
        return bytes(out)

    return way


def elf_places(data: bytes) -> list[tuple[int, int]]:
    """Return the numbers of an ELF file: header, program headers, section headers, symbols, the dynamic section."""
    found = [(16, 2), (18, 2), (32, 8), (40, 8), (48, 4), *((at, 2) for at in range(52, 64, 2))]
    if len(data) < 64:
        return []
    phoff, shoff = struct.unpack_from("<QQ", data, 32)
    phnum, shnum = (int.from_bytes(data[at : at + 2], "little") for at in (56, 60))
    for at in range(phoff, phoff + 56 * phnum, 56):
        found += [(at, 4), *((at + 8 * step, 8) for step in range(1, 7))]
    for at in range(shoff, shoff + 64 * min(shnum, 100), 64):
        found += [(at, 4), (at + 4, 4), (at + 40, 4), (at + 44, 4)]
        found += [(at + step, 8) for step in (8, 16, 24, 32, 48, 56)]
        if at + 64 <= len(data) and struct.unpack_from("<I", data, at + 4)[0] in (2, 4, 6, 7, 11, 0x6FFFFFFE):
            start, size = struct.unpack_from("<QQ", data, at + 24)
            found += [
                (one, rng_size) for one in range(start, start + min(size, 480), 8) for rng_size in (4, 8)
            ]
    return [(at, size) for at, size in found if at + size <= len(data)]


def pe_places(data: bytes) -> list[tuple[int, int]]:
    """Return the numbers of a Windows library: headers, section headers, and what the first tables of each say."""
    if len(data) < 64:
        return []
    start = int.from_bytes(data[60:64], "little")
    optional, count = start + 24, int.from_bytes(data[start + 6 : start + 8], "little")
    table = optional + int.from_bytes(data[start + 20 : start + 22], "little")
    found = [
        (60, 4),
        (start + 4, 2),
        (start + 6, 2),
        (start + 20, 2),
        (start + 22, 2),
        (optional, 2),
        (optional + 24, 8),
    ]
    found += [(optional + at, 4) for at in (8, 16, 32, 36, 56, 60, 64, 70, *range(108, 240, 4))]
    for at in range(table, table + 40 * min(count, 20), 40):
        found += [(at + step, 4) for step in (0, 4, 8, 12, 16, 20, 36)]
        if at + 24 <= len(data):
            held = int.from_bytes(data[at + 20 : at + 24], "little")
            found += [(one, size) for one in range(held, held + 96, 8) for size in (2, 4, 8)]
    return [(at, size) for at, size in found if at + size <= len(data)]


def fatbin_places(data: bytes) -> list[tuple[int, int]]:
    """Return the numbers of fat binaries: their headers and those of their entries."""
    found: list[tuple[int, int]] = []
    at = data.find(b"\x50\xed\x55\xba")
    while 0 <= at < len(data) - 16 and len(found) < 2_000:
        found += [(at + 4, 2), (at + 6, 2), (at + 8, 8)]
        end, entry = at + 16 + struct.unpack_from("<Q", data, at + 8)[0], at + 16
        while entry + 64 <= min(end, len(data)) and len(found) < 2_000:
            found += [(entry, 2), (entry + 2, 2), (entry + 4, 4), (entry + 8, 8)]
            found += [(entry + step, 4) for step in (16, 20, 28, 40)] + [
                (entry + step, 8) for step in (40, 48, 56)
            ]
            size, padded = struct.unpack_from("<IQ", data, entry + 4)
            entry += max(size + padded, 8)
        at = data.find(b"\x50\xed\x55\xba", at + 4)
    return [(at, size) for at, size in found if at + size <= len(data)]


def zipped(text: Way, seal: Callable[[dict[str, bytes]], bytes] | None = None) -> Way:
    """Return the way that changes members of a zip; ``seal`` packs a wheel again with a RECORD that is right."""

    def way(data: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return raw(data, rng)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        small = [name for name in files if len(files[name]) < 40_000 and ".dist-info/" in name] or list(files)
        name = rng.choice(small if rng.random() < 0.8 else list(files))
        if rng.random() < 0.1:
            other = raw(name.encode(), rng).decode("utf-8", "replace")[:60_000] or "x"
            files = {other if one == name else one: content for one, content in files.items()}
        else:
            files[name] = text(files[name], rng)
        if seal and not name.endswith("/RECORD") and rng.random() < 0.8:
            return seal({one: content for one, content in files.items() if not one.endswith("/RECORD")})
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for one, content in files.items():
                archive.writestr(one, content, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
        return out.getvalue()

    return way


def gzipped(data: bytes, rng: random.Random) -> bytes:
    """Return a .tar.gz whose tar is changed, with the checksums of its headers."""
    if rng.random() < 0.15:
        return raw(data, rng)
    return gzip.compress(_tar(gzip.decompress(data), rng), compresslevel=1, mtime=0)


def package(data: bytes, rng: random.Random) -> bytes:
    """Return a package of Debian's whose archive of files is changed, or which is changed itself."""
    start = data.find(b"\xfd7zXZ\0")
    if start < 0 or rng.random() < 0.3:
        return raw(data, rng)
    packed = lzma.compress(_tar(lzma.decompress(data[start:].rstrip(b"\n")), rng), preset=0)
    header = data[start - 60 : start - 12] + f"{len(packed):<10}`\n".encode()
    return data[: start - 60] + header + packed + b"\n" * (len(packed) % 2)


def _tar(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    headers = [at for at in range(0, len(out) - 511, 512) if out[at + 257 : at + 262] == b"ustar"]
    for at in rng.sample(headers, min(len(headers), rng.choice((1, 1, 2)))):
        where, size = rng.choice(((0, 100), (100, 8), (124, 12), (156, 1), (157, 100), (257, 8), (345, 155)))
        if where == 156:
            out[at + where] = rng.choice(b"01234567xgLKSN\0D")
        elif where == 124:
            number = rng.choice(
                (b"%011o\0" % rng.choice((0, 1, 511, 512, 513, 1 << 20)), b"\x80" + bytes(10) + b"\xff")
            )
            out[at + where : at + where + 12] = number[:12]
        else:
            word = rng.choice(
                (*WORDS, b"/etc/x", b"a/../../x", b"./x", b"tinycuda-1.0/../../x", b"CON", b"x" * 200)
            )
            out[at + where : at + where + size] = word[:size].ljust(size, b"\0")
        if rng.random() < 0.95:
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + 512])
    return raw(bytes(out), rng) if rng.random() < 0.2 else bytes(out)


def tar_of(files: dict[str, bytes]) -> bytes:
    """Return a .tar.gz of files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()
