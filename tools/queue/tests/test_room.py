# SPDX-License-Identifier: GPL-2.0
"""What a check keeps on the disk, and what it deletes if the disk is nearly full."""

import pytest

from base import gitcmd
from lab import room, source
from weave import tree


@pytest.fixture
def kernel(toy, monkeypatch):
    """The toy's old kernel, with all files that a check makes for it."""
    monkeypatch.setattr(room.config, "BUILD", toy.root / "build")
    monkeypatch.setattr(room.config, "queue", lambda: toy.queue)
    tree.make(toy.queue, toy.old)
    tree.make_control(toy.queue, toy.old)
    for path in (toy.old.tree / ".obj", toy.old.tree / ".obj-off", toy.old.build / "commits"):
        path.mkdir()
    return toy.old


def set_free(monkeypatch, size):
    monkeypatch.setattr(room, "free", lambda: size)


def all_of_it(kernel):
    room.after_preparing(kernel)
    room.after_guests(kernel)
    room.after_commits(kernel)


def test_all_is_kept(kernel, monkeypatch):
    set_free(monkeypatch, room.SPARE)
    all_of_it(kernel)
    assert all(path.exists() for path in (kernel.control, kernel.tree / ".obj", kernel.build / "commits", kernel.pristine / "drivers"))


def test_short(kernel, toy, monkeypatch):
    set_free(monkeypatch, room.SPARE - 1)
    tip = gitcmd.own(kernel.tree, toy.queue).commit("HEAD")
    all_of_it(kernel)
    assert not any(path.exists() for path in (kernel.control, kernel.tree / ".obj", kernel.tree / ".obj-off", kernel.build / "commits",
                                              kernel.pristine / "drivers"))
    # What remains can be used by another check, and git sees no change.
    git = gitcmd.own(kernel.pristine, toy.queue)
    assert git("status", "--porcelain") == ""
    assert (kernel.tree / "drivers/dma-buf/new.c").exists()
    tree.make(toy.queue, kernel)
    tree.make_control(toy.queue, kernel)
    assert gitcmd.own(kernel.tree, toy.queue).commit("HEAD") == tip
    assert (kernel.control / "drivers/dma-buf/a.c").exists()


def test_unpatched_files_come_back(kernel, toy):
    before = (kernel.pristine / "drivers/dma-buf/a.c").read_bytes()
    source.drop_files(kernel)
    assert not (kernel.pristine / "drivers").exists()
    assert source.get(kernel) == kernel.pristine
    assert (kernel.pristine / "drivers/dma-buf/a.c").read_bytes() == before
    assert gitcmd.own(kernel.pristine, toy.queue)("status", "--porcelain") == ""
    source.get(kernel)


def test_says_that_it_is_short(toy, monkeypatch, capsys):
    monkeypatch.setattr(room.config, "kernels", lambda: list(toy.queue.kernels))
    for size, said in ((room.NEEDED, False), (room.NEEDED - 1, True)):
        set_free(monkeypatch, size)
        room.look()
        assert ("GB are free" in capsys.readouterr().out) == said
    tree.make(toy.queue, toy.old)
    capsys.readouterr()
    room.look()
    assert not capsys.readouterr().out
