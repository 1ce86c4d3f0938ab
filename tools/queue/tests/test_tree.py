# SPDX-License-Identifier: GPL-2.0
"""The git tree: that git am gives the same commits, and that nothing moved is accepted silently."""

import gitcmd
import pytest
import tree
import weave
from steps import Failure

from conftest import FILES, A_C, state

A_FIX = "drivers/dma-buf/a-fix.patch"


@pytest.mark.parametrize("name", ["5.10", "6.1"])
def test_git_am_gives_the_same_commits(toy, name):
    kernel = toy.queue.kernel(name)
    made = toy.make(kernel)
    assert made("status", "--porcelain") == ""
    applied = gitcmd.own(kernel.pristine, toy.queue)
    applied("am", "--quiet", "--committer-date-is-author-date", *weave.write(toy.queue, kernel))
    assert made("log", "--format=%H%n%B") == applied("log", "--format=%H%n%B")
    assert made("ls-tree", "-r", "HEAD") == applied("ls-tree", "-r", "HEAD")


def test_the_message_arrives_whole(toy):
    git = toy.make(toy.old)
    assert git.line("log", "-1", "--format=%B", "HEAD~4") == (
        "dma-buf: fix a3() and a8()\n\nBoth returned what they should not.\n\n#include is not a comment, and "
        "\u00e9 is not ASCII.\n\nUpstream: v6.3 0123456789ab\nFixes: ba9876543210 (\"dma-buf: break a3()\")")


def test_again_touches_nothing(toy):
    git = toy.make(toy.old)
    before = {file: file.stat().st_mtime_ns for file in toy.old.tree.glob("drivers/dma-buf/*")}
    head = git.commit("HEAD")
    toy.make(toy.old)
    toy.edit(A_FIX, "Both returned", "Both of them returned")
    toy.make(toy.old)
    assert git.commit("HEAD") != head
    assert before == {file: file.stat().st_mtime_ns for file in toy.old.tree.glob("drivers/dma-buf/*")}


def test_an_edit_touches_only_its_file(toy):
    toy.make(toy.old)
    files = {file.name: file.stat().st_mtime_ns for file in toy.old.tree.glob("drivers/dma-buf/*")}
    toy.edit("drivers/dma-buf/test.c", "int test;", "long test;")
    toy.make(toy.old)
    assert {"test.c"} == {file.name for file in toy.old.tree.glob("drivers/dma-buf/*")
                          if file.stat().st_mtime_ns != files[file.name]}


def test_the_control_tree(toy):
    tree.make_control(toy.queue, toy.old)
    git = gitcmd.own(toy.old.control, toy.queue)
    assert git("log", "--format=%s").split("\n")[:-1] == ["dma-buf: add a test", "linux-source-5.10 5.10.9-1"]
    assert git("diff", "--name-only", "base").split() == ["drivers/dma-buf/a.c", "drivers/dma-buf/test.c"]


def test_an_offset_is_an_error(toy):
    toy.edit(A_FIX, "@@ -35,7 +35,7 @@", "@@ -34,7 +34,7 @@")
    with pytest.raises(Failure, match=r"a-fix.patch: hunk 2 of drivers/dma-buf/a.c applies at an offset 1 line.*\n"
                                      r".*LOOSE=1"):
        toy.make(toy.old)


def test_an_offset_names_the_variant_it_is_in(toy):
    toy.edit("drivers/dma-buf/new.5.10.patch", "@@ -2,5 +2,5 @@", "@@ -1,5 +1,5 @@")
    with pytest.raises(Failure, match=r"new.5.10.patch: hunk 1 of drivers/dma-buf/b.c"):
        toy.make(toy.old)
    toy.make(toy.new)


def test_loose_accepts_an_offset_and_refresh_writes_it(toy, capsys):
    before = toy.snapshot()
    toy.edit(A_FIX, "@@ -35,7 +35,7 @@", "@@ -34,7 +34,7 @@")
    toy.make(toy.old, loose=True)
    assert "note: drivers/dma-buf/a-fix.patch: hunk 2" in capsys.readouterr().out
    import refresh
    toy.make(toy.new, loose=True)
    assert refresh.refresh(toy.queue, toy.new) == [A_FIX]
    assert toy.snapshot()[A_FIX] == before[A_FIX]


def test_another_debian_version_makes_offsets_notes(tmp_path, toy, capsys):
    files = {**FILES, "drivers/dma-buf/a.c": A_C.replace("return 2;", "return\n2;")}
    kernel = toy.old
    kernel.pristine.rename(tmp_path / "gone")
    toy.pristine(kernel, files, "linux-source-5.10 5.10.10-1")
    toy.make(kernel)
    output = capsys.readouterr().out
    assert "the source is 5.10.10-1, the patches were made for 5.10.9-1" in output
    assert output.count("offset 1 line") == 3
    kernel.pristine.rename(tmp_path / "gone too")
    toy.pristine(kernel, files)
    with pytest.raises(Failure, match="offset"):
        toy.make(kernel)


def test_no_fuzz(toy):
    toy.edit(A_FIX, " int a9(void)\n", " int a99(void)\n")
    with pytest.raises(tree.Conflict, match=r"a-fix.patch: hunk 2 of drivers/dma-buf/a.c \(line 35\) does not apply "
                                            r"to 5.10 .*\n.*a-fix.5.10.patch"):
        toy.make(toy.old, loose=True)
    assert not (toy.old.tree / "drivers").exists()


def test_a_file_the_kernel_lacks(toy):
    text = toy.read(A_FIX).replace("drivers/dma-buf/a.c", "drivers/dma-buf/z.c")
    toy.write(A_FIX, text)
    with pytest.raises(tree.Conflict, match=r"a-fix.patch: there is no drivers/dma-buf/z.c in 5.10.*`Without: "):
        toy.make(toy.old)


def test_a_new_file_the_kernel_has(toy):
    toy.edit("drivers/dma-buf/tests.patch", "New: drivers/dma-buf/test.c", "New: Kbuild")
    toy.write("Kbuild", "x\n")
    with pytest.raises(tree.Conflict, match="tests.patch: its new file Kbuild is in 5.10 already"):
        toy.make(toy.old)


def test_a_failure_leaves_the_tree(toy):
    before = state(toy.make(toy.old))
    toy.edit("drivers/dma-buf/old-only.patch", "-\treturn 1;", "-\treturn 111;")
    with pytest.raises(tree.Conflict):
        toy.make(toy.old)
    assert state(toy.git(toy.old)) == before


def test_refuses_to_lose_work(toy, capsys):
    git = toy.make(toy.old)
    toy.edit(toy.old.tree / "drivers/dma-buf/b.c", "return new1", "return new2")
    before = state(git)
    with pytest.raises(Failure, match=r"uncommitted changes:\n M drivers/dma-buf/b.c\n.*make refresh.*FORCE=1"):
        toy.make(toy.old)
    assert state(git) == before
    git("commit", "--quiet", "-am", "mine")
    with pytest.raises(Failure, match="commits that are not from the queue.*make refresh"):
        toy.make(toy.old)
    mine = git.commit("HEAD")
    toy.edit(toy.old.tree / "drivers/dma-buf/b.c", "return new2", "return new3")
    toy.make(toy.old, force=True)
    assert git("status", "--porcelain") == "" and git.commit("HEAD") != mine
    assert f"HEAD was {mine}" in capsys.readouterr().out


def test_refuses_in_the_middle_of_a_rebase(toy):
    git = toy.make(toy.old)
    made = git.commit("HEAD")
    git.attempt("rebase", "--exec", "false", "base")
    assert gitcmd.in_progress(git)
    with pytest.raises(Failure, match="in the middle of a git rebase"):
        toy.make(toy.old)
    toy.make(toy.old, force=True)
    assert not gitcmd.in_progress(git) and git.commit("HEAD") == made


def test_without_the_source(toy, tmp_path):
    toy.old.pristine.rename(tmp_path / "gone")
    with pytest.raises(Failure, match="run `make source KERNEL=5.10`"):
        toy.make(toy.old)


def test_the_tree_outlives_the_source(toy, tmp_path):
    git = toy.make(toy.old)
    toy.old.pristine.rename(tmp_path / "gone")
    assert git("fsck", "--connectivity-only") == ""
