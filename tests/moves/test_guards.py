"""A guard is on unless a test has taken it away, and comes back after that."""

from __future__ import annotations

import pytest

from reconciler.moves import guards


@pytest.mark.parametrize("name", guards.GUARDS)
def test_every_guard(name: str) -> None:
    assert (guards.on(name), guards.passed(name, True), guards.passed(name, False)) == (True, True, False)
    with pytest.raises(RuntimeError, match="in between"), guards.without(name):
        assert (guards.on(name), guards.passed(name, False)) == (False, True)
        assert [other for other in guards.GUARDS if not guards.on(other)] == [name]
        raise RuntimeError("in between")
    assert guards.on(name)


def test_a_name_that_is_none_is_an_error() -> None:
    for call in (lambda: guards.passed("nothing", True), lambda: guards.without("nothing").__enter__()):
        with pytest.raises(KeyError, match="nothing"):
            call()
    assert all(guards.on(name) for name in guards.GUARDS)
