"""Hostile source archives by category, each made small: tars that say too much, or not the same to every reader.

The categories are those of published corpora for readers of tar; no file of theirs is here.
"""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Mapping
from typing import Final

from archives import Case

TOP: Final = b"tinycuda-1.0/"
ODD: Final = TOP + b"setup.py"
EVIL: Final = b"import evil\n"
TAKEN_OR: Final = "|cannot be read as a source archive"
"""What newer Pythons refuse and older ones pass over."""
END: Final = bytes(1024)


def member(name: bytes, data: bytes = b"", kind: bytes = b"0", **other: bytes) -> bytes:
    """Return a member by hand; what is given by name stands in its header as it is."""
    size = len(data)
    fields = {
        "mode": b"0000644",
        "size": b"%011o" % size,
        "link": b"",
        "magic": b"ustar\x0000",
        "prefix": b"",
        **other,
    }
    head = name.ljust(100, b"\0") + fields["mode"].ljust(8, b"\0") + b"0000000\0" * 2
    head += (
        fields["size"].ljust(12, b"\0")
        + b"00000000000\0"
        + b" " * 8
        + kind
        + fields["link"].ljust(100, b"\0")
    )
    head += fields["magic"].ljust(8, b"\0") + bytes(64) + b"0000000\0" * 2
    head = (head + fields["prefix"].ljust(155, b"\0")).ljust(512, b"\0")
    total = fields.get("sum", b"%06o\0 " % sum(head))
    return head[:148] + total + head[156:] + data + bytes(-size % 512)


def pax(*pairs: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """Return an extended header for the next member, or for all."""
    return member(b"PaxHeader", b"".join(_record(*pair) for pair in pairs), kind)


def _record(name: bytes, value: bytes) -> bytes:
    body = b" " + name + b"=" + value + b"\n"
    length = len(body)
    while len(b"%d" % length) + len(body) != length:
        length += 1
    return b"%d" % length + body


def _raw(data: bytes) -> bytes:
    return member(b"PaxHeader", data, b"x")


def _sparse(name: bytes, size: int, data: bytes, *parts: tuple[int, int]) -> bytes:
    """Return a sparse member as old GNU tar writes it."""
    made = bytearray(member(name, data, b"S", magic=b"ustar  "))
    for number, (at, length) in enumerate(parts):
        made[386 + 24 * number : 410 + 24 * number] = b"%011o\0%011o\0" % (at, length)
    made[483:495] = b"%011o\0" % size
    made[148:156] = b" " * 8
    made[148:156] = b"%06o\0 " % sum(made[:512])
    return bytes(made)


def cases(files: Mapping[str, bytes]) -> dict[str, Case]:
    """Return the categories, each as an archive of these files, of which setup.py is the odd one.

    Their words are a pattern.
    """
    setup = files[ODD.decode()]
    rest = b"".join(member(name.encode(), data) for name, data in files.items() if name != ODD.decode())

    def sdist(*odd: bytes, words: str = "", after: bytes = END) -> Case:
        return Case(gzip.compress(rest + b"".join(odd) + after, 1, mtime=0), words)

    whole = member(ODD, setup)
    hidden = member(TOP + b"evil.py", EVIL)
    plain, leaves = "is not a plain file", "leaves the folder that it is unpacked into"
    unread, unproven, twice = "cannot be read as a source archive", "not in the commit", "occurs twice"
    cut, either = f"differs from|{unread}", f"{unproven}|{unread}"  # as this Python reads it
    long = b"a/" * 60 + b"evil.py"
    return {
        # Valid, in every way in which one file can be written.
        "ustar": sdist(whole),
        "with folders": sdist(member(TOP, kind=b"5", mode=b"0000755"), whole),
        "name in two parts": sdist(member(ODD[len(TOP) :], setup, prefix=TOP[:-1])),
        "older than POSIX": sdist(member(ODD, setup, magic=b"")),
        "kind NUL": sdist(member(ODD, setup, b"\0")),
        "GNU's magic": sdist(member(ODD, setup, magic=b"ustar  ")),
        "contiguous": sdist(member(ODD, setup, b"7")),
        "sparse": sdist(_sparse(ODD, len(setup), setup, (0, len(setup)))),
        "pax: path": sdist(pax((b"path", ODD)), member(b"ignored", setup)),
        "pax: a time for all": sdist(pax((b"mtime", b"0"), kind=b"g"), whole),
        "pax: size, as it is": sdist(pax((b"size", b"%d" % len(setup))), member(ODD, setup, size=b"0")),
        "GNU's long name": sdist(member(b"././@LongLink", ODD + b"\0", b"L"), member(b"ignored", setup)),
        "set-user-id": sdist(member(ODD, setup, mode=b"0004755")),
        "xz": Case(lzma.compress(rest + whole + END, preset=0)),
        # What lies behind the end is read by some; here it is not there.
        "more behind the end": sdist(whole, after=END + hidden + END),
        "more behind one empty block": sdist(whole, after=bytes(512) + hidden + END),
        # Kinds.
        **{
            f"{what}{more}": sdist(whole, member(TOP + b"odd", data, kind, link=b"/etc/passwd"), words=plain)
            for what, kind in (
                ("symbolic link", b"2"),
                ("hard link", b"1"),
                ("character device", b"3"),
                ("block device", b"4"),
                ("pipe", b"6"),
                ("dumpdir", b"D"),
                ("volume", b"V"),
                ("part of a volume", b"M"),
                ("unknown kind", b"A"),
            )
            for more, data in (("", b""), (" with a member in it", hidden))
        },
        "folder with a member in it": sdist(whole, member(TOP, hidden, b"5"), words=unproven),
        # Names.
        "absolute": sdist(whole, member(b"/etc/evil", EVIL), words=leaves),
        "two dots": sdist(whole, member(TOP + b"../../evil", EVIL), words=leaves),
        "two dots in the prefix": sdist(whole, member(b"evil", EVIL, prefix=b"x/.."), words=leaves),
        "two dots by pax": sdist(
            whole, pax((b"path", b"../../evil")), member(TOP + b"x", EVIL), words=leaves
        ),
        "two dots by a long name": sdist(
            whole, member(b"././@LongLink", b"../../evil\0", b"L"), member(TOP + b"x", EVIL), words=leaves
        ),
        "backslash": sdist(whole, member(TOP + b"..\\evil", EVIL), words=leaves),
        "no name": sdist(whole, member(b"", EVIL), words="outside the archive's one folder"),
        "outside of the one folder": sdist(
            whole, member(b"evil.py", EVIL), words="outside the archive's one folder"
        ),
        "twice": sdist(whole, member(ODD, EVIL), words=twice),
        "twice, with a dot": sdist(whole, member(TOP + b"./setup.py", EVIL), words=twice),
        "twice, in another folder": sdist(whole, member(b"other/setup.py", EVIL), words=twice),
        "below a file": sdist(whole, member(ODD + b"/evil", EVIL), words=unproven),
        "very long": sdist(whole, pax((b"path", TOP + long * 60)), member(b"x", EVIL), words=unproven),
        "not UTF-8": sdist(whole, member(TOP + b"\xff\xfe", EVIL), words="a name that is not UTF-8"),
        "newline": sdist(whole, member(TOP + b"a\nb", EVIL), words=unproven),
        # Extended headers.
        "pax: path for all": sdist(pax((b"path", TOP + b"evil.py"), kind=b"g"), whole, words=unproven),
        "pax: two paths": sdist(
            pax((b"path", ODD), (b"path", TOP + b"evil.py")), member(b"x", setup), words=unproven
        ),
        "pax: NUL in the path": sdist(pax((b"path", ODD + b"\0.txt")), member(b"x", setup), words=unread),
        "pax: path of a folder": sdist(pax((b"path", ODD + b"/")), member(b"x", EVIL), words="differs from"),
        "pax: overlong UTF-8": sdist(
            pax((b"path", TOP + b"\xc0\xaf")), member(b"x", EVIL), words="a name that is not UTF-8"
        ),
        "pax: another character set": sdist(
            pax((b"hdrcharset", b"BINARY"), (b"path", TOP + b"\xff")),
            member(b"x", EVIL),
            words="a name that is not UTF-8",
        ),
        "pax: no newline": sdist(_raw(b"30 path=" + TOP + b"evil.py    "), whole, words=either),
        "pax: no equals sign": sdist(_raw(b"13 path " + b"evil\n"), whole, words=TAKEN_OR),
        "pax: length zero": sdist(_raw(b"0 path=x\n"), whole, words=TAKEN_OR),
        "pax: length with 5,000 digits": sdist(_raw(b"9" * 5000 + b" path=x\n"), whole, words=unread),
        "pax: size of another": sdist(pax((b"size", b"3")), whole, words=cut),
        "pax: size for all": sdist(pax((b"size", b"3"), kind=b"g"), whole, words=cut),
        "pax: size that is none": sdist(pax((b"size", b"x")), whole, words=cut),
        "pax: negative size": sdist(pax((b"size", b"-512")), whole, words=f"{twice}|{unread}"),
        "pax: huge size": sdist(
            pax((b"size", b"9" * 15)), whole, words="larger than a source archive may be"
        ),
        "pax: 2,000 in a row": sdist(2000 * pax((b"mtime", b"0")), whole, words=unread),
        "GNU's long name 2,000 times": sdist(
            2000 * member(b"././@LongLink", b"x\0", b"L"), whole, words=unread
        ),
        "pax: nothing behind": sdist(whole, pax((b"path", ODD)), words=unread),
        # Sparse files.
        "sparse and huge": sdist(
            _sparse(ODD, 0o77777777777, b"", (0, 0)), words="larger than a source archive may"
        ),
        "sparse, of other bytes": sdist(_sparse(ODD, 4096, setup, (0, len(setup))), words="differs from"),
        "sparse, beyond its end": sdist(_sparse(ODD, 10, setup, (0o7777777777, 10)), words="differs from"),
        "pax: sparse and huge": sdist(
            pax(
                (b"GNU.sparse.major", b"1"),
                (b"GNU.sparse.minor", b"0"),
                (b"GNU.sparse.name", ODD),
                (b"GNU.sparse.realsize", b"9" * 15),
            ),
            member(b"x", b"0\n".ljust(512, b"\0")),
            words="larger than a source archive may be",
        ),
        "pax: sparse map that is none": sdist(
            pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", ODD)),
            member(b"x", b"9999999\nx\n".ljust(512, b"\0")),
            words=unread,
        ),
        # Headers.
        "wrong checksum": sdist(whole, member(TOP + b"x", EVIL, sum=b"000001\0 "), words=unread),
        "size that is no number": sdist(whole, member(TOP + b"x", EVIL, size=b"zzzzzzzzzzz"), words=unread),
        "size of 2^64": sdist(
            whole, member(TOP + b"x", EVIL, size=b"\x80" + b"\xff" * 11), words="larger than"
        ),
        "negative size": sdist(whole, member(TOP + b"x", EVIL, size=b"\xff" * 12), words=unread),
        "truncated": Case(gzip.compress((rest + whole)[:-300], 1, mtime=0), unread),
        "truncated where it is packed": Case(gzip.compress(rest + whole + END, 1, mtime=0)[:-20], unread),
        "no archive": Case(b"<html>404</html>" * 40, unread),
        "nothing": Case(b"", unread),
    }
