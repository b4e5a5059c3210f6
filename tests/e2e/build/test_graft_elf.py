"""Public CUDA wheels of other projects: machine code for one more architecture, with NVIDIA's own tools."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from retread.arch import Arch, sm
from retread.elf import fatbin
from retread.elf import library as elf
from retread.errors import ElfError

pytestmark = [pytest.mark.network, pytest.mark.slow]

X86 = ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux_2_24_x86_64")
ARM = ("manylinux2014_aarch64",)
LIBRARIES = [
    # requirement, platforms, library, architecture that is missing, can be loaded without its friends
    ("torchvision==0.23.0", X86, "torchvision/_C.so", "8.9", False),
    ("warp-lang==1.4.2", X86, "warp/bin/warp.so", "10.0", True),
    ("warp-lang==1.4.2", ARM, "warp/bin/warp.so", "10.0", False),
]


def _download(requirement: str, platforms: tuple[str, ...], into: Path) -> Path:
    """Return the unpacked wheel of a requirement, from the package index that pip is configured for."""
    wanted = [part for platform in platforms for part in ("--platform", platform)]
    line = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", *wanted]
    subprocess.run([*line, "--python-version", "3.11", "-d", into, requirement], check=True)
    (wheel,) = into.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into)
    return into


@pytest.fixture(scope="session")
def ptxas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return ptxas of CUDA 12.8."""
    place = _download("nvidia-cuda-nvcc-cu12==12.8.93", X86, tmp_path_factory.mktemp("ptxas"))
    program = place / "nvidia/cuda_nvcc/bin/ptxas"
    program.chmod(0o755)
    return program


@pytest.fixture(scope="session")
def cuobjdump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cuobjdump."""
    place = _download(
        "nvidia-cuda-cuobjdump", (*X86, "manylinux_2_27_x86_64"), tmp_path_factory.mktemp("dump")
    )
    (program,) = place.rglob("bin/cuobjdump")
    program.chmod(0o755)
    return program


def _assemble(ptxas: Path, library: Path, wanted: Arch, scratch: Path) -> dict[int, bytes]:
    """Return every fat binary of a library with a cubin assembled from its own PTX."""
    grafted: dict[int, bytes] = {}
    for one in elf.fat_binaries(library):
        (scratch / "module.ptx").write_bytes(fatbin.ptx(fatbin.ptx_for(one, wanted)))
        line = [ptxas, f"-arch={sm(wanted)}", scratch / "module.ptx", "-o", scratch / "module.cubin"]
        subprocess.run(line, check=True)
        grafted[one.index] = fatbin.graft(one, {wanted: (scratch / "module.cubin").read_bytes()})
    return grafted


def _cubins(cuobjdump: Path, library: Path, into: Path) -> Counter[bytes]:
    """Return the machine code that cuobjdump extracts from a library."""
    into.mkdir()
    subprocess.run([cuobjdump, "-xelf", "all", library], cwd=into, check=True, stdout=subprocess.DEVNULL)
    return Counter(path.read_bytes() for path in into.iterdir())


def _pointed_at(path: Path) -> list[bytes]:
    """Return the fat binaries that the wrappers lead to, loading the library as the dynamic linker would."""
    with path.open("rb") as file:
        reader = ELFFile(file)
        loads = [segment for segment in reader.iter_segments() if segment["p_type"] == "PT_LOAD"]
        memory = bytearray(max(load["p_vaddr"] + load["p_memsz"] for load in loads))
        for load in loads:
            assert (load["p_offset"] - load["p_vaddr"]) % load["p_align"] == 0
            memory[load["p_vaddr"] : load["p_vaddr"] + load["p_filesz"]] = load.data()
        relative = {"EM_X86_64": 8, "EM_AARCH64": 1027}[reader["e_machine"]]
        for relocation in reader.get_section_by_name(".rela.dyn").iter_relocations():
            if relocation["r_info_type"] == relative:
                at = relocation["r_offset"]
                memory[at : at + 8] = relocation["r_addend"].to_bytes(8, "little", signed=True)
        wrappers = reader.get_section_by_name(".nvFatBinSegment")
    found = []
    for wrapper in range(wrappers["sh_addr"], wrappers["sh_addr"] + wrappers["sh_size"], 24):
        start = int.from_bytes(memory[wrapper + 8 : wrapper + 16], "little")
        size = 16 + int.from_bytes(memory[start + 8 : start + 16], "little")
        found.append(bytes(memory[start : start + size]))
    return found


@pytest.mark.parametrize(("requirement", "platforms", "name", "arch", "loads"), LIBRARIES)
def test_a_public_library_gets_one_more_architecture(
    *,
    requirement: str,
    platforms: tuple[str, ...],
    name: str,
    arch: str,
    loads: bool,
    tmp_path: Path,
    ptxas: Path,
    cuobjdump: Path,
) -> None:
    source = _download(requirement, platforms, tmp_path / "wheel") / name
    grafted = _assemble(ptxas, source, Arch(arch), tmp_path)
    for new, strip in ((tmp_path / "new.so", False), (tmp_path / "stripped.so", True)):
        elf.edit(source, new, fatbins=grafted, run_path=["$ORIGIN", "$ORIGIN/../../nvidia/cuda_runtime/lib"])
        if strip and platforms is X86:
            subprocess.run(["strip", new], check=True)
        assert all(arch in module.sass for module in elf.read(new).modules)
        assert Counter(_pointed_at(new)) == Counter(grafted.values())
        if loads:
            subprocess.run([sys.executable, "-c", f"import ctypes; ctypes.CDLL({str(new)!r})"], check=True)
    done = subprocess.run(
        ["readelf", "-lSdrW", tmp_path / "new.so"], capture_output=True, text=True, check=True
    )
    assert not done.stderr
    old = _cubins(cuobjdump, source, tmp_path / "old")
    for new in (tmp_path / "new.so", tmp_path / "stripped.so"):
        found = _cubins(cuobjdump, new, tmp_path / f"{new.stem}-cubins")
        assert not old - found
        assert (found - old).total() == len(grafted)


def test_relocatable_device_code_is_recognised_and_refused(tmp_path: Path) -> None:
    place = _download("bitsandbytes==0.50.2", ("manylinux_2_24_aarch64",), tmp_path / "wheel")
    library = place / "bitsandbytes/libbitsandbytes_cuda130.so"
    (one,) = elf.fat_binaries(library)
    with pytest.raises(ElfError, match="relocatable device code"):
        elf.edit(library, tmp_path / "new.so", fatbins={0: bytes(one.data)})
    elf.edit(library, tmp_path / "new.so", run_path=["$ORIGIN"])
    assert elf.read(tmp_path / "new.so").run_path == ("$ORIGIN",)
