"""``retread toolchain``: CUDA toolkits of exactly one release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retread.cli import session
from retread.cli.options import Options, add_action, add_command, add_common

if TYPE_CHECKING:
    from retread.cli.options import Groups
    from retread.doors.machine import Machine
    from retread.recipe.toolchain import Toolchain
    from retread.toolkit.inquiry import ToolchainReport


class ToolchainOptions(Options):
    """What is typed after ``toolchain list`` and the others."""

    name: tuple[str, ...]


def add(groups: Groups) -> None:
    """Add the command and its actions."""
    toolchain = add_command(groups, "toolchain")
    actions = toolchain.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, run, text in (
        ("list", toolchain_list, "show toolchains, their parts, and which lie in the store"),
        ("get", toolchain_get, "put toolkits into the store; stdout is what CUDA_HOME is to be"),
        ("check", toolchain_check, "say where each part comes from, and try those that can be had"),
    ):
        command = add_action(actions, name, text)
        command.add_argument("name", nargs="*", help="default: all but those that are ptxas alone")
        add_common(command, run, ToolchainOptions)


def _toolchains(options: ToolchainOptions) -> list[Toolchain]:
    from retread.recipe import workspace
    from retread.recipe.toolchain import is_ptxas

    root = session.workspace_or_none(options)
    if options.name:
        return [workspace.load_toolchain(root, name) for name in options.name]
    return [one for one in workspace.every_toolchain(root) if not is_ptxas(one)]


def toolchain_list(options: ToolchainOptions) -> int:
    """Show toolchains, what they are made of, and which lie in the store."""
    from retread.errors import PlanError
    from retread.toolkit.inquiry import part_reports, report
    from retread.toolkit.toolkit import stored_toolkit

    machine = session.machine(options)
    reports = []
    for toolchain in _toolchains(options):
        try:
            found, parts = stored_toolkit(machine, toolchain), part_reports(toolchain)
        except PlanError as error:
            reports.append(report(toolchain, (), None, obstacles=[error.message]))
        else:
            reports.append(report(toolchain, parts, found))
    _show_toolchains(options, reports)
    return 0


def toolchain_get(options: ToolchainOptions) -> int:
    """Put toolkits into the store; stdout is their paths."""
    from retread.toolkit.inquiry import part_reports, report
    from retread.toolkit.toolkit import toolkit

    machine = session.machine(options)
    reports = []
    for toolchain in _toolchains(options):
        found = toolkit(machine, toolchain)
        machine.console.say(f"{toolchain.name}: {found.version} ({found.origin})")
        reports.append(report(toolchain, part_reports(toolchain), found))
    if options.json:
        session.print_json(reports)
    else:
        session.put("\n".join(one.root for one in reports))
    return 0


def toolchain_check(options: ToolchainOptions) -> int:
    """Say where toolkits come from, and try those that can be had; PlanError when one cannot."""
    from retread.errors import PlanError
    from retread.toolkit.toolkit import ways

    machine, toolchains = session.machine(options), _toolchains(options)
    reports = [_checked(machine, toolchain) for toolchain in toolchains]
    _show_toolchains(options, reports)
    faults = [f"{one.name}: {obstacle}" for one in reports for obstacle in one.obstacles]
    if faults:
        lacking = [one.name for one in reports if one.obstacles]
        hints = [ways(one) for one in toolchains if one.name in lacking and one.redistributables]
        raise PlanError(
            f"this machine cannot have {', '.join(lacking)}", faults=faults, hint=hints[0] if hints else ""
        )
    return 0


def _checked(machine: Machine, toolchain: Toolchain) -> ToolchainReport:
    from retread.errors import RetreadError, StoreError
    from retread.toolkit.inquiry import inquire, report
    from retread.toolkit.toolkit import toolkit, try_toolkit

    parts, obstacles = inquire(machine, toolchain)
    if obstacles:
        return report(toolchain, parts, None, obstacles=obstacles)
    try:
        found = toolkit(machine, toolchain)
        tried = try_toolkit(machine, found)
    except StoreError:
        raise
    except RetreadError as error:
        said = "; ".join((error.message, *error.faults))
        return report(toolchain, parts, None, obstacles=[said])
    return report(toolchain, parts, found, tried=tried)


def _show_toolchains(options: ToolchainOptions, reports: list[ToolchainReport]) -> None:
    from retread.cli import show

    if options.json:
        session.print_json(reports)
    else:
        session.put("\n".join(map(show.toolchain, reports)) or "there are no toolchains")
