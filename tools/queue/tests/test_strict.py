# SPDX-License-Identifier: GPL-2.0
"""What the parser and the rules refuse, and that the message says where and what to do."""

import pytest

from base.steps import Failure
from weave import udiff, verify

A_FIX = "drivers/dma-buf/a-fix.patch"
VARIANT = "drivers/dma-buf/new.5.10.patch"

# file, text in it, what takes its place, error
BROKEN = {
    "old count": (A_FIX, "@@ -10,7 +10,7 @@", "@@ -10,8 +10,7 @@", r"a-fix.patch:22: .*a.c, hunk 1 .*counts"),
    "new count": (A_FIX, "@@ -35,7 +35,7 @@", "@@ -35,7 +35,8 @@", r"a.c, hunk 2 .*0 old and 1 new lines short"),
    "count too small": (A_FIX, "@@ -35,7 +35,7 @@", "@@ -35,6 +35,6 @@", r"beyond the 2. hunk's counts"),
    "new start": (A_FIX, "@@ -35,7 +35,7 @@", "@@ -35,7 +36,7 @@", r"a.c, hunk 2: \+36 should be \+35"),
    "order": (A_FIX, "@@ -35,7 +35,7 @@", "@@ -12,7 +12,7 @@", "hunk 2 overlaps"),
    "malformed header": (A_FIX, "@@ -35,7 +35,7 @@", "@@ -35;7 +35,7 @@", "hunk 2: malformed"),
    "unknown line": (A_FIX, "+\treturn 33;", "*\treturn 33;", r"a.c, hunk 1 .*at '\*"),
    "stripped context": (A_FIX, " \n int a3", "\n int a3", "empty context line is a single space"),
    "index line": (A_FIX, "--- a/drivers", "index 0123456..789abcd 100644\n--- a/drivers", "take this line out"),
    "new file as diff": (A_FIX, "--- a/drivers", "new file mode 100644\n--- a/drivers", "in a `New:` line"),
    "name mismatch": (A_FIX, "+++ b/drivers/dma-buf/a.c", "+++ b/drivers/dma-buf/b.c", "expected `\\+\\+\\+ b/"),
    "outside": (A_FIX, "diff --git a/drivers/dma-buf/a.c b/drivers/dma-buf/a.c",
                "diff --git a/../x b/../x", "leads out of the tree"),
    "text after": (A_FIX, " int a9(void)\n", " int a9(void)\n-- \n2.39\n", "'-- ' is beyond"),
    "carriage return": (A_FIX, "+\treturn 33;", "+\treturn 33;\r", "carriage return"),
    "no separator": (A_FIX, "\n---\ndiff", "\ndiff", "no line `---`"),
    "no subject": (A_FIX, "Subject: ", "Topic: ", "a-fix.patch:1: the first line is `Subject: `"),
    "bracket": (A_FIX, "Subject: ", "Subject: [RFC] ", "cut off the"),
    "header in the body": (A_FIX, "Both returned", "From: both returned", "a-fix.patch:3: .*mail header"),
    "diff in the body": (A_FIX, "Both returned", "It was so:\n--- a\n+++ b", "end the message"),
    "trailing blank": (A_FIX, "should not.", "should not. ", "a-fix.patch:3: blanks at the end"),
    "two empty lines": (A_FIX, "should not.\n", "should not.\n\n", "two empty lines"),
    "no upstream": (A_FIX, "Upstream: v6.3 0123456789ab\n", "", "'missing' in the Upstream: trailer"),
    "upstream without why": ("Kconfig.patch", "no, it is ours", "no", "Upstream: trailer of Kconfig.patch"),
    "upstream disagrees": ("series", "v6.3", "v6.4", r"series:3: upstream is 'v6.4' here and 'v6.3'"),
    "misplaced New": ("drivers/dma-buf/new.patch", "It is new.", "New: drivers/x.c", "in the last paragraph"),
    "series words": ("series", "v5.15", "v5.15 test", "series:5: a line is `path kernels upstream"),
    "series kernel": ("series", "5.10   v5.15", "5.11   v5.15", "5.10 6.1; not '5.11'"),
    "series range": ("series", "5.10   v5.15", "6.1..5.10 v5.15", "no range from an older to a newer"),
    "series missing file": ("series", "old-only.patch ", "other.patch ", "no patch drivers/dma-buf/other.patch"),
    "series twice": ("series", "# the toy series", "Kconfig.patch all no", "Kconfig.patch is there twice"),
    "subject twice": (A_FIX, "dma-buf: fix a3() and a8()", "dma-buf: add the toggle", "subject of Kconfig.patch again"),
    "new file twice": ("drivers/dma-buf/tests.patch", "buf/test.c", "buf/new.c", "new.c is carried by"),
    "new file missing": ("drivers/dma-buf/tests.patch", "buf/test.c", "buf/tests.c", "tests.c is missing"),
    "new file edited": (A_FIX, "---\ndiff", """---
diff --git a/drivers/dma-buf/new.c b/drivers/dma-buf/new.c
--- a/drivers/dma-buf/new.c
+++ b/drivers/dma-buf/new.c
@@ -1 +1 @@
-a
+b
diff""", "a diff of drivers/dma-buf/new.c, which drivers/dma-buf/new.patch carries"),
    "nothing changed": (A_FIX, "-\treturn 3;\n+\treturn 33;\n", " \treturn 3;\n", "hunk 1 changes nothing"),
    "entry not at a gap": ("MAINTAINERS.patch", " F:\tdrivers/beta/\n \n", " \n F:\tdrivers/beta/\n",
                           "no empty line at the middle of the hunk"),
    "entry hunk odd": ("MAINTAINERS.patch", "@@ -6,6 +6,6 @@\n M:\tSomebody <s@example.org>\n",
                       "@@ -7,5 +7,5 @@\n", "an even number"),
    "numbers and a diff": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "At: drivers/dma-buf/b.c 2\ndiff --git "
                           "a/drivers/dma-buf/b.c", "new.5.10.patch: `At: drivers/dma-buf/b.c` and a diff of it; one"),
    "numbers and without": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "At: drivers/dma-buf/Makefile 1\nWithout: "
                            "drivers/dma-buf/Makefile\ndiff --git a/drivers/dma-buf/b.c", "one is too many"),
    "too few numbers": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "At: drivers/dma-buf/Makefile 1 5\n"
                        "diff --git a/drivers/dma-buf/b.c",
                        "with 2 line numbers, but the diff in .*new.patch has 1 hunks; .*KERNEL=5.10 LOOSE=1"),
    "numbers of a new file": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "At: drivers/dma-buf/test.c 1\n"
                              "diff --git a/drivers/dma-buf/b.c", "has no diff of that file to place"),
    "numbers of nothing": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "At: drivers/dma-buf/Makefile one\n"
                           "diff --git a/drivers/dma-buf/b.c", "new.5.10.patch:1: .*neither `Without: PATH` nor `At:"),
    "numbers twice": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "At: drivers/dma-buf/Makefile 1\n"
                      "At: drivers/dma-buf/Makefile 1\ndiff --git a/drivers/dma-buf/b.c",
                      "new.5.10.patch:2: .*twice"),
    "variant of the newest": ("series", "new.patch              all", "new.patch              5.10",
                              "is the newest kernel of this"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_refused(toy, case):
    path, old, new, message = BROKEN[case]
    toy.edit(path, old, new)
    with pytest.raises(Failure, match=message):
        verify.problems(toy.queue)


def test_the_toy_keeps_the_rules(toy):
    assert verify.problems(toy.queue) == []


# file to write, its text, problem
PROBLEMS = {
    "orphan file": ("drivers/dma-buf/lost.c", "x\n", "drivers/dma-buf/lost.c: carried by no patch"),
    "orphan patch": ("include/lost.patch", "x\n", "include/lost.patch: not in series"),
    "orphan at the top": ("Lost.patch", "x\n", "Lost.patch: not in series"),
    "orphan variant": ("drivers/lost.5.10.patch", "x\n", "drivers/lost.5.10.patch: a variant of a patch"),
    "orphan test": ("tools/testing/selftests/x/Makefile", "x\n", "selftests/x/Makefile: carried by no patch"),
    "no SPDX": ("drivers/dma-buf/test.c", "int x;\n", "drivers/dma-buf/test.c: no SPDX"),
    "version check": ("drivers/dma-buf/test.c", "// SPDX-License-Identifier: GPL-2.0\n#if LINUX_VERSION_CODE > 1\n",
                      "LINUX_VERSION_CODE in drivers/dma-buf/test.c"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_problem(toy, case):
    path, text, problem = PROBLEMS[case]
    toy.write(path, text)
    found = verify.problems(toy.queue)
    assert len(found) == 1 and problem in found[0]


def test_problems_of_headers(toy):
    toy.edit(A_FIX, "dma-buf: fix a3() and a8()", "fix " + "a" * 80)
    found = verify.problems(toy.queue)
    assert len(found) == 2 and "at most 75" in found[0] and "begins with the subsystem" in found[1]


def test_a_message_of_trailers_only(toy):
    toy.edit("Kconfig.patch", "Somebody wants to switch it off.\n\n", "")
    assert "no message above the trailers" in verify.problems(toy.queue)[0]


def test_diffs_are_printed_as_parsed():
    text = ("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n-a\n\\ No newline at end of file\n+b\n+c\n"
            "\\ No newline at end of file\n")
    diff = udiff.parse(text, "t")["x"]
    assert str(diff) == text
    assert udiff.apply(diff, "a") == "b\nc"
    with pytest.raises(udiff.Mismatch):
        udiff.apply(diff, "a\n")


def test_application_takes_no_offset():
    diff = udiff.parse("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -2 +2 @@\n-b\n+c\n", "t")["x"]
    assert udiff.apply(diff, "a\nb\n") == "a\nc\n"
    with pytest.raises(udiff.Mismatch):
        udiff.apply(diff, "a\na\nb\n")


def test_numbers_out_of_order(toy):
    toy.write("drivers/dma-buf/a-fix.5.10.patch", "At: drivers/dma-buf/a.c 40 10\n")
    with pytest.raises(Failure, match="with these line numbers hunk 2 overlaps the one before"):
        verify.problems(toy.queue)


def test_numbers_take_no_offset(toy):
    toy.write("drivers/dma-buf/a-fix.5.10.patch", "At: drivers/dma-buf/a.c 10 36\n")
    assert verify.problems(toy.queue) == []
    with pytest.raises(Failure, match=r"a-fix.5.10.patch: hunk 2 of drivers/dma-buf/a.c applies at an offset -1"):
        toy.make(toy.old)


def test_moved_hunks_of_one_side():
    """A count of 0 names the line before, in the old numbers and in the new."""
    diff = udiff.parse("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -2,0 +3 @@\n+b\n@@ -4 +4,0 @@\n-c\n", "t")["x"]
    moved = udiff.move(diff, [12, 24])
    assert [hunk.header for hunk in moved.hunks] == ["@@ -12,0 +13 @@", "@@ -24 +24,0 @@"]
    assert udiff.parse(str(moved), "t")["x"] == moved
    text = "".join(f"{n}\n" for n in range(1, 24)) + "c\nd\n"
    assert udiff.locate(diff, text) == [2, 24]
    assert udiff.locate(diff, "a\n") is None
