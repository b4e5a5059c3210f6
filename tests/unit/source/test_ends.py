"""Line ends as git writes them on Windows, and back: by git itself."""

from __future__ import annotations

import pytest

from retread.source import ends


@pytest.mark.parametrize(
    ("stored", "checked_out"),
    [
        (b"", b""),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\nb", b"a\r\nb"),
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\r\nb\n", b"a\r\nb\n"),
        (b"a\0b\n", b"a\0b\n"),
        (b"lone\rb\n", b"lone\rb\n"),
    ],
)
def test_a_text_has_other_line_ends_there(stored: bytes, checked_out: bytes) -> None:
    assert ends.windows(stored) == checked_out
    assert ends.stored(checked_out) in (stored, stored.replace(b"\r\n", b"\n"))


@pytest.mark.parametrize("data", [b"a\r\nb\n", b"a\rb\r\n", b"a\0\r\n", b"a\n"])
def test_what_no_such_checkout_gives_is_left(data: bytes) -> None:
    assert ends.stored(data) == data
