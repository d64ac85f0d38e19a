"""The numbers by which hosts tell an older journey from a newer one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.model.move import CLAIMS

from .test_steps import ORDER


def test_no_claim_of_an_older_journey_reaches_those_of_a_newer_one() -> None:
    newer = replace(ORDER, epoch=ORDER.epoch + 1)
    assert ORDER.claim(CLAIMS - 1).epoch < newer.claim(0).epoch
    with pytest.raises(ValueError, match="used up"):
        ORDER.claim(CLAIMS)
