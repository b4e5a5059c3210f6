"""A small CUDA project that is really compiled: kernels, a header, a table, host code; its setup.py runs nvcc."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from tinycuda import Project, Upstream, make_sdist, sha256

ROOT = Path(__file__).parents[2]
LOCK = Path(__file__).parents[1] / "data" / "native" / "lock.txt"
BUILT = "tinycuda-1.0+cu130.1-py3-none-manylinux_2_"
SETUP = """\
import os, pathlib, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from tinycuda import flags


class Nvcc(build_ext):
    def get_ext_filename(self, name):
        return name.replace(".", "/") + ".so"

    def one(self, source):
        out = pathlib.Path(self.build_temp, source + ".o")
        out.parent.mkdir(parents=True, exist_ok=True)
        if source.endswith(".cu"):
            nvcc = os.environ["CUDA_HOME"] + "/bin/nvcc"
            codes = [f"-gencode=arch=compute_{one},code=sm_{one}" for one in flags.codes(os.environ["TINY_CODES"])]
            command = [nvcc, "-c", source, "-o", out, "-Iinclude", "-Xcompiler", "-fPIC", *codes]
        else:
            command = [os.environ["CXX"], "-c", source, "-o", out, "-Iinclude", "-fPIC", "-O2"]
        subprocess.check_call(command)
        return out

    def build_extension(self, extension):
        with ThreadPoolExecutor(8) as pool:
            objects = list(pool.map(self.one, extension.sources))
        library = pathlib.Path(self.get_ext_fullpath(extension.name))
        library.parent.mkdir(parents=True, exist_ok=True)
        libraries = os.environ["CUDA_HOME"] + "/lib64"
        subprocess.check_call([os.environ["CXX"], "-shared", *objects, "-o", library, "-L" + libraries, "-lcudart"])


class Tag(bdist_wheel):
    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


sources = ["csrc/add.cu", "csrc/scale.cu", "csrc/host.cpp"]
setup(
    name="tinycuda", version=os.environ["TINY_VERSION"], packages=["tinycuda"], install_requires=["torch>=2.11"],
    ext_modules=[Extension("tinycuda._C", sources)], cmdclass={"build_ext": Nvcc, "bdist_wheel": Tag}, zip_safe=False,
)
"""
ADD = """\
#include "common.h"
__global__ void add_kernel(float *x, float y) { x[threadIdx.x] += y + BIAS; }
extern "C" int add(float *x, float y) { add_kernel<<<1, 32>>>(x, y); return cudaGetLastError(); }
"""
SCALE = """\
#include "common.h"
namespace { __device__ float table[] = {
#include "table.txt"
}; }
template <typename T> __global__ void scale_kernel(T *x) { x[threadIdx.x] *= table[threadIdx.x & 3] + BIAS; }
extern "C" int scale(float *x) { scale_kernel<float><<<1, 32>>>(x); return cudaGetLastError(); }
"""
FILES = {
    "setup.py": SETUP,
    "include/common.h": "#pragma once\n#define BIAS 1.0f\n",
    "include/table.txt": "1.0f, 2.0f, 3.0f, 4.0f\n",
    "csrc/add.cu": ADD,
    "csrc/scale.cu": SCALE,
    "csrc/host.cpp": '#include <string>\nextern "C" int version() { return std::stoi(std::string("7")); }\n',
    "tinycuda/__init__.py": "VALUE = 1\n",
    "tinycuda/flags.py": 'def codes(text):\n    return [one.replace(".", "") for one in text.split()]\n',
    "tinycuda/ops.py": "SPEED = 1\n",
    "README.md": "# tinycuda\n",
}
RECIPE = """\
name = "tiny-1.0"
project = "tinycuda"
version = "1.0"
summary = "a tiny CUDA project, compiled"
native-inputs = ["setup.py", "csrc/**", "include/**", "tinycuda/flags.py", "tinycuda/__init__.py"]

[pin]
repository = "file://{up.repository}"
commit = "{up.commit}"

[[pin.submodules]]
path = "third_party/lib"
repository = "file://{up.inner}"
commit = "{up.inner_commit}"

[sdist]
file = "{sdist}"
sha256 = "{sha256}"

[[sdist.unproven]]
paths = ["PKG-INFO"]
reason = "written by setuptools"

[targets.cu130]
cuda = "13.0"
torch = ">=2.11"
revision = 1
architectures = ["9.0", "10.0"]
ptx = []
toolchain = "cuda-13.0"
generated = ["tinycuda/**.so"]

[targets.cu130.build]
python = ">=3.11"
requires = ["build>=1.3", "setuptools>=80"]

[targets.cu130.build.environment]
TINY_VERSION = "{{version}}"
TINY_CODES = "{{architectures}}"
"""


def native(project: Project, upstream: Upstream) -> None:
    """Turn a project into one whose only target is compiled with the pinned cuda-13.0."""
    sdist = make_sdist(upstream.sdist)
    name = "tinycuda-1.0.tar.gz"
    project.index.files["tinycuda"] = {name: sdist}
    project.upstream = upstream
    folder = project.root / "recipes"
    for path in (folder / "commits").iterdir():
        path.unlink()
    for path, data in upstream.proofs.items():
        (folder / "commits" / path).write_bytes(data)
    (folder / "locks").mkdir()
    shutil.copy(LOCK, folder / "locks" / "tiny-1.0-cu130.txt")
    project.write_recipe(RECIPE.format(up=upstream, sdist=name, sha256=sha256(sdist)))
    project.series()


def with_file(path: str, text: str) -> Mapping[str, str]:
    """Return the project's files with one of another content."""
    return {**FILES, path: text}
