# SPDX-License-Identifier: GPL-2.0
"""make refresh: each kind of edit is written to the file that it belongs to, and to no other."""

import pytest

from base.steps import Failure
from conftest import ENTRY, state
from weave import mails, refresh, verify

A_C = "drivers/dma-buf/a.c"
NEW_C = "drivers/dma-buf/new.c"
A_FIX = "drivers/dma-buf/a-fix.patch"
NEW = "drivers/dma-buf/new.patch"
VARIANT = "drivers/dma-buf/new.5.10.patch"


def refreshed(toy, kernel):
    """Refresh; then making the tree again must give the same files, and weaving the same bytes."""
    git = toy.git(kernel)
    changed = refresh.refresh(toy.queue, kernel)
    assert git("status", "--porcelain") == ""
    files = git.line("rev-parse", "HEAD^{tree}")
    after = toy.snapshot()
    toy.make(kernel)
    assert git.line("rev-parse", "HEAD^{tree}") == files
    assert refresh.refresh(toy.queue, kernel) == []
    assert toy.snapshot() == after
    return changed


def refused(toy, kernel, message):
    """Refresh refuses and changes neither the repository nor the tree."""
    git = toy.git(kernel)
    before = toy.snapshot(), state(git), git("diff", "--cached")
    with pytest.raises(Failure, match=message):
        refresh.refresh(toy.queue, kernel)
    assert (toy.snapshot(), state(git), git("diff", "--cached")) == before


@pytest.mark.parametrize("name", ["5.10", "6.1"])
def test_right_after_make_nothing_changes(toy, name):
    kernel = toy.queue.kernel(name)
    before = toy.snapshot()
    toy.make(kernel)
    assert refreshed(toy, kernel) == []
    assert toy.snapshot() == before


def test_hand_written_diffs_stay_as_they_are(toy):
    toy.edit(A_FIX, "@@ -10,7 +10,7 @@ int a2(void)\n \n int a3", "@@ -11,6 +11,6 @@\n int a3")
    before = toy.snapshot()
    toy.make(toy.new)
    assert refreshed(toy, toy.new) == [] and toy.snapshot() == before


def test_an_edit_of_a_new_file(toy):
    toy.make(toy.new)
    toy.edit(toy.new.tree / NEW_C, "int new20;", "int new20, new21;")
    assert refreshed(toy, toy.new) == [NEW_C]
    assert "int new20, new21;" in toy.read(NEW_C)


def test_an_edit_of_a_new_file_on_the_older_kernel(toy):
    """The edit is for all kernels; only the variant's own lines stay in the variant."""
    toy.make(toy.old)
    toy.edit(toy.old.tree / NEW_C, "int new1;", "int new0;\nint new1;")
    assert set(refreshed(toy, toy.old)) == {NEW_C, VARIANT}
    assert "int new0;" in toy.read(NEW_C) and "int new12;" in toy.read(NEW_C)
    assert "@@ -11,7 +11,7 @@" in toy.read(VARIANT) and "new0" not in toy.read(VARIANT)


def test_an_edit_on_the_newer_kernel_moves_the_variant(toy):
    toy.make(toy.new)
    toy.edit(toy.new.tree / NEW_C, "int new1;", "int new0;\nint new1;")
    assert set(refreshed(toy, toy.new)) == {NEW_C, VARIANT}
    assert "@@ -11,7 +11,7 @@" in toy.read(VARIANT)
    toy.make(toy.old)
    assert "int new0;" in (toy.old.tree / NEW_C).read_text()


def test_an_edit_where_the_variant_is(toy):
    toy.make(toy.old)
    toy.edit(toy.old.tree / NEW_C, "long new12;", "char new12;")
    assert refreshed(toy, toy.old) == [VARIANT]
    assert "+char new12;" in toy.read(VARIANT)


def test_an_edit_that_conflicts_with_the_variant(toy, capsys):
    toy.make(toy.new)
    toy.edit(toy.new.tree / NEW_C, "int new12;", "char new12;")
    assert set(refresh.refresh(toy.queue, toy.new)) == {NEW_C, VARIANT}
    output = capsys.readouterr().out
    assert f"note: {VARIANT}: {NEW_C} is as it was there: the edit conflicts; make it by hand" in output
    assert "cannot be woven" not in output and "-char new12;\n+long new12;" in toy.read(VARIANT)
    toy.make(toy.old)
    assert "long new12;" in (toy.old.tree / NEW_C).read_text()


def test_an_edit_of_a_hunk(toy):
    git = toy.make(toy.new)
    toy.edit(toy.new.tree / A_C, "return 88;", "return 888;")
    git("commit", "--quiet", "-a", "--fixup", ":/a3\\(\\) and a8")
    assert refreshed(toy, toy.new) == [A_FIX]
    assert "+\treturn 888;" in toy.read(A_FIX) and "+\treturn 33;" in toy.read(A_FIX)
    toy.make(toy.old)


def test_a_further_hunk_goes_to_the_last_patch_that_touches_the_file(toy):
    toy.make(toy.new)
    toy.edit(toy.new.tree / A_C, "return 6;", "return 66;")
    assert refreshed(toy, toy.new) == ["drivers/dma-buf/tests.patch"]
    assert "+\treturn 66;" in toy.read("drivers/dma-buf/tests.patch")


def test_a_hunk_of_the_older_kernel_becomes_a_variant(toy):
    git = toy.make(toy.old)
    toy.edit(toy.old.tree / A_C, "return 88;", "return 888;")
    git("commit", "--quiet", "-a", "--fixup", ":/a3\\(\\) and a8")
    assert refreshed(toy, toy.old) == ["drivers/dma-buf/a-fix.5.10.patch"]
    assert "+\treturn 88;" in toy.read(A_FIX)
    # Only for this hunk: the other one is inherited.
    text = toy.read("drivers/dma-buf/a-fix.5.10.patch")
    assert text.startswith(f"Hunks: {A_C} 1 +\ndiff --git") and "@@ -35,7 +35,7 @@" in text and text.count("@@ -") == 1
    assert verify.problems(toy.queue) == []
    # and is removed together with the edit
    toy.edit(toy.old.tree / A_C, "return 888;", "return 88;")
    git("commit", "--quiet", "-a", "--fixup", ":/a3\\(\\) and a8")
    assert refreshed(toy, toy.old) == ["drivers/dma-buf/a-fix.5.10.patch"]
    assert not (toy.root / "drivers/dma-buf/a-fix.5.10.patch").exists()


def test_a_file_left_alone_on_the_older_kernel(toy):
    git = toy.make(toy.old)
    git("rm", "--quiet", "tools/testing/run.sh")
    (toy.old.tree / "drivers/dma-buf/Makefile").write_text("obj-y := a.o\nobj-y += b.o\n")
    git("commit", "--quiet", "-a", "--fixup", ":/add new.c")
    assert refreshed(toy, toy.old) == [VARIANT]
    assert toy.read(VARIANT).startswith("Without: drivers/dma-buf/Makefile\nWithout: tools/testing/run.sh\ndiff")
    assert (toy.root / "tools/testing/run.sh").exists()
    toy.make(toy.new)


def test_a_message(toy):
    git = toy.make(toy.old)
    git("commit", "--quiet", "--amend", "-m",
        "MAINTAINERS: add an entry\n\nSomebody h\u00e4s to.\n# yes\n\nUpstream: no, it is ours")
    assert refreshed(toy, toy.old) == ["MAINTAINERS.patch"]
    assert "\n\nSomebody h\u00e4s to.\n# yes\n\nUpstream: no, it is ours\nInserts: MAINTAINERS\n---\n" \
        in toy.read("MAINTAINERS.patch")


def test_a_message_that_breaks_a_rule(toy):
    git = toy.make(toy.old)
    git("commit", "--quiet", "--amend", "-m", "MAINTAINERS: add an entry\n\nSomebody has to.")
    refused(toy, toy.old, "'missing' in the Upstream: trailer of MAINTAINERS.patch")


def test_messages_survive_a_fixup(toy):
    """A line that begins with '#' is not lost in the rebase."""
    toy.make(toy.new)
    toy.edit(toy.new.tree / A_C, "return 33;", "return 333;")
    git = toy.git(toy.new)
    git("commit", "--quiet", "-a", "--fixup", ":/a3\\(\\) and a8")
    assert refreshed(toy, toy.new) == [A_FIX]
    assert "\n#include is not a comment" in toy.read(A_FIX)
    assert "\n#include is not a comment" in git("log", "--format=%B")


def test_the_maintainers_entry(toy):
    git = toy.make(toy.old)
    toy.edit(toy.old.tree / "MAINTAINERS", "F:\tdrivers/dma-buf/new.c\n",
             "F:\tdrivers/dma-buf/new.c\nF:\tdrivers/dma-buf/test.c\n")
    assert refreshed(toy, toy.old) == ["MAINTAINERS"]
    assert toy.read("MAINTAINERS") == ENTRY + "F:\tdrivers/dma-buf/test.c\n"
    # moved, on the older kernel: it needs its own place
    text = (toy.old.tree / "MAINTAINERS").read_text()
    entry = toy.read("MAINTAINERS") + "\n"
    (toy.old.tree / "MAINTAINERS").write_text(text.replace(entry, "").replace("BETA\n", entry + "BETA\n"))
    assert refreshed(toy, toy.old) == ["MAINTAINERS.5.10.patch"]
    assert "@@ -2,6 +2,6 @@" in toy.read("MAINTAINERS.5.10.patch")
    assert git("diff", "base", "--stat", "--", "MAINTAINERS").count("+") < 9


def test_an_edit_elsewhere_in_maintainers(toy):
    toy.make(toy.old)
    toy.edit(toy.old.tree / "MAINTAINERS", "EPSILON", "EPSILON2")
    refused(toy, toy.old, "MAINTAINERS must differ by one inserted block")


def test_several_fixups_and_uncommitted_edits_at_once(toy):
    git = toy.make(toy.new)
    toy.edit(toy.new.tree / NEW_C, "int new1;", "int one;")
    git("commit", "--quiet", "-a", "--fixup", ":/add new.c")
    toy.edit(toy.new.tree / NEW_C, "int new2;", "int two;")
    toy.edit(toy.new.tree / A_C, "tested", "really tested")
    git("add", A_C)
    (toy.new.tree / "drivers/dma-buf/test2.c").write_text("// SPDX-License-Identifier: GPL-2.0\n")
    git("add", "drivers/dma-buf/test2.c")
    git("commit", "--quiet", "--fixup", ":/add a test", "--", "drivers/dma-buf/test2.c")
    changed = refreshed(toy, toy.new)
    assert set(changed) == {NEW_C, "drivers/dma-buf/test2.c", "drivers/dma-buf/tests.patch"}
    assert toy.read("drivers/dma-buf/tests.patch").count("New: ") == 2
    assert len(git("rev-list", "base..HEAD").split()) == 5


def test_a_mode(toy):
    toy.make(toy.new)
    (toy.new.tree / NEW_C).chmod(0o755)
    assert refreshed(toy, toy.new) == [NEW_C]
    assert (toy.root / NEW_C).stat().st_mode & 0o111 == 0o111


def test_a_new_commit(toy):
    git = toy.make(toy.new)
    toy.edit(toy.new.tree / "drivers/dma-buf/Kconfig", "\tbool \"sync\"", "\tbool \"more sync\"")
    git("commit", "--quiet", "-am", "dma-buf: more sync\n\nThere was too little.\n\nUpstream: no, too new")
    refused(toy, toy.new, r"commit 'dma-buf: more sync' has no patch here. Create a mail file.*\n"
                          r"    Subject: dma-buf: more sync")
    toy.write("drivers/more.patch", "Subject: dma-buf: more sync\n\nUpstream: no, too new\n---\n")
    toy.write("series", toy.read("series") + "drivers/more.patch 6.1 no\n")
    assert refreshed(toy, toy.new) == ["drivers/more.patch"]
    assert "There was too little." in toy.read("drivers/more.patch") and "+\tbool" in toy.read("drivers/more.patch")


def test_a_commit_that_is_gone(toy):
    git = toy.make(toy.old)
    git("reset", "--quiet", "--hard", "HEAD~1")
    refused(toy, toy.old, "no commit 'MAINTAINERS: add an entry'. If MAINTAINERS.patch is to go")


def test_commits_in_another_order(toy):
    git = toy.make(toy.old)
    top = git.commit("HEAD")
    git("reset", "--quiet", "--hard", "HEAD~2")
    git("cherry-pick", top, f"{top}~1")
    refused(toy, toy.old, "commit 5 of the tree is 'MAINTAINERS: add an entry', which is not there in series")
    lines = toy.read("series").splitlines()
    toy.write("series", "\n".join(lines[:-2] + [lines[-1], lines[-2]]) + "\n")
    refreshed(toy, toy.old)


def test_an_edit_that_no_patch_touches(toy):
    toy.make(toy.old)
    (toy.old.tree / "Kbuild").write_text("edited\n")
    refused(toy, toy.old, "edits to files that no patch touches: Kbuild\n.*--fixup")


def test_a_file_that_no_commit_has(toy):
    toy.make(toy.old)
    (toy.old.tree / "lost.c").write_text("x\n")
    refused(toy, toy.old, "new files that no commit has: lost.c\n")


def test_a_fixup_that_conflicts(toy):
    git = toy.make(toy.old)
    toy.edit(toy.old.tree / A_C, "a1(void)\n{\n\treturn 11;", "a1(void)\n{\n\treturn 111;")
    git("commit", "--quiet", "-a", "--fixup", ":/a3\\(\\) and a8")
    toy.edit(toy.old.tree / NEW_C, "int new2;", "int two;")
    git("add", NEW_C)
    toy.edit(toy.old.tree / NEW_C, "int new3;", "int three;")
    refused(toy, toy.old, r"does not work: .*conflicts in drivers/dma-buf/a.c\nNothing was changed")


def test_a_fixup_of_nothing(toy):
    git = toy.make(toy.old)
    toy.edit(toy.old.tree / A_C, "a1(void)\n{\n\treturn 11;", "a1(void)\n{\n\treturn 111;")
    git("commit", "--quiet", "-am", "fixup! dma-buf: what?")
    refused(toy, toy.old, "the commit 'fixup! dma-buf: what\\?' has no patch here")


def test_deletions_and_modes_of_the_kernels_files(toy):
    git = toy.make(toy.old)
    git("rm", "--quiet", "drivers/dma-buf/b.c")
    git("commit", "--quiet", "--fixup", ":/add new.c")
    refused(toy, toy.old, "deletes drivers/dma-buf/b.c or changes its mode")


def test_what_is_no_file(toy):
    git = toy.make(toy.old)
    git("update-index", "--add", "--cacheinfo", f"160000,{git.commit('HEAD')},drivers/submodule")
    git("commit", "--quiet", "--amend", "--no-edit")
    (toy.old.tree / "drivers/submodule").mkdir()
    refused(toy, toy.old, "the commit of MAINTAINERS.patch deletes drivers/submodule or changes its mode")


def test_an_edit_in_the_repository_is_not_undone(toy):
    toy.make(toy.old)
    toy.edit(A_FIX, "Both returned", "Both of them returned")
    refused(toy, toy.old, f"edited in the repository since the tree was made.*: {A_FIX}\n")
    toy.make(toy.old)
    assert refreshed(toy, toy.old) == []


def test_wrong_states_of_the_tree(toy):
    with pytest.raises(Failure, match="there is no git tree .*; run `make tree KERNEL=5.10`"):
        refresh.refresh(toy.queue, toy.old)
    git = toy.make(toy.old)
    git("switch", "--quiet", "--detach")
    refused(toy, toy.old, "not on the branch queue")
    git("switch", "--quiet", "queue")
    git.attempt("rebase", "--exec", "false", "base")
    refused(toy, toy.old, "in the middle of a git rebase")


def test_a_tree_with_bytes_that_are_not_utf8(toy):
    git = toy.make(toy.new)
    path = toy.new.tree / A_C
    path.write_bytes(path.read_bytes().replace(b"tested */", b"t\xe9sted\f */"))
    assert refreshed(toy, toy.new) == ["drivers/dma-buf/tests.patch"]
    assert b"t\xe9sted\f */" in (toy.root / "drivers/dma-buf/tests.patch").read_bytes()
    assert b"t\xe9sted\f" in b"".join(w.data for w in mails.woven(toy.queue, toy.new))
    assert git("status", "--porcelain") == ""


def test_edits_go_to_the_commits_that_wrote_the_lines(toy):
    """Hunks of one file for three patches, and one hunk in the kernel's own lines."""
    git = toy.make(toy.old)
    path = toy.old.tree / A_C
    toy.edit(path, "a1(void)\n{\n\treturn 11;", "a1(void)\n{\n\treturn 1111;")
    toy.edit(path, "\treturn 33;\n", "\treturn 33;\n\t/* never */\n")
    toy.edit(path, "\treturn 6;", "\treturn 66;")
    toy.edit(path, "/* tested */", "/* well tested */")
    git("add", A_C)
    before = path.read_bytes()
    # On the older kernel a hunk that differs from the newer one's is a variant.
    assert set(refreshed(toy, toy.old)) == {"drivers/dma-buf/a-fix.5.10.patch", "drivers/dma-buf/old-only.patch",
                                            "drivers/dma-buf/tests.5.10.patch"}
    assert path.read_bytes() == before
    assert "+\treturn 1111;" in toy.read("drivers/dma-buf/old-only.patch")
    assert "+\t/* never */" in toy.read("drivers/dma-buf/a-fix.5.10.patch")
    text = toy.read("drivers/dma-buf/tests.5.10.patch")
    assert "+\treturn 66;" in text and "/* well tested */" in text


def test_a_removed_file(toy):
    toy.make(toy.old)
    (toy.old.tree / NEW_C).unlink()
    refused(toy, toy.old, "new.c was removed or is no file any more; commit that")


def test_a_message_by_amend(toy):
    git = toy.make(toy.new)
    git("commit", "--quiet", "--allow-empty", "-m", "amend! dma-buf: add new.c\n\ndma-buf: add new.c\n\n"
        "It is newer.\n\nUpstream: no, it is new")
    assert refreshed(toy, toy.new) == [NEW]
    assert "\n\nIt is newer.\n\nUpstream: no, it is new\nNew: drivers/dma-buf/new.c\n" in toy.read(NEW)


def test_a_new_file_moved_to_another_patch(toy):
    git = toy.make(toy.new)
    text = (toy.new.tree / "drivers/dma-buf/test.c").read_text()
    git("rm", "--quiet", "drivers/dma-buf/test.c")
    git("commit", "--quiet", "--fixup", ":/add a test")
    (toy.new.tree / "drivers/dma-buf/test.c").write_text(text)
    git("add", "drivers/dma-buf/test.c")
    git("commit", "--quiet", "--fixup", ":/add new.c")
    # The fixup that adds the file moves before the one that removes it, so the file does not exist at the end.
    refused(toy, toy.new, "gives other files than there are now, so nothing was changed")
    git("reset", "--quiet", "--hard", "HEAD~2")
    commits = git("rev-list", "--reverse", "base..HEAD").split()
    git("checkout", "--quiet", "-B", "queue", commits[1])
    git("cherry-pick", "--no-commit", commits[2])
    git("checkout", "--quiet", commits[3], "--", "drivers/dma-buf/test.c")
    git("commit", "--quiet", "-C", commits[2])
    for commit in commits[3:]:
        git("cherry-pick", commit)
    assert set(refreshed(toy, toy.new)) == {NEW, "drivers/dma-buf/tests.patch"}
    assert "New: drivers/dma-buf/test.c" in toy.read(NEW) and "New:" not in toy.read("drivers/dma-buf/tests.patch")
    assert (toy.root / "drivers/dma-buf/test.c").exists()


B_C = "drivers/dma-buf/b.c"
# The diff of b.c in the toy's new.patch, whose hunk is also that of 5.10.
SHORTER = ("@@ -3,5 +3,5 @@\n // 6.1 has one more line\n int b(void)", "@@ -4,4 +4,4 @@\n int b(void)")


def test_a_whole_diff_that_differs_in_lines_only_goes(toy):
    toy.edit(NEW, *SHORTER)
    toy.make(toy.old)
    assert refreshed(toy, toy.old) == [VARIANT]
    assert toy.read(VARIANT).startswith(f"diff --git a/{NEW_C}") and B_C not in toy.read(VARIANT)
    assert "return new1;" in (toy.old.tree / B_C).read_text()


def test_a_variant_that_says_nothing_goes(toy):
    text = toy.read(A_FIX)
    toy.write("drivers/dma-buf/a-fix.5.10.patch",
              text[text.index("diff --git"):].replace("@@ int a7(void)", "@@ int a8(void)"))
    toy.make(toy.old)
    assert refreshed(toy, toy.old) == ["drivers/dma-buf/a-fix.5.10.patch"]
    assert not (toy.root / "drivers/dma-buf/a-fix.5.10.patch").exists()


def test_moved_lines_are_no_difference(toy):
    """An edit of an earlier patch moves the hunks of a later one on the older kernel only."""
    toy.make(toy.old)
    toy.edit(toy.old.tree / A_C, "a1(void)\n{\n", "a1(void)\n{\n\t/* one */\n")
    assert refreshed(toy, toy.old) == ["drivers/dma-buf/old-only.patch"]


def test_an_insertion_at_another_line(toy):
    toy.edit("MAINTAINERS.patch", "@@ -6,6 +6,6 @@", "@@ -2,6 +2,6 @@")
    before = toy.snapshot()
    for kernel in toy.queue.kernels:
        toy.make(kernel)
        assert refreshed(toy, kernel) == []
        assert "F:\tdrivers/beta/\n\nCOUNTERS\n" in (kernel.tree / "MAINTAINERS").read_text()
    assert toy.snapshot() == before
