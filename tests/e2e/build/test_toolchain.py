"""Toolkits as a user gets them: from a mirror laid out like NVIDIA's, from wheels, or from the machine itself."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from loopback import Index
from retread.doors.net import download, settings
from retread.doors.store import Kind
from retread.recipe import workspace
from retread.toolkit import layout as stage
from retread.variables import CUDA_MIRROR
from tinycuda import Project, Result, names
from toolparts import CUDART, NVCC, Mirror, link, make_archive, mirror, nvcc_files, top

FILE = NVCC.rpartition("/")[2]
WAYS = (
    "next: do one of three: let this machine reach https://developer.download.nvidia.com/compute/cuda/redist/; "
    "set RETREAD_CUDA_MIRROR to an address or a folder with the same files below it; install NVIDIA's toolkit 12.8"
)


class Workplace:
    """A workspace with the toolchain cuda-12.8, whose parts are small."""

    def __init__(self, project: Project, index: Index, folder: Path) -> None:
        self.project, self.index, self.folder = project, index, folder
        (project.root / "recipes" / "toolchains").mkdir()
        self.pin(mirror())

    def pin(self, made: Mirror) -> None:
        """Serve these parts, and pin them in the toolchain file."""
        self.index.mirror = dict(made.archives)
        self.index.files |= made.wheels
        (self.project.root / "recipes" / "toolchains" / "cuda-12.8.toml").write_text(made.text)

    def run(self, *arguments: str) -> Result:
        return self.project.run("toolchain", *arguments)

    def tree(self, result: Result) -> Path:
        """Return the toolkit that a good ``get`` names on stdout, and check that it is one."""
        assert result.code == 0, result
        (line,) = result.out.splitlines()
        root = Path(line)
        said = subprocess.run([root / "bin/nvcc", "--version"], capture_output=True, text=True, check=True)
        assert "release 12.8" in said.stdout
        return root

    def refused(self, code: int, *words: str, partial: bool = False) -> Result:
        """Get the toolkit, and check the exit code, the words, and that nothing half-made stays."""
        result = self.run("get", "cuda-12.8")
        assert result.code == code, result
        for word in words:
            assert word in result.err, (word, result.err)
        assert result.out == ""
        assert self.project.leftovers() == []
        assert self.project.entries(Kind.TOOLKITS) == []
        assert bool(self.project.partials()) == partial
        return result

    def asked(self, method: str) -> list[str]:
        """Return the paths below the mirror that were asked for by this method."""
        return [one.path.removeprefix("/mirror/") for one in self.index.log if one.method == method
                and one.path.startswith("/mirror/")]  # fmt: skip


@pytest.fixture
def place(project: Project, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(stage, "SYSTEM", tmp_path / "local")
    monkeypatch.setattr(workspace, "_OWN", tmp_path / "none")  # its parts are those of the real one
    monkeypatch.setenv(CUDA_MIRROR, index.mirror_url)
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    return Workplace(project, index, tmp_path)


def put(folder: Path, index: Index) -> Path:
    """Write the mirror's files below a folder."""
    for path, data in index.mirror.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    index.mirror = {}
    return folder


# What is made.


def test_a_mirror_laid_out_like_nvidia_s_gives_a_toolkit(place: Workplace) -> None:
    result = place.run("get", "cuda-12.8")
    root = place.tree(result)
    assert names(root) == ["LICENSE.cudart", "LICENSE.nvcc", "bin", "include", "lib", "lib64", "nvvm"]
    assert (root / "lib64/libcudart.so").read_bytes() == b"libcudart"
    assert (root / "include/nv/target").is_file()
    assert "cuda-12.8: nvcc 12.8, V12.8.93 (pinned parts)" in result.err
    assert place.asked("GET") == [NVCC, CUDART]
    assert place.project.leftovers() == place.project.partials() == []
    place.index.log.clear()
    os.utime(root / "include/nv/target", (1, 1))  # the stamp of so large a thing covers its top alone
    assert place.run("get", "cuda-12.8").out == result.out
    assert place.index.log == [], "the store has it"


@pytest.mark.parametrize(
    "form", [str, Path.as_uri, lambda path: f"{path}/", lambda path: f"{path.as_uri()}/"]
)
def test_a_mirror_may_be_a_folder(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, form: Callable[[Path], str]
) -> None:
    monkeypatch.setenv(CUDA_MIRROR, form(put(place.folder / "a mirror", place.index)))
    place.tree(place.run("get", "cuda-12.8"))
    assert place.asked("GET") == []


def test_without_a_mirror_the_toolchain_s_own_address_is_asked(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CUDA_MIRROR)
    file = place.project.root / "recipes/toolchains/cuda-12.8.toml"
    shipped = "https://developer.download.nvidia.com/compute/cuda/redist/"
    file.write_text(file.read_text().replace(f'"{shipped}"', f'"{place.index.mirror_url}"'))
    place.tree(place.run("get"))
    assert place.asked("GET") == [NVCC, CUDART]


def test_the_list_says_what_lies_in_the_store(place: Workplace) -> None:
    before = place.run("list")
    assert before.out.splitlines()[0] == "cuda-12.8  CUDA 12.8 for x86_64: not in the store"
    assert [line.split()[0] for line in before.out.splitlines()[1:]] == ["nvcc", "cudart", "cccl"]
    root = place.tree(place.run("get"))
    assert f"nvcc 12.8, V12.8.93 in {root} (pinned parts)" in place.run("list").out
    assert place.asked("HEAD") == []


def test_json_is_what_the_schema_says(place: Workplace) -> None:
    schema = json.loads(place.project.run("recipe", "schema", "toolchain").out)
    for action in ("list", "get", "check"):
        (report,) = found = json.loads(place.run(action, "--json").out)
        jsonschema.Draft202012Validator(schema).validate(found)
        assert report["name"] == "cuda-12.8"
        assert [part["component"] for part in report["parts"]] == ["nvcc", "cudart", "cccl"]


# What is refused.


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_mirror_that_has_it_not_is_told_with_the_three_ways(place: Workplace, status: int) -> None:
    place.index.status = {f"/mirror/{NVCC}": status}
    place.refused(
        6,
        "retread: plan: toolchain cuda-12.8: this machine cannot have CUDA 12.8",
        f"{FILE} could not be had from {place.index.mirror_url}{NVCC}: ",
        f"the server answered {status}",
        f"{place.folder}/local/cuda-12.8 is not there",
        WAYS,
    )


def test_a_folder_that_has_it_not_is_told(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUDA_MIRROR, str(place.folder))
    place.refused(6, f"there is no file {place.folder}/{NVCC}", WAYS)


@pytest.mark.parametrize(
    "address",
    ["ftp://me:s3cret@host/x", "http://me:s3cret@[::1/", "http://me:s3cret@127.0.0.1:9/?key=s3cret"],
)
def test_an_address_that_does_not_do_is_told_without_its_secret(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv(CUDA_MIRROR, address)
    assert "s3cret" not in place.refused(6, FILE, WAYS).err
    checked = place.run("check")
    assert checked.code == 6
    assert "s3cret" not in checked.err + checked.out


def test_no_connection_is_told(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUDA_MIRROR, "http://127.0.0.1:9/cuda")
    place.refused(6, f"could not be had from http://127.0.0.1:9/cuda/{NVCC}", "no connection", WAYS)


def test_a_secret_of_the_mirror_s_is_used_and_not_shown(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = f"http://me:s3cret@{place.index.host}"
    monkeypatch.setenv("PIP_INDEX_URL", f"{secret}/simple/")
    monkeypatch.setenv(CUDA_MIRROR, f"{secret}/mirror/")
    place.index.secret = "me:other"
    result = place.refused(6, f"{place.index.mirror_url}{NVCC}", "the server answered 401")
    assert "s3cret" not in result.err
    place.index.secret = "me:s3cret"
    place.tree(place.run("get"))


@pytest.mark.parametrize("local", [True, False], ids=["folder", "http"])
def test_other_bytes_are_refused_and_removed(
    place: Workplace, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    if local:
        place.index.mirror[NVCC] = b"wrong"
        monkeypatch.setenv(CUDA_MIRROR, str(put(place.folder / "mirror", place.index)))
    else:
        place.index.wrong = {NVCC: b"wrong"}
    place.refused(6, f"{FILE} is not what the recipe pins: sha256 ", "(5 bytes), pinned ", WAYS)


def test_a_connection_that_is_lost_is_taken_up_again(place: Workplace) -> None:
    place.index.drop_once = {NVCC: 250}
    place.refused(6, f"the download of {FILE} stopped after 250 bytes", partial=True)
    place.tree(place.run("get"))
    assert [one.range for one in place.index.log if one.path.endswith(NVCC)] == ["", "bytes=250-"]
    assert place.project.partials() == []


def test_an_index_without_the_wheel_is_a_failed_download(place: Workplace) -> None:
    place.index.files.pop("nvidia-cuda-cccl-cu12")
    place.refused(7, "retread: fetch: nvidia_cuda_cccl_cu12-12.8.90-py3-none-any.whl could not be found")


def test_an_archive_that_leaves_its_folder_is_refused(place: Workplace) -> None:
    evil = make_archive(top(NVCC), nvcc_files(), [link(f"{top(NVCC)}/evil", "../../../../etc/passwd")])
    place.pin(mirror(nvcc=evil))
    place.refused(3, FILE, "is a link that leaves the archive's folder: '../../../../etc/passwd'")


def test_nvcc_of_a_near_release_is_refused(place: Workplace) -> None:
    place.pin(mirror(cuda="12.9"))
    place.refused(3, "toolchain cuda-12.8: its nvcc is 12.9, not 12.8")


def test_a_machine_without_parts_is_told(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    place.refused(6, "toolchain cuda-12.8 has no toolkit for riscv64 machines, only for x86_64, aarch64")
    assert "cannot be had here" in place.run("list").out
    assert place.run("check").code == 6


def test_an_unknown_toolchain_brings_the_near_one(place: Workplace) -> None:
    for action in ("list", "get", "check"):
        result = place.run(action, "cuda-12.9")
        assert result.code == 3
        assert "there is no toolchain 'cuda-12.9' (did you mean 'cuda-12.8'?)" in result.err


# The machine's own.


def install(root: Path, cuda: str) -> Path:
    for name, data in nvcc_files(cuda).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
        (root / name).chmod(0o755)
    return root


def test_the_installed_toolkit_of_this_release_serves_where_nvidia_is_out_of_reach(place: Workplace) -> None:
    place.index.status = {f"/mirror/{NVCC}": 404}
    root = install(place.folder / "local" / "cuda-12.8", "12.8")
    result = place.run("get")
    assert place.tree(result) == root
    assert f"taking the toolkit that is installed: {root}" in result.err
    assert f"cuda-12.8: nvcc 12.8, V12.8.93 (system, {root})" in result.err
    assert place.project.entries(Kind.TOOLKITS) == []


def test_pinned_parts_come_before_the_installed_toolkit(place: Workplace) -> None:
    root = install(place.folder / "local" / "cuda-12.8", "12.8")
    assert place.tree(place.run("get")) != root


def test_a_near_release_is_never_taken(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    place.index.status = {f"/mirror/{NVCC}": 404}
    near = install(place.folder / "near", "12.9")
    monkeypatch.setenv("CUDA_HOME", str(near))
    place.refused(6, f"{near} is 12.9", WAYS)


# Checking.


def test_the_check_asks_and_downloads_nothing_when_a_part_is_lacking(place: Workplace) -> None:
    place.index.status = {f"/mirror/{CUDART}": 404}
    result = place.run("check")
    assert result.code == 6
    lines = result.out.replace("\n        ", " ").splitlines()  # what is too long for a line goes on below
    rows = dict(line.strip().split(maxsplit=1) for line in lines)
    assert rows["nvcc"].endswith(f"{place.index.mirror_url}{NVCC}")
    assert rows["cudart"].endswith(
        f"cannot be had: RETREAD_CUDA_MIRROR: {place.index.mirror_url}{CUDART}: the server answered 404 Not Found"
    )
    assert rows["cccl"].endswith("package index")
    assert (
        f"cuda-12.8: cudart: RETREAD_CUDA_MIRROR: {place.index.mirror_url}{CUDART}: the server answered 404"
        in result.err
    )
    assert WAYS in result.err
    assert place.asked("GET") == []
    assert place.asked("HEAD") == [NVCC, CUDART]


def test_a_server_that_answers_no_head_is_believed_to_have_it(place: Workplace) -> None:
    base = place.index.mirror_url
    for status, absent in ((405, False), (501, False), (403, True)):
        place.index.status = {f"/mirror/{NVCC}": status}
        using = settings.Settings(indexes=(), folders=(), verify=True)
        assert bool(download.absence(base, NVCC, using=using)) == absent


def test_the_check_finds_a_compiler_that_does_not_compile(place: Workplace) -> None:
    result = place.run("check")
    assert result.code == 6
    assert "cuda-12.8: " in result.err
    assert "kernel.so" in result.err


def test_the_check_asks_the_index_for_wheels(place: Workplace) -> None:
    place.index.files.pop("nvidia-cuda-cccl-cu12")
    result = place.run("check")
    assert result.code == 6
    assert "cccl: nvidia_cuda_cccl_cu12-12.8.90-py3-none-any.whl could not be found: " in result.err
    assert "has no project nvidia-cuda-cccl-cu12" in result.err


# The real thing.


@pytest.fixture(scope="session")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("toolkits") / "store"


def _run(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-c", "from retread.cli.main import main; main()", "toolchain", *arguments]
    env = {**os.environ, "RETREAD_STORE": str(store)}
    return subprocess.run(line, cwd=store.parent, env=env, capture_output=True, text=True, check=False)


@pytest.mark.network
@pytest.mark.slow
def test_cuda_13_is_whole_out_of_wheels_and_compiles(real_store: Path, tmp_path: Path) -> None:
    got = _run(real_store, "get", "cuda-13.0")
    assert got.returncode == 0, got.stderr
    root = Path(got.stdout.strip())
    assert root.is_relative_to(real_store)
    assert {"bin", "include", "lib", "lib64", "nvvm"} <= set(names(root))
    assert (root / "lib64/libcudart.so").resolve() == root / "lib/libcudart.so.13"
    checked = _run(real_store, "check", "cuda-13.0")
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.splitlines()[0].endswith("(pinned parts), compiles for 9.0 10.0")
    (tmp_path / "k.cu").write_text("__global__ void k(int *x) { *x = 1; }\n")
    for name in ("sm_90", "sm_100"):
        line = [root / "bin/nvcc", "-cubin", f"-arch={name}", tmp_path / "k.cu", "-o", tmp_path / name]
        subprocess.run(line, check=True, env={"PATH": os.environ["PATH"]})
        assert (tmp_path / name).read_bytes().startswith(b"\x7fELF")
    assert names(real_store / "scratch") == []
    assert list((real_store / "partial").glob("*")) == []
