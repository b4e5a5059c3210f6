"""Grafted libraries of Windows as others see them: lief's checks of the layout, and the loader of Wine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import gpucode
import retread
from retread.arch import Arch
from retread.elf import fatbin
from retread.pe import library

WINE = next(
    (path for name in ("wine64", "/usr/lib/wine/wine64", "wine") if (path := shutil.which(name))), None
)
COMPILER = shutil.which("x86_64-w64-mingw32-gcc")
CUBIN = (gpucode.DATA / "add.sm_100.cubin").read_bytes()


@pytest.fixture
def grafted(tmp_path: Path) -> Path:
    """Return the small library with code for 10.0 in each module."""
    old, new = gpucode.DATA / "add.dll", tmp_path / "new.dll"
    fatbins = {one.index: fatbin.graft(one, {Arch("10.0"): CUBIN}) for one in library.fat_binaries(old)}
    library.edit(old, new, fatbins=fatbins)
    return new


def wine(folder: Path, *libraries: Path) -> dict[str, str]:
    """Return library -> how many wrappers it has, and how many point at a fat binary once Wine has mapped it."""
    if not (WINE and COMPILER):
        pytest.skip("there is no Wine here, or no compiler for Windows")
    subprocess.run([COMPILER, gpucode.DATA / "load.c", "-o", folder / "load.exe"], check=True)
    environment = {**os.environ, "WINEPREFIX": str(folder / "wine"), "WINEDEBUG": "-all"}
    line = [WINE, "load.exe", *(one.name for one in libraries)]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return {name: rest for name, _, rest in (one.partition(" ") for one in done.stdout.splitlines())}


def test_wine_maps_the_small_library_and_its_wrappers_point_at_fat_binaries(grafted: Path) -> None:
    shutil.copyfile(gpucode.DATA / "add.dll", grafted.with_name("old.dll"))
    found = wine(grafted.parent, grafted.with_name("old.dll"), grafted)
    assert found == {"old.dll": "3 3", "new.dll": "3 3"}


def download(folder: Path, requirement: str, platform: str) -> Path:
    """Return a wheel of the package index that pip is configured for."""
    line = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "-d", folder]
    subprocess.run([*line, "--platform", platform, requirement], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.mark.network
@pytest.mark.slow
def test_a_real_library_is_grafted(tmp_path: Path) -> None:
    import lief

    wheel = download(tmp_path / "wheel", "xformers==0.0.35", "win_amd64")
    part = download(tmp_path / "part", "nvidia-cuda-nvcc-cu12==12.8.93", "manylinux2010_x86_64")
    with zipfile.ZipFile(part) as archive:
        ptxas = Path(archive.extract("nvidia/cuda_nvcc/bin/ptxas", tmp_path))
    ptxas.chmod(0o755)
    with zipfile.ZipFile(wheel) as archive:
        (tmp_path / "old.pyd").write_bytes(archive.read("xformers/_C.pyd"))
    assert retread.graft(tmp_path / "old.pyd", tmp_path / "new.pyd", ["12.0"], ptxas), "its own code again"
    found = lief.PE.parse(tmp_path / "new.pyd")
    assert found is not None
    assert lief.PE.check_layout(found) == (True, "")
    assert found.optional_header.checksum == found.compute_checksum()
    assert [one.sass[-1] for one in library.read(tmp_path / "new.pyd").modules] == ["12.0"] * 11
    assert wine(tmp_path, tmp_path / "new.pyd") == {"new.pyd": "11 11"}
