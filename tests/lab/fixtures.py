"""Fixtures: one lab for the whole session, put back to a stage before each test that asks for it.

A test module outside this folder imports the ones it needs; the lab stays one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .lab import Lab

_shared: list[Lab] = []


@pytest.fixture(scope="session")
def lab_session() -> Iterator[Lab]:
    """Two hosts, started once. Take `lab_guest` instead unless the state of earlier tests is wanted."""
    if not _shared:
        lab = Lab(2)
        try:
            lab.up("guest")
        except BaseException:
            lab.down()
            raise
        _shared.append(lab)
    yield _shared[0]
    _shared[0].down()


@pytest.fixture
def lab_guest(lab_session: Lab) -> Lab:
    """Two hosts with web1 running on xen1, as if nothing had ever happened."""
    lab_session.reset("guest")
    return lab_session


@pytest.fixture
def lab_up(lab_session: Lab) -> Lab:
    """Two hosts with an empty volume group and no guest."""
    lab_session.reset("up")
    return lab_session
