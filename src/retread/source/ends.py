"""Line ends of a source tree, as git writes them where ``core.autocrlf`` is on: the default of git for Windows. Pure.

git stores a text with LF and writes each line end as CR LF there; what holds a zero byte it takes for no text.
"""

from __future__ import annotations


def windows(data: bytes) -> bytes:
    """Return a file of the tree as such a checkout has it. One that has CR LF already stays: git leaves it, too."""
    return data if b"\0" in data or b"\r" in data else data.replace(b"\n", b"\r\n")


def stored(data: bytes) -> bytes:
    """Return what git stores of a file of such a checkout; the file itself where it is none of its."""
    plain = data.replace(b"\r\n", b"\n")
    return plain if windows(plain) == data else data
