"""`accept` and `accept-host`: a person says that a rewound ref, or a host put back, is meant."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import config_option, host_of
from reconciler.commands import files
from reconciler.config import Config, load_config
from reconciler.cycle import LAST_GOOD
from reconciler.errors import InputError
from reconciler.execution.ssh import SshRunner
from reconciler.moves.journal import Journal
from reconciler.observed.survey import ask
from reconciler.planning.rewinds import rewinds
from reconciler.rewinds import note
from reconciler.source import admission, git, load


@click.command()
@click.argument("commit")
@config_option
def accept(commit: str, config_file: Path) -> None:
    """Let a COMMIT come into force that does not build on the one in force.

    It must be good in every other way. The daemon takes it with its next pass, if the ref is still at it or
    at one that builds on it. Only the step from the commit now in force is accepted.
    """
    config = load_config(config_file)
    reading = _journal(config, "no commit is in force yet")
    try:
        in_force = reading.recall(LAST_GOOD)
    finally:
        reading.close()
    new = git.resolve(config.repository, commit)
    step = admission.Accepted(in_force or new, new)
    refused = admission.refusal(config.repository, config.ref, new, in_force, step, config.signatures)
    problems = (refused,) if refused else load(config.repository, new, config.folder).problems
    if problems:
        raise InputError("not accepted:\n" + "\n".join(str(problem) for problem in problems))
    if in_force is None or git.is_ancestor(config.repository, in_force, new):
        click.echo(f"{new[:12]} needs no word: it builds on what is in force")
        return
    admission.note(config.state_dir, step)
    click.echo(
        f"accepted: {new[:12]} instead of {in_force[:12]}; "
        f"taken within {config.interval_s} s, or at once with `systemctl kill -s HUP reconciler`"
    )


@click.command("accept-host")
@click.argument("host")
@click.option("--i-have-checked", "checked", is_flag=True, help="You know what was put back, and cleared up.")
@config_option
def accept_host(host: str, checked: bool, config_file: Path) -> None:
    """Let moves go on with a HOST that was put back to an earlier state, as it is now.

    Asks the host; without --i-have-checked it only says what is to be accepted. Another rewind has to be
    accepted anew. Exit 0 noted for the daemon, or not needed; 1 not accepted.
    """
    config = load_config(config_file)
    there = host_of(config, host)
    reading = _journal(config, "no host has accepted anything yet")
    try:
        accepted = reading.accepted()
    finally:
        reading.close()
    ssh = config.ssh
    runner = SshRunner({host: there}, ssh.key_file, ssh.known_hosts_file, ssh.connect_timeout_s)
    try:
        view = ask(runner, host, [files.EPOCHS])
    finally:
        runner.close()
    view.get(files.EPOCHS)  # a host that does not answer is nothing to accept
    found = rewinds({host: view}, accepted)
    if not found:
        click.echo(f"{host} needs no word: it knows all that it had accepted")
        return
    for rewind in found:
        click.echo(f"{host} {rewind.text}")
    if not checked:
        raise InputError(
            "not accepted. See on all hosts where these domains run and with which disks, and remove what "
            "the rewind brought back (docs/how-to/held.md#host-rewound); then call it with --i-have-checked"
        )
    note(config.state_dir, host, found)
    click.echo(
        f"accepted: {host} as it is now; "
        f"taken within {config.interval_s} s, or at once with `systemctl kill -s HUP reconciler`"
    )


def _journal(config: Config, nothing: str) -> Journal:
    journal = config.state_dir / "journal.sqlite"
    if not journal.exists():
        raise InputError(f"{journal} is not there: {nothing}, so nothing has to be accepted")
    return Journal(journal, read_only=True)
