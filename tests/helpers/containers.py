"""A podman of the tests' own: settings and storage lie in a folder, its image is made of Debian's packages."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

PODMAN = shutil.which("podman") or "podman"
ROOT = Path(__file__).parents[2]
IMAGE = "localhost/retread-tests:latest"
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
KEPT = "RETREAD_TEST_CONTAINERS"
"""Names a folder that keeps the image from one run of the tests to the next."""
_SETTINGS = """\
[containers]
netns = "host"
log_driver = "k8s-file"
default_ulimits = ["nofile={files}:{files}", "nproc=4096:8192"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
_STORAGE = """\
[storage]
driver = "{driver}"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""


def prepare(folder: Path) -> dict[str, str]:
    """Return the variables under which podman works in ``folder``, where the image is made unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    files = min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    (folder / "containers.conf").write_text(_SETTINGS.format(files=files), "utf-8")
    variables = {
        "CONTAINERS_CONF": str(folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
    }
    for driver in ("overlay", "vfs"):
        (folder / "storage.conf").write_text(_STORAGE.format(driver=driver, folder=folder), "utf-8")
        if podman(variables, "ps").returncode == 0:
            break
    script = ROOT / "scripts" / "manylinux-image.sh"
    subprocess.run([script, IMAGE], env={**os.environ, **variables}, check=True)
    return variables


def obstacle(variables: dict[str, str]) -> str:
    """Return why this machine lets podman start no container, whatever retread does; nothing when it does."""
    done = podman(variables, "run", "--rm", "--network=none", IMAGE, "true")
    return f"podman cannot run here: {done.stderr.strip()}" if done.returncode else ""


def podman(variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run podman and return what it said."""
    return subprocess.run(
        [PODMAN, *arguments], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


def close(variables: dict[str, str]) -> None:
    """Remove every container, and what podman mounted."""
    podman(variables, "rm", "--force", "--all")
    podman(variables, "system", "reset", "--force")
