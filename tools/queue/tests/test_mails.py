# SPDX-License-Identifier: GPL-2.0
"""Weaving: names, mails, variants, and that the bytes depend only on the queue."""

import os
import subprocess
import sys

import pytest

from base import config, gitcmd, steps
from conftest import NEW_C
from weave import mails


def test_the_series_selects_by_kernel(toy):
    assert [w.name for w in toy.woven(toy.old)] == [
        "0001-dma-buf-add-the-toggle.patch", "0002-dma-buf-fix-a3-and-a8.patch",
        "0003-dma-buf-add-new.c.patch", "0004-dma-buf-fix-a1.patch",
        "0005-dma-buf-add-a-test.patch", "0006-MAINTAINERS-add-an-entry.patch"]
    assert [w.patch.path for w in toy.woven(toy.new)] == [
        "Kconfig.patch", "drivers/dma-buf/a-fix.patch", "drivers/dma-buf/new.patch",
        "drivers/dma-buf/tests.patch", "MAINTAINERS.patch"]
    assert [w.name for w in toy.woven(toy.old, control=True)] == ["0001-dma-buf-add-a-test.patch"]


def test_a_range_of_kernels(toy):
    toy.edit("series", "a-fix.patch            all ", "a-fix.patch            5.10..6.1 ")
    assert len(toy.woven(toy.old)) == 6 and len(toy.woven(toy.new)) == 5


def test_the_same_bytes_whatever_the_surroundings(toy, tmp_path, monkeypatch):
    first = [(w.name, w.data) for w in toy.woven(toy.old)]
    assert first == [(w.name, w.data) for w in toy.woven(toy.old)]
    (tmp_path / "gitconfig").write_text("[diff]\n\tnoprefix = true\n[format]\n\tsignature = me\n[user]\n\tname = x\n")
    code = ("import sys; sys.path.insert(0, sys.argv[1]); from base import config; from weave import mails;"
            "q = config.load(sys.argv[2], sys.argv[3]); mails.write(q, q.kernels[0])")
    subprocess.run([sys.executable, "-c", code, config.HERE, toy.root, tmp_path / "kernels.toml"],
                   check=True, cwd="/", umask=0o077,
                   env={"LC_ALL": "C", "TZ": "Asia/Tokyo", "PATH": os.environ["PATH"], "PYTHONHASHSEED": "7",
                        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"), "HOME": "/nonexistent"})
    assert first == [(file.name, file.read_bytes()) for file in sorted(toy.old.out.iterdir())]


def test_stale_files_go(toy):
    toy.old.out.mkdir(parents=True)
    (toy.old.out / "0099-gone.patch").write_text("old")
    (toy.old.out / "notes.txt").write_text("mine")
    mails.write(toy.queue, toy.old)
    names = {file.name for file in toy.old.out.iterdir()}
    assert "0099-gone.patch" not in names and "notes.txt" in names and len(names) == 7


def test_a_mail(toy):
    text = steps.decode(toy.woven(toy.old)[1].data)
    head, _, rest = text.partition("\n\n")
    assert head == """\
From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: The Toy <toy@example.org>
Date: Sat, 21 Nov 2026 00:00:01 +0000
Subject: [PATCH 2/6] dma-buf: fix a3() and a8()
MIME-Version: 1.0
Content-Type: text/plain; charset=UTF-8
Content-Transfer-Encoding: 8bit"""
    assert rest.startswith("Both returned what they should not.\n\n#include")
    assert ('\nFixes: ba9876543210 ("dma-buf: break a3()")\n---\n drivers/dma-buf/a.c | 4 ++--\n'
            ' 1 file changed, 2 insertions(+), 2 deletions(-)\n\ndiff --git a/drivers') in rest
    assert rest.endswith("\n int a9(void)\n-- \n5.10\n\n")


def test_queue_metadata_stays_out_of_the_message(toy):
    text = steps.decode(toy.woven(toy.old)[2].data)
    assert "Upstream: no, it is new\n---\n" in text
    assert "New:" not in text and "Inserts:" not in steps.decode(toy.woven(toy.old)[5].data)


def test_names_are_git_format_patchs(toy, tmp_path):
    subjects = ["dma-buf: fix a3() and a8()", "x: dots... and  spaces", "y: ends in dots...", "z: _under-score_ -",
                "w: a subject that is so long that git cuts its file name somewhere in it", "(v): \u00e9t\u00e9 / x"]
    git = toy.make_git(tmp_path / "names", toy.old, {})
    for subject in subjects:
        git("commit", "--quiet", "--allow-empty", "-m", subject)
        (tmp_path / "names" / "file").write_text(subject)
        git("add", "file")
        git("commit", "--quiet", "--amend", "--no-edit")
    made = git("format-patch", f"-{len(subjects)}", "-o", tmp_path / "out").split()
    assert [os.path.basename(name) for name in made] == [
        mails.file_name(number, subject) for number, subject in enumerate(subjects, 1)]


def test_a_subject_that_is_not_ascii_survives_git_am(toy):
    subject = "dma-buf: caf\u00e9s fix a3() and a8(), \u4e2d\u6587 and more text so that it is long"
    toy.edit("drivers/dma-buf/a-fix.patch", "dma-buf: fix a3() and a8()", subject)
    git = gitcmd.own(toy.old.pristine, toy.queue)
    git("am", "--quiet", *mails.write(toy.queue, toy.old))
    assert git.line("log", "--format=%s", "-1", "HEAD~4") == subject


def test_a_new_file_and_its_variant(toy):
    def text_of(kernel):
        lines = steps.decode(toy.woven(kernel)[2].data).split("\n")
        start = lines.index("+++ b/drivers/dma-buf/new.c")
        assert lines[start - 3] == "new file mode 100644" and lines[start - 1] == "--- /dev/null"
        assert lines[start + 1] == "@@ -0,0 +1,21 @@"
        return "".join(line[1:] + "\n" for line in lines[start + 2:start + 23])
    assert text_of(toy.new) == NEW_C
    assert text_of(toy.old) == NEW_C.replace("int new12", "long new12")


def test_an_executable_new_file(toy):
    assert b"b/tools/testing/run.sh\nnew file mode 100755\n" in toy.woven(toy.old)[2].data


def test_without_leaves_a_file_alone(toy):
    text = toy.read("drivers/dma-buf/new.5.10.patch")
    toy.write("drivers/dma-buf/new.5.10.patch", "Without: tools/testing/run.sh\n" + text)
    assert b"run.sh" not in toy.woven(toy.old)[2].data
    assert b"run.sh" in toy.woven(toy.new)[2].data
    toy.write("drivers/dma-buf/new.5.10.patch", "Without: drivers/other.c\n" + text)
    with pytest.raises(steps.Failure, match="new.5.10.patch: `Without: drivers/other.c`.*take the line out"):
        toy.woven(toy.old)


def test_a_variant_hunk_by_hunk(toy):
    """One hunk is inherited, one is the variant's own; the inherited one is expected at the offset of the own one."""
    text = toy.read("drivers/dma-buf/a-fix.patch")
    diff = text[text.index("diff --git"):]
    toy.write("drivers/dma-buf/a-fix.5.10.patch", "Hunks: drivers/dma-buf/a.c 1 +\n" + diff[:diff.index("@@ -10")]
              + diff[diff.index("@@ -35"):].replace("35,7", "38,7").replace("return 88", "return 888"))
    old, new = (steps.decode(toy.woven(kernel)[1].data) for kernel in (toy.old, toy.new))
    assert new.endswith(diff + "-- \n6.1\n\n")
    assert old.endswith(diff.replace("35,7", "38,7").replace("10,7", "13,7").replace("return 88", "return 888") + "-- \n5.10\n\n")
    # A recipe without hunks only leaves hunks out.
    toy.write("drivers/dma-buf/a-fix.5.10.patch", "Hunks: drivers/dma-buf/a.c 2\n")
    old = steps.decode(toy.woven(toy.old)[1].data)
    assert old.endswith(diff[:diff.index("@@ -10")] + diff[diff.index("@@ -35"):] + "-- \n5.10\n\n")
    # A whole diff replaces the inherited one.
    toy.write("drivers/dma-buf/a-fix.5.10.patch", diff[:diff.index("@@ -35")].replace("return 33", "return 333"))
    old = steps.decode(toy.woven(toy.old)[1].data)
    assert "return 333;" in old and "return 88;" not in old


def test_the_maintainers_entry_is_inserted(toy):
    assert steps.decode(toy.woven(toy.old)[5].data).endswith("""\
@@ -6,6 +6,10 @@
 M:\tSomebody <s@example.org>
 F:\tdrivers/beta/
 
+COUNTERS
+M:\tThe Toy <toy@example.org>
+F:\tdrivers/dma-buf/new.c
+
 DELTA
 M:\tSomebody <s@example.org>
 F:\tdrivers/delta/
-- 
5.10

""")


def test_a_variant_that_no_longer_fits_its_new_file(toy):
    toy.edit("drivers/dma-buf/new.c", "int new12;", "char new12;")
    toy.woven(toy.new)
    with pytest.raises(steps.Failure, match=r"new.5.10.patch: hunk 1 \(line 10\) does not fit drivers/dma-buf/new.c"):
        toy.woven(toy.old)
