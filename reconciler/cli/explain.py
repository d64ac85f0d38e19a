"""`reconciler explain DOMAIN`: the journal's and the hosts' word on one domain, for a person."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from reconciler.cli.options import config_option
from reconciler.commands import drbd, files, lvm, xl
from reconciler.config import Config, load_config
from reconciler.desk import read_holds
from reconciler.execution.ssh import SshRunner
from reconciler.model.facts import Query
from reconciler.moves import recipe
from reconciler.moves.journal import Journal, Record
from reconciler.moves.step import Views
from reconciler.observed.survey import ask_all
from reconciler.report.explain import Explanation
from reconciler.report.explain import explain as explained
from reconciler.report.words import clean

LOOKS: tuple[Query[Any], ...] = (
    xl.DOMAINS,
    xl.VBDS,
    drbd.RESOURCES,
    lvm.VOLUMES,
    files.LINKS,
    files.IMAGES,
    files.EPOCHS,
    files.CONFIG_FILES,
    files.BOOT_ID,
)


@click.command()
@click.argument("domain")
@config_option
@click.option("--offline", is_flag=True, help="Ask no host; say what the journal knows.")
def explain(domain: str, config_file: Path, offline: bool) -> None:
    """Say where a domain's move stands, who holds the truth, what is safe now, and the exact commands.

    Reads only. Exit 0 told, 1 when nothing is known of the domain.
    """
    config = load_config(config_file)
    path = config.state_dir / "journal.sqlite"
    journal = Journal(path, read_only=True) if path.exists() else Journal(None)
    try:
        active = next((r for r in journal.active() if r.order.domain == domain), None)
        record = active or next((r for r in journal.finished(1000) if r.order.domain == domain), None)
        hold = read_holds(journal).get(domain)
    finally:
        journal.close()
    if record is None:
        click.echo(f"The journal {path} knows of no move of {clean(domain)}.")
        if hold is not None:
            click.echo(f"It is {hold.text}.")
        click.echo("`reconciler plan` says what would be done with it.")
        raise SystemExit(1)
    views = None if offline or active is None else _views(config, record)
    closed = active is None and not record.progress.ended
    _print(explained(record.order, record.progress, hold, views), closed=closed)


def _views(config: Config, record: Record) -> Views:
    order, progress = record.order, record.progress
    wanted = dict.fromkeys(order.sides, LOOKS)
    for side, queries in recipe.find(order, progress.direction, progress.step).looks(order, progress).items():
        wanted[side] = (*LOOKS, *(query for query in queries if query not in LOOKS))
    hosts = {order.host(side).name: order.host(side) for side in order.sides}
    ssh = config.ssh
    runner = SshRunner(hosts, ssh.key_file, ssh.known_hosts_file, ssh.connect_timeout_s)
    try:
        with ThreadPoolExecutor(max_workers=2) as pool:
            asked = {order.host(side).name: queries for side, queries in wanted.items()}
            found = ask_all(runner, asked, pool)
    finally:
        runner.close()
    return Views({side: found[order.host(side).name] for side in order.sides})


def _print(told: Explanation, *, closed: bool) -> None:
    def part(title: str, texts: tuple[str, ...]) -> None:
        if texts:
            click.echo(f"\n{title}")
        for text in texts:
            click.echo(f"  {clean(text)}")

    click.echo("Where it stands")
    for text in told.stands:
        click.echo(f"  {clean(text)}")
    if closed:
        click.echo("  This move was closed by hand; nothing is done about it any more.")
        return
    part("Who holds the truth", (told.truth,))
    part("What the hosts show", told.seen)
    part("What is safe now", told.safe)
    part("What is not", told.never)
    part("Going back", ("`reconciler abort` is refused: " + told.abort if told.abort else "possible",))
    click.echo("\nCommands")
    for line in told.commands:
        click.echo(f"  # {clean(line.purpose)}\n  {clean(line.command)}")
    click.echo(f"\nSee {told.page}")
