"""Recipes: what is shipped parses, and what is wrong is told at once, each fault with its key path."""

from __future__ import annotations

import json
import tomllib
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from house import SOURCE
from retread import strict
from retread.errors import PlanError, RecipeError
from retread.lockfile import requirements
from retread.recipe import workspace
from retread.recipe.model import Recipe
from retread.recipe.native import matches
from retread.recipe.reading import parse_recipe
from retread.recipe.toolchain import is_ptxas, parse_toolchain, part_for, toolkit_parts

ROOT = Path(__file__).parents[3]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
TOOLCHAINS = sorted((SOURCE / "recipe" / "toolchains").glob("*.toml"))

GOOD = """\
name = "demo-1.2"
project = "demo"
version = "1.2"
summary = "A demonstration"
native-inputs = ["setup.py", "demo/csrc/**"]
[pin]
repository = "https://example.org/demo"
commit = "0123456789012345678901234567890123456789"
[[pin.submodules]]
path = "third_party/sub"
repository = "https://example.org/sub"
commit = "1123456789012345678901234567890123456789"
[sdist]
file = "demo-1.2.tar.gz"
sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
[targets.cu128]
cuda = "12.8"
torch = ">=2.10"
revision = 1
architectures = ["8.0", "10.0"]
ptx = ["8.0"]
toolchain = "cuda-12.8"
requires = ["torch>=2.10", "numpy"]
[targets.cu128.run-path]
"demo/_C.so" = ["$ORIGIN"]
[[targets.cu128.base]]
file = "demo-1.2-cp39-abi3-manylinux_2_28_x86_64.whl"
sha256 = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
[[targets.cu128.exempt]]
library = "demo/_D.so"
architectures = ["9.0a"]
reason = "only for Hopper"
"""
TOOLCHAIN = """\
name = "cuda-12.8"
cuda = "12.8"
ptx-isa = "8.7"
[[part]]
component = "ptxas"
machine = "x86_64"
package = "nvcc"
file = "nvcc-1.whl"
sha256 = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
ptxas = "bin/ptxas"
"""
SCHEMA = json.loads(msgspec.json.encode(strict.schema(Recipe)))


class Editor(Protocol):
    """What holds a file to the schema."""

    def validate(self, instance: object) -> None: ...
    def is_valid(self, instance: object) -> bool: ...


@pytest.fixture
def editor() -> Editor:
    import jsonschema  # takes as long as all tests of this file; every worker reads it

    return jsonschema.Draft202012Validator(SCHEMA)


def edited(*changes: tuple[str, str]) -> bytes:
    text = GOOD
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text.encode()


def faults(*changes: tuple[str, str]) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(edited(*changes), name="demo-1.2")
    assert caught.value.faults
    return caught.value.faults


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_parse_and_fit_the_schema(editor: Editor, path: Path) -> None:
    found = parse_recipe(path.read_bytes(), name=path.stem)
    assert (ROOT / "patches" / found.project / found.version / "series").is_file()
    for target in found.targets.values():
        assert target.base or target.build
        if target.toolchain:
            toolchain = SOURCE / "recipe" / "toolchains" / f"{target.toolchain}.toml"
            assert parse_toolchain(toolchain.read_bytes(), name=toolchain.stem).cuda == target.cuda
    editor.validate(tomllib.loads(path.read_text("utf-8")))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_copied_submodule_s_modules_have_their_reason_in_the_table_of_imports(path: Path) -> None:
    """A submodule imports itself under its own name, which the wheel has under another."""
    found = parse_recipe(path.read_bytes(), name=path.stem)
    for copy in found.sdist.copies:
        module = f"{copy.replace('/', '.')}.anything"
        assert any(fnmatchcase(module, glob) for glob in found.smoke.imports), module


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_lock_of_every_shipped_build_pins_what_it_requires(path: Path) -> None:
    loaded = workspace.load(ROOT, path.stem)
    assert len(loaded.locks) == sum(said.build is not None for said in loaded.recipe.targets.values())
    for target, said in loaded.recipe.targets.items():
        if said.build:
            name = f"{path.stem}-{target}"
            requirements.check_lock(loaded.locks[target], said.build.requires, name=name)


@pytest.mark.parametrize("path", TOOLCHAINS, ids=lambda path: path.stem)
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_shipped_toolchains_parse(path: Path, machine: str) -> None:
    found = parse_toolchain(path.read_bytes(), name=path.stem)
    if found.compiler == "clang" and machine != "x86_64":
        return  # torch has no wheels of CUDA 12.8 for other machines
    if is_ptxas(found):
        assert path.stem == f"ptxas-{found.cuda}"
        return
    assert part_for(found, machine).machine == machine
    parts = {part.component for part in toolkit_parts(found, machine)}
    assert {found.compiler, "cudart", "cccl"} <= parts


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (
            'proving = "cuda-12.8"',
            "targets.cu128.proving: 'cuda-12.8' is the toolchain already; leave it out",
        ),
        ('slim = ["8.0", "10.0a"]', "targets.cu128.slim[1]: no GPU has the capability 10.0a; say 10.0"),
        ('slim = ["10.0"]', "targets.cu128.architectures[0]: 8.0 is taken out, since no GPU of slim runs it"),
        ('compress = "size"', "targets.cu128.compress: it packs what is slim; say for which GPUs"),
        ('some = ["8.0"]', "targets.cu128.some[0]: 8.0 is in architectures already, which every module has"),
        (
            'waive = { glib = "old" }',
            "targets.cu128.waive.\"glib\": there is no such rule (did you mean 'glibc'?); "
            "an audit names those that a wheel breaks",
        ),
        (
            'waive = { glibc = "" }',
            "targets.cu128.waive.glibc: left empty; expected a text that is not empty",
        ),
    ],
)
def test_who_proves_what_some_have_and_what_is_waived(line: str, fault: str) -> None:
    assert faults(('toolchain = "cuda-12.8"\n', f'toolchain = "cuda-12.8"\n{line}\n')) == (fault,)


def test_there_is_something_shipped() -> None:
    assert len(RECIPES) >= 6
    assert TOOLCHAINS


def test_a_requirement_of_another_torch_than_the_target_s_is_told() -> None:
    def told(torch: str) -> str:
        text = GOOD.replace('requires = ["torch>=2.10", "numpy"]', f"requires = [{torch!r}]", 1)
        with pytest.raises(RecipeError) as caught:
            parse_recipe(text.encode(), name="demo-1.2")
        return " ".join(caught.value.faults)

    said = "targets.cu128.requires[0]: 'Torch>=2.11' is another torch than the target's, '>=2.10'"
    assert told("Torch>=2.11") == said
    same = GOOD.replace('"torch>=2.10", "numpy"', '"torch >= 2.10", "torch[opt]>=3"', 1)
    assert parse_recipe(same.encode(), name="demo-1.2")
    free = GOOD.replace('torch = ">=2.10"\n', "", 1)
    with pytest.raises(RecipeError) as caught:
        parse_recipe(free.encode(), name="demo-1.2")
    said = "'torch>=2.10' is a torch, and the target names none: say its range under 'torch'"
    assert f"targets.cu128.requires[0]: {said}" in caught.value.faults


_HEAD, _REST = GOOD.split("[pin]", maxsplit=1)[0], GOOD[GOOD.index("[targets.cu128]") :]
_PIN = GOOD[GOOD.index("[pin]") : GOOD.index("[sdist]")]
_SDIST = GOOD[GOOD.index("[sdist]") : GOOD.index("[targets.cu128]")]
_SOURCE = f'[source]\nwheel = "demo-1.2-py3-none-any.whl"\nsha256 = "{64 * "a"}"\n'
_BUILD = '[targets.cu128.build]\npython = ">=3.10"\nrequires = ["build"]\n'
_ONE = "with [source] a wheel stands for the source; drop one of the two"
_NO_BUILD = "nothing can be compiled of a wheel ([source])"


@pytest.mark.parametrize(
    ("head", "tables", "told"),
    [
        ("", "", "pin: missing; neither a commit ([pin]) nor a wheel ([source]) stands for the source"),
        ("", _SDIST, "pin: missing; nothing says of which commit demo-1.2.tar.gz is"),
        ("", _PIN + _SOURCE, f"pin: {_ONE}"),
        ("", _SDIST + _SOURCE, f"sdist: {_ONE}"),
        ("", _SOURCE.replace("demo-", "d-"), "source.wheel: 'd-1.2-py3-none-any.whl' is not a wheel of demo 1.2"),
        ("", _SOURCE, f"targets.cu128.build: {_NO_BUILD}"),
        ('source-root = "a"\n', _SOURCE, f"source-root: {_ONE}"),
        ('source-root = "../a"\n', _PIN, "source-root: '../a' leaves the source tree"),
        ('source-root = "/a"\n', _PIN, "source-root: '/a' leaves the source tree"),
        ('source-root = "a"\n', _PIN, "source-root: 'a', and targets.cu128.build compiles at the top of the source"),
    ],
)  # fmt: skip
def test_where_the_source_comes_from_is_said_in_one_way(head: str, tables: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(f"{head}{_HEAD}{tables}{_REST}{_BUILD}".encode(), name="demo-1.2")
    assert told in caught.value.faults


def test_native_inputs_are_needed_with_a_commit() -> None:
    text = GOOD.replace('native-inputs = ["setup.py", "demo/csrc/**"]\n', "", 1)
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text.encode(), name="demo-1.2")
    assert caught.value.faults == ("native-inputs: missing; which files can change compiled code?",)


def test_a_good_recipe_is_read_whole() -> None:
    found = parse_recipe(GOOD.encode(), name="demo-1.2")
    target = found.targets["cu128"]
    assert found.native_inputs == ("setup.py", "demo/csrc/**")
    assert target.run_path == {"demo/_C.so": ("$ORIGIN",)}
    assert target.exempt[0].ptx == ()
    assert found.sdist.copies == {}


FAULTS: dict[str, tuple[tuple[str, str], str]] = {
    "unknown key": (('summary = "A', 'sumary = "A'), "sumary: unknown key (did you mean 'summary'?)"),
    "underscore": (
        ("native-inputs =", "native_inputs ="),
        "native_inputs: unknown key (did you mean 'native-inputs'?)",
    ),
    "unknown key of a target": (
        ("revision = 1", "revision = 1\nrevison = 2"),
        "targets.cu128.revison: unknown key (did you mean 'revision'?)",
    ),
    "wrong type": (
        ('project = "demo"', "project = 7"),
        "project: expected a text that is not empty, got 7",
    ),
    "a number for a text": (
        ('cuda = "12.8"', "cuda = 12.8"),
        "targets.cu128.cuda: expected a CUDA release, like 12.8, got 12.8",
    ),
    "empty text": (
        ('summary = "A demonstration"', 'summary = ""'),
        "summary: left empty; expected a text that is not empty",
    ),
    "revision 0": (
        ("revision = 1", "revision = 0"),
        "targets.cu128.revision: expected an integer from 1 on, got 0",
    ),
    "revision true": (
        ("revision = 1", "revision = true"),
        "targets.cu128.revision: expected an integer from 1 on, got true",
    ),
    "no such architecture": (
        ('["8.0", "10.0"]', '["8.0", "10.0b"]'),
        "targets.cu128.architectures[1]: expected a GPU architecture, like 8.0, 9.0a or 12.0, got '10.0b' "
        "(did you mean '10.0'?)",
    ),
    "architecture as sm": (
        ('ptx = ["8.0"]', 'ptx = ["sm_80"]'),
        "targets.cu128.ptx[0]: expected a GPU architecture, like 8.0, 9.0a or 12.0, got 'sm_80'",
    ),
    "CUDA too old": (
        ('["8.0", "10.0"]', '["8.0", "10.3"]'),
        "targets.cu128.architectures[1]: 10.3 needs CUDA 12.9 or newer, the target says 12.8",
    ),
    "CUDA too old in an exemption": (
        ('architectures = ["9.0a"]', 'architectures = ["12.1"]'),
        "targets.cu128.exempt[0].architectures[0]: 12.1 needs CUDA 12.9 or newer, the target says 12.8",
    ),
    "architecture twice": (
        ('["8.0", "10.0"]', '["8.0", "10.0", "8.0"]'),
        "targets.cu128.architectures[2]: 8.0 is listed twice",
    ),
    "no architecture": (('["8.0", "10.0"]', "[]"), "targets.cu128.architectures: none"),
    "local version": (
        ('version = "1.2"', 'version = "1.2+cu128"'),
        "version: '1.2+cu128' has a local part; that part is retread's to write",
    ),
    "no version": (('version = "1.2"', 'version = "new"'), "version: 'new' is not a PEP 440 version"),
    "version in another spelling": (
        ('version = "1.2"', 'version = "v1.2"'),
        "version: 'v1.2' is written '1.2'",
    ),
    "project": (('project = "demo"', 'project = "../demo"'), "project: '../demo' is not a project name"),
    "name of another file": (
        ('name = "demo-1.2"', 'name = "demo-1.3"'),
        "name: is 'demo-1.3', the file is demo-1.2.toml",
    ),
    "target of another CUDA": (
        ('cuda = "12.8"', 'cuda = "12.9"'),
        "targets.cu128.cuda: 12.9 belongs to a target named 'cu129'",
    ),
    "short commit": (
        ('commit = "0123456789012345678901234567890123456789"', 'commit = "0123456"'),
        "pin.commit: expected a full commit id, 40 hexadecimal digits, got '0123456'",
    ),
    "a branch": (
        ('commit = "1123456789012345678901234567890123456789"', 'commit = "main"'),
        "pin.submodules[0].commit: expected a full commit id, 40 hexadecimal digits, got 'main'",
    ),
    "digest with a capital": (
        ('sha256 = "aaaa', 'sha256 = "Aaaa'),
        "sdist.sha256: expected a sha256, 64 hexadecimal digits, got 'A" + 63 * "a" + "'",
    ),
    "digest with a line end": (
        ('bbbb"', 'bbbb\\n"'),
        "targets.cu128.base[0].sha256: expected a sha256, 64 hexadecimal digits, got '" + 64 * "b" + "\\n'",
    ),
    "file in a folder": (
        ('file = "demo-1.2.tar.gz"', 'file = "../demo-1.2.tar.gz"'),
        "sdist.file: expected a plain file name, got '../demo-1.2.tar.gz'",
    ),
    "wheel of another project": (
        ('file = "demo-1.2-cp39', 'file = "other-1.2-cp39'),
        "targets.cu128.base[0].file: 'other-1.2-cp39-abi3-manylinux_2_28_x86_64.whl' is not a wheel of demo 1.2",
    ),
    "wheel of another version": (
        ('file = "demo-1.2-cp39', 'file = "demo-1.3-cp39'),
        "targets.cu128.base[0].file: 'demo-1.3-cp39-abi3-manylinux_2_28_x86_64.whl' is not a wheel of demo 1.2",
    ),
    "requirement": (
        ('"numpy"]', '"numpy =="]'),
        "targets.cu128.requires[1]: 'numpy ==': Expected semicolon (after name with no version specifier) or end",
    ),
    "torch": (
        ('torch = ">=2.10"', 'torch = "vision>=0.1"'),
        "targets.cu128.torch: 'vision>=0.1' is not a version range like '>=2.10' or '==2.6.0'",
    ),
    "submodule outside": (
        ('path = "third_party/sub"', 'path = "../sub"'),
        "pin.submodules[0].path: '../sub' leaves the source tree",
    ),
}
SEEN_BY_THE_SCHEMA = {
    "unknown key",
    "underscore",
    "unknown key of a target",
    "wrong type",
    "a number for a text",
    "empty text",
    "revision 0",
    "revision true",
    "no such architecture",
    "architecture as sm",
    "short commit",
    "a branch",
    "digest with a capital",
    "digest with a line end",
    "file in a folder",
}


def test_what_a_user_reads_of_a_fault() -> None:
    consequences = {"unknown key": 1, "project": 1}  # a key is missing, a wheel is another's
    found = {name: faults(change) for name, (change, _) in FAULTS.items()}
    missing = {
        name: told for name, told in found.items() if not any(one.startswith(FAULTS[name][1]) for one in told)
    }
    assert missing == {}
    assert {name: len(told) for name, told in found.items()} == {
        name: 1 + consequences.get(name, 0) for name in FAULTS
    }


def test_an_editor_with_the_schema_sees_it_too(editor: Editor) -> None:
    seen = {
        name
        for name, (change, _) in FAULTS.items()
        if not editor.is_valid(tomllib.loads(edited(change).decode()))
    }
    assert seen >= SEEN_BY_THE_SCHEMA


BUILD = """\
[targets.cu128.build]
python = ">=3.10,<3.14"
requires = ["torch==2.10.0", "setuptools>=80"]
[targets.cu128.build.environment]
DEMO_VERSION = "{version}"
TORCH_CUDA_ARCH_LIST = "{torch-architectures}"
FLAGS = "-I{site-packages}/include -L{cuda-home}/lib {architectures}"
"""


def build_faults(*changes: tuple[str, str]) -> tuple[str, ...]:
    text = GOOD + BUILD
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text.encode(), name="demo-1.2")
    return caught.value.faults


def test_a_build_is_read(editor: Editor) -> None:
    build = parse_recipe((GOOD + BUILD).encode(), name="demo-1.2").targets["cu128"].build
    assert build is not None
    assert (build.python, build.requires) == (">=3.10,<3.14", ("torch==2.10.0", "setuptools>=80"))
    assert set(build.environment) == {"DEMO_VERSION", "TORCH_CUDA_ARCH_LIST", "FLAGS"}
    editor.validate(tomllib.loads(GOOD + BUILD))


def test_a_build_needs_no_base_wheel() -> None:
    base = GOOD[GOOD.index("[[targets.cu128.base]]") : GOOD.index("[[targets.cu128.exempt]]")]
    text = (GOOD + BUILD).replace(base, "")
    assert parse_recipe(text.encode(), name="demo-1.2").targets["cu128"].base == ()
    assert faults((base, "")) == ("targets.cu128.base, build: neither is there, so no lane can make it",)


CONTAINER = f"""
[targets.cu128.container]
image = "example.org/many@sha256:{64 * "a"}"
platform = "manylinux_2_28"
pythons = ["3.10", "3.12"]
"""


def test_a_container_is_read_and_every_fault_of_it_told(editor: Editor) -> None:
    text = GOOD + BUILD + CONTAINER
    container = parse_recipe(text.encode(), name="demo-1.2").targets["cu128"].container
    assert container is not None
    assert (container.platform, container.pythons) == ("manylinux_2_28", ("3.10", "3.12"))
    editor.validate(tomllib.loads(text))
    with pytest.raises(RecipeError) as caught:
        parse_recipe((GOOD + CONTAINER).encode(), name="demo-1.2")
    assert caught.value.faults == ("targets.cu128.build: missing; the container lane compiles as it says",)
    wrong = CONTAINER
    for old, new in (("@sha256:", ":"), ("x_2_28", "x2014"), ('"3.10", "3.12"', '"3.9", "3.10-dev"')):
        assert wrong.count(old) == 1
        wrong = wrong.replace(old, new)
    with pytest.raises(RecipeError) as caught:
        parse_recipe((GOOD + BUILD + wrong).encode(), name="demo-1.2")
    image = f"'example.org/many:{64 * 'a'}'"
    assert caught.value.faults == (
        f"targets.cu128.container.image: {image} is not an image pinned by digest (NAME@sha256:...)",
        "targets.cu128.container.platform: 'manylinux2014' is not like 'manylinux_2_28'",
        "targets.cu128.container.pythons[0]: 3.9 is outside of build.python, >=3.10,<3.14",
        "targets.cu128.container.pythons[1]: '3.10-dev' is not like '3.12'",
    )


KNOWN = "version, architectures, torch-architectures, cuda-home, site-packages"
BUILD_FAULTS = {
    "no toolchain": (
        ('toolchain = "cuda-12.8"\n', ""),
        "toolchain: missing; a build needs the one whose nvcc compiles",
    ),
    "range": (
        ('python = ">=3.10,<3.14"', 'python = "3.10 or so"'),
        "build.python: '3.10 or so' is not a version range like '>=3.10,<3.14'",
    ),
    "requirement": (
        ('"setuptools>=80"]', '"setuptools >="]'),
        "build.requires[1]: 'setuptools >=': Expected semicolon (after name with no version specifier) or end",
    ),
    "placeholder": (
        ('"{version}"', '"{verson}"'),
        f"build.environment.DEMO_VERSION: there is no {{verson}} (did you mean 'version'?); known are {KNOWN}",
    ),
    "empty placeholder": (
        ('"{version}"', '"{}"'),
        f"build.environment.DEMO_VERSION: there is no {{}}; known are {KNOWN}",
    ),
    "our variable": (
        ("DEMO_VERSION", "CUDA_HOME"),
        "build.environment.CUDA_HOME: is retread's to set",
    ),
    "a variable of the stand-ins": (
        ("DEMO_VERSION", "RETREAD_CONTROL"),
        "build.environment.RETREAD_CONTROL: is retread's to set",
    ),
    "a variable of the cache": (
        ("DEMO_VERSION", "SCCACHE_DIR"),
        "build.environment.SCCACHE_DIR: is retread's to set",
    ),
    "PTX alone": (
        ('ptx = ["8.0"]', 'ptx = ["9.0"]'),
        "ptx: torch's list cannot say PTX for 9.0 without its machine code; add it to architectures",
    ),
}


def test_what_a_user_reads_of_a_build_s_fault() -> None:
    found = {name: build_faults(change) for name, (change, _) in BUILD_FAULTS.items()}
    assert {name: len(told) for name, told in found.items()} == dict.fromkeys(BUILD_FAULTS, 1)
    wrong = {
        name: told
        for name, (told, *_) in found.items()
        if not told.startswith(f"targets.cu128.{BUILD_FAULTS[name][1]}")
    }
    assert wrong == {}


def test_ptx_alone_is_fine_for_a_build_that_does_not_ask_torch() -> None:
    text = (GOOD + BUILD).replace('ptx = ["8.0"]', 'ptx = ["9.0"]').replace("{torch-architectures}", "9.0")
    assert parse_recipe(text.encode(), name="demo-1.2").targets["cu128"].ptx == ("9.0",)


def test_a_build_tells_all_its_faults_at_once() -> None:
    wrong = [("DEMO_VERSION", "PATH"), ('python = ">=3.10,<3.14"', 'python = "x"'), ("{cuda-home}", "{home}")]
    told = build_faults(*wrong)
    keys = [one.partition(":")[0] for one in told]
    assert keys == [
        f"targets.cu128.build.{one}" for one in ("python", "environment.PATH", "environment.FLAGS")
    ]


@pytest.mark.parametrize("login", ["me:s3cret@", "s3cret@"])
def test_an_address_that_brings_a_key_is_refused_and_not_repeated(login: str) -> None:
    told = faults(("https://example.org/demo", f"https://{login}example.org/demo"))
    assert told == ("pin.repository: holds a password or a token; leave it to git's credential helper",)
    assert faults(("https://example.org/demo", "-x")) == (
        "pin.repository: '-x' is an option, not an address",
    )


def test_what_is_listed_twice() -> None:
    sub = (
        '[[pin.submodules]]\npath = "third_party/sub"\nrepository = "r"\ncommit = "' + 40 * "2" + '"\n[sdist]'
    )
    base = GOOD[GOOD.index("[[targets.cu128.base]]") : GOOD.index("[[targets.cu128.exempt]]")]
    assert faults(("[sdist]", sub), ("[[targets.cu128.exempt]]", base + "[[targets.cu128.exempt]]")) == (
        "pin.submodules[1].path: 'third_party/sub' is listed twice",
        "targets.cu128.base[1].file: 'demo-1.2-cp39-abi3-manylinux_2_28_x86_64.whl' is listed twice",
    )


def test_no_target() -> None:
    text = GOOD[: GOOD.index("[targets.cu128]")] + "[targets]\n"
    with pytest.raises(RecipeError) as caught:
        parse_recipe(text.encode(), name="demo-1.2")
    assert caught.value.faults == ("targets: none; a recipe needs at least one",)


def test_one_report_holds_every_fault() -> None:
    data = edited(
        ('summary = "A', 'sumary = "A'),
        ('sha256 = "aaaa', 'sha256 = "aaa'),
        ('cuda = "12.8"', 'cuda = "12.4"'),
        ('"numpy"]', '"numpy =="]'),
    )
    with pytest.raises(RecipeError) as caught:
        parse_recipe(data, name="demo-1.2")
    assert str(caught.value).splitlines() == [
        "recipe demo-1.2 has 6 faults",
        "  - sumary: unknown key (did you mean 'summary'?)",
        "  - sdist.sha256: expected a sha256, 64 hexadecimal digits, got '" + 63 * "a" + "'",
        "  - summary: missing",
        "  - targets.cu128.cuda: 12.4 belongs to a target named 'cu124'",
        "  - targets.cu128.architectures[1]: 10.0 needs CUDA 12.8 or newer, the target says 12.4",
        "  - targets.cu128.requires[1]: 'numpy ==': Expected semicolon (after name with no version specifier) or end",
        "  next: the schema is what 'retread recipe schema' prints",
    ]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"name = ", "Invalid value (at end of document)"),
        (b"name = 'x'\nname = 'y'", "Cannot overwrite a value"),
        (b"name = '\xff'", "'utf-8' codec can't decode byte 0xff"),
        (b"a = " + 5000 * b"1", "Exceeds the limit"),
        (b"a = " + 5000 * b"[" + 5000 * b"]", "nested too deeply"),
    ],
)
def test_what_is_not_toml(data: bytes, says: str) -> None:
    for parse in (parse_recipe, parse_toolchain):
        with pytest.raises(RecipeError) as caught:
            parse(data, name="demo-1.2")
        assert str(caught.value).startswith("demo-1.2.toml is not TOML: ")
        assert says in str(caught.value)


def test_a_toolchain_tells_its_faults() -> None:
    assert parse_toolchain(TOOLCHAIN.encode(), name="cuda-12.8").ptx_isa == "8.7"
    with pytest.raises(RecipeError) as caught:
        parse_toolchain(TOOLCHAIN.encode(), name="cuda-13.0")
    assert caught.value.faults == ("name: is 'cuda-12.8', the file is cuda-13.0.toml",)
    with pytest.raises(RecipeError) as caught:
        parse_toolchain(TOOLCHAIN.replace("machine", "machin").encode(), name="cuda-12.8")
    assert caught.value.faults == (
        "part[0].machin: unknown key (did you mean 'machine'?)",
        "part[0].machine: missing",
    )


PART = """\
[[part]]
component = "nvcc"
machine = "x86_64"
path = "cuda_nvcc/linux-x86_64/nvcc-archive.tar.xz"
file = "nvcc-archive.tar.xz"
sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
folder = "nvcc-archive"
"""
WHOLE = TOOLCHAIN.replace("[[part]]", 'redistributables = "https://host/redist/"\n[[part]]') + PART
ORIGINS = "; a part is on a package index, below redistributables or in Debian's archive"
LINKS = '[links]\nlib64 = "lib"\n"lib/a.so" = "../nvvm/b.so"\n'


def test_a_toolkit_is_made_of_the_parts_with_a_folder() -> None:
    found = parse_toolchain((WHOLE + LINKS).encode(), name="cuda-12.8")
    assert part_for(found, "x86_64").component == "ptxas"
    assert [part.component for part in toolkit_parts(found, "x86_64")] == ["nvcc"]
    assert found.links == {"lib64": "lib", "lib/a.so": "../nvvm/b.so"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([('path = "cuda_nvcc', 'package = "nvcc"\npath = "cuda_nvcc')],
         [f"part[1]: both package and path{ORIGINS}"]),
        ([('package = "nvcc"\n', "")],
         [f"part[0]: neither package nor path nor deb{ORIGINS}"]),
        ([('redistributables = "https://host/redist/"\n', "")],
         ["part[1].path: the toolchain has no redistributables, below which it could lie"]),
        ([('path = "cuda_nvcc/', 'path = "../cuda_nvcc/')],
         ["part[1].path: '../cuda_nvcc/linux-x86_64/nvcc-archive.tar.xz' leaves the redistributables"]),
        ([('file = "nvcc-archive.tar.xz"', 'file = "other.tar.xz"')],
         ["part[1].file: is 'other.tar.xz', the path ends with 'nvcc-archive.tar.xz'"]),
        ([("nvcc-1.whl", "nvcc-1.zip")], ["part[0].file: 'nvcc-1.zip' does not end with .whl"]),
        ([("/nvcc-archive.tar.xz", "/x.whl"), ('"nvcc-archive.tar.xz"', '"x.whl"')],
         ["part[1].file: 'x.whl' does not end with .tar.xz"]),
        ([('folder = "nvcc-archive"', 'folder = "../x"')], ["part[1].folder: '../x' leaves the part"]),
        ([('folder = "nvcc-archive"', 'folder = "."')], ["part[1].folder: '.' leaves the part"]),
        ([('ptxas = "bin/ptxas"', 'ptxas = "/bin/ptxas"')], ["part[0].ptxas: '/bin/ptxas' leaves the part"]),
        ([('folder = "nvcc-archive"', 'ptxas = "bin/ptxas"')],
         ["part[1].ptxas: it is taken out of a wheel; a part with a path or a deb is none",
          "part[1].ptxas: part[0] has ptxas for x86_64 already"]),
        ([('ptxas = "bin/ptxas"\n', "")], ["part[0]: neither folder nor ptxas; the part would serve nothing"]),
        ([('[links]', PART + '[links]')], ["part[2].file: 'nvcc-archive.tar.xz' is part[1] already"]),
        ([('lib64 = "lib"', '"../lib64" = "lib"')], ['links."../lib64": leaves the toolkit']),
        ([('lib64 = "lib"', 'lib64 = "../lib"')], ["links.\"lib64\": its target '../lib' leaves the toolkit"]),
        ([('lib64 = "lib"', 'lib64 = "/lib"')], ["links.\"lib64\": its target '/lib' leaves the toolkit"]),
        ([('"../nvvm/b.so"', '"../../b.so"')], ["links.\"lib/a.so\": its target '../../b.so' leaves the toolkit"]),
        ([("https://host/redist/", "https://host/redist")],
         ["redistributables: is not an http address that ends with a slash and holds no password"]),
        ([("https://host/redist/", "https://me:pw@host/")],
         ["redistributables: is not an http address that ends with a slash and holds no password"]),
        ([('component = "nvcc"\n', ""), ('lib64 = "lib"', "lib64 = 64")],
         ["part[1].component: missing", "links.lib64: expected a string, got an integer"]),
    ],
)  # fmt: skip
def test_a_toolkit_s_faults_are_told_with_their_places(
    changes: list[tuple[str, str]], told: list[str]
) -> None:
    text = WHOLE + LINKS
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    with pytest.raises(RecipeError) as caught:
        parse_toolchain(text.encode(), name="cuda-12.8")
    assert list(caught.value.faults) == told


def test_a_machine_without_a_toolkit_is_named() -> None:
    whole = parse_toolchain(WHOLE.encode(), name="cuda-12.8")
    with pytest.raises(PlanError, match=r"cuda-12\.8 has no toolkit for aarch64 machines, only for x86_64"):
        toolkit_parts(whole, "aarch64")
    with pytest.raises(PlanError, match="has no toolkit for x86_64 machines, only for none at all"):
        toolkit_parts(parse_toolchain(TOOLCHAIN.encode(), name="cuda-12.8"), "x86_64")


def test_a_machine_without_a_part_is_named() -> None:
    toolchain = parse_toolchain(TOOLCHAIN.encode(), name="cuda-12.8")
    with pytest.raises(PlanError, match="no part for riscv64 machines, only for x86_64"):
        part_for(toolchain, "riscv64")


@pytest.mark.parametrize(
    ("path", "glob"),
    [
        ("setup.py", "setup.py"),
        ("demo/csrc/a.cu", "demo/csrc/**"),
        ("demo/csrc/deep/er/a.cu", "demo/csrc/**"),
        ("demo/lib/_C.so", "demo/**.so"),
        ("demo/csrc", ""),
        ("demo/setup.py", ""),
        ("DEMO/csrc/a.cu", ""),
    ],
)
def test_globs(path: str, glob: str) -> None:
    assert matches(path, ("setup.py", "demo/csrc/**", "demo/**.so")) == glob


def test_the_committed_schema_is_the_codes() -> None:
    committed = json.loads((ROOT / "docs" / "schemas" / "recipe.json").read_bytes())
    assert committed["$defs"] == SCHEMA["$defs"], "run 'make schemas'"


def toml(value: Any) -> str:
    """Write a value as inline TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return repr(value) if "." in repr(value) else "inf"
    return json.dumps(value, ensure_ascii=False)


_TEXT = st.sampled_from(
    ["", "x", "8.0", "12.8", "cu128", "1.0", "é\n\t", "../..", 40 * "a", 64 * "b", "a-1-py3-none-any.whl"]
)
_VALUE = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXT, inner, max_size=2),
    max_leaves=4,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) in a document."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [place for key in keys for place in [(value, key), *places(value[key])]]


@settings(deadline=None, max_examples=20)
@given(st.data())
def test_a_mutated_recipe_raises_nothing_but_a_recipe_error(data: st.DataObject) -> None:
    document = tomllib.loads(GOOD)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(document)))
        action = data.draw(st.sampled_from(["replace", "replace", "delete", "rename"]))
        value = container[key]
        if action != "replace":
            del container[key]
        if action == "replace":
            container[key] = data.draw(_VALUE)
        elif action == "rename" and isinstance(container, dict):
            container[data.draw(_TEXT)] = value
    text = "\n".join(f"{toml(key)} = {toml(value)}" for key, value in document.items())
    with suppress(RecipeError):
        assert isinstance(parse_recipe(text.encode(), name="demo-1.2"), Recipe)


@settings(deadline=None, max_examples=20)
@given(st.binary(max_size=30), st.integers(0, len(GOOD)))
def test_bytes_in_a_recipe_raise_nothing_but_a_recipe_error(junk: bytes, at: int) -> None:
    data = GOOD.encode()
    with suppress(RecipeError):
        assert isinstance(parse_recipe(data[:at] + junk + data[at + len(junk) :], name="demo-1.2"), Recipe)


# How wheels are tried.

TRIED = """\
[targets.cu128.smoke]
torch = "2.10.0"
triton = ["3.6.0"]
gpu = ["10.0"]
[[targets.cu128.smoke.runtime]]
package = "runtime"
file = "runtime-1-py3-none-any.whl"
sha256 = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
[targets.cu128.smoke.expect]
operators = ["a", "b"]
[smoke]
suites = ["smoke/demo.py"]
commands = ["-m demo.info"]
[smoke.imports]
"demo.gpu.*" = "needs a GPU"
[smoke.expect]
operators = ["a"]
"""


def smoke_faults(*changes: tuple[str, str]) -> list[str]:
    text = TRIED
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    with pytest.raises(RecipeError) as caught:
        parse_recipe((GOOD + text).encode(), name="demo-1.2")
    return list(caught.value.faults)


def test_a_recipe_says_how_its_wheels_are_tried(editor: Editor) -> None:
    found = parse_recipe((GOOD + TRIED).encode(), name="demo-1.2")
    trial = found.targets["cu128"].smoke
    assert trial is not None
    assert (trial.torch, trial.triton, trial.gpu) == ("2.10.0", ("3.6.0",), ("10.0",))
    assert trial.runtime[0].file == "runtime-1-py3-none-any.whl"
    assert trial.expect == {"operators": ("a", "b")}
    assert found.smoke.suites == ("smoke/demo.py",)
    assert found.smoke.imports == {"demo.gpu.*": "needs a GPU"}
    editor.validate(tomllib.loads(GOOD + TRIED))


def test_without_a_smoke_table_nothing_is_tried() -> None:
    found = parse_recipe(GOOD.encode(), name="demo-1.2")
    assert found.smoke.suites == ()
    assert found.targets["cu128"].smoke is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (('"smoke/demo.py"', '"../demo.py"'), ["smoke.suites[0]: '../demo.py' leaves the workspace"]),
        (('"smoke/demo.py"', '"a.py", "b/a.py"'), ["smoke.suites[1]: there is another suite 'a.py'"]),
        (('suites = ["smoke/demo.py"]', 'suites = "smoke/demo.py"'),
         ["smoke.suites: expected an array, got a string"]),
        (("commands", "comands"), ["smoke.comands: unknown key (did you mean 'commands'?)"]),
        (('"-m demo.info"', '""'), ["smoke.commands[0]: left empty; expected a text that is not empty"]),
        (('"needs a GPU"', '""'), ["smoke.imports.\"demo.gpu.*\": left empty; expected a text that is not empty"]),
        (('torch = "2.10.0"\n', ""), ["targets.cu128.smoke.torch: missing"]),
        (('torch = "2.10.0"', 'torch = "2.9.0"'),
         ["targets.cu128.smoke.torch: 2.9.0 is outside of the target's range >=2.10"]),
        (('torch = "2.10.0"', 'torch = ">=2.10"'),
         ["targets.cu128.smoke.torch: '>=2.10' is not a version like '2.10.0'"]),
        (('triton = ["3.6.0"]', 'triton = ["3.6.0", "new"]'),
         ["targets.cu128.smoke.triton[1]: 'new' is not a version like '3.6.0'"]),
        (('gpu = ["10.0"]', 'gpu = ["10.5"]'),
         ["targets.cu128.smoke.gpu[0]: expected a GPU architecture, like 8.0, 9.0a or 12.0, got '10.5'"]),
        (('file = "runtime-1-py3-none-any.whl"', 'file = "../runtime.whl"'),
         ["targets.cu128.smoke.runtime[0].file: expected a plain file name, got '../runtime.whl'"]),
        ((64 * "d", "dd"),
         ["targets.cu128.smoke.runtime[0].sha256: expected a sha256, 64 hexadecimal digits, got 'dd'"]),
    ],
)  # fmt: skip
def test_faults_of_the_smoke_tables_are_told_with_their_places(
    change: tuple[str, str], told: list[str]
) -> None:
    found = smoke_faults(change)
    assert len(found) == len(told)
    for fault, words in zip(found, told, strict=True):
        assert fault.startswith(words)


def test_what_is_said_for_a_platform_is_for_one_that_has_a_base_wheel() -> None:
    base = (
        '[[targets.cu128.base]]\nfile = "demo-1.2-cp39-abi3-win_amd64.whl"\nsha256 = "' + 64 * "c" + '"\n\n'
    )
    said = '[targets.cu128.platforms.win_amd64]\nrequires = []\nnote = "x"\n\n'
    there = ("[[targets.cu128.exempt]]", base + said + "[[targets.cu128.exempt]]")
    found = parse_recipe(GOOD.replace(*there).encode(), name="demo-1.2").targets["cu128"]
    windows, linux = found.on("win_amd64"), found.on("x86_64")
    assert [one.file for one in windows.base] == ["demo-1.2-cp39-abi3-win_amd64.whl"]
    assert (windows.requires, windows.note, windows.run_path) == ((), "x", {})
    assert (linux.requires, linux.note, linux.run_path) == (found.requires, found.note, found.run_path)
    wrong = said.replace("win_amd64", "win_amd65").replace("[]", '["?"]')
    assert faults(("[[targets.cu128.exempt]]", base + wrong + "[[targets.cu128.exempt]]")) == (
        "targets.cu128.platforms.win_amd65: no base wheel is for it (did you mean 'win_amd64'?); "
        "there are x86_64, win_amd64",
        "targets.cu128.platforms.win_amd65.requires[0]: "
        "'?': Expected package name at the start of dependency specifier",
    )
    linux_too = said.replace("win_amd64", "x86_64")
    assert faults(("[[targets.cu128.exempt]]", linux_too + "[[targets.cu128.exempt]]")) == (
        "targets.cu128.platforms.x86_64: the target itself says what its wheels for Linux hold",
    )
