"""What the executor lets through to the journal and the report."""

from __future__ import annotations

from reconciler.execution.executor import without
from reconciler.model.command import Answer, NoAnswer


def test_a_secret_is_cut_out_of_what_tools_print() -> None:
    said = Answer(20, "", "Command 'drbdsetup connect --shared-secret=s3cr3t' did not terminate")
    cleaned, silent = without("s3cr3t", (said, NoAnswer("cut")))
    assert isinstance(cleaned, Answer)
    assert cleaned.stderr == "Command 'drbdsetup connect --shared-secret=…' did not terminate"
    assert silent == NoAnswer("cut")
    assert without("", (said,)) == (said,)
