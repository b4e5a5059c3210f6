"""The command line: arguments in, exit code out. Only here does the process end and do words meet the terminal.

Everything heavy is imported by the command that needs it, so that ``--help`` and an unchanged build answer at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from retread.cli import build, matrix, wheel
from retread.cli import index as indexing
from retread.cli import patch as cli_patch
from retread.cli import recipe as cli_recipe
from retread.cli import smoke as trying
from retread.cli import store as cli_store
from retread.cli import toolchain as cli_toolchain
from retread.cli import watch as nightly
from retread.cli.session import DEFAULT_RECIPE
from retread.recipe.lane import LANES

_EXIT_CODES = """\
exit codes:
  0 done   1 a bug   2 usage   3 recipe   4 source proof   5 patch series   6 plan   7 download   8 base wheel
  9 wheel format   10 ELF   11 fat binary   12 audit   13 store or disk   14 external program
  15 compile   16 smoke test   17 evidence   18 machine cannot try it   19 gate
  20 index   21 revoked   130 interrupted

environment: RETREAD_STORE (default ~/.cache/retread), RETREAD_CUDA_MIRROR;
  pip's and uv's own index settings are honoured
"""
_INTERRUPTED = 130
_WORDS = {"release": "VERSION"}
"""Positional arguments whose names are taken by an option of all commands."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="retread",
        description="Patched CUDA wheels, proven: a pinned commit and a patch series in, a wheel out.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version and exit")
    groups = top.add_subparsers(dest="command", metavar="COMMAND")
    _add_build(groups)
    _add_matrix(groups)
    _add_patch(groups)
    _add_wheel_readers(groups)
    _add_graft(groups)
    _add_smoke(groups)
    _add_proofs(groups)
    _add_index(groups)
    _add_watch(groups)
    _add_store(groups)
    _add_toolchain(groups)
    _add_recipe(groups)
    completion = groups.add_parser("completion", help="print a completion script for a shell")
    completion.add_argument("shell", choices=["bash", "zsh", "tcsh"])
    completion.set_defaults(run=_completion)
    return top


def _add_build(groups: Any) -> None:
    for name, run, text in (
        ("build", build.build, "make a target's wheels and put them under dist/; stdout is their paths"),
        ("plan", build.plan, "show lane, stages and cache state of a build, with the reason for each"),
    ):
        command = groups.add_parser(name, help=text, description=text)
        command.add_argument(
            "recipe", nargs="*" if name == "build" else "?", help=f"default: {DEFAULT_RECIPE}"
        )
        command.add_argument("--target", help="default: the recipe's first")
        command.add_argument("--lane", choices=[one.value for one in LANES], help="force a lane")
        command.add_argument(
            "--source", choices=["sdist", "git"], default="sdist", help="where the source comes from"
        )
        _compile_options(command)
        if name == "build":
            command.add_argument("--all", action="store_true", help="every target of every recipe")
            command.add_argument("-o", "--out", type=Path, default=Path("dist"), help="default: dist/")
        _common(command, run)

    text = "make a wheel again from what it says of itself; identical, or what differs"
    again = groups.add_parser("reproduce", help=text, description=text)
    again.add_argument("wheel", type=Path)
    _compile_options(again)
    _common(again, build.reproduce)


def _add_matrix(groups: Any) -> None:
    text = "show a workflow's jobs: every target for every Python, or only what changed"
    command = groups.add_parser("matrix", help=text, description=text)
    command.add_argument("recipe", nargs="*", help="default: all")
    command.add_argument(
        "--base", metavar="REF", help="only what changed since HEAD and this commit parted, uncommitted too"
    )
    command.add_argument(
        "--gpus", metavar="LIST", default="", help="capabilities that runners have, like '9.0 12.0'"
    )
    _common(command, matrix.matrix)


def _compile_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--python", help="the Python that the wheel is for: a version, for the source lane also a path"
    )
    command.add_argument(
        "--jobs", type=int, metavar="N", help="compile N units at a time; default: the cores"
    )
    command.add_argument(
        "--memory", type=float, metavar="GIB", help="for all compilers; default: what is free"
    )
    command.add_argument("--no-cache", action="store_true", help="compile without sccache")
    command.add_argument("--image", metavar="NAME", help="container lane: an image of this machine's")


def _add_patch(groups: Any) -> None:
    patch = groups.add_parser("patch", help="work on a recipe's patch series")
    actions = patch.add_subparsers(dest="action", metavar="ACTION", required=True)
    check = actions.add_parser("check", help="lint the series and try every patch on the pinned source")
    check.add_argument("recipe", nargs="*", help="default: all")
    check.add_argument(
        "--source", choices=["sdist", "git"], default="sdist", help="where the source comes from"
    )
    _common(check, cli_patch.patch_check)


def _add_wheel_readers(groups: Any) -> None:
    inspect = groups.add_parser("inspect", help="show what a wheel holds and which GPUs it serves natively")
    inspect.add_argument("wheel", type=Path, help="a wheel, or a shared object")
    _common(inspect, wheel.inspect)
    audit = groups.add_parser(
        "audit", help="hold a wheel to its target's promise; any wheel to the general rules"
    )
    audit.add_argument("wheel", type=Path)
    audit.add_argument("--recipe", help="hold it to this recipe instead of to what it says of itself")
    audit.add_argument("--target", help="default: the recipe's first")
    _common(audit, wheel.audit)


def _add_graft(groups: Any) -> None:
    text = "add native code to any shared object with fat binaries, assembled from the PTX in it"
    graft = groups.add_parser("graft", help=text, description=text)
    graft.add_argument("library", type=Path)
    graft.add_argument("--arch", action="append", required=True, help="like 10.0; may be given again")
    graft.add_argument("--toolchain", default="cuda-12.8", help="default: cuda-12.8")
    graft.add_argument(
        "-o", "--out", type=Path, required=True, help="where to write it; may be the library itself"
    )
    _common(graft, wheel.graft)


def _add_smoke(groups: Any) -> None:
    text = "try a finished wheel: without a GPU, for GPUs that are not there, and on the one that is"
    smoke = groups.add_parser("smoke", help=text, description=text)
    smoke.add_argument("wheel", type=Path, nargs="?")
    smoke.add_argument("--attach", type=Path, metavar="REPORT", help="put a kit's report beside its wheel")
    smoke.add_argument(
        "-o", "--out", type=Path, default=Path("dist"), help="with --attach: where the wheel is; dist/"
    )
    smoke.add_argument(
        "--level",
        action="append",
        choices=["static", "jit", "gpu"],
        help="default: all that this machine can run",
    )
    smoke.add_argument(
        "--only", metavar="PATTERN", default="*", help="cases whose id matches, like 'attention/*'"
    )
    smoke.add_argument(
        "--python", metavar="PATH", help="a Python whose environment has torch; default: one is made"
    )
    smoke.add_argument("--ssh", metavar="HOST", help="try it there: only Python and torch are needed")
    smoke.add_argument(
        "--any-torch", action="store_true", help="also under a torch that the wheel is not made for"
    )
    smoke.add_argument("--json", dest="report", type=Path, metavar="FILE", help="write the report there")
    smoke.add_argument("--junit", type=Path, metavar="FILE", help="and as JUnit XML, for CI")
    smoke.add_argument(
        "--html", type=Path, metavar="FILE", help="and as a page, with errors and speed plotted"
    )
    _of_recipe(smoke)
    _common(smoke, trying.smoke, json=False)
    text = "pack a wheel with its tests into one file for a machine without network or retread"
    kit = groups.add_parser("kit", help=text, description=text)
    kit.add_argument("wheel", type=Path)
    kit.add_argument("-o", "--out", type=Path, help="default: WHEEL.kit.pyz")
    _of_recipe(kit)
    _common(kit, trying.kit)
    evidence = groups.add_parser("evidence", help="show all that is known of a wheel: audit, smoke reports")
    evidence.add_argument("wheel", type=Path)
    _common(evidence, trying.evidence)


def _add_proofs(groups: Any) -> None:
    key = groups.add_parser("key", help="ed25519 keys that sign evidence: new, list")
    actions = key.add_subparsers(dest="action", metavar="ACTION", required=True)
    new = actions.add_parser("new", help="make a key pair; stdout is its line for a policy")
    new.add_argument("name")
    listed = actions.add_parser("list", help="show keys as a policy holds them")
    for command, run in ((new, indexing.key_new), (listed, indexing.key_list)):
        command.add_argument("--folder", type=Path, default=Path(), help="where the keys lie; default: here")
        _common(command, run)
    text = "sign what is known of a wheel; stdout is the envelopes, which lie beside it"
    attest = groups.add_parser("attest", help=text, description=text)
    attest.add_argument("wheel", type=Path)
    attest.add_argument("--builder", type=Path, metavar="KEY", help="sign how it was built")
    attest.add_argument("--tester", type=Path, metavar="KEY", help="sign what its smoke reports found")
    _common(attest, indexing.attest)


def _add_index(groups: Any) -> None:
    text = "list wheels with their evidence in a private index, all or none"
    publish = groups.add_parser("publish", help=text, description=text)
    publish.add_argument("wheel", type=Path, nargs="+")
    publish.add_argument("--index", required=True, help="a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX")
    publish.add_argument(
        "--allow-unproven", metavar="REASON", help="also without evidence; the page shows the reason"
    )
    _address(publish)
    _policy(publish)
    _common(publish, indexing.publish)
    index = groups.add_parser("index", help="a private index: check, history, yank, remove, rollback, revoke")
    actions = index.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, text, words in (
        ("yank", "take a version from whoever does not ask for exactly it", ("project", "release")),
        ("unyank", "undo that", ("project", "release")),
        (
            "remove",
            "take a version and its files away; its names stay bound to its bytes",
            ("project", "release"),
        ),
        ("rollback", "go back to what the index was after an action", ("number",)),
        ("refresh", "make every page anew", ()),
    ):
        command = actions.add_parser(name, help=text, description=text)
        command.add_argument("index", help="a folder or a bucket")
        for word in words:
            command.add_argument(
                word, type=int if word == "number" else str, metavar=_WORDS.get(word, word.upper())
            )
        if "project" in words:
            command.add_argument(
                "--reason", required=name != "unyank", help="the pages and the history show it"
            )
        _address(command)
        _common(command, indexing.index_change)
    history = actions.add_parser("history", help="show every action")
    check = actions.add_parser("check", help="verify every promise from the bytes")
    for command, run in ((history, indexing.index_history), (check, indexing.index_check)):
        command.add_argument("index", help="a folder or a bucket")
        _common(command, run)
    _policy(check)
    _add_revocation(groups, actions)
    serve = groups.add_parser("serve", help="serve an index, for trying it out")
    serve.add_argument("index", type=Path)
    serve.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    serve.add_argument("--port", type=int, default=8000, help="default: 8000; 0 takes a free one")
    _common(serve, indexing.serve, json=False)


def _add_revocation(groups: Any, actions: Any) -> None:
    revoke = actions.add_parser("revoke", help="put a version on the signed list of what must not be used")
    revoke.add_argument("index", help="a folder")
    revoke.add_argument("project")
    revoke.add_argument("release", nargs="?", metavar="VERSION", help="default: every version")
    revoke.add_argument("--sha256", help="only the file with this digest")
    revoke.add_argument("--reason", required=True)
    revoke.add_argument("--advice", required=True, help="what to use instead")
    revoke.add_argument("--key", type=Path, required=True, help="a builder's key of the policy")
    _common(revoke, indexing.index_revoke, json=False)
    text = "hold a lock file, or an environment, against revocations and yanks"
    audit = groups.add_parser("audit-lock", help=text, description=text)
    audit.add_argument(
        "file", type=Path, help="uv.lock, pylock.toml, poetry.lock, requirements, or a venv's folder"
    )
    audit.add_argument("--index", required=True, help="the index's folder")
    audit.add_argument("--strict", action="store_true", help="a yank is an error, too")
    _policy(audit)
    _common(audit, indexing.audit_lock)


def _add_watch(groups: Any) -> None:
    text = "ask the package index what is new: upstream releases, what becomes of the series, torch, Triton"
    watch = groups.add_parser("watch", help=text, description=text)
    watch.add_argument("recipe", nargs="*", help="default: all")
    watch.add_argument(
        "--no-jit", action="store_true", help="compile no kernel under the newest torch and Triton"
    )
    watch.add_argument(
        "--issue", type=Path, metavar="FILE", help="write the text of an issue there, as Markdown"
    )
    _common(watch, nightly.watch)


def _address(command: Any) -> None:
    command.add_argument(
        "--base", metavar="URL", help="the index's address, which its pages name; default: the last"
    )


def _policy(command: Any) -> None:
    command.add_argument(
        "--policy", type=Path, metavar="FILE", help=f"whose keys count; default: {indexing.POLICY}"
    )


def _of_recipe(command: Any) -> None:
    command.add_argument("--recipe", help="try it as this recipe says; default: the one that made it")
    command.add_argument("--target", help="default: the one that made it, or the recipe's first")


def _add_store(groups: Any) -> None:
    store = groups.add_parser("store", help="show or prune the store")
    actions = store.add_subparsers(dest="action", metavar="ACTION")
    _common(store, cli_store.store_list)
    _common(actions.add_parser("list", help="show what is in it (the default)"), cli_store.store_list)
    prune = actions.add_parser("prune", help="remove rubbish and what was not used lately")
    prune.add_argument(
        "--days", type=float, default=30.0, help="keep what was used in the last DAYS days; default 30"
    )
    prune.add_argument(
        "--keep", type=float, metavar="GB", help="then remove the longest unused until GB are left"
    )
    _common(prune, cli_store.store_prune)


def _add_toolchain(groups: Any) -> None:
    toolchain = groups.add_parser("toolchain", help="CUDA toolkits of exactly one release: list, get, check")
    actions = toolchain.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, run, text in (
        ("list", cli_toolchain.toolchain_list, "show toolchains, their parts, and which lie in the store"),
        (
            "get",
            cli_toolchain.toolchain_get,
            "put toolkits into the store; stdout is what CUDA_HOME is to be",
        ),
        (
            "check",
            cli_toolchain.toolchain_check,
            "say where each part comes from, and try those that can be had",
        ),
    ):
        command = actions.add_parser(name, help=text, description=text)
        command.add_argument("name", nargs="*", help="default: all")
        _common(command, run)


def _add_recipe(groups: Any) -> None:
    recipe = groups.add_parser("recipe", help="recipes: list, check, schema")
    actions = recipe.add_subparsers(dest="action", metavar="ACTION", required=True)
    _common(actions.add_parser("list", help="show recipes and their targets"), cli_recipe.recipe_list)
    check = actions.add_parser("check", help="read recipes strictly and report every fault")
    check.add_argument("recipe", nargs="*", help="default: all")
    _common(check, cli_recipe.recipe_check)
    lock = actions.add_parser(
        "lock", help="pin what the source lane's builds need, by hash, as the index has it today"
    )
    lock.add_argument("recipe", nargs="*", help="default: all")
    lock.add_argument("--target", help="default: all that the source lane makes")
    _common(lock, cli_recipe.recipe_lock)
    schema = actions.add_parser("schema", help="print the JSON Schema of a recipe, or of what --json prints")
    schema.add_argument(
        "of",
        nargs="?",
        default="recipe",
        choices=[
            "recipe",
            "plan",
            "build",
            "audit",
            "inspect",
            "statement",
            "toolchain",
            "compile",
            "compare",
            "smoke",
            "evidence",
            "matrix",
            "watch",
        ],
    )
    _common(schema, cli_recipe.recipe_schema)


def _common(
    command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int], *, json: bool = True
) -> None:
    command.set_defaults(run=run)
    if json:
        command.add_argument("--json", action="store_true", help="print data as JSON")
    command.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors on stderr")
    command.add_argument(
        "--root", type=Path, help="the folder with recipes/ and patches/; default: found upwards"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    code = run(arguments)
    if code == _INTERRUPTED:
        from retread.doors import proc

        proc.close()
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every expected failure is one message on stderr."""
    from retread.errors import RetreadError

    top = parser()
    options = top.parse_args(arguments)
    if options.version:
        from retread.version import __version__

        print(f"retread {__version__}")
        return 0
    if not options.command:
        top.print_help(sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except RetreadError as error:
        _complain(f"retread: {error.kind}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _complain("retread: interrupted; what was finished is kept, the same command goes on from there")
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _complain(text: str) -> None:
    from retread.doors.console import Console

    Console().fail(text)


def _completion(options: argparse.Namespace) -> int:
    import shtab

    print(shtab.complete(parser(), options.shell))
    return 0
