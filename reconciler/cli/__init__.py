"""The commands: each a thin face over the library. Exit codes: 0 done, 1 error, 2 changes pending."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import click
from rich.console import Console

from reconciler import __version__
from reconciler.cli.accept import accept, accept_host
from reconciler.cli.demo import demo
from reconciler.cli.explain import explain
from reconciler.cli.guard import guard
from reconciler.cli.options import config_option
from reconciler.cli.requests import abort, hold, release, resume
from reconciler.config import Config, load_config
from reconciler.daemon import converge, look_once, serve
from reconciler.errors import ReconcilerError
from reconciler.report import plan_view, view
from reconciler.source import load


class Group(click.Group):
    """Turns the errors raised on purpose into one message and exit code 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ReconcilerError as error:
            click.echo(f"reconciler: {error}", err=True)
            ctx.exit(1)


@click.group(cls=Group)
@click.version_option(__version__)
@click.option("-v", "--verbose", is_flag=True, help="Log every step.")
def main(verbose: bool) -> None:
    """Moves running Xen domains between hosts to where a git commit says they should live."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    # What goes wrong with a connection is told by the outcome of the command, once and in our words.
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    logging.getLogger("watchdog").setLevel(logging.WARNING)


def _config(path: Path) -> Config:
    return load_config(path)


@main.command()
@config_option
def run(config_file: Path) -> None:
    """Run as a daemon until SIGTERM; a commit, the timer or SIGHUP starts a pass."""
    serve(_config(config_file))


@main.command()
@config_option
@click.option(
    "--deadline", type=float, help="Give up after so many seconds; journeys go on with the next call."
)
def once(config_file: Path, deadline: float | None) -> None:
    """Work until every domain is where the commit says, or nothing more can be done."""
    config = _config(config_file)
    plan = converge(config, deadline)
    _show_report(config.report_file)
    sys.exit(1 if plan is None else plan.exit_code)


@main.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
def plan(config_file: Path, as_json: bool) -> None:
    """Show what would happen and why not more. Changes nothing. Exit 0 nothing to do, 2 changes, 1 error."""
    intent, found = look_once(_config(config_file))
    for problem in intent.problems:
        click.echo(f"commit refused: {problem}", err=True)
    if intent.trouble:
        click.echo(f"repository: {intent.trouble}", err=True)
    if found is None:
        click.echo("no good commit is known: nothing can be planned", err=True)
        sys.exit(1)
    if as_json:
        click.echo(json.dumps(plan_view.as_json(found), indent=2))
    else:
        plan_view.render_plan(found, Console())
    sys.exit(1 if intent.problems or intent.trouble else found.exit_code)


@main.command()
@click.argument("repository", type=click.Path(path_type=Path), default=".")
@click.option("--ref", default="HEAD", show_default=True, help="The commit or ref to check.")
@click.option("--folder", default="desired", show_default=True, help="The folder of the tree that is read.")
def validate(repository: Path, ref: str, folder: str) -> None:
    """Check a committed tree without touching any host; for a pre-receive hook or CI. Exit 0 good, 1 not."""
    loaded = load(repository, ref, folder)
    refused = loaded.desired.refused.values() if loaded.desired else ()
    for problem in (*loaded.problems, *refused):
        click.echo(str(problem), err=True)
    if loaded.desired is not None:
        desired = loaded.desired
        click.echo(f"{desired.commit[:12]}: {len(desired.hosts)} hosts, {len(desired.domains)} domains")
    sys.exit(1 if loaded.problems or refused else 0)


@main.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print the report file as it is.")
def status(config_file: Path, as_json: bool) -> None:
    """Show domains, moves, phases and sync progress from the report file."""
    report_file = _config(config_file).report_file
    if as_json:
        click.echo(_read_report(report_file))
    else:
        _show_report(report_file)


main.add_command(demo)
main.add_command(accept)
main.add_command(accept_host)
main.add_command(guard)
for command in (explain, abort, hold, resume, release):
    main.add_command(command)


def _read_report(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReconcilerError(
            f"{path}: {error.strerror}; has the daemon run with this configuration?"
        ) from None


def _show_report(path: Path) -> None:
    view.render(json.loads(_read_report(path)), Console())
