"""The steps that suspend a domain, point its symlinks elsewhere and restore it."""

from __future__ import annotations

import pytest

from reconciler.commands import files, lvm, xl
from reconciler.model.facts import (
    DomainState,
    View,
)
from reconciler.moves import guards, look
from reconciler.moves.step import Mark, wait
from tests.moves.journeys import at
from tests.moves.states import (
    GONE,
    LARGER,
    ORDER,
    PAUSED,
    RUNS_S,
    S,
    T,
    argv,
    dom,
    has,
    images,
    judge,
    links,
    lvextended,
    mark,
    rebooted,
    step,
    why,
)
from tests.planning.site import changed, config


@pytest.mark.parametrize(("name", "image"), [("attach-suspend", "attach"), ("cutover-suspend", "cutover")])
def test_suspending(name: str, image: str) -> None:
    commands = argv(at(name), RUNS_S, T)
    assert commands[0].startswith("mkdir -p -m 0700")
    assert f"{image}-1.img" in commands[1]
    assert step(name).deadline_s(ORDER) == ORDER.policy.suspend_timeout_s
    saved = images(GONE, **{image: 9})
    assert mark(at(name, name), saved) is Mark.DONE
    assert (
        why(at(name), saved) == "web1 on xen1 is not running any more and no whole saved image of it is there"
    ), "an image nobody asked for proves nothing"
    assert (
        why(at(name, name), GONE)
        == "web1 on xen1 is not running any more and no whole saved image of it is there"
    )
    assert (
        why(at(name, name), images(GONE, **{f"{image}_part": 9}))
        == "web1 on xen1 is not running any more and no whole saved image of it is there"
    )
    assert why(at(name, name), rebooted(saved)) == "xen1 has rebooted since web1-1 was planned"
    assert why(at(name), rebooted(RUNS_S)) == "xen1 has rebooted since web1-1 was planned"
    assert why(at(name), changed(RUNS_S, files.SPACE, 5)) == (
        "web1 on xen1: 335544320 bytes needed below /var/lib/xen-reconciler for its image"
    )
    assert judge(at(name), has(S, dom(DomainState.SHUTDOWN))) == wait("web1 on xen1 is shutdown")
    larger = lvextended(RUNS_S)
    if name == "attach-suspend":
        assert why(at(name), larger) == LARGER
        with guards.without("same-size"):
            assert mark(at(name), larger) is Mark.READY
    else:
        assert mark(at(name), lvextended(has(S, dom(), on="drbd"))) is Mark.READY, "DRBD keeps its size"
    assert (
        why(at(name), has(S, dom(DomainState.PAUSED)))
        == "web1 on xen1 is paused; only a running domain is suspended"
    )


@pytest.mark.parametrize("name", ["attach-suspend", "cutover-suspend"])
def test_a_domain_whose_image_could_not_be_restored_is_not_suspended(name: str) -> None:
    """Its balloon has not come down to the target, and xl restores into a domain of the target's size."""
    one_more = changed(RUNS_S, xl.CONFIGS, (config(target_memory_mb=255),))
    assert mark(at(name), one_more) is Mark.READY, "xl gives a restored domain 1 MiB more"
    assert mark(at(name), changed(RUNS_S, xl.CONFIGS, (config(target_memory_mb=0),))) is Mark.READY
    assert mark(at(name), changed(RUNS_S, xl.CONFIGS, ())) is Mark.READY
    swollen = changed(RUNS_S, xl.CONFIGS, (config(domid=2), config(target_memory_mb=254)))
    for progress in (at(name), at(name, name)):  # the second: announced, and the daemon ended before it acted
        assert why(progress, swollen) == (
            "web1 on xen1 has 256 MiB and is to have 254: a saved image of it could not be restored; wait "
            "until its balloon is there, or `xl mem-set web1 256` on xen1"
        )


def test_a_domain_on_drbd_already_is_not_suspended_to_attach() -> None:
    on_it = has(S, dom(), on="drbd")
    assert mark(at("attach-suspend"), on_it) is Mark.DONE
    assert mark(at("cutover-suspend"), on_it) is Mark.READY


@pytest.mark.parametrize(
    ("name", "host", "to", "of"),
    [("attach-flip", S, "drbd", "volumes"), ("target-flip", T, "volumes", "drbd")],
)
def test_flipping(name: str, host: View, to: str, of: str) -> None:
    def seen(view: View) -> Mark:
        return mark(at(name), view, view)

    bare = has(host, None)
    assert seen(links(bare, to)) is Mark.DONE
    assert seen(links(bare, of)) is Mark.READY
    assert "are not flipped under it" in why(
        at(name), links(has(host, dom()), of), links(has(host, dom()), of)
    )
    assert "expected" in why(at(name), links(bare, "/dev/x"), links(bare, "/dev/x"))


def test_restoring() -> None:
    ready = images(links(GONE, "drbd"), attach=9)
    assert argv(at("attach-restore"), ready, T) == [f"xl restore -p {look.image(ORDER, 'attach')}"]
    assert mark(at("attach-restore"), has(ready, PAUSED, on="drbd")) is Mark.DONE
    assert (
        why(at("attach-restore"), has(ready, PAUSED))
        == "web1 on xen1 opened other devices than meant: xvda=253:0, xvdb=253:1"
    )
    assert why(at("attach-restore"), lvextended(ready)) == LARGER
    assert mark(at("attach-restore"), lvextended(has(ready, PAUSED, on="drbd"))) is Mark.DONE
    gone = changed(ready, lvm.VOLUMES, ready.get(lvm.VOLUMES)[1:])
    assert "has 0 bytes now" in why(at("attach-restore"), gone)
    assert why(at("attach-restore"), rebooted(ready)) == "xen1 has rebooted since web1-1 was planned"
    assert (
        why(at("attach-restore"), links(ready, "volumes"))
        == "xen1: the symlinks of web1 do not point where they should"
    )
    assert (
        why(at("attach-restore"), images(ready))
        == "xen1: /var/lib/xen-reconciler/images/web1/attach-1.img is not there"
    )
    there = images(links(has(T, None), "volumes"), cutover=9)
    assert argv(at("target-restore"), GONE, there) == [f"xl restore -p {look.image(ORDER, 'cutover')}"]
    assert mark(at("target-restore"), GONE, has(there, PAUSED)) is Mark.DONE
    assert (
        why(at("target-restore"), GONE, has(there, PAUSED, on="drbd"))
        == "web1 on xen2 opened other devices than meant: xvda=147:100, xvdb=147:101"
    )
    lost = changed(has(there, PAUSED), lvm.VOLUMES, ())
    assert (
        why(at("target-restore"), GONE, lost)
        == "web1 on xen2 opened other devices than meant: xvda=253:10, xvdb=253:11"
    )


def test_unpausing_after_attach() -> None:
    assert argv(at("attach-unpause"), has(S, PAUSED), T) == ["xl unpause web1"]
    assert mark(at("attach-unpause"), RUNS_S) is Mark.DONE
    assert why(at("attach-unpause"), GONE) == "web1 on xen1 is not there"
    assert why(at("attach-unpause"), has(S, dom(DomainState.CRASHED))) == "web1 on xen1 is crashed"


def test_an_image_is_dropped_once_the_domain_runs() -> None:
    saved = images(RUNS_S, attach=9)
    assert mark(at("attach-drop-image"), RUNS_S) is Mark.DONE
    assert argv(at("attach-drop-image"), saved, T)[0].startswith("rm -rf")
    assert why(at("attach-drop-image"), has(saved, None)) == "web1 does not run on xen1; its image is kept"
