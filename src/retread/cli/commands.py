"""Every command: which module has it, and in one sentence what it does. More ``retread --help`` does not need."""

from __future__ import annotations

NOUNS = {
    "fit": {
        "fit": "read an environment: what its GPU code runs on, what is broken, which wheel fits; with -q in one line",
    },
    "explain": {
        "explain": "say which known fault an error message is, and what to take",
    },
    "build": {
        "build": "make a target's wheels and put them under dist/; stdout is their paths",
        "plan": "show lane, stages and cache state of a build, with the reason for each",
        "reproduce": "make a wheel again from what it says of itself; identical, or what differs",
    },
    "matrix": {
        "matrix": "show a workflow's jobs: every target for every Python, or only what changed",
    },
    "jobs": {
        "jobs": "show every build and trial as a job that any engine may run, with what it needs",
        "run-job": "run one job of a job file, and leave its result whole below --out; stdout is its wheels",
    },
    "patch": {
        "patch": "work on a recipe's patch series",
    },
    "wheel": {
        "inspect": "show what a wheel holds and which GPUs it serves natively",
        "audit": "hold a wheel to its target's promise; any wheel to the general rules",
        "compare": "say how far two wheels agree: bytes, files, code; what differs otherwise",
        "graft": "add native code to any wheel or library with fat binaries, assembled from the PTX in it",
    },
    "slim": {
        "slim": "take machine code for GPUs that nobody has out of any wheel; what the others run is proven unchanged",
    },
    "smoke": {
        "smoke": "try a finished wheel: without a GPU, for GPUs that are not there, and on the one that is",
        "kit": "pack a wheel with its tests into one file for a machine without network or retread",
        "evidence": "show all that is known of a wheel: audit, smoke reports",
    },
    "attest": {
        "key": "ed25519 keys that sign evidence: new, list",
        "attest": "sign what is known of a wheel; stdout is the envelopes, which lie beside it",
        "statement": "write what is known of wheels, for signing where the wheels are not; stdout is the files",
        "sign": "sign the statements in a folder that are made in a key's name; stdout is the envelopes",
    },
    "index": {
        "publish": "list wheels with their evidence in a private index, all or none",
        "index": "a private index: check, history, yank, remove, rollback, revoke, renew",
    },
    "release": {
        "release": "a release is complete or not at all: plan",
    },
    "revoke": {
        "audit-lock": "hold a lock file, or an environment, against revocations and yanks",
    },
    "serve": {
        "serve": "serve an index, for trying it out",
    },
    "watch": {
        "watch": "ask the package index what is new: upstream releases, what becomes of the series, torch, Triton",
    },
    "store": {
        "store": "show or prune the store: list, prune, remove, check",
    },
    "toolchain": {
        "toolchain": "CUDA toolkits of exactly one release: list, get, check",
    },
    "recipe": {
        "recipe": "recipes: new, list, check, lock, times, proof, bump, schema",
    },
    "init": {
        "init": "write a repository of one's own: recipes, patches, an index, a Makefile, a workflow",
    },
    "completion": {
        "completion": "print a completion script for a shell",
    },
}
"""Modules of this package -> the commands that their ``add`` adds, in the order in which ``--help`` shows them."""
MODULES = {name: noun for noun, commands in NOUNS.items() for name in commands}
SENTENCES = {name: text for commands in NOUNS.values() for name, text in commands.items()}
