"""`abort`, `hold`, `resume` and `release`: leave a request for the daemon and wait for its answer.

The daemon owns the journal, so these commands touch neither it nor any host.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from reconciler import mailbox
from reconciler.cli.options import config_option
from reconciler.clock import SystemClock
from reconciler.config import Config, load_config
from reconciler.model.request import Request, Result, Verb
from reconciler.moves.journal import Journal

POLL_S = 0.2
reason_option = click.option("--reason", default="", help="Why, in a line; it is shown in the report.")
wait_option = click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(0, 3600),
    default=10.0,
    show_default=True,
    help="Seconds to wait for the daemon's answer.",
)


@click.command()
@click.argument("domain")
@reason_option
@wait_option
@config_option
def abort(domain: str, reason: str, wait_s: float, config_file: Path) -> None:
    """Have a domain's move go back, while that is safe. Exit 0 it does, 1 refused, 2 no answer yet."""
    _ask(config_file, Verb.ABORT, domain, reason, wait_s)


@click.command()
@click.argument("domain")
@reason_option
@wait_option
@config_option
def hold(domain: str, reason: str, wait_s: float, config_file: Path) -> None:
    """Have a domain's move stop between steps, and none begun. Exit 0 held, 1 refused, 2 no answer yet.

    A domain that is suspended is not kept so: its move goes on until the domain surely runs, then stops.
    """
    _ask(config_file, Verb.HOLD, domain, reason, wait_s)


@click.command()
@click.argument("domain")
@wait_option
@config_option
def resume(domain: str, wait_s: float, config_file: Path) -> None:
    """Lift a hold, and have a held move looked at at once. Exit 0 done, 1 refused, 2 no answer yet."""
    _ask(config_file, Verb.RESUME, domain, "", wait_s)


@click.command()
@click.argument("domain")
@click.option("--i-have-checked", "checked", is_flag=True, help="You have looked at both hosts.")
@reason_option
@wait_option
@config_option
def release(domain: str, checked: bool, reason: str, wait_s: float, config_file: Path) -> None:
    """Close a held move in the journal; no host is touched. Exit 0 closed, 1 refused, 2 no answer yet.

    For a move that can never end by itself. Nothing is planned for the domain before `resume`.
    """
    if not checked:
        click.echo(
            f"Look at both hosts first: `reconciler explain {domain}` says who holds the truth and what is "
            "left where.\nThen call this again with --i-have-checked.",
            err=True,
        )
        sys.exit(1)
    _ask(config_file, Verb.RELEASE, domain, reason, wait_s)


def _ask(config_file: Path, verb: Verb, domain: str, reason: str, wait_s: float) -> None:
    config, clock = load_config(config_file), SystemClock()
    request = mailbox.new(verb, domain, _move_of(config, domain), reason, clock.now())
    mailbox.put(mailbox.folder_of(config.state_dir), request)
    until = clock.monotonic_s() + wait_s
    while (answer := _answer(config.report_file, request)) is None and clock.monotonic_s() < until:
        clock.pause(POLL_S)
    if answer is None:
        click.echo(
            f"{verb.value} {domain}: no answer within {wait_s:g} s: no daemon works with {config.state_dir}, "
            "or it is busy with a step. The request is kept, and answered in the report.",
            err=True,
        )
        sys.exit(2)
    refused = answer["outcome"] != Result.DONE.value
    click.echo(f"{verb.value} {domain}: {'refused: ' if refused else ''}{answer['text']}", err=refused)
    sys.exit(1 if refused else 0)


def _move_of(config: Config, domain: str) -> str | None:
    """The move under way now, so that the request is about no later one."""
    path = config.state_dir / "journal.sqlite"
    if not path.exists():
        return None
    journal = Journal(path, read_only=True)
    try:
        return next((r.order.move_id for r in journal.active() if r.order.domain == domain), None)
    finally:
        journal.close()


def _answer(report_file: Path, request: Request) -> dict[str, Any] | None:
    try:
        report = json.loads(report_file.read_text(encoding="utf-8"))
        answers: list[dict[str, Any]] = report["requests"]
    except (OSError, ValueError, KeyError):
        return None
    return next((answer for answer in answers if answer["id"] == request.ident), None)
