"""The room of a build: only what differs is touched, finished objects stay, nothing else is left of the last one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from retread.compile import room as module
from retread.compile.jobserver import Compiled
from retread.compile.room import Layout
from retread.compile.sandbox import Cache, Walled, Work
from retread.compile.schedule import Cost, Unit
from retread.doors import fs, walls
from retread.environment.host import Compiler, Python
from retread.recipe.proof import blob_id
from retread.records import Sha256

FILES = {"setup.py": b"1", "csrc/a.cu": b"2", "csrc/deep/b.h": b"3"}
OLD = 1_000_000_000


class Place:
    """A room, and the pinned tree that its files are copied from."""

    def __init__(self, root: Path) -> None:
        self.room, self.pinned = root / "room", root / "pinned"
        self.room.mkdir()
        self.source = self.room / "source"

    def enter(self, files: Mapping[str, bytes], setting: str = "one") -> list[str]:
        """Enter the room, and return the files that were written."""
        for path, data in files.items():
            file = self._pinned(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        blobs = {path: blob_id(data) for path, data in files.items()}
        return module.enter(self.room, setting, blobs, self._pinned)

    def _pinned(self, path: str) -> Path:
        return self.pinned / path.replace("/", "~")

    def age(self) -> None:
        for path in self.source.rglob("*"):
            if path.suffix != ".o":  # an object of another time is not the one that was noted
                os.utime(path, (OLD, OLD))

    def files(self) -> dict[str, bytes]:
        found = (path for path in self.source.rglob("*") if path.is_file())
        return {str(path.relative_to(self.source)): path.read_bytes() for path in found}

    def touched(self) -> list[str]:
        """Return the files that are not as old as ``age`` made them."""
        found = (path for path in self.source.rglob("*") if path.is_file() and path.stat().st_mtime != OLD)
        return sorted(str(path.relative_to(self.source)) for path in found)

    def compile(self, name: str, *, seconds: float = 1, read: str = "", layout: Layout | None = None) -> Path:
        """Make an object and note it as finished."""
        output = self.source / "build" / "temp.linux" / f"{name}.o"
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("object")
        output.with_suffix(".d").write_text(f"{name}.o: {read or name}\n")
        layout = layout or plain(self.room)
        inside = Path(layout.source) / "build" / "temp.linux" / f"{name}.o"
        one = Compiled(
            Unit(name=name, tool="nvcc", size=1),
            Cost(seconds=seconds, memory=5),
            inside,
            inside.with_suffix(".d"),
            Path(layout.source),
        )
        module.note(self.room, one, layout)
        return output


def plain(room: Path) -> Layout:
    """Return the layout of a build without namespaces."""
    return Layout(False, f"{room}/source", str(room), "/kit", "/env", ())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_the_tree_is_laid_out_with_bytes_and_modes(place: Place) -> None:
    place.pinned.mkdir()
    (place.pinned / "run.sh").write_bytes(b"#!/bin/sh\n")
    (place.pinned / "run.sh").chmod(0o755)
    place.enter(FILES | {"run.sh": b"#!/bin/sh\n"})
    assert place.files() == FILES | {"run.sh": b"#!/bin/sh\n"}
    assert os.access(place.source / "run.sh", os.X_OK)
    assert not os.access(place.source / "setup.py", os.X_OK)
    assert (place.room / "home").is_dir()


def test_only_what_differs_is_touched(place: Place) -> None:
    place.enter(FILES)
    place.age()
    place.enter(FILES)
    assert place.touched() == []
    changed = place.enter(FILES | {"csrc/a.cu": b"changed", "csrc/new.h": b"new"})
    assert changed == ["csrc/a.cu", "csrc/new.h"]
    assert place.touched() == ["csrc/a.cu", "csrc/new.h"]
    assert place.files() == FILES | {"csrc/a.cu": b"changed", "csrc/new.h": b"new"}


def test_what_the_tree_does_not_hold_goes(place: Place) -> None:
    place.enter(FILES)
    for name in ("tiny.egg-info/PKG-INFO", "csrc/generated.cu", "version.py"):
        (place.source / name).parent.mkdir(exist_ok=True)
        (place.source / name).write_text("made by the last build")
    (place.source / "link").symlink_to("setup.py")
    place.enter({path: data for path, data in FILES.items() if path != "csrc/deep/b.h"})
    assert place.files() == {"setup.py": b"1", "csrc/a.cu": b"2"}
    assert not (place.source / "link").is_symlink()


def test_a_changed_file_or_a_link_in_the_place_of_one_is_put_right(place: Place) -> None:
    place.enter(FILES)
    (place.source / "setup.py").write_text("the build changed it")
    (place.source / "csrc/a.cu").unlink()
    (place.source / "csrc/a.cu").symlink_to(place.pinned / "csrc~a.cu")
    place.enter(FILES)
    assert place.files() == FILES
    assert not (place.source / "csrc/a.cu").is_symlink()
    assert (place.pinned / "csrc~a.cu").read_bytes() == b"2"


def test_a_folder_becomes_a_file_and_a_file_a_folder(place: Place) -> None:
    place.enter(FILES)
    place.enter({"csrc": b"4", "setup.py/x": b"5"})
    assert place.files() == {"csrc": b"4", "setup.py/x": b"5"}
    place.enter(FILES)
    assert place.files() == FILES


def test_objects_stay_and_linked_libraries_go(place: Place) -> None:
    place.enter(FILES)
    place.age()
    kept = place.compile("csrc/a.cu")
    for name in ("build/lib.linux/tiny/_C.so", "build/bdist.linux/x", "build/loose"):
        (place.source / name).parent.mkdir(parents=True, exist_ok=True)
        (place.source / name).write_text("old")
    ninja = place.source / "build/temp.linux/.ninja_deps"
    ninja.write_text("deps")
    place.enter(FILES)
    assert [path.name for path in (place.source / "build").iterdir()] == ["temp.linux"]
    assert kept.exists()
    assert ninja.exists()
    assert [one for one in place.touched() if not one.startswith("build/")] == []


def test_what_was_left_half_written_goes(place: Place) -> None:
    place.enter(FILES)
    kept, gone = place.compile("csrc/a.cu"), place.source / "build/temp.linux/csrc/half.o"
    gone.write_text("ha")
    place.enter(FILES)
    assert kept.exists()
    assert not gone.exists()


def test_the_object_of_a_source_that_is_gone_goes_and_is_listed_no_more(place: Place) -> None:
    """A series may delete a source; whoever links all objects that are there would still link it in."""
    place.enter(FILES | {"csrc/b.cu": b"4"})
    kept, gone = place.compile("csrc/a.cu"), place.compile("csrc/b.cu")
    place.enter(FILES)
    assert kept.exists()
    assert not gone.exists()
    assert [one.unit.name for one in module.units(place.room)] == ["csrc/a.cu"]
    place.enter(FILES | {"csrc/b.cu": b"4"})
    assert [one.unit.name for one in module.units(place.room)] == ["csrc/a.cu"], "it has to be compiled again"


def test_objects_of_sources_that_the_tree_never_held_stay(place: Place, fixed: Layout) -> None:
    """One was generated among the objects, one lies where only a build sees it."""
    place.enter(FILES)
    made = "build/temp.linux/made.cu"
    (place.source / made).parent.mkdir(parents=True)
    (place.source / made).write_text("generated")
    objects = [place.compile(made), place.compile("csrc/a.cu", layout=fixed)]
    outside = place.source / "build/temp.linux/outside.o"
    outside.write_text("object")
    source = f"{fixed.environment}/lib/x.cpp"
    one = Compiled(
        Unit(name=source, tool="g++", size=1),
        Cost(seconds=1, memory=1),
        outside,
        outside.with_suffix(".d"),
        place.source,
    )
    module.note(place.room, one, plain(place.room))
    place.enter(FILES)
    assert all(path.exists() for path in [*objects, outside])
    assert sorted(one.unit.name for one in module.units(place.room)) == sorted([made, "csrc/a.cu", source])


def test_what_one_run_leaves_beside_the_tree_goes(place: Place) -> None:
    place.enter(FILES)
    for name in ("out", "bin", "host", "cuda", "trace"):
        (place.room / name).mkdir(exist_ok=True)
        (place.room / name / "file").write_text("old")
    for name in ("executed", "build.log", "cache.log", "cache.json"):
        (place.room / name).write_text("old")
    place.enter(FILES)
    assert sorted(path.name for path in place.room.iterdir()) == [
        "executed",
        "home",
        "out",
        "setting",
        "source",
    ]
    assert [*(place.room / "out").iterdir()] == []
    assert (place.room / "executed").read_text() == ""


def test_another_setting_keeps_nothing(place: Place) -> None:
    place.enter(FILES)
    gone = place.compile("csrc/a.cu")
    place.age()
    place.enter(FILES, setting="another")
    assert not gone.exists()
    assert place.files() == FILES
    assert place.touched() == sorted(FILES)
    assert module.units(place.room) == []


def test_a_room_without_a_sign_is_not_trusted(place: Place) -> None:
    """A first run that was killed before it wrote the sign left files of who knows what setting."""
    (place.source / "build/temp.linux").mkdir(parents=True)
    (place.source / "build/temp.linux/a.o").write_text("object")
    place.enter(FILES)
    assert place.files() == FILES


# The list of finished units.


def test_a_unit_is_listed_with_all_that_it_was_made_of(place: Place) -> None:
    place.enter(FILES)
    place.compile(
        "csrc/a.cu", read="csrc/a.cu csrc/../csrc/deep/b.h /usr/include/x.h csrc/a.cu", seconds=1.23456
    )
    (one,) = module.units(place.room)
    assert (one.unit.name, one.unit.tool, one.cost.seconds, one.cost.memory) == (
        "csrc/a.cu",
        "nvcc",
        1.235,
        5,
    )
    assert one.output == "source/build/temp.linux/csrc/a.cu.o"
    inside = [f"{place.source}/csrc/a.cu", f"{place.source}/csrc/deep/b.h"]
    assert sorted(one.read) == sorted([*inside, "/usr/include/x.h"])


def test_the_last_note_of_a_unit_counts(place: Place) -> None:
    place.enter(FILES)
    place.compile("csrc/a.cu", seconds=1)
    place.compile("csrc/b.cu", seconds=2)
    place.compile("csrc/a.cu", seconds=3)
    assert {one.unit.name: one.cost.seconds for one in module.units(place.room)} == {
        "csrc/a.cu": 3,
        "csrc/b.cu": 2,
    }


def test_a_unit_whose_object_is_gone_is_not_listed(place: Place) -> None:
    place.enter(FILES)
    place.compile("csrc/a.cu").unlink()
    assert module.units(place.room) == []


def test_a_note_that_was_cut_off_hides_no_other(place: Place) -> None:
    """A full disk cuts a note in the midst; the notes before it and after it count."""
    place.enter(FILES)
    place.compile("csrc/a.cu")
    notes = place.room / "units.jsonl"
    notes.write_bytes(notes.read_bytes() + b'{"name":"csrc/b.cu","tool":"nv')
    assert [one.unit.name for one in module.units(place.room)] == ["csrc/a.cu"]
    place.compile("csrc/c.cu")
    assert [one.unit.name for one in module.units(place.room)] == ["csrc/a.cu", "csrc/c.cu"]


def test_a_unit_without_a_depfile_is_listed(place: Place) -> None:
    place.enter(FILES)
    output = place.source / "a.o"
    output.write_text("object")
    one = Compiled(
        Unit(name="a.cu", tool="nvcc", size=1),
        Cost(seconds=1, memory=1),
        output,
        place.source / "none.d",
        place.source,
    )
    module.note(place.room, one, plain(place.room))
    assert module.units(place.room)[0].read == ()


# Where the folders lie.


@pytest.fixture
def fixed(place: Place, tmp_path: Path) -> Layout:
    """Return the layout of a build behind walls."""
    (tmp_path / "inner").mkdir()
    return module.fixed(place.room, Path("/the/kit"), Path("/the/env"), str(tmp_path / "inner"))


def test_behind_walls_the_folders_lie_at_fixed_places_and_the_list_of_units_is_not_seen(
    place: Place, fixed: Layout, tmp_path: Path
) -> None:
    top = "/mnt/retread"
    assert fixed.fixed
    assert not fixed.network
    assert (fixed.source, fixed.room) == (f"{top}/room/source", f"{top}/room")
    assert (fixed.toolkit, fixed.environment) == (f"{top}/toolkit", f"{top}/environment")
    assert {seen: (real, mode) for real, seen, mode in fixed.binds} == {
        **{
            f"{top}/room/{one}": (f"{place.room}/{one}", "rw")
            for one in ("source", "home", "out", "executed")
        },
        **{f"{top}/room/{one}": (f"{place.room}/{one}", "ro") for one in ("bin", "host", "cuda", "trace")},
        f"{top}/toolkit": ("/the/kit", "ro"),
        f"{top}/environment": ("/the/env", "ro"),
        "/tmp": (f"{tmp_path}/inner", "rw"),
    }


def test_what_a_build_names_is_found_outside(place: Place, fixed: Layout) -> None:
    top = "/mnt/retread"
    assert fixed.outside(f"{top}/room/source/a.cu") == f"{place.room}/source/a.cu"
    assert fixed.outside(f"{top}/room/source") == f"{place.room}/source"
    assert fixed.outside(f"{top}/toolkit/bin/nvcc") == "/the/kit/bin/nvcc"
    assert fixed.outside(f"{top}/room/sourcerer/a.cu") == f"{top}/room/sourcerer/a.cu"
    assert fixed.outside("/usr/include/x.h") == "/usr/include/x.h"


@pytest.mark.parametrize(
    "said",
    ["/etc/passwd", "{source}/link/key", "{source}/deep/link", "{source}/../key", "/tmp/link", "{room}/bin/key",
     "{source}/deep"],
)  # fmt: skip
def test_no_build_has_what_it_may_not_see_read_for_it(
    said: str, place: Place, fixed: Layout, tmp_path: Path
) -> None:
    place.enter(FILES)
    (tmp_path / "home").mkdir()
    for key in (tmp_path / "home" / "key", place.room / "key"):
        key.write_text("x.o: /s3cret\n")
    (place.source / "deep").mkdir()
    for link, aim in (("link", "home"), ("deep/link", "home/key")):
        (place.source / link).symlink_to(tmp_path / aim)
    (tmp_path / "inner" / "link").symlink_to(tmp_path / "home" / "key")
    path = Path(said.format(source=fixed.source, room=fixed.room))
    one = Compiled(Unit(name="a", tool="cc", size=1), Cost(seconds=1, memory=1), path, path, Path("/"))
    with pytest.raises(OSError):
        module.note(place.room, one, fixed)
    assert module.units(place.room) == []


def test_a_link_that_a_build_left_is_gone_before_anything_is_written_through_it(
    place: Place, tmp_path: Path
) -> None:
    place.enter(FILES)
    own = tmp_path / "project"
    (own / "deep").mkdir(parents=True)
    (own / "a.cu").write_text("mine")
    for path in (place.source / "csrc/a.cu", place.source / "csrc/deep/b.h"):
        path.unlink()
    (place.source / "csrc" / "deep").rmdir()
    (place.source / "csrc").rmdir()
    (place.source / "csrc").symlink_to(own)
    (place.room / "units.jsonl").symlink_to(own / "a.cu")
    (place.source / "build").symlink_to(own)
    place.enter(FILES)
    assert (own / "a.cu").read_text() == "mine"
    assert list((own / "deep").iterdir()) == []
    assert place.files() == FILES
    fs.remove(place.source)
    place.source.symlink_to(own)
    place.enter(FILES)
    assert sorted(own.iterdir()) == [own / "a.cu", own / "deep"]


def test_a_unit_that_was_seen_inside_is_listed_by_its_place_in_the_room(place: Place, fixed: Layout) -> None:
    place.enter(FILES)
    place.compile("csrc/a.cu", read="csrc/a.cu", layout=fixed)
    (one,) = module.units(place.room)
    assert one.output == "source/build/temp.linux/csrc/a.cu.o"
    assert one.read == (f"{fixed.source}/csrc/a.cu",), "as every machine sees it"


@pytest.mark.skipif(bool(walls.absence({})), reason="needs bubblewrap, and namespaces")
def test_what_a_build_writes_to_its_own_tmp_is_found_outside(place: Place, tmp_path: Path) -> None:
    """Projects that compile below /tmp are listed like the others, and a build's /tmp is bounded and seen by nobody."""
    control = tmp_path / "control"
    control.mkdir()
    tools = Python(executable=sys.executable, prefix=sys.prefix, version="", number="", digest=Sha256(""))
    here = Walled(tools, Compiler(c="/usr/bin/cc", cxx="/usr/bin/c++", version="", digest=Sha256("")), {})
    found = here.layout(place.room, Path("/the/kit"), Path("/the/env"), control)
    work = Work(found, place.room, control, {}, Cache(None, tmp_path, anew=False), {})
    command = [str(word) for word in here.command(work)[0]]
    start = command[: command.index("sh")]
    mounted = (
        f"mount -t tmpfs -o size=65536 x {control}/tmp && echo 'x.o: a.h' > {control}/tmp/x.d && echo up; cat"
    )
    with subprocess.Popen(
        [*start, "sh", "-c", mounted], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as build:
        assert build.stdout
        assert build.stdout.readline() == "up\n"
        here.started(control, build.pid)
        stream, real = found.written("/tmp/x.d")
        with stream:
            assert stream.read() == b"x.o: a.h\n"
        assert Path(real).read_text() == "x.o: a.h\n"
        assert list((control / "tmp").iterdir()) == []
        build.communicate("")


def test_without_walls_the_folders_lie_where_they_are(place: Place, fixed: Layout) -> None:
    found = module.layout(place.room, Path("/the/kit"), Path("/the/env"))
    assert found == Layout(False, f"{place.room}/source", str(place.room), "/the/kit", "/the/env", ())
    assert found.network
    assert found.outside(f"{fixed.source}/a.cu") == f"{fixed.source}/a.cu"


# Tools.


def test_every_compiler_is_a_stand_in_and_the_rest_of_the_toolkit_is_as_it_is(
    place: Place, tmp_path: Path
) -> None:
    kit = tmp_path / "kit"
    for name in ("bin/nvcc", "bin/ptxas", "bin/nvcc.profile", "include/cuda.h", "lib64/libcudart.so"):
        (kit / name).parent.mkdir(parents=True, exist_ok=True)
        (kit / name).write_text(name)
    place.enter(FILES)
    compiler = Compiler(c="/real/gcc-13", cxx="/real/g++-13", version="", digest=Sha256("d1gest"))
    layout = Layout(False, "", str(place.room), str(kit), sys.prefix, ())
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "ninja").touch()
    tools = module.put_tools(place.room, kit, environment, compiler, layout)
    host = place.room / "host"
    assert tools == {
        "nvcc": f"{kit}/bin/nvcc",
        "gcc": f"{host}/gcc", "cc": f"{host}/gcc", "g++": f"{host}/g++", "c++": f"{host}/g++",
    }  # fmt: skip
    assert sorted(path.name for path in host.iterdir()) == ["g++", "gcc"]
    for before, real in (("gcc", "/real/gcc-13"), ("g++", "/real/g++-13")):
        text = (host / before).read_text()
        assert text.startswith("#!/bin/sh\n")
        assert text.endswith(f'\nexec "{real}" "$@"\n')
        assert f"{real} d1gest\n" in text, "the cache tells compilers apart by their bytes"
        assert "@REAL@" not in text
        assert os.access(host / before, os.X_OK)
    cuda = place.room / "cuda"
    assert (cuda / "bin/ptxas").read_text() == "bin/ptxas"
    assert (cuda / "include/cuda.h").read_text() == "include/cuda.h"
    assert (cuda / "lib64/libcudart.so").read_text() == "lib64/libcudart.so"
    names = sorted(path.name for path in (place.room / "bin").iterdir())
    assert names == ["ahead", "c++", "cc", "g++", "gcc", "ninja"]
    for stand_in in (cuda / "bin/nvcc", *(place.room / "bin").iterdir()):
        assert not stand_in.is_symlink()
        assert os.access(stand_in, os.X_OK)
        first, *rest = stand_in.read_text().splitlines()
        assert first == f"#!{sys.prefix}/bin/python -IS"
        variable = "RETREAD_NINJA" if stand_in.name in {"ahead", "ninja"} else "RETREAD_CONTROL"
        assert variable in "\n".join(rest)
    assert (kit / "bin/nvcc").read_text() == "bin/nvcc"
    assert "RETREAD_EXECUTED" in (place.room / "trace/sitecustomize.py").read_text()


def test_the_list_of_units_is_json_that_others_can_read(place: Place) -> None:
    place.enter(FILES)
    place.compile("csrc/a.cu")
    lines = [line for line in (place.room / "units.jsonl").read_text().splitlines() if line]
    assert [json.loads(line)["unit"]["name"] for line in lines] == ["csrc/a.cu"]


def test_an_object_that_was_written_again_is_not_the_one_that_was_noted(place: Place) -> None:
    """A second compile that was killed left it half written."""
    place.enter(FILES)
    whole, half = place.compile("csrc/a.cu"), place.compile("csrc/b.cpp")
    os.utime(half, ns=(1, 1))
    assert [one.unit.name for one in module.units(place.room)] == ["csrc/a.cu"]
    place.enter(FILES)
    assert (whole.exists(), half.exists()) == (True, False)


def test_an_object_is_void_when_a_header_of_the_machine_changed_whatever_its_date(
    place: Place, tmp_path: Path
) -> None:
    header = tmp_path / "stdio.h"
    header.write_text("old")
    place.enter(FILES)
    made = place.compile("csrc/a.cu", read=str(header))
    assert len(module.units(place.room)) == 1
    header.write_text("new")
    os.utime(header, (OLD, OLD))  # packages bring files with dates of their own
    assert module.units(place.room) == []
    place.enter(FILES)
    assert not made.exists()
