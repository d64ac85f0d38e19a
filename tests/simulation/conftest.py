"""Fixtures of the simulator's own tests."""

from __future__ import annotations

import pytest

from reconciler.simulator import scene
from reconciler.simulator.world import World


@pytest.fixture
def world() -> World:
    """Two hosts, a running domain web1 with two disks on xen1."""
    site = scene.site(2)
    scene.place(site.hosts["xen1"])
    site.advance(5)
    return site
