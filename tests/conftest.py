"""For all tests: what a busy machine must not spoil, and how the work is shared out."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("busy", deadline=None)
settings.load_profile("busy")


@pytest.hookimpl(tryfirst=True)  # before xdist itself looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, one of them runs everything that needs the lab: there is one lab."""
    for item in items:
        if item.get_closest_marker("lab"):
            item.add_marker(pytest.mark.xdist_group("lab"))
