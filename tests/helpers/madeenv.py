"""Small made-up environments: a Python that says what a test wants, dist-info folders, shared objects."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

DATA = Path(__file__).parents[1] / "data"
GPU_CODE = (DATA / "fatbin" / "libadd.so").read_bytes()
"""Machine code for 8.0 and 9.0a, PTX for 8.0 in the language of CUDA 12.8."""
C10 = (DATA / "fit" / "libc10.so").read_bytes()
CUDART = (DATA / "fit" / "libcudart.so.12").read_bytes()
OPS = (DATA / "fit" / "ops.so").read_bytes()
"""Needs libc10.so, of which it takes a symbol that is there, and libcudart.so.12."""
OLD = (DATA / "fit" / "old.so").read_bytes()
"""Needs two symbols of libc10.so that are not there, one of which ends a longer name that is."""
_PROGRAM = """\
#!{python}
import json, os, sys
code = sys.argv[2].lstrip()
if "pynvml" in code:
    sys.exit("ModuleNotFoundError: No module named 'pynvml'")
if code.startswith("import json, os, platform"):
    print("a line that a site hook prints")
    print("retread:" + json.dumps({said}))
else:
    sys.path.insert(0, {site!r})
    exec(code)
"""


class Made:
    """An environment below a folder; what is added to it is as pip would have installed it."""

    def __init__(self, root: Path, *, version: str = "3.12.3", glibc: str = "glibc 2.36") -> None:
        self.site = root / "lib" / "site-packages"
        self.site.mkdir(parents=True)
        self.python = root / "bin" / "python"
        self.python.parent.mkdir()
        major, minor = version.split(".")[:2]
        said = {
            "executable": "/venv/bin/python",
            "version": version,
            "abi": f"cp{major}{minor}",
            "machine": "x86_64",
            "glibc": glibc,
            "paths": ["/usr/lib/python3.zip", str(self.site)],
        }
        text = _PROGRAM.format(python=sys.executable, said=json.dumps(said), site=str(self.site))
        self.python.write_text(text)
        self.python.chmod(0o755)

    def add(
        self,
        name: str,
        version: str,
        *,
        requires: Iterable[str] = (),
        files: Mapping[str, bytes] | None = None,
        inside: Mapping[str, bytes] | None = None,
    ) -> Path:
        """Install a distribution with its files, and those inside of its dist-info; return that folder."""
        info = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {one}" for one in requires]
        rows = []
        for path, data in (files or {}).items():
            place = self.site / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            rows.append(f"{path},sha256={digest},{len(data)}")
        for path, data in {"METADATA": "\n".join([*lines, "", ""]).encode(), **(inside or {})}.items():
            (info / path).write_bytes(data)
        rows.append(f"{info.name}/RECORD,,")
        (info / "RECORD").write_text("\n".join(rows) + "\n")
        return info

    def torch(self, version: str = "2.8.0", *, cuda: str = "12.8", triton: str = "3.4.0") -> None:
        """Install torch with its library, its CUDA runtime and its Triton."""
        said = f"__version__ = '{version}'\ncuda: Optional[str] = {cuda!r}\n" if cuda else "cuda = None\n"
        self.add(
            "torch",
            version,
            requires=[f"triton=={triton}", 'colorama; platform_system == "Windows"'],
            files={
                "torch/version.py": said.encode(),
                "torch/__init__.py": b"",
                "torch/lib/libc10.so": C10,
                "torch/lib/libtorch_cuda.so": GPU_CODE,
            },
        )
        self.add("triton", triton, files={"triton/__init__.py": b""})
