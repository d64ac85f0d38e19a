"""`reconciler accept`: a person says that a rewound or force-pushed ref is meant."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.options import config_option
from reconciler.config import load_config
from reconciler.cycle import LAST_GOOD
from reconciler.errors import InputError
from reconciler.moves.journal import Journal
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
    journal = config.state_dir / "journal.sqlite"
    if not journal.exists():
        raise InputError(f"{journal} is not there: no commit is in force yet, so nothing has to be accepted")
    reading = Journal(journal, read_only=True)
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
