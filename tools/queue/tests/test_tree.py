# SPDX-License-Identifier: GPL-2.0
"""The git tree: git am makes the same commits; what is left out or refused."""

import pytest

from base import config, gitcmd
from base.steps import Failure
from conftest import FILES, A_C, state
from weave import mails, refresh, tree

A_FIX = "drivers/dma-buf/a-fix.patch"


@pytest.mark.parametrize("name", ["5.10", "6.1"])
def test_git_am_gives_the_same_commits(toy, name):
    kernel = toy.queue.kernel(name)
    made = toy.make(kernel)
    assert made("status", "--porcelain") == ""
    applied = gitcmd.own(kernel.pristine, toy.queue)
    applied("am", "--quiet", "--committer-date-is-author-date", *mails.write(toy.queue, kernel))
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


def woven_tree(toy, kernel):
    return toy.git(kernel).line("rev-parse", "HEAD^{tree}")


def test_an_offset_is_no_error(toy, capsys):
    toy.make(toy.old)
    exact = woven_tree(toy, toy.old)
    toy.edit(A_FIX, "@@ -35,7 +35,7 @@", "@@ -31,7 +31,7 @@")
    done = tree.make(toy.queue, toy.old)
    assert [text[:76] for text in done.offsets] == [f"{A_FIX}: hunk 2 of drivers/dma-buf/a.c applies at an offset 4"[:76]]
    assert done.whole and woven_tree(toy, toy.old) == exact
    # The patch is not rewritten.
    before = toy.snapshot()
    assert refresh.refresh(toy.queue, toy.old) == [] and toy.snapshot() == before


def test_an_offset_to_the_wrong_place_is_told_by_the_pin(toy, capsys):
    """Of two identical places git takes the nearer one: the id of the tree shows it."""
    again = FILES["drivers/dma-buf/b.c"] + "\f\nint b(void)\n{\n\treturn 0;\n}\n"
    toy.old.pristine.rename(toy.root / "gone")
    toy.pristine(toy.old, {**FILES, "drivers/dma-buf/b.c": again})
    tree.pin(toy.queue, toy.old)
    toy.queue = config.load(toy.root, toy.queue.table)
    toy.old = toy.queue.kernels[0]
    toy.make(toy.old)
    assert "note:" not in capsys.readouterr().out
    toy.edit("drivers/dma-buf/new.5.10.patch", "@@ -2,5 +2,5 @@", "@@ -6,5 +6,5 @@")
    assert tree.make(toy.queue, toy.old).whole
    assert f"kernels.toml has {toy.old.woven[:12]}" in capsys.readouterr().out
    assert (toy.old.tree / "drivers/dma-buf/b.c").read_text().index("return new1") > 60


def test_line_1_is_the_beginning(toy):
    """The message names the variant."""
    toy.edit("drivers/dma-buf/new.5.10.patch", "@@ -2,5 +2,5 @@", "@@ -1,5 +1,5 @@")
    with pytest.raises(tree.Conflict, match=r"new.5.10.patch: hunk 1 of drivers/dma-buf/b.c \(line 1\) does not apply"):
        toy.make(toy.old)
    toy.make(toy.new)


def another_source(toy, tmp_path, files):
    """Replace the old kernel's source by an untested one, with @files."""
    toy.old.pristine.rename(tmp_path / "gone")
    toy.pristine(toy.old, {**FILES, **files}, "linux-source-5.10 5.10.10-1")


def test_another_source_at_offsets(tmp_path, toy, capsys):
    another_source(toy, tmp_path, {"drivers/dma-buf/a.c": A_C.replace("return 2;", "return\n2;")})
    done = tree.make(toy.queue, toy.old)
    assert done.whole and len(done.offsets) == 3 and all("offset 1 line" in text for text in done.offsets)
    # There is no pin for another source.
    assert "note:" not in capsys.readouterr().out


# A change of a point release: a line that is context of a patch.
MOVED = {"drivers/dma-buf/a.c": A_C.replace("return 8;", "return 7 + 1;")}


def test_another_source_loses_one_patch(tmp_path, toy, capsys):
    another_source(toy, tmp_path, MOVED)
    done = tree.make(toy.queue, toy.old)
    assert list(done.left) == [A_FIX] and "hunk 2 of drivers/dma-buf/a.c (line 35) does not apply" in done.left[A_FIX]
    subjects = toy.git(toy.old)("log", "--format=%s", "base..").splitlines()
    assert len(subjects) == 5 and "dma-buf: fix a3() and a8()" not in subjects
    capsys.readouterr()
    tree.tell(toy.queue, toy.old, done)
    output = capsys.readouterr().out
    assert "5.10: left out, because they were made for 5.10.9-1 and do not apply to 5.10.10-1:\n" in output
    assert f"    {A_FIX}: hunk 2 of" in output


def test_another_source_loses_what_needs_it(tmp_path, toy):
    # old-only.patch uses a name of new.patch, and MAINTAINERS.patch says that it needs it.
    toy.edit("drivers/dma-buf/old-only.patch", "+\treturn 11;", "+\treturn new1;")
    toy.edit("MAINTAINERS.patch", "Inserts: MAINTAINERS", "Inserts: MAINTAINERS\nNeeds: drivers/dma-buf/old-only.patch")
    toy.edit("drivers/dma-buf/new.c", "int new1;", "int new1(void);")
    another_source(toy, tmp_path, {"drivers/dma-buf/Makefile": "obj-y := a.o b.o\n"})
    assert {path: why.splitlines()[0][-40:] for path, why in tree.make(toy.queue, toy.old).left.items()} == {
        "drivers/dma-buf/new.patch": "does not apply to 5.10 with the patches before it."[-40:],
        "drivers/dma-buf/old-only.patch": "needs drivers/dma-buf/new.patch",
        "MAINTAINERS.patch": "needs drivers/dma-buf/old-only.patch"}


def test_what_the_source_has_already_is_not_missed(tmp_path, toy, capsys):
    toy.edit("MAINTAINERS.patch", "Inserts: MAINTAINERS", f"Inserts: MAINTAINERS\nNeeds: {A_FIX}")
    there = A_C.replace("return 3;", "return 33;").replace("return 8;", "return 88;")
    another_source(toy, tmp_path, {"drivers/dma-buf/a.c": there})
    done = tree.make(toy.queue, toy.old)
    assert (done.left, done.there) == ({}, [A_FIX]) and len(done.applied) == 5
    tree.tell(toy.queue, toy.old, done)
    assert f"note: {A_FIX}: 5.10 5.10.10-1 has this already" in capsys.readouterr().out
    # It does not belong to the series of the tested source.
    toy.old.pristine.rename(tmp_path / "gone too")
    toy.pristine(toy.old, {**FILES, "drivers/dma-buf/a.c": there})
    with pytest.raises(tree.Conflict, match=f"1 of 6 patches do not apply:\n{A_FIX}: the tree has this already"):
        toy.make(toy.old)


def test_a_variant_is_named_with_its_patch(tmp_path, toy):
    another_source(toy, tmp_path, {"drivers/dma-buf/b.c": FILES["drivers/dma-buf/b.c"].replace("return 0", "return 1")})
    done = tree.make(toy.queue, toy.old)
    assert done.refused().splitlines()[1].startswith("drivers/dma-buf/new.patch: drivers/dma-buf/new.5.10.patch: hunk 1")


def test_the_tested_source_loses_nothing_and_all_are_named(toy):
    toy.edit(A_FIX, "-\treturn 8;", "-\treturn 7;")
    toy.edit("drivers/dma-buf/tests.patch", "-\treturn 12;", "-\treturn 13;")
    with pytest.raises(tree.Conflict, match=r"2 of 6 patches do not apply:\n(.|\n)*a-fix.patch: hunk 2(.|\n)*tests.patch: hunk 1"):
        toy.make(toy.old)
    assert not (toy.old.tree / "drivers").exists()


def test_refresh_where_a_patch_is_left_out(tmp_path, toy, capsys):
    another_source(toy, tmp_path, MOVED)
    toy.make(toy.old)
    before = toy.snapshot()
    assert refresh.refresh(toy.queue, toy.old) == [] and toy.snapshot() == before
    assert f"not in the tree, and so as it was: {A_FIX}: hunk 2 of" in capsys.readouterr().out
    toy.edit(toy.old.tree / "drivers/dma-buf/test.c", "int test;", "long test;")
    assert refresh.refresh(toy.queue, toy.old) == ["drivers/dma-buf/test.c"]
    # A lost commit is still distinguished from one that was left out.
    toy.git(toy.old)("reset", "--quiet", "--hard", "HEAD~")
    with pytest.raises(Failure, match="the tree has no commit 'MAINTAINERS"):
        refresh.refresh(toy.queue, toy.old)


def test_refresh_takes_a_patch_that_somebody_fixed(tmp_path, toy):
    another_source(toy, tmp_path, MOVED)
    git = toy.make(toy.old)
    text = (toy.old.tree / "drivers/dma-buf/a.c").read_text()
    git("checkout", "--quiet", "base")
    (toy.old.tree / "drivers/dma-buf/a.c").write_text(MOVED["drivers/dma-buf/a.c"].replace("return 3;", "return 33;")
                                                     .replace("return 7 + 1;", "return 88;"))
    git("commit", "--quiet", "-a", "-m", toy.read(A_FIX).partition("Subject: ")[2].partition("\n---\n")[0])
    fixed = git.commit("HEAD")
    git("checkout", "--quiet", "queue")
    first = git.line("rev-list", "--reverse", "base..").split()[0]
    git("rebase", "--quiet", "--onto", fixed, "base", first)
    git("rebase", "--quiet", "--onto", "HEAD", first, "queue")
    assert text != (toy.old.tree / "drivers/dma-buf/a.c").read_text()
    fixes, kconfig = f"{A_FIX}            all    v6.3     # a comment\n", "Kconfig.patch                          all    no\n"
    toy.edit("series", fixes, "")
    toy.edit("series", kconfig, fixes + kconfig)
    assert "drivers/dma-buf/a-fix.5.10.patch" in refresh.refresh(toy.queue, toy.old)
    assert tree.make(toy.queue, toy.old).whole


def test_no_fuzz(toy):
    toy.edit(A_FIX, " int a9(void)\n", " int a99(void)\n")
    with pytest.raises(tree.Conflict, match=r"a-fix.patch: hunk 2 of drivers/dma-buf/a.c \(line 35\) does not apply "
                                            r"to 5.10 .*\n.*a-fix.5.10.patch"):
        toy.make(toy.old)
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


def fingerprints(toy, kernel):
    return {woven.patch.path: tree.fingerprint(woven.patch, woven.edits) for woven in toy.woven(kernel)}


def test_a_fingerprint_does_not_depend_on_lines(toy):
    before = fingerprints(toy, toy.old)
    text = toy.read(A_FIX)
    toy.write(A_FIX, text.replace("@@ -10,7 +10,7 @@ int a2(void)", "@@ -9,7 +9,7 @@").replace("@@ -35,7 +35,7 @@", "@@ -36,7 +36,7 @@"))
    assert fingerprints(toy, toy.old) == before
    for old, new in (("+\treturn 33;", "+\treturn 34;"), (" int a4(void)", " int a5(void)"), ("Both returned", "They returned"),
                     ("drivers/dma-buf/a.c", "drivers/dma-buf/z.c")):
        toy.write(A_FIX, text.replace(old, new))
        assert [path for path, mark in fingerprints(toy, toy.old).items() if mark != before[path]] == [A_FIX], old
    toy.write(A_FIX, text)
    # A variant only affects its kernel.
    toy.edit("drivers/dma-buf/new.5.10.patch", "+long new12", "+char new12")
    assert [path for path, mark in fingerprints(toy, toy.old).items() if mark != before[path]] == ["drivers/dma-buf/new.patch"]


def test_without_the_source(toy, tmp_path):
    toy.old.pristine.rename(tmp_path / "gone")
    with pytest.raises(Failure, match="run `make source KERNEL=5.10`"):
        toy.make(toy.old)


def test_the_tree_outlives_the_source(toy, tmp_path):
    git = toy.make(toy.old)
    toy.old.pristine.rename(tmp_path / "gone")
    assert git("fsck", "--connectivity-only") == ""
