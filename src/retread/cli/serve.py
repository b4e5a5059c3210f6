"""``retread serve``: an index, for trying it out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_command, add_common

if TYPE_CHECKING:
    from retread.cli.options import Groups


class ServeOptions(Options):
    """What is typed after ``serve``."""

    index: Path
    host: str
    port: int


def add(groups: Groups) -> None:
    """Add the command."""
    command = add_command(groups, "serve")
    command.add_argument("index", type=Path)
    command.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    command.add_argument("--port", type=int, default=8000, help="default: 8000; 0 takes a free one")
    add_common(command, serve, ServeOptions, json=False, waits=True)


def serve(options: ServeOptions) -> int:
    """Serve an index, for trying it out, until interrupted."""
    from retread.index import serve as serving

    console = session.machine(options).console

    def ready(address: str) -> None:
        console.say(
            f"serving {options.index} at {address}; for trying it out: docs/serving says how to serve it really"
        )
        session.put(address)
        session.flush()

    serving.serve(options.index, options.host, options.port, ready=ready)
    return 0
