"""Zip archives by hand, in which every field of every header can say what it should not."""

from __future__ import annotations

import stat
import struct
import zlib

CONTENT = b"print('a tyre')\n" * 20


class Part:
    """One member by hand; ``local`` and ``central`` override what the headers say."""

    def __init__(self, name: bytes = b"pkg/a.py", content: bytes = CONTENT, **other: object) -> None:
        deflated = other.pop("deflated", True)
        packer = zlib.compressobj(6, 8, -15)
        packed = packer.compress(content) + packer.flush() if deflated else content
        self.data: bytes = other.pop("data", packed)  # type: ignore[assignment]
        self.local: dict[str, int | bytes] = other.pop("local", {})  # type: ignore[assignment]
        self.central: dict[str, int | bytes] = other.pop("central", {})  # type: ignore[assignment]
        self.before: bytes = other.pop("before", b"")  # type: ignore[assignment]
        self.after: bytes = other.pop("after", b"")  # type: ignore[assignment]
        self.name, self.content = name, content
        self.fields: dict[str, int | bytes] = {
            "name": name,
            "flags": 0,
            "method": 8 if deflated else 0,
            "crc": zlib.crc32(content),
            "compressed": len(self.data),
            "size": len(content),
            "extra": b"",
            "comment": b"",
            "attributes": (stat.S_IFREG | 0o644) << 16,
            "disk": 0,
            "version": 20,
        }
        self.fields.update(other)  # type: ignore[arg-type]

    def head(self) -> bytes:
        get = {**self.fields, **self.local}
        numbers = (20, get["flags"], get["method"], 0, 33, get["crc"], get["compressed"], get["size"])
        tail = (get["name"], get["extra"])
        return struct.pack("<4s5H3L2H", b"PK\3\4", *numbers, *map(len, tail)) + b"".join(tail)  # type: ignore[arg-type]

    def entry(self, offset: int) -> bytes:
        get = {**self.fields, "offset": offset, **self.central}
        numbers = (
            788,
            get["version"],
            get["flags"],
            get["method"],
            0,
            33,
            get["crc"],
            get["compressed"],
            get["size"],
        )
        tail = (get["name"], get["extra"], get["comment"])
        lengths = (*map(len, tail), get["disk"], 0)  # type: ignore[arg-type]
        head = struct.pack("<4s6H3L5H2L", b"PK\1\2", *numbers, *lengths, get["attributes"], get["offset"])
        return head + b"".join(tail)  # type: ignore[arg-type]


def build(*parts: Part, wide: bool = False, **end: int) -> bytes:
    """Return an archive of the parts; ``end`` overrides what the end record says."""
    out = b""
    directory = b""
    for part in parts:
        out += part.before
        directory += part.entry(len(out))
        out += part.head() + part.data + part.after
    get = {"disk": 0, "first": 0, "here": len(parts), "count": len(parts), "size": len(directory)}
    get |= {"offset": len(out), "comment": 0, "locator": len(out) + len(directory), "disks": 1} | end
    out += directory
    if wide:
        order = [get[key] for key in ("disk", "first", "here", "count", "size", "offset")]
        out += struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, *order)
        out += struct.pack("<4sLQL", b"PK\6\7", 0, get["locator"], get["disks"])
        get |= {"here": 0xFFFF, "count": 0xFFFF, "size": 0xFFFFFFFF, "offset": 0xFFFFFFFF} | end
    order = [get[key] for key in ("disk", "first", "here", "count", "size", "offset", "comment")]
    return out + struct.pack("<4s4H2LH", b"PK\5\6", *order)
