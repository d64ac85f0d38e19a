"""Zeros are not sent in a sync: whether the target has zeros there then, as seen on real DRBD."""

from __future__ import annotations

import pytest

from reconciler.commands import drbd
from tests.simulation.test_formats import RESOURCE, Pair

JUNK_AT = 60 << 20
"""Where the guest writes nothing."""
AS_MOVED = f"rs-discard-granularity {drbd.EMPTY_BYTES}; discard-zeroes-if-aligned no;"
BY_DISCARD = f"rs-discard-granularity {drbd.EMPTY_BYTES};"


def test_the_options_are_those_of_a_move() -> None:
    text = drbd.resource_file("xr-web1", "secret", 100, ())
    assert AS_MOVED in " ".join(text.split())


@pytest.mark.parametrize(
    ("options", "left"), [("", None), (AS_MOVED, None), (BY_DISCARD, "what an older volume had there")]
)
def test_zeros_of_the_source_on_a_target_that_was_used_before(
    monkeypatch: pytest.MonkeyPatch, options: str, left: str | None
) -> None:
    text = RESOURCE.replace("on-io-error detach;", f"on-io-error detach; {options}")
    monkeypatch.setattr("tests.simulation.test_formats.RESOURCE", text)
    pair = Pair()
    pair.place()
    pair.run(1, "xl destroy web1")
    pair.up(1)
    assert pair.run(1, "drbdadm primary --force web1").exit == 0
    pair.up(2)
    target, _ = pair.two.device_at("/dev/vg/web1-root")
    target.write(JUNK_AT, "what an older volume had there")
    pair.world.advance(3600)
    assert "peer-disk:UpToDate" in pair.run(1, "drbdsetup events2 --now --statistics").stdout
    assert target.read(JUNK_AT) == left
