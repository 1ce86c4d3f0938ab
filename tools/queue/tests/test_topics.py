# SPDX-License-Identifier: GPL-2.0
"""Topics: what a selection contains of the series, the options and MAINTAINERS, and that each topic states what it needs."""

from dataclasses import replace

import pytest

import cli
from base import config
from base.steps import Failure
from conftest import ENTRY
from weave import mails, refresh, series, tree, udiff, verify

SERIES = """\
topic base: the toggles
Kconfig.patch                          all    no
MAINTAINERS.patch                      all    no

topic fixes: what was wrong
drivers/dma-buf/a-fix.patch            all    v6.3
drivers/dma-buf/old-only.patch         5.10   v5.15

topic new needs base: what is new
drivers/dma-buf/new.patch              all    no

topic tests needs new: tests of it
drivers/dma-buf/tests.patch            all    no       control
"""
KCONFIG = """\
@@ -1,3 +1,6 @@
 menu "DMABUF"
 
+config TESTS
+	bool "tests"
+
 config SYNC_FILE
@@ -4,3 +7,6 @@ config SYNC_FILE
 \tbool "sync"
 
+config TOY
+	bool "toy"
+
 endmenu
"""
TEST_C = "drivers/dma-buf/test.c"


@pytest.fixture
def topical(toy):
    """The toy with four topics and an option of two of them; entries of MAINTAINERS for files of these two."""
    toy.write("series", SERIES)
    text = toy.read("Kconfig.patch")
    toy.write("Kconfig.patch", text[:text.index("@@ -3,4")] + KCONFIG)
    toy.write(TEST_C, "// SPDX-License-Identifier: GPL-2.0\n#ifdef CONFIG_TESTS\nint test;\n#endif\n")
    toy.write("MAINTAINERS", f"{ENTRY}F:\t{TEST_C}\nF:\ttools/testing/\n")
    return toy


def chosen(toy, *features):
    toy.queue = replace(toy.queue, features=features)
    return toy


def paths(toy, kernel):
    return [woven.patch.path.rpartition("/")[2] for woven in toy.woven(kernel)]


def test_needs_are_closed_and_the_first_is_always_there(topical):
    entries = series.load(topical.queue)
    assert series.with_needs(entries, ["tests"]) == ["base", "new", "tests"]
    assert series.with_needs(entries, ["fixes"]) == ["base", "fixes"]
    assert series.with_needs(entries, []) == ["base"]
    assert series.with_needs(entries, ["tests", "fixes", "tests"]) == ["base", "fixes", "new", "tests"]
    assert [len(topic.entries) for topic in series.topics(entries).values()] == [2, 2, 1, 1]
    topical.edit("series", "topic tests needs new", "topic tests needs fixes")
    assert series.with_needs(series.load(topical.queue), ["tests"]) == ["base", "fixes", "tests"]


def test_a_selection(topical):
    everything = ["Kconfig.patch", "MAINTAINERS.patch", "a-fix.patch", "old-only.patch", "new.patch", "tests.patch"]
    assert paths(topical, topical.old) == paths(chosen(topical, "fixes", "tests"), topical.old) == everything
    assert paths(chosen(topical, "new"), topical.old) == ["Kconfig.patch", "MAINTAINERS.patch", "new.patch"]
    assert [woven.name for woven in topical.woven(topical.old)][-1] == "0003-dma-buf-add-new.c.patch"
    assert b"Subject: [PATCH 3/3] " in topical.woven(topical.old)[-1].data
    # If nothing here uses an option, the patch of the options is left out.
    assert paths(chosen(topical, "fixes"), topical.old) == ["MAINTAINERS.patch", "a-fix.patch", "old-only.patch"]
    assert paths(chosen(topical, "fixes"), topical.new) == ["MAINTAINERS.patch", "a-fix.patch"]


def test_a_topic_that_is_not_there(topical):
    with pytest.raises(Failure, match="FEATURES: there is no topic 'news'; there is: base fixes new tests"):
        series.load(chosen(topical, "new", "news").queue)


def test_the_control_of_a_selection(topical):
    assert len(topical.woven(topical.old, control=True)) == 1
    chosen(topical, "new")
    assert topical.woven(topical.old, control=True) == []


def test_the_options_of_a_selection(topical):
    def hunks():
        return topical.woven(topical.old)[0].edits["drivers/dma-buf/Kconfig"].hunks
    both = hunks()
    assert len(both) == 2
    only, = hunks() if chosen(topical, "new") else ()
    assert "+config TOY" in only.lines and "+config TESTS" not in only.lines
    # It is placed as if the other hunk were not there.
    assert only.header == "@@ -4,3 +4,6 @@ config SYNC_FILE" and both[1].header == "@@ -4,3 +7,6 @@ config SYNC_FILE"
    chosen(topical, "tests")
    assert hunks() == both
    # Only a whole word counts as a use.
    topical.write(TEST_C, topical.read(TEST_C).replace("CONFIG_TESTS", "CONFIG_TESTS_MORE"))
    assert len(hunks()) == 1


def test_hunks_without_an_option_stay():
    text = "".join(f"@@ -{start},2 +{start + shift},3 @@\n a\n+{line}\n b\n" for shift, (start, line) in enumerate(
        ((1, "menuconfig ONE"), (11, "\tselect TWO"), (21, "config TWO"))))
    diff = udiff.parse("diff --git a/K b/K\n--- a/K\n+++ b/K\n" + text, "t")["K"]
    assert [mails.options(hunk) for hunk in diff.hunks] == [{"ONE"}, set(), {"TWO"}]
    kept = mails.only(diff, lambda hunk: "ONE" not in mails.options(hunk))
    assert [hunk.header for hunk in kept.hunks] == ["@@ -11,2 +11,3 @@", "@@ -21,2 +22,3 @@"] and len(diff.hunks) == 3


def entry(toy):
    """The lines F: of the entry that is inserted."""
    woven = next(woven for woven in toy.woven(toy.old) if woven.patch.path == "MAINTAINERS.patch")
    assert woven.edits["MAINTAINERS"].hunks[0].new_count == len(woven.edits["MAINTAINERS"].hunks[0].lines)
    return [line[4:] for line in woven.edits["MAINTAINERS"].hunks[0].lines if line.startswith("+F:")]


def test_maintainers_of_files_that_are_not_there(topical):
    new, test, run = "drivers/dma-buf/new.c", TEST_C, "tools/testing/"
    assert entry(topical) == [new, test, run]
    assert entry(chosen(topical, "new")) == [new, run]
    assert entry(chosen(topical, "fixes")) == []
    # Lines of the kernel, and patterns that also match an existing file, stay.
    topical.write("MAINTAINERS", f"{ENTRY}F:\tdrivers/dma-buf/*.c\nF:\tdrivers/dma-buf/a.c\nF:\t{TEST_C}\n")
    assert entry(chosen(topical)) == [new, "drivers/dma-buf/*.c", "drivers/dma-buf/a.c", test]
    assert entry(chosen(topical, "new")) == [new, "drivers/dma-buf/*.c", "drivers/dma-buf/a.c"]
    assert entry(chosen(topical, "fixes")) == ["drivers/dma-buf/a.c"]


def test_maintainers_of_a_kernel_that_lacks_a_patch(topical):
    topical.edit("series", "drivers/dma-buf/tests.patch            all ", "drivers/dma-buf/tests.patch            6.1 ")
    assert entry(topical) == ["drivers/dma-buf/new.c", "tools/testing/"]


def test_needs_across_topics(topical):
    topical.edit("drivers/dma-buf/tests.patch", "New: ", "Needs: drivers/dma-buf/new.patch\nNew: ")
    series.load(topical.queue)
    topical.edit("drivers/dma-buf/tests.patch", "Needs: drivers/dma-buf/new.patch", "Needs: drivers/dma-buf/a-fix.patch")
    with pytest.raises(Failure, match="tests.patch: `Needs: drivers/dma-buf/a-fix.patch`, of the topic fixes: say in series that "
                                      "tests needs it"):
        series.load(topical.queue)
    topical.edit("series", "topic tests needs new:", "topic tests needs new fixes:")
    series.load(topical.queue)


def test_a_name_of_a_topic_that_is_not_needed(topical):
    assert verify.problems(topical.queue) == []
    topical.edit("series", "topic tests needs new:", "topic tests:")
    assert verify.problems(topical.queue) == []
    topical.edit("drivers/dma-buf/new.c", "int new1;", "int new1(void);")
    topical.edit(TEST_C, "int test;", "int test = new1();")
    assert verify.problems(topical.queue) == [
        "drivers/dma-buf/tests.patch: uses what drivers/dma-buf/new.patch brings, of the topic new: say in series that tests needs it, "
        "or move the patch"]
    topical.edit("series", "topic tests:", "topic tests needs new:")
    assert verify.problems(topical.queue) == []
    # What the first topic adds is always there.
    topical.edit("series", "topic new needs base:", "topic new:")
    assert verify.problems(topical.queue) == []


def test_the_tree_of_a_selection_is_taken_back(topical, capsys):
    git = chosen(topical, "new").make(topical.new)
    everything, before = replace(topical.queue, features=()), topical.snapshot()
    assert tree.recorded(git).features == ("new",) and tree.recorded(git).partly
    assert git("log", "--format=%s", "base..").splitlines()[::-1] == [
        "dma-buf: add the toggle", "MAINTAINERS: add an entry", "dma-buf: add new.c"]
    assert "note:" not in capsys.readouterr().out
    # The topics are not given again.
    assert refresh.refresh(everything, topical.new) == [] and topical.snapshot() == before
    topical.edit(topical.new.tree / "drivers/dma-buf/new.c", "int new1;", "int one;")
    topical.edit(topical.new.tree / "MAINTAINERS", "M:\tThe Toy", "M:\tThe Other Toy")
    assert refresh.refresh(everything, topical.new) == ["MAINTAINERS", "drivers/dma-buf/new.c"]
    # The repository still has the option and the line of the file that this tree lacks.
    assert topical.read("Kconfig.patch").endswith(KCONFIG)
    assert topical.read("MAINTAINERS") == before["MAINTAINERS"][0].decode().replace("M:\tThe Toy", "M:\tThe Other Toy")
    assert "kernels.toml" not in capsys.readouterr().out        # this tree must not be pinned
    chosen(topical).make(topical.new)
    assert tree.recorded(git).features == () and (topical.new.tree / TEST_C).exists()


@pytest.mark.parametrize("path, old, new, message", [
    ("drivers/dma-buf/Kconfig", 'bool "toy"', 'bool "a toy"', "Kconfig.patch: edit it in a tree of all topics"),
    ("MAINTAINERS", "F:\tdrivers/dma-buf/new.c\n", "F:\tdrivers/dma-buf/new2.c\n", "lines that this tree does not have")])
def test_what_a_selection_cannot_say(topical, path, old, new, message):
    chosen(topical, "new").make(topical.new)
    before = topical.snapshot()
    topical.edit(topical.new.tree / path, old, new)
    with pytest.raises(Failure, match=message):
        refresh.refresh(replace(topical.queue, features=()), topical.new)
    assert topical.snapshot() == before


def test_options_are_edited_in_the_whole_tree(topical):
    topical.make(topical.new)
    topical.edit(topical.new.tree / "drivers/dma-buf/Kconfig", 'bool "toy"', 'bool "a toy"')
    assert refresh.refresh(topical.queue, topical.new) == ["Kconfig.patch"]
    assert '+\tbool "a toy"' in topical.read("Kconfig.patch") and "+config TESTS" in topical.read("Kconfig.patch")


def test_the_front_door_takes_features(topical, monkeypatch, capsys):
    monkeypatch.setattr(config, "load", lambda: topical.queue)
    try:
        assert cli.main(["series", "--kernel", "5.10", "--features", "new"]) == 0
        assert "3 patches" in capsys.readouterr().out
        assert cli.main(["topics", "--features", "new tests"]) == 0
        assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line[0] != " "] == ["base", "new", "tests"]
        assert cli.main(["series", "--kernel", "5.10"]) == 0        # the next command uses all topics again
        assert "6 patches" in capsys.readouterr().out
        assert cli.main(["series", "--features", "nonsense"]) == 1
        assert "there is no topic 'nonsense'" in capsys.readouterr().err
    finally:
        config.choose([])
