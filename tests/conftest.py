"""For all tests: a machine that is busy must not make a test of values fail."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("busy", deadline=None)
settings.load_profile("busy")
