# SPDX-License-Identifier: GPL-2.0
"""make am on trees other than the tested one: the text of a refusal, what MERGE=1 and NEAREST=1 do, and how to undo it."""

import re
from dataclasses import replace

import pytest

from base import gitcmd
from base.gitcmd import Git
from base.steps import Failure
from conftest import A_C, FILES, commit, state
from weave import am, marks, merge, trial, udiff

A, DMA_BUF = "drivers/dma-buf/a.c", "drivers/dma-buf/dma-buf.c"
UAPI = "include/uapi/linux/dma-buf.h"
NEAR = A_C.replace("int a3(void)", "int a3(void) /* vendor's */")        # beside what a-fix changes
OTHER = A_C.replace("return 8;", "return 7;")                             # what a-fix changes


def run(toy, user, **options):
    am.am(toy.queue, str(user.directory), **options)


def refusal(toy, user, **options):
    """The text of a refusal; checks that nothing has changed."""
    before, objects, refs = state(user), user("count-objects", "-v"), user("for-each-ref")
    with pytest.raises(Failure) as info:
        run(toy, user, **options)
    assert (state(user), user("count-objects", "-v"), user("for-each-ref")) == (before, objects, refs)
    return str(info.value)


def topics(toy):
    """The toy's patches in topics: toy has a-fix and old-only, tests needs nothing, new has new.c."""
    toy.write("series", """\
topic base: the toggle
Kconfig.patch                          all    no
MAINTAINERS.patch                      all    no
topic fixes: of a.c
drivers/dma-buf/a-fix.patch            all    v6.3
drivers/dma-buf/old-only.patch         5.10   v5.15
topic new: new.c
drivers/dma-buf/new.patch              all    no
topic tests needs fixes: a test
drivers/dma-buf/tests.patch            all    no       control
""")


# The text of a refusal.

def test_fuzz_is_named_and_the_way_to_merge_it(toy, user):
    commit(user, A, NEAR)
    said = refusal(toy, user)
    assert "1 of 6 patches do not apply:\n  toy:\n    drivers/dma-buf/a-fix.patch: hunk 1 of drivers/dma-buf/a.c (line 10): " \
           "fuzz only, MERGE=1 merges it\n" in said
    assert f"make am KDIR={user.directory} MERGE=1    # all of it, 1 of the patches merged or left out" in said


def test_without_the_tested_source_it_says_that_it_gets_it(toy, user, tmp_path):
    commit(user, A, NEAR)
    toy.old.pristine.rename(tmp_path / "away")
    said = refusal(toy, user)
    assert "applies with fuzz only" in said and "MERGE=1    # merges with the tested source, which it gets" in said
    run(toy, user, merging=True, source=lambda kernel: (tmp_path / "away").rename(kernel.pristine))
    assert "return 33;" in (user.directory / A).read_text()


def test_each_topic_and_the_rest_that_goes_in(toy, user):
    topics(toy)
    commit(user, A, OTHER)
    said = refusal(toy, user)
    assert "  fixes:\n    drivers/dma-buf/a-fix.patch: hunk 2 of drivers/dma-buf/a.c (line 35): conflict" in said
    assert "  tests:" not in said           # its patches apply, but the topic needs the other one
    assert f"Next, one of:\n    make am KDIR={user.directory} FEATURES=\"new\"" in said and "MERGE=1 FEATURES" not in said
    toy.queue = replace(toy.queue, features=("new",))
    run(toy, user)
    assert not (user.directory / "drivers/dma-buf/test.c").exists() and (user.directory / "drivers/dma-buf/new.c").exists()


def test_merging_takes_more_topics(toy, user):
    topics(toy)
    commit(user, A, OTHER.replace("a12(void)", "a12(void) /* mine */"))
    commit(user, "drivers/dma-buf/b.c", FILES["drivers/dma-buf/b.c"].replace("\f\n", "\f \n"))
    said = refusal(toy, user)
    assert "b.c (line 2): fuzz only, MERGE=1 merges it" in said
    assert f"Next, one of:\n    make am KDIR={user.directory} FEATURES=\"base\"\n" \
           f"    make am KDIR={user.directory} MERGE=1 FEATURES=\"new\"" in said


def test_what_needs_a_patch_that_fails(toy, user):
    toy.edit("drivers/dma-buf/tests.patch", "New: ", "Needs: drivers/dma-buf/a-fix.patch\nNew: ")
    commit(user, A, NEAR)
    assert "tests.patch: needs drivers/dma-buf/a-fix.patch, goes in with MERGE=1" in refusal(toy, user)
    commit(user, A, OTHER)
    assert refusal(toy, user).endswith("tests.patch: needs drivers/dma-buf/a-fix.patch")


def test_a_fix_from_a_newer_stable(toy, user, capsys):
    commit(user, A, A_C.replace("return 3;", "return 33;").replace("return 8;", "return 88;"))
    said = refusal(toy, user)
    assert "a-fix.patch: the tree has it already, from v6.3 by a newer stable or a backport" in said and "MERGE=1" in said
    run(toy, user, merging=True)
    assert "left out, the tree has it already: drivers/dma-buf/a-fix.patch" in capsys.readouterr().out
    assert "a3() and a8()" not in user("log", "--format=%s") and "return 11;" in (user.directory / A).read_text()


def test_a_fix_that_a_merge_finds(toy, user, capsys):
    """The fix is beside other changes, so that the patch cannot be reverted as it is."""
    commit(user, A, NEAR.replace("return 3;", "return 33;").replace("return 8;", "return 88;"))
    assert "a-fix.patch: the tree has it already" in refusal(toy, user)
    run(toy, user, merging=True)
    assert "left out, the tree has it already: drivers/dma-buf/a-fix.patch" in capsys.readouterr().out


def test_a_driver_that_the_tree_lacks(toy, user, capsys):
    for kernel in (toy.old, toy.new):
        git = gitcmd.own(kernel.pristine, toy.queue)
        (kernel.pristine / "drivers/gpu").mkdir()
        (kernel.pristine / "drivers/gpu/x.c").write_text("int x;\n")
        git("add", "-A")
        git("commit", "--quiet", "--amend", "--no-edit")
        git("tag", "-f", "base")
    toy.write("drivers/gpu-fix.patch", "Subject: gpu: fix it\n\nIt was wrong.\n\nUpstream: no, x\n---\n"
              "diff --git a/drivers/gpu/x.c b/drivers/gpu/x.c\n"
              "--- a/drivers/gpu/x.c\n+++ b/drivers/gpu/x.c\n@@ -1 +1 @@\n-int x;\n+int y;\n")
    toy.edit("series", "MAINTAINERS.patch", "drivers/gpu-fix.patch all no\nMAINTAINERS.patch")
    assert "gpu-fix.patch: the tree has no drivers/gpu\n" in refusal(toy, user)
    run(toy, user, merging=True)
    assert "left out, the tree has no drivers/gpu: drivers/gpu-fix.patch" in capsys.readouterr().out
    assert "gpu: fix it" not in user("log", "--format=%s")


# What a tree already has.

def need(toy):
    """old-only adds a function that another patch from upstream needs."""
    toy.edit("drivers/dma-buf/old-only.patch", "@@ -1,6 +1,6 @@\n int a1(void)\n {\n-\treturn 1;\n+\treturn 11;\n }\n \n int a2(void)",
             "@@ -1,4 +1,8 @@\n+int vma_set_file(void)\n+{\n+\treturn 1;\n+}\n int a1(void)\n {\n \treturn 1;\n }")
    toy.edit("series", "MAINTAINERS.patch                      all    no", "drivers/dma-buf/user.patch 5.10 v5.15\nMAINTAINERS.patch all no")
    toy.write("drivers/dma-buf/user.patch", "Subject: dma-buf: use it\n\nIt is there.\n\nUpstream: v5.15 0123456789ab\nNeeds: drivers/dma-buf/old-only.patch\n---\n"
              "diff --git a/drivers/dma-buf/a.c b/drivers/dma-buf/a.c\n--- a/drivers/dma-buf/a.c\n+++ b/drivers/dma-buf/a.c\n@@ -30,4 +30,4 @@\n"
              " int a6(void)\n {\n-\treturn 6;\n+\treturn 66;\n }\n")


@pytest.mark.parametrize("body", ["\treturn 1;\n", "\treturn 2; /* another */\n"])
def test_half_a_backport(toy, user, body):
    need(toy)
    commit(user, A, f"int vma_set_file(void)\n{{\n{body}}}\n" + A_C)
    said = refusal(toy, user)
    assert ("Half a backport, of the topic toy: the tree has what drivers/dma-buf/old-only.patch does (v5.15), but not what "
            "drivers/dma-buf/user.patch does.") in said
    if "another" in body:
        assert "vma_set_file is in drivers/dma-buf/a.c already, which drivers/dma-buf/old-only.patch brings" in said
        assert "the tree has its own vma_set_file" in said


def test_a_whole_backport_is_not_half_of_one(toy, user):
    need(toy)
    commit(user, A, "int vma_set_file(void)\n{\n\treturn 1;\n}\n" + A_C.replace("return 6;", "return 66;"))
    said = refusal(toy, user)
    assert "Half" not in said and said.count("the tree has it already") == 2


IMPORT = """\
static long dma_buf_import_sync_file(struct dma_buf *dmabuf, const void __user *user_data)
{
	fence = sync_file_get_fence(arg.fd);
	dma_resv_lock(dmabuf->resv, NULL);
	%s
	dma_resv_unlock(dmabuf->resv);
}
"""
DEFINE = "#define DMA_BUF_IOCTL_IMPORT_SYNC_FILE _IOW('b', 3, int)\n"


def ioctls(toy, user, code, name="dma_buf_import_sync_file"):
    """The queue adds the ioctl, and the tree already has a vendor's."""
    for directory in (toy.old.pristine, user.directory):
        git = gitcmd.own(directory, toy.queue)
        (directory / UAPI).parent.mkdir(parents=True)
        (directory / UAPI).write_text("#define A 1\n#define B 2\n")
        (directory / DMA_BUF).write_text("int core;\n")
        git("add", "-A")
        git("commit", "--quiet", "--amend", "--no-edit")
        git("tag", "-f", "base")
    toy.write("drivers/dma-buf/sync.patch", "Subject: dma-buf: add ioctls\n\nThey are new.\n\nUpstream: v6.0 0123456789ab\n---\n"
              f"diff --git a/{UAPI} b/{UAPI}\n--- a/{UAPI}\n+++ b/{UAPI}\n@@ -1,2 +1,3 @@\n #define A 1\n #define B 2\n+{DEFINE}")
    toy.edit("series", "MAINTAINERS.patch                      all    no", "drivers/dma-buf/sync.patch 5.10 v6.0\nMAINTAINERS.patch all no")
    commit(user, UAPI, "#define A 1\n#define B 2\n#define C 3\n" + DEFINE)
    commit(user, DMA_BUF, IMPORT.replace("dma_buf_import_sync_file", name) % code
           + f"static long ioctl(int cmd)\n{{\n\tcase DMA_BUF_IOCTL_IMPORT_SYNC_FILE:\n\t\treturn {name}(dmabuf, arg);\n}}\n")
    return refusal(toy, user)


@pytest.mark.parametrize("name", ["dma_buf_import_sync_file", "vendor_import"])
def test_a_vendors_ioctls_that_drop_fences(toy, user, name):
    said = ioctls(toy, user, "dma_resv_add_excl_fence(dmabuf->resv, fence);", name)
    assert "The sync_file ioctls are there already (DMA_BUF_IOCTL_IMPORT_SYNC_FILE in include/uapi/linux/dma-buf.h)" in said
    assert "To replace them: revert what brought them (`git log --oneline -SDMA_BUF_IOCTL_IMPORT_SYNC_FILE -- " in said
    assert "Do replace them: the import in drivers/dma-buf/dma-buf.c calls dma_resv_add_excl_fence() without the fences" in said


def test_a_vendors_ioctls_that_keep_them(toy, user):
    said = ioctls(toy, user, "dma_resv_get_singleton(dmabuf->resv, fence, &both);\n\tdma_resv_add_excl_fence(dmabuf->resv, both);")
    assert "To replace them" in said and "Do replace them" not in said


def test_a_backport_from_a_later_release(toy, user):
    (user.directory / "include/linux").mkdir(parents=True)
    commit(user, "include/linux/dma-resv.h", "enum dma_resv_usage {\n};\n")
    commit(user, A, OTHER)
    assert "  enum dma_resv_usage (include/linux/dma-resv.h) is a backport from v5.19: a conflict in code that uses it" in refusal(toy, user)


@pytest.mark.parametrize("path, text, said", [
    ("android/abi", "x\n", "Android's common kernel by android"), ("build.config.gki.aarch64", "x\n", "Android's common kernel by build.config.gki.aarch64"),
    ("include/linux/dma-buf.h", "ANDROID_KABI_RESERVE(1);\n", "Android's common kernel by ANDROID_ in include/linux/dma-buf.h"),
    ("drivers/rkflash/Makefile", "x\n", "Rockchip's by drivers/rkflash"), ("techpack/camera/Kbuild", "x\n", "Qualcomm's by techpack"),
    ("localversion-rt", "-rt9\n", "that is Linux 5.10.9-rt9;"), ("Makefile", "VERSION = 5\nPATCHLEVEL = 10\nSUBLEVEL = 4\nEXTRAVERSION = -kdev\n", "5.10.4-kdev;")])
def test_what_the_tree_is(toy, user, path, text, said):
    (user.directory / path).parent.mkdir(parents=True, exist_ok=True)
    commit(user, path, text)
    commit(user, A, OTHER)
    assert said in refusal(toy, user)


def test_the_tested_trees_are_nobodys(toy):
    git = gitcmd.own(toy.old.pristine, toy.queue)
    assert marks.describe(git, git.commit("HEAD")) == "Linux 5.10.9"


# MERGE=1.

def test_a_merge_leaves_nothing_behind(toy, user, capsys):
    commit(user, A, NEAR)
    run(toy, user, merging=True)
    assert "merged: drivers/dma-buf/a-fix.patch" in capsys.readouterr().out
    text = NEAR.replace("return 1;", "return 11;").replace("return 3;", "return 33;").replace("return 8;", "return 88;")
    assert (user.directory / A).read_text() == text.replace("return 12;", "return 12; /* tested */")
    assert user("for-each-ref", "--format=%(refname)") == "refs/heads/main\n" and user("count-objects", "-v").count("packs: 0") == 1
    assert user("fsck", "--full", "--strict") == "" and user("status", "--porcelain") == ""
    assert user("log", "-1", "--format=%cn %an") == "A User The Toy\n"


def test_a_file_with_carriage_returns_conflicts(toy, user):
    commit(user, A, NEAR.replace("int a5(void)\n", "int a5(void)\r\n"))
    assert "a-fix.patch: hunk 1 of drivers/dma-buf/a.c (line 10): conflict, though it applies with fuzz" in refusal(toy, user)


def test_a_merge_of_what_applies_is_no_other(toy, user):
    run(toy, user, merging=True)
    toy.make(toy.old)
    assert user("rev-parse", "HEAD^{tree}") == toy.git(toy.old)("rev-parse", "HEAD^{tree}")


def conflict(toy, user):
    if (user.directory / A).read_text() != OTHER:
        commit(user, A, OTHER)
    with pytest.raises(Failure) as info:
        run(toy, user, merging=True)
    return str(info.value)


def test_a_conflict_is_left_as_git_leaves_it(toy, user, capsys):
    said = conflict(toy, user)
    out = capsys.readouterr().out
    assert "1 of 6 patches conflict or need one that does:\n  toy:\n    drivers/dma-buf/a-fix.patch: hunk 2" in out
    assert "CONFLICT (content)" in said and "`git am --continue`" in said and "git am --skip" in said and "git am --abort" in said
    assert "    Applying: dma-buf: fix a3() and a8()" in said and "add the toggle" not in said
    assert gitcmd.in_progress(user) == "git am" and "<<<<<<<" in (user.directory / A).read_text()


def test_going_on_by_hand_needs_no_other_repository(toy, user, tmp_path):
    """A later patch needs a merge, too: its objects are there without the tested source."""
    commit(user, A, OTHER.replace("int a12(void)", "int a12(void) /* mine */"))
    with pytest.raises(Failure):
        run(toy, user, merging=True)
    toy.old.pristine.rename(tmp_path / "away")
    text = (user.directory / A).read_text()
    (user.directory / A).write_text(re.sub(r"<<<<<<<.*\n(?:.*\n)*?=======\n((?:.*\n)*?)>>>>>>>.*\n", r"\1", text))
    user("add", A)
    user("am", "--continue")
    assert user("log", "-1", "--format=%s") == "MAINTAINERS: add an entry\n"
    text = (user.directory / A).read_text()
    assert "/* mine */\n{\n\treturn 12; /* tested */" in text and "return 88;" in text
    user("update-ref", "-d", "refs/queue/blobs")
    user("gc", "--quiet", "--prune=now")
    assert user("fsck", "--full") == "" and "refs/queue" not in user("for-each-ref")


def test_objects_of_a_makefile_do_not_stop_it(toy, user):
    """The merge here accepts what git's would not, also after a conflict in another file or in the same one."""
    commit(user, A, OTHER)
    commit(user, "drivers/dma-buf/Makefile", "obj-y := a.o\nobj-y += b.o\nobj-y += vendor.o\n")
    toy.edit("drivers/dma-buf/new.patch", "@@ -1,2 +1,3 @@\n obj-y := a.o\n obj-y += b.o", "@@ -2 +2,2 @@\n obj-y += b.o")
    said = conflict(toy, user)
    assert "CONFLICT (content): Merge conflict in drivers/dma-buf/a.c" in said
    user("am", "--skip")
    assert user("log", "-1", "--format=%s") == "MAINTAINERS: add an entry\n"
    assert (user.directory / "drivers/dma-buf/Makefile").read_text() == "obj-y := a.o\nobj-y += b.o\nobj-$(CONFIG_TOY) += new.o\nobj-y += vendor.o\n"


def test_the_way_back_from_a_conflict(toy, user):
    commit(user, A, OTHER)
    before = state(user)
    with pytest.raises(Failure):
        run(toy, user, merging=True)
    user("am", "--abort")
    assert state(user) == before


def test_skipping(toy, user):
    conflict(toy, user)
    user("am", "--skip")
    assert user("log", "-1", "--format=%s") == "MAINTAINERS: add an entry\n" and "return 7;" in (user.directory / A).read_text()


def test_an_interrupt_of_a_merge(toy, user, monkeypatch):
    commit(user, A, OTHER)
    before, attempt = state(user), Git.attempt

    def interrupted(self, *args, **kwargs):
        result = attempt(self, *args, **kwargs)
        if "am" in args and "--3way" in args:
            raise KeyboardInterrupt
        return result
    monkeypatch.setattr(Git, "attempt", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(toy, user, merging=True)
    monkeypatch.undo()
    assert state(user) == before and "refs/queue" not in user("for-each-ref")


def test_a_selection_is_merged_with_ids_that_are_computed(toy, user):
    """Only the last patch of a.c is selected: no recorded id is valid for it."""
    topics(toy)
    toy.edit("series", "topic tests needs fixes", "topic tests")
    toy.queue = replace(toy.queue, features=("tests",))
    commit(user, A, OTHER.replace("return 12;", "return 13;"))
    with pytest.raises(Failure, match="CONFLICT"):
        run(toy, user, merging=True)
    user("am", "--abort")
    commit(user, A, A_C.replace("int a12(void)", "int a12(void) /* mine */"))
    run(toy, user, merging=True)
    assert "/* mine */\n{\n\treturn 12; /* tested */" in (user.directory / A).read_text()


MAKEFILE = "obj-y := a.o \\\n\tb.o\nobj-$(X) += x.o\nobj-$(Y) += y.o\n"


@pytest.mark.parametrize("hunk, text, result", [
    (" obj-$(X) += x.o\n+obj-$(N) += n.o\n obj-$(Y) += y.o\n", MAKEFILE.replace("obj-$(Y)", "obj-$(V) += v.o\nobj-$(Y)"),
     "obj-$(X) += x.o\nobj-$(N) += n.o\nobj-$(V) += v.o\nobj-$(Y) += y.o\n"),
    (" obj-$(G) += gone.o\n+obj-$(N) += n.o\n obj-$(Y) += y.o\n", MAKEFILE, "obj-$(X) += x.o\nobj-$(N) += n.o\nobj-$(Y) += y.o\n"),
    (" obj-$(X) += x.o\n+obj-$(N) += n.o\n", MAKEFILE.replace("x.o\n", "x.o \\\n\tz.o\n"), None),
    (" obj-$(X) += x.o\n+new-y := n.o\n", MAKEFILE, None),
    (" obj-$(X) += x.o\n-obj-$(Y) += y.o\n+obj-$(N) += n.o\n", MAKEFILE, None),
])
def test_objects_of_a_makefile(hunk, text, result):
    diff = udiff.FileDiff("Makefile", [udiff.Hunk(1, 1, 1, 1, "", hunk.rstrip("\n").split("\n"))])
    merged = merge.objects(diff, text)
    assert merged is None if result is None else merged.endswith(result)


# NEAREST=1.

def between(user, name="5.15"):
    version, patchlevel = name.split(".")
    commit(user, "Makefile", f"VERSION = {version}\nPATCHLEVEL = {patchlevel}\nSUBLEVEL = 3\n")


def test_the_option_is_named_where_it_helps(toy, user):
    between(user)
    assert f"`make am KDIR={user.directory} NEAREST=1` takes the topics of 6.1 or 5.10 that go in whole" in refusal(toy, user)
    between(user, "6.6")
    assert "this queue supports 5.10, 6.1, and with NEAREST=1 what is between them" in refusal(toy, user, nearest=True)
    between(user, "4.19")
    assert "what is between them" in refusal(toy, user, nearest=True)


def test_a_supported_tree_is_its_own_nearest(toy, user):
    run(toy, user, nearest=True)
    toy.make(toy.old)
    assert user("rev-parse", "HEAD^{tree}") == toy.git(toy.old)("rev-parse", "HEAD^{tree}")


def test_the_kernel_of_which_more_goes_in(toy, user, capsys):
    topics(toy)
    between(user)
    run(toy, user, nearest=True)        # its b.c is that of 5.10
    out = capsys.readouterr().out
    assert "Linux 5.15.3: in whole go 3 of the topics of 6.1, 4 of the topics of 5.10; taken is 5.10.\nIn whole: base fixes new tests" in out
    # upstream's v5.15 has it, so the queue must not add it.
    assert "left out, Linux 5.15 has it, since v5.15: drivers/dma-buf/old-only.patch" in out and "fix a1" not in user("log", "--format=%s")
    assert "Linux 5.15 is not tested here" in out


def test_the_newer_one_of_two_the_same(toy, user, capsys):
    topics(toy)
    between(user)
    commit(user, "drivers/dma-buf/b.c", "int other;\n")
    run(toy, user, nearest=True)
    out = capsys.readouterr().out
    assert "in whole go 3 of the topics of 6.1, 3 of the topics of 5.10; taken is 6.1.\nIn whole: base fixes tests\nNot new, for 1 of its " \
           "patches:\n    drivers/dma-buf/new.patch: hunk 1 of drivers/dma-buf/b.c (line 3)" in out
    assert not (user.directory / "drivers/dma-buf/new.c").exists() and (user.directory / "drivers/dma-buf/test.c").exists()
    assert "MERGE=1 with NEAREST=1 merges what does not apply as it is: take this out first, see below." in out


def test_what_the_newer_one_has_from_a_release_in_between(toy, user, capsys):
    """6.1 has it since v5.19, so there is no patch for 6.1: on 5.15 its topic is incomplete with 6.1's patches."""
    topics(toy)
    toy.edit("series", "old-only.patch         5.10   v5.15", "old-only.patch         5.10   v5.19")
    toy.edit("drivers/dma-buf/old-only.patch", "Upstream: v5.15", "Upstream: v5.19")
    between(user)
    commit(user, "drivers/dma-buf/b.c", "int other;\n")
    run(toy, user, nearest=True)
    assert "1 of the topics of 6.1, 3 of the topics of 5.10; taken is 5.10." in capsys.readouterr().out
    assert "dma-buf: fix a1()" in user("log", "--format=%s")


def test_nearest_and_merged(toy, user, capsys):
    topics(toy)
    between(user)
    commit(user, A, NEAR)
    run(toy, user, nearest=True, merging=True, source=lambda kernel: pytest.fail("it is there"))
    out = capsys.readouterr().out
    assert "merged: drivers/dma-buf/a-fix.patch" in out and "In whole: base fixes new tests" in out


def test_nothing_goes_in(toy, user, capsys):
    between(user)
    commit(user, "drivers/dma-buf/Kconfig", "menu\n")
    said = refusal(toy, user, nearest=True)
    assert "no topic goes into" in said and "MERGE=1 with NEAREST=1" in said
    assert "Not base, for 1 of its patches:\n    Kconfig.patch: hunk 1" in capsys.readouterr().out


@pytest.mark.parametrize("upstream, name, there", [("v5.15", "5.15", True), ("v5.16", "5.15", False), ("v6.0", "5.15", False),
                                                   ("v5.9", "5.10", True), ("no", "5.10", False), ("v6.18-rc1", "6.18", True)])
def test_since(upstream, name, there):
    assert trial.since(upstream, name) == there
