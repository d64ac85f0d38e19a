"""How fast a sync may be: the policy and the hosts of the commit in force, and who shares them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.model.move import Direction, Order, Progress, Status
from reconciler.model.placement import Desired, Domain, Host, Policy
from reconciler.planning.rates import sync_rate_mb_s
from tests.moves.journeys import at, move, provision

ORDER = replace(move(), policy=Policy(resync_rate_mb_s=80))


def desired(web1: int | None = 80, **budgets: int | None) -> Desired:
    hosts = {name: Host(name, "10.0.0.1", "10.0.0.1", sync_mb_s=budget) for name, budget in budgets.items()}
    domain = (
        {"web1": Domain("web1", "xen2", policy=Policy(resync_rate_mb_s=web1))} if web1 is not None else {}
    )
    return Desired("c", hosts, domain)


def other(domain: str, source: str, target: str, progress: Progress) -> tuple[Order, Progress]:
    assert ORDER.source is not None
    hosts = {"source": replace(ORDER.source, name=source), "target": replace(ORDER.target, name=target)}
    return replace(ORDER, domain=domain, **hosts), progress


@pytest.mark.parametrize(
    ("commit", "rate"),
    [
        (None, 80),
        (desired(), 80),
        (desired(20), 20),
        (desired(None), 80),
        (desired(80, xen1=None, xen2=None), 80),
        (desired(80, xen1=30, xen2=None), 30),
        (desired(80, xen1=None, xen2=30), 30),
        (desired(80, xen1=30, xen2=20), 20),
        (desired(10, xen1=30, xen2=20), 10),
        (desired(80, xen3=5), 80),
        (desired(0), 0),
        (desired(80, xen1=0), 0),
        (desired(80, xen1=30, xen2=0), 0),
        (desired(0, xen1=30), 0),
    ],
)
def test_the_least_of_what_is_allowed(commit: Desired | None, rate: int) -> None:
    assert sync_rate_mb_s(ORDER, commit, [(ORDER, at("sync"))]) == rate


def test_a_host_that_the_commit_dropped_keeps_its_limit() -> None:
    order = replace(ORDER, target=replace(ORDER.target, sync_mb_s=9))
    assert sync_rate_mb_s(order, desired(), []) == 9
    assert sync_rate_mb_s(order, desired(80, xen2=11), []) == 11


def test_moves_before_their_cutover_share_a_host() -> None:
    commit = desired(80, xen1=30)
    sync = at("sync")
    ours = (ORDER, sync)
    for sharing, rate in (
        ([other("web2", "xen1", "xen3", sync)], 15),
        ([other("web2", "xen3", "xen1", at("source-metadata"))], 15),
        ([other("web2", "xen1", "xen3", sync), other("web3", "xen1", "xen2", sync)], 10),
        ([other("web2", "xen3", "xen4", sync)], 30),
        ([other("web2", "xen1", "xen3", at("cutover-ready"))], 30),
        ([other("web2", "xen1", "xen3", at("target-runs"))], 30),
        ([other("web2", "xen1", "xen3", replace(sync, status=Status.MOVED))], 30),
        (
            [other("web2", "xen1", "xen3", replace(at("back-fence"), direction=Direction.BACK))],
            30,
        ),
        ([(replace(provision(), domain="new1"), at("populate"))], 30),
    ):
        assert sync_rate_mb_s(ORDER, commit, [ours, *sharing]) == rate


def test_a_paused_one_takes_no_share() -> None:
    commit = desired(80, xen1=30)
    web2 = other("web2", "xen1", "xen3", at("sync"))
    paused = replace(
        commit, domains={**commit.domains, "web2": Domain("web2", "xen3", policy=Policy(resync_rate_mb_s=0))}
    )
    assert sync_rate_mb_s(ORDER, commit, [(ORDER, at("sync")), web2]) == 15
    assert sync_rate_mb_s(ORDER, paused, [(ORDER, at("sync")), web2]) == 30
    elsewhere = desired(80, xen1=30, xen3=0)
    assert sync_rate_mb_s(ORDER, elsewhere, [(ORDER, at("sync")), web2]) == 30, "by its other host's word"


def test_never_none_at_all() -> None:
    sharing = [other(f"web{n}", "xen1", "xen3", at("sync")) for n in range(2, 9)]
    assert sync_rate_mb_s(ORDER, desired(80, xen1=3), sharing) == 1
