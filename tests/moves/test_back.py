"""The steps of the way back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.commands import drbd, files, lvm
from reconciler.model.facts import (
    DiskState,
    DomainState,
    View,
)
from reconciler.model.move import Direction, Progress, Side
from reconciler.moves.common import resource_text
from reconciler.moves.step import DONE, Mark, Verdict, Views, wait, wrong
from tests.moves.journeys import at, back
from tests.moves.states import (
    BESIDE,
    GONE,
    METADATA,
    MIRRORED,
    NEW,
    ORDER,
    PAUSED,
    RESTORED,
    RUNS_S,
    RUNS_T,
    WRITTEN,
    S,
    T,
    again,
    argv,
    dom,
    has,
    held_volumes,
    images,
    judge,
    links,
    mark,
    rebooted,
    res,
    step,
    why,
    with_res,
)
from tests.planning.site import changed, empty


def test_the_fence() -> None:
    early, late_ = back("back-target-fence"), back("back-target-fence", *RESTORED)
    assert (
        mark(early) is Mark.DONE
        and step("back-target-fence", direction=Direction.BACK).looks(ORDER, early) == {}
    )
    assert mark(late_) is Mark.READY
    assert mark(late_, S, changed(T, files.EPOCHS, {"web1": ORDER.claim(1).epoch})) is Mark.DONE
    newer = ORDER.claim(2).epoch
    knows = changed(S, files.EPOCHS, {"web1": newer})
    assert why(back("back-source-fence"), knows) == f"xen1 already knows epoch {newer} of web1"
    knows = changed(T, files.EPOCHS, {"web1": newer})
    assert why(late_, S, knows) == f"xen2 already knows epoch {newer} of web1"
    assert mark(back("back-target-fence-late")) is Mark.READY
    assert argv(back("back-source-fence"), S, T) == ["true"]


def test_the_targets_copy_goes_first() -> None:
    name = "back-target-destroyed"
    assert mark(back(name)) is Mark.DONE
    assert mark(back(name, *RESTORED), GONE, has(T, None)) is Mark.DONE
    assert argv(back(name, *RESTORED), GONE, has(T, PAUSED)) == ["xl destroy web1"]
    ran = Verdict(Mark.WRONG, "web1 may have run on xen2", ran_there=True)
    assert judge(back(name, *RESTORED, "go"), GONE, has(T, None)) == ran
    assert mark(back(name, *RESTORED, "go", name), GONE, has(T, None)) is Mark.DONE
    assert judge(back(name, *RESTORED, "go"), GONE, RUNS_T) == ran
    assert (
        why(back(name, *RESTORED, "go"), GONE, has(T, dom(DomainState.PAUSED)))
        == "web1 is paused on xen2 and may have run there"
    )


def test_a_wrong_copy_on_the_source() -> None:
    name = "back-source-wrong-destroyed"
    saved = images(has(S, PAUSED, on="else"), attach=9)
    tried = ("attach-suspend",)
    assert argv(back(name, *tried), saved, T) == ["xl destroy web1"]
    assert (
        why(back(name, *tried), images(saved))
        == "web1 is paused on xen1 with wrong devices and has no saved image"
    )
    assert judge(back(name, *tried), has(S, dom(DomainState.DYING))) == wait("web1 is dying on xen1")
    assert judge(back(name, *tried), rebooted(saved)) == wait(
        "web1 is being started by xen1, which has just rebooted"
    ), "its host may be starting it just now"
    assert judge(back("back-source-restore", *tried), rebooted(saved)) == wait(
        "web1 is being started by xen1, which has just rebooted"
    )
    for fine in (GONE, RUNS_S, has(S, PAUSED), has(S, PAUSED, on="drbd")):
        assert mark(back(name, *tried), fine) is Mark.DONE


def test_drbd_leaves_the_source() -> None:
    name = "back-source-drbd-down"
    assert mark(back(name)) is Mark.DONE
    assert mark(back(name), MIRRORED) is Mark.DONE, "the domain runs on it"
    assert argv(back(name), with_res(GONE, res()), T)[-1] == "drbdadm down xr-web1"
    bad = with_res(links(GONE, "drbd"), res(volume={"disk": DiskState.DISKLESS}))
    assert why(back(name), bad) == (
        "the source's own disk is not good: xr-web1 Primary/Secondary Connected "
        "0:Diskless/UpToDate Established oos=0KiB in-flight=0 1:Diskless/UpToDate "
        "Established oos=0KiB in-flight=0"
    )


def test_links_on_the_way_back() -> None:
    name = "back-source-flip"
    assert mark(back(name), links(GONE, "drbd")) is Mark.READY
    assert mark(back(name), links(MIRRORED, "drbd")) is Mark.DONE
    assert why(back(name), links(GONE, "/dev/x")) == (
        "xen1: /etc/xen/disks/web1-root points to /dev/x, expected /dev/vg/web1-root or /dev/drbd100"
    )


@pytest.mark.parametrize(
    ("tried", "source", "command"),
    [
        (("attach-suspend",), images(GONE, attach=9), "xl restore -p"),
        (("attach-suspend", "attach-unpause", "cutover-suspend"), images(GONE, cutover=9), "xl restore -p"),
        (("attach-suspend",), rebooted(images(GONE, attach=9)), "xl create -p"),
        (("attach-suspend", "attach-unpause"), rebooted(GONE), "xl create -p"),
    ],
)
def test_the_way_home(tried: tuple[str, ...], source: View, command: str) -> None:
    assert argv(back("back-source-restore", *tried), source, T)[-1].startswith(command)
    assert (
        why(back("back-source-unpause", *tried), source) == "web1 is not on xen1 any more; nothing is removed"
    )


@pytest.mark.parametrize(
    ("tried", "source"),
    [
        ((), GONE),
        (("attach-suspend",), GONE),
        (("attach-suspend", "attach-unpause"), images(GONE, attach=9)),
        (("cutover-suspend", "back-source-unpause"), images(GONE, cutover=9)),
    ],
)
def test_a_domain_that_stopped_by_itself_stays_down(tried: tuple[str, ...], source: View) -> None:
    """Above all, an image from before it ran on is never restored again."""
    for name in ("back-source-restore", "back-source-unpause"):
        assert mark(back(name, *tried), source) is Mark.DONE
    assert mark(back("back-source-leftovers", *tried), source) in (Mark.DONE, Mark.READY)


def test_a_host_that_rebooted_and_does_not_start_the_domain() -> None:
    order = replace(ORDER, autostart=False)
    progress = back("back-source-restore", "cutover-suspend")
    assert mark(progress, rebooted(images(GONE, cutover=9)), order=order) is Mark.DONE


def test_an_image_that_is_not_whole() -> None:
    source = images(GONE, cutover_part=9)
    assert why(back("back-source-restore", "cutover-suspend"), source) == (
        "web1 is not on xen1 and its image in /var/lib/xen-reconciler/images/web1 is not "
        "whole; its disks are: start it there with «xl create /etc/xen/web1.cfg»"
    )
    assert (
        why(back("back-source-leftovers", "cutover-suspend"), source)
        == "web1 is not on xen1 any more; nothing is removed"
    )


def test_a_domain_back_on_the_source() -> None:
    name = "back-source-restore"
    assert mark(back(name), RUNS_S) is Mark.DONE
    assert mark(back(name), has(S, PAUSED, on="drbd")) is Mark.DONE
    assert (
        why(back(name), has(S, PAUSED, on="else"))
        == "web1 on xen1 has wrong devices open: xvda=8:0, xvdb=8:1"
    )
    assert argv(back("back-source-unpause"), has(S, PAUSED), T) == ["xl unpause web1"]
    assert mark(back("back-source-unpause"), RUNS_S) is Mark.DONE
    assert judge(back("back-source-unpause"), has(S, dom(DomainState.DYING))) == wait("web1 is dying")


def test_the_source_starts_only_once_the_target_has_nothing() -> None:
    progress = back("back-source-unpause", *RESTORED)
    paused = has(S, PAUSED)
    assert mark(progress, paused, has(T, None)) is Mark.READY
    assert judge(progress, paused, has(T, PAUSED)) == wrong("web1 is paused on xen2")
    assert judge(progress, paused, RUNS_T) == Verdict(Mark.WRONG, "web1 is running on xen2", two_runners=True)


def test_clearing_up_on_the_way_back() -> None:
    assert mark(back("back-source-autostart")) is Mark.DONE
    assert mark(back("back-source-autostart"), empty("xen1")) is Mark.READY
    left = changed(images(RUNS_S, cutover=9), lvm.VOLUMES, (*S.get(lvm.VOLUMES), *METADATA))
    left = changed(left, files.RESOURCE_FILES, {"/etc/drbd.d/xr-web1.res": 9})
    commands = " ; ".join(argv(back("back-source-leftovers"), left, T))
    assert "rm -rf" in commands and "lvremove -y vg/web1-root-drbdmd" in commands
    assert "lvremove -y vg/web1-root " not in commands + " "
    assert mark(back("back-source-leftovers"), MIRRORED) is Mark.DONE
    for state in (DomainState.PAUSED, DomainState.DYING):
        assert (
            why(back("back-source-leftovers"), has(left, dom(state)))
            == "web1 does not run on xen1; nothing is removed"
        )
    gone = judge(back("back-source-leftovers", "cutover-suspend"), images(GONE, cutover=9), T)
    assert (gone.mark, gone.start_over) == (Mark.WRONG, True), (
        "its image is the only thing that is left of it"
    )
    lost = judge(back("back-source-leftovers", "cutover-suspend"), images(GONE, cutover_part=9), T)
    assert (lost.mark, lost.start_over) == (Mark.WRONG, False)
    assert mark(back("back-target-drbd-down"), S, BESIDE) is Mark.READY
    assert mark(back("back-target-drbd-down")) is Mark.DONE


def test_the_source_at_the_end_of_the_way_back() -> None:
    progress = back("back-source-still")
    assert mark(progress, RUNS_S) is Mark.DONE
    assert mark(progress, GONE) is Mark.DONE, "it stopped by itself and can start again"
    again = Verdict(Mark.WRONG, "web1 is not on xen1 any more", start_over=True)
    assert judge(progress, links(GONE, "drbd"), T) == again
    assert judge(progress, rebooted(GONE), T) == again
    assert judge(progress, has(S, PAUSED)) == wait("web1 is paused on xen1")


def test_the_target_keeps_nothing_of_this_move_and_all_else() -> None:
    query = files.text_of(ORDER.config_path)
    full = images(changed(links(has(T, None), "drbd"), query, ORDER.config_text), cutover=9)
    full = changed(full, files.RESOURCE_FILES, {"/etc/drbd.d/xr-web1.res": 9})
    commands = " ; ".join(argv(back("back-target-cleaned", "target-links", "target-config"), S, full))
    for part in (
        "web1-root",
        "/etc/xen/web1.cfg",
        "xr-web1.res",
        "rm -rf",
        "lvremove -y fast/web1-data-drbdmd",
    ):
        assert part in commands
    foreign = changed(links(held_volumes(has(T, None), tags=frozenset()), "drbd"), query, "mine")
    assert mark(back("back-target-cleaned", "target-config"), S, foreign) is Mark.DONE
    assert (
        why(back("back-target-cleaned"), S, has(T, PAUSED))
        == "web1 is paused on xen2; nothing is removed there"
    )


def test_what_was_removed_stays_so_after_a_loss_of_power() -> None:
    """A command that has done its work and says it failed ends the script before what makes it last."""
    clean_t = held_volumes(has(T, dom()), tags=frozenset(), meta=False)
    of_config = files.text_of(ORDER.config_path)
    gone_t = changed(changed(empty("xen2"), of_config, None), files.text_of(NEW.config_path), None)
    sync, sync_xen = files.sync_folder(drbd.FOLDER), files.sync_folder("/etc/xen")
    for step_name, progress, order, source, target, expected in (
        ("target-leftovers", at, ORDER, S, clean_t, [*lvm.flush("fast"), sync]),
        ("back-source-leftovers", back, ORDER, has(S, dom()), T, [*lvm.flush("vg"), sync]),
        ("back-target-cleaned", back, ORDER, S, gone_t, [files.SETTLE, sync_xen, *lvm.flush("fast")]),
        ("new-untagged", at, NEW, empty("xen1"), empty("xen2"), [sync_xen, *lvm.flush("fast")]),
        ("back-provision-removed", back, NEW, empty("xen1"), gone_t, [sync_xen, *lvm.flush("fast")]),
    ):
        found = step(step_name, order, progress(step_name).direction)
        assert found.lasting
        assert judge(progress(step_name), source, target, order) == DONE, step_name
        unsure = replace(progress(step_name, step_name), unsure=True)
        (action,) = found.act(order, unsure, Views({Side.SOURCE: source, Side.TARGET: target}))
        assert list(action.commands) == expected, step_name


@pytest.mark.parametrize(
    ("progress", "to"),
    [
        (at("attach-flip"), "drbd"),
        (at("target-links"), "drbd"),
        (at("target-flip"), "volumes"),
        (back("back-source-flip"), "volumes"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.step,
)
def test_what_was_made_stays_so_after_a_loss_of_power(progress: Progress, to: str) -> None:
    commands = again(progress, links(GONE, to), links(has(T, None), to))
    assert commands == [files.sync_folder(files.LINKS_DIR)]


def test_a_file_that_was_written_stays_so_after_a_loss_of_power() -> None:
    there = changed(T, files.text_of(ORDER.config_path), ORDER.config_text)
    assert again(at("target-config"), S, there) == [files.sync_folder("/etc/xen")]
    assert again(at("target-config"), S, T, replace(ORDER, config_text=None)) == []
    written = changed(S, files.text_of(WRITTEN[0]), resource_text(ORDER))
    assert again(at("source-resource-file"), written, T) == [files.sync_folder(drbd.FOLDER)]


def test_links_that_a_running_domain_needs_are_left_alone() -> None:
    """It came back on DRBD meanwhile: those that lead to the volumes would lead past it."""
    on_drbd = has(S, dom(), on="drbd")
    assert again(back("back-source-flip"), links(on_drbd, "drbd"), T) == []


def test_an_entry_that_was_removed_is_removed_again_when_that_is_not_known() -> None:
    none = replace(S.get(files.CONFIG_FILES), autostart=frozenset())
    commands = again(at("source-autostart-off"), changed(S, files.CONFIG_FILES, none), T)
    assert commands == [files.remove(ORDER.auto_path), files.sync_folder(files.AUTO_DIR)]
