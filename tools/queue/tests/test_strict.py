# SPDX-License-Identifier: GPL-2.0
"""What the parser and the rules refuse, and that the message says where the problem is and what to do."""

import pytest

from base.steps import Failure
from weave import series, udiff, verify

A_FIX = "drivers/dma-buf/a-fix.patch"
VARIANT = "drivers/dma-buf/new.5.10.patch"

# file, text in it, replacement, error
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
    "upstream disagrees": ("series", "v6.3", "v6.4", r"series:6: upstream is 'v6.4' here and 'v6.3'"),
    "misplaced New": ("drivers/dma-buf/new.patch", "It is new.", "New: drivers/x.c", "in the last paragraph"),
    "series words": ("series", "v5.15", "v5.15 test", "series:8: a line is `path kernels upstream"),
    "series kernel": ("series", "5.10   v5.15", "5.11   v5.15", "5.10 6.1; not '5.11'"),
    "series range": ("series", "5.10   v5.15", "6.1..5.10 v5.15", "no range from an older to a newer"),
    "series missing file": ("series", "old-only.patch ", "other.patch ", "no patch drivers/dma-buf/other.patch"),
    "series twice": ("series", "MAINTAINERS.patch  ", "Kconfig.patch all no\nMAINTAINERS.patch  ", "Kconfig.patch is there twice"),
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
    "a recipe and without": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "Hunks: drivers/dma-buf/Makefile 1\nWithout: "
                             "drivers/dma-buf/Makefile\ndiff --git a/drivers/dma-buf/b.c", "one is too many"),
    "without and a diff": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "Without: drivers/dma-buf/b.c\ndiff --git "
                           "a/drivers/dma-buf/b.c", "new.5.10.patch: `Without: drivers/dma-buf/b.c` and something else of it"),
    "without twice": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "Without: drivers/dma-buf/Makefile\nWithout: "
                      "drivers/dma-buf/Makefile\ndiff --git a/drivers/dma-buf/b.c", "one is too many"),
    "a number too high": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "Hunks: drivers/dma-buf/Makefile 1-2\n"
                          "diff --git a/drivers/dma-buf/b.c",
                          "new.5.10.patch: `Hunks: drivers/dma-buf/Makefile 1-2`, but the inherited diff has 1 hunks"),
    "a recipe of nothing inherited": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "Hunks: drivers/dma-buf/b.c +\n"
                                      "diff --git a/drivers/dma-buf/b.c", "`Hunks: drivers/dma-buf/b.c \\+`, but .* take it out and write"),
    "a recipe of another file": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "Hunks: drivers/dma-buf/a.c 1\n"
                                 "diff --git a/drivers/dma-buf/b.c", "the inherited diff has 0 hunks"),
    "a recipe of a new file": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "Hunks: drivers/dma-buf/new.c 1 +\n"
                               "diff --git a/drivers/dma-buf/b.c", "`Hunks: drivers/dma-buf/new.c 1 \\+`, but the inherited diff has 0 hunks"),
    "too many own hunks": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "Hunks: drivers/dma-buf/b.c 1\n"
                           "diff --git a/drivers/dma-buf/b.c", "`Hunks: drivers/dma-buf/b.c` with 0 of `\\+`, but there are 1 hunks"),
    "too few own hunks": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "Hunks: drivers/dma-buf/Makefile 1 +\n"
                          "diff --git a/drivers/dma-buf/b.c", "with 1 of `\\+`, but there are 0 hunks below"),
    "numbers out of order": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "Hunks: drivers/dma-buf/b.c 2 1\n"
                             "diff --git a/drivers/dma-buf/b.c", "new.5.10.patch:1: .*neither `Without: PATH` nor `Hunks: PATH"),
    "number 0": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "Hunks: drivers/dma-buf/b.c 0\n"
                 "diff --git a/drivers/dma-buf/b.c", "new.5.10.patch:1: .*neither `Without: PATH` nor `Hunks: PATH"),
    "a recipe in words": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "Hunks: drivers/dma-buf/b.c one\n"
                          "diff --git a/drivers/dma-buf/b.c", "new.5.10.patch:1: .*neither `Without: PATH` nor `Hunks: PATH"),
    "lines as they were": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "At: drivers/dma-buf/Makefile 1\n"
                           "diff --git a/drivers/dma-buf/b.c", "new.5.10.patch:1: .*expected `diff --git"),
    "a recipe twice": (VARIANT, "diff --git a/drivers/dma-buf/b.c", "Hunks: drivers/dma-buf/Makefile 1\n"
                       "Hunks: drivers/dma-buf/Makefile 1\ndiff --git a/drivers/dma-buf/b.c", "new.5.10.patch:2: .*twice"),
    "no topic": ("series", "topic base: the toggle\n", "", "series:2: Kconfig.patch is under no topic; put `topic NAME"),
    "a topic without a title": ("series", "topic toy: all of it", "topic toy", "series:5: a topic is `topic NAME .needs NAME"),
    "a topic's name": ("series", "topic toy:", "topic Toy:", "series:5: a topic is `topic NAME .needs NAME"),
    "a topic of no words": ("series", "topic toy:", f"topic toy needs {'a' * 60}", "series:5: a topic is `topic NAME .needs NAME"),
    "a topic twice": ("series", "topic toy:", "topic base:", "series:5: the topic base is there twice"),
    "a topic that needs nothing there": ("series", "topic toy:", "topic toy needs base other:", "series:5: toy needs 'other', which is no"),
    "a topic that needs itself": ("series", "topic toy:", "topic toy needs toy:", "series:5: toy needs 'toy', which is no topic before it"),
    "a topic that needs a later one": ("series", "topic base:", "topic base needs toy:", "series:2: base needs 'toy', which is no topic"),
    "an empty topic": ("series", "topic toy:", "topic none: nothing\ntopic toy:", "series: the topic none has no patch"),
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


def test_inherited_hunks_that_overlap(toy):
    """An own hunk that leaves no room for the inherited hunk before it."""
    text = toy.read(A_FIX)
    own = text[text.index("@@ -35,7"):].replace("35", "4")
    toy.write("drivers/dma-buf/a-fix.5.10.patch", "Hunks: drivers/dma-buf/a.c 1 +\n" + text[text.index("diff --git"):text.index("@@ -10")] + own)
    with pytest.raises(Failure, match="a-fix.5.10.patch: drivers/dma-buf/a.c: hunk 1 overlaps the one before or is out of order"):
        verify.problems(toy.queue)


def test_a_hunk_that_is_inherited_anyway(toy):
    text = toy.read(A_FIX)
    diff = text[text.index("diff --git"):]
    hunk = diff.index("@@ -35,7")
    # The lines are the same; line numbers do not matter.
    toy.write("drivers/dma-buf/a-fix.5.10.patch", "Hunks: drivers/dma-buf/a.c 1 +\n" + diff[:diff.index("@@ -10")] + diff[hunk:].replace("35", "36"))
    assert [problem[:102] for problem in verify.problems(toy.queue)] == [
        "drivers/dma-buf/a-fix.5.10.patch: drivers/dma-buf/a.c: the hunk @@ -36,7 +36,7 @@ int a7(void) is the one"[:102]]
    # A whole diff that repeats one of two.
    toy.write("drivers/dma-buf/a-fix.5.10.patch", diff.replace("+\treturn 88;", "+\treturn 888;"))
    assert len(verify.problems(toy.queue)) == 1 and "@@ -10,7 +10,7 @@ int a2(void) is the one that is inherited" in verify.problems(toy.queue)[0]
    toy.write("drivers/dma-buf/a-fix.5.10.patch", "Hunks: drivers/dma-buf/a.c 1 +\n" + diff[:diff.index("@@ -10")]
              + diff[hunk:].replace("+\treturn 88;", "+\treturn 888;"))
    assert verify.problems(toy.queue) == []


def test_a_new_file_s_edit_is_no_repetition(toy):
    assert "diff --git a/drivers/dma-buf/new.c" in toy.read(VARIANT)
    assert verify.repeated(next(entry.patch for entry in series.load(toy.queue) if entry.patch.path == "drivers/dma-buf/new.patch")) == []


def test_moved_hunks_of_one_side():
    """A count of 0 names the line before, in the old numbers and in the new."""
    diff = udiff.parse("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -2,0 +3 @@\n+b\n@@ -4 +4,0 @@\n-c\n", "t")["x"]
    moved = udiff.move(diff, [12, 24])
    assert [hunk.header for hunk in moved.hunks] == ["@@ -12,0 +13 @@", "@@ -24 +24,0 @@"]
    assert udiff.parse(str(moved), "t")["x"] == moved
    text = "".join(f"{n}\n" for n in range(1, 24)) + "c\nd\n"
    assert udiff.apply(moved, text).splitlines()[11:14] == ["12", "b", "13"]
