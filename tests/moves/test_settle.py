"""The steps that clear up after GO."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.commands import files, lvm
from reconciler.model.facts import (
    DomainState,
    Role,
)
from reconciler.moves.step import Mark, Verdict, wait, wrong
from tests.moves.journeys import at, back
from tests.moves.states import (
    AFRESH,
    GONE,
    ORDER,
    PAUSED,
    RUNS_S,
    RUNS_T,
    WRITTEN,
    S,
    T,
    argv,
    dom,
    has,
    held_volumes,
    judge,
    mark,
    rebooted,
    res,
    why,
    with_res,
)
from tests.planning.site import changed, empty, volume


def test_the_target_runs_on() -> None:
    progress = at("target-runs", "go")
    gone = rebooted(has(T, None))
    assert mark(progress, S, RUNS_T) is Mark.DONE
    assert why(progress, S, has(T, None)) == (
        "web1 ran on xen2 and is not seen running there now; its disks there are the right "
        "ones, nothing of the source is removed before it runs again: «xl create "
        "/etc/xen/web1.cfg» on xen2"
    )
    assert why(progress, S, gone, replace(ORDER, autostart=False)) == (
        "web1 ran on xen2 and is not seen running there now; its disks there are the right "
        "ones, nothing of the source is removed before it runs again: «xl create "
        "/etc/xen/web1.cfg» on xen2"
    )
    assert argv(progress, S, gone) == AFRESH
    assert argv(progress, S, rebooted(has(T, PAUSED))) == ["xl unpause web1"]
    assert (
        why(progress, S, rebooted(has(T, PAUSED, on="else")))
        == "web1 on xen2 has other devices open: xvda=8:0, xvdb=8:1"
    )
    assert judge(progress, S, rebooted(has(T, PAUSED, on="else"))) == wait(
        "web1 on xen2 has other devices open: xvda=8:0, xvdb=8:1"
    )
    assert judge(progress, S, rebooted(has(T, dom(DomainState.DYING)))) == wait("web1 is dying on xen2")


@pytest.mark.parametrize("name", ["source-drbd-down", "source-links-removed", "source-volumes-removed"])
def test_nothing_of_the_source_goes_before_the_target_is_seen_running(name: str) -> None:
    left = GONE if name != "source-drbd-down" else with_res(GONE, res(Role.SECONDARY))
    assert mark(at(name), left, RUNS_T) is Mark.READY
    assert why(at(name), left, has(T, None)) == (
        "web1 ran on xen2 and is not seen running there now; its disks there are the right "
        "ones, nothing of the source is removed before it runs again: «xl create "
        "/etc/xen/web1.cfg» on xen2"
    )
    assert why(at(name), left, has(T, PAUSED)) == (
        "web1 ran on xen2 and is not seen running there now; its disks there are the right "
        "ones, nothing of the source is removed before it runs again: «xl create "
        "/etc/xen/web1.cfg» on xen2"
    )
    assert (
        why(at(name), left, has(T, dom(), on="drbd"))
        == "web1 on xen2 is not on its own volumes: xvda=147:100, xvdb=147:101"
    )
    both = has(left, dom())
    said = "web1 is running on xen1 as well"
    assert judge(at(name), both, RUNS_T) == Verdict(Mark.WRONG, said, two_runners=True)
    assert judge(at(name), has(left, PAUSED), RUNS_T) == wrong("web1 is paused on xen1 as well")
    assert mark(at(name), empty("xen1"), has(T, None)) is Mark.DONE


def test_each_thing_that_could_start_the_domain_goes() -> None:
    bare, path = empty("xen1"), f"/etc/drbd.d/xr-{ORDER.domain}.res"
    configs = bare.get(files.CONFIG_FILES)
    for left in (
        changed(bare, files.LINKS, {ORDER.disks[1].link: "/dev/vg/web1-data"}),
        changed(bare, files.CONFIG_FILES, replace(configs, configs=frozenset({ORDER.config_path}))),
        changed(bare, files.CONFIG_FILES, replace(configs, autostart=frozenset({ORDER.auto_path}))),
        changed(bare, files.RESOURCE_FILES, {path: 9}),
        changed(bare, files.UNFINISHED, {f"{path}.xr-new": 9}),
    ):
        assert mark(at("source-links-removed"), left, RUNS_T) is Mark.READY
    assert mark(at("source-links-removed"), bare, RUNS_T) is Mark.DONE


def test_which_volumes_go() -> None:
    other = changed(GONE, lvm.VOLUMES, (volume("web1-root", uuid="of somebody else"),))
    assert mark(at("source-volumes-removed"), other, RUNS_T) is Mark.DONE
    held = with_res(GONE, res(Role.SECONDARY))
    assert why(at("source-volumes-removed"), held, RUNS_T) == "xen1: DRBD still holds the volumes of web1"
    assert "lvremove -y vg/web1-root" in argv(at("source-volumes-removed"), GONE, RUNS_T)


def test_leftovers_on_the_target() -> None:
    commands = argv(at("target-leftovers"), S, T)
    assert "lvremove -y fast/web1-root-drbdmd" in commands
    assert "lvchange --deltag xr.move.web1-1 fast/web1-root" in commands
    clean = held_volumes(T, tags=frozenset(), meta=False)
    assert mark(at("target-leftovers"), S, clean) is Mark.DONE
    filed = changed(clean, files.RESOURCE_FILES, {"/etc/drbd.d/xr-web1.res": 9})
    assert argv(at("target-leftovers"), S, filed)[0] == "rm -f /etc/drbd.d/xr-web1.res"
    assert why(at("target-leftovers"), S, with_res(T, res())) == "xen2: DRBD still holds the volumes of web1"


def test_what_a_full_disk_leaves_is_cleared_up() -> None:
    """Files and symlinks under the names that they have until they are whole; no others."""
    left = {f"{path}{files.NEW}": 0 for path in WRITTEN}
    left |= {"/etc/xen/web1.cfg.new": 9, "/etc/xen/disks/web2-root.xr-new": 0}
    removed = " ".join(f"{path}.xr-new" for path in WRITTEN)
    clean = held_volumes(has(T, None), tags=frozenset(), meta=False)
    for progress, here, there, commands in (
        (at("source-links-removed"), empty("xen1"), RUNS_T, f"{' '.join(_all_links())} {removed}"),
        (at("target-leftovers"), S, clean, removed),
        (back("back-source-leftovers"), RUNS_S, T, removed),
        (back("back-target-cleaned"), S, clean, removed),
    ):
        side = S if progress.step in ("source-links-removed", "back-source-leftovers") else T
        assert mark(progress, here, there) is Mark.DONE
        if side is S:
            here = changed(here, files.UNFINISHED, left)
        else:
            there = changed(there, files.UNFINISHED, left)
        assert f"rm -f {commands}" in argv(progress, here, there)


def _all_links() -> tuple[str, ...]:
    return (ORDER.auto_path, *(disk.link for disk in ORDER.disks), ORDER.config_path, WRITTEN[0])


def test_autostart_on_the_target() -> None:
    assert mark(at("target-autostart")) is Mark.READY
    assert (
        mark(at("target-autostart"), S, changed(T, files.CONFIG_FILES, S.get(files.CONFIG_FILES)))
        is Mark.DONE
    )
    assert mark(at("target-autostart"), order=replace(ORDER, autostart=False)) is Mark.DONE
