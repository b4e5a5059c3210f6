"""The script before the host's compiler: each pass notes what it read, when a build asks for it, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from retread.recipe import native
from standins import put_host
from tinycuda import skip_without


class Host:
    """The script before a compiler, and the folder for notes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.read = root / "read of it"
        self.read.mkdir()
        self.program = root / "g++"

    def before(self, body: str) -> None:
        """Put it before a compiler that is a shell script."""
        real = self.root / "real g++"
        real.write_text(f"#!/bin/sh\n{body}\n")
        real.chmod(0o755)
        put_host(self.program, real)

    def start(self, *arguments: str, read: str | None = None) -> subprocess.Popen[str]:
        environment = {"PATH": "/usr/bin:/bin"}
        if read is not None:
            environment["RETREAD_READ"] = read
        return subprocess.Popen(
            [self.program, *arguments],
            cwd=self.root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, read: str | None = None, code: int = 0) -> list[str]:
        """Return the lines that the compiler said."""
        with self.start(*arguments, read=read) as process:
            said, _ = process.communicate(timeout=60)
        assert process.returncode == code
        return said.splitlines()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


ODD = ["-DX=a b", "-I*", '-DY="$HOME"', "", "a\\b"]


@pytest.mark.parametrize("option", ["-E", "-c"])
def test_a_pass_notes_what_it_reads_under_its_own_number(host: Host, option: str) -> None:
    host.before('echo $$; printf "%s\\n" "$@"')
    given = [*ODD, "-x", "c++", option, "a.cu", "-o", "a.ii"]
    number, *arguments = host.run(*given, read=str(host.read))
    assert arguments == [*given, "-MD", "-MF", f"{host.read}/{number}.d"]


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        (["-c", "a.c", *ODD], None),
        (["-c", "a.c"], ""),
        (["-E", "a.c"], None),
        (["--version"], "read"),
        (["-print-prog-name=as"], "read"),
        (["-shared", "a.o", "-o", "-cc.so"], "read"),
        (["-S", "a.c", "-Ecc", "--c"], "read"),
        ([""], "read"),
    ],
    ids=str,
)
def test_what_is_no_pass_of_a_unit_goes_through_as_it_is(
    host: Host, arguments: list[str], read: str | None
) -> None:
    host.before('printf "%s\\n" "$@"; exit 7')
    assert host.run(*arguments, read=read, code=7) == arguments


def test_no_arguments_at_all_stay_none(host: Host) -> None:
    host.before("echo $#")
    assert host.run(read="read") == ["0"]


def test_two_passes_at_one_time_do_not_mix(host: Host) -> None:
    """Each waits until both run; then each writes its note."""
    host.before(
        'touch "here-$1"; while ! [ -e here-a.c ] || ! [ -e here-b.c ]; do sleep 0.01; done\n'
        'source=$1; for last; do :; done; echo "x.o: $source" >"$last"'
    )
    passes = [host.start(name, "-c", read=str(host.read)) for name in ("a.c", "b.c")]
    end = time.monotonic() + 60
    for one in passes:
        with one:
            one.communicate(timeout=end - time.monotonic())
        assert one.returncode == 0
    notes = {path.name: path.read_text() for path in host.read.iterdir()}
    assert notes == {f"{one.pid}.d": f"x.o: {name}.c\n" for one, name in zip(passes, "ab", strict=True)}


def test_the_passes_of_a_real_compiler(host: Host) -> None:
    skip_without("gcc")
    put_host(host.program, Path(shutil.which("gcc") or ""))
    (host.root / "in.h").write_text("int in_it;\n")
    (host.root / "a.c").write_text('#include "in.h"\n#include <stddef.h>\n')
    plain = host.run("-E", "a.c")
    assert host.run("-E", "a.c", read=str(host.read)) == plain, "what it says stays the same"
    assert host.run("-c", "a.c", "-o", "a.o", "-MD", "-MF", "other.d", read=str(host.read)) == []
    notes = [set(native.dependencies(path.read_text())) for path in host.read.iterdir()]
    assert len(notes) == 2
    for read in notes:
        assert read >= {"a.c", "in.h"}
        assert any(one.endswith("/stddef.h") for one in read), "system headers, too"
