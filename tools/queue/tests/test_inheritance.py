# SPDX-License-Identifier: GPL-2.0
"""Three kernels; each inherits from the next newer one, hunk by hunk."""

import shutil

import pytest

from base.steps import Failure
from conftest import TABLE, Toy
from weave import patchfile, refresh, udiff, verify
from weave.patchfile import Patch, Variant

NEWEST = """\
[[kernel]]
name = "6.12"
version = "6.12.3-1"
package = "linux-source-6.12"
suites = ["newest"]
"""
X, Y, Z = "drivers/x.c", "drivers/y.c", "drivers/z.c"
PATCH, MIDDLE, OLDEST = "drivers/x.patch", "drivers/x.6.1.patch", "drivers/x.5.10.patch"


def x_c(head, five):
    """Functions f1 to f12 below @head lines; f5 differs between kernels."""
    return "// head\n" * head + "".join(f"int f{n}(void)\n{{\n\treturn {five if n == 5 else n};\n}}\n\n" for n in range(1, 13))


BLOCK = "case N:\n\tone();\n\ttwo();\n\tthree();\n\tfour();\n\tfive();\n\tbreak;\n"


def z_c(*lines):
    """Identical blocks, each below a given number of other lines; something unique at the end."""
    return "".join("".join(f"// {at} {n}\n" for n in range(number)) + BLOCK for at, number in enumerate(lines)) + x_c(0, 5)


def changed(start, function, before, after):
    return (f"@@ -{start},7 +{start},7 @@ int f{function - 1}(void)\n \n int f{function}(void)\n {{\n"
            f"-\treturn {before};\n+\treturn {after};\n }}\n \n int f{function + 1}(void)\n")


def diff_of(path, *hunks):
    return f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n" + "".join(hunks)


Z_HUNK = ("@@ -21,7 +21,7 @@ case N:\n case N:\n \tone();\n \ttwo();\n-\tthree();\n+\tfour(4);\n \tfour();\n \tfive();\n"
          " \tbreak;\n")
FILES = {
    "series": "topic all: of it\ndrivers/x.patch all no\ndrivers/z.patch all no\n",
    PATCH: "Subject: x: return others\n\nThey were wrong.\n\nUpstream: no, a toy\nNew: drivers/y.c\n---\n"
           + diff_of(X, changed(5, 2, 2, 22), changed(20, 5, 5, 55), changed(40, 9, 9, 99)),
    MIDDLE: f"Hunks: {X} 1 + 3\n" + diff_of(X, changed(22, 5, "5 + 0", 55))
            + diff_of(Y, "@@ -3,3 +3,3 @@\n int y2;\n-int y3;\n+long y3;\n int y4;\n"),
    # Applied to the text of 6.1, not to that of the file.
    OLDEST: diff_of(Y, "@@ -3,3 +3,3 @@\n int y2;\n-long y3;\n+long y3, y33;\n int y4;\n"),
    Y: "// SPDX-License-Identifier: GPL-2.0\n" + "".join(f"int y{n};\n" for n in range(1, 20)),
    "drivers/z.patch": "Subject: z: call four()\n\nIt is better.\n\nUpstream: no, a toy\n---\n"
                       + diff_of(Z, Z_HUNK, changed(32, 2, 2, 22)),
}
SOURCES = {"5.10": {X: x_c(9, "5 + 0"), Z: z_c(20, 3)}, "6.1": {X: x_c(2, "5 + 0"), Z: z_c(7, 6)}, "6.12": {X: x_c(0, 5), Z: z_c(7, 6)}}


class Trio(Toy):
    def __init__(self, root):
        super().__init__(root)
        self.middle = self.queue.kernels[1]

    def fill(self):
        for path, text in FILES.items():
            self.write(path, text)
        for kernel in self.queue.kernels:
            self.pristine(kernel, {"Kbuild": "# SPDX\n", **SOURCES[kernel.name]})


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    root = tmp_path_factory.mktemp("trio")
    (root / "kernels.toml").write_text(TABLE + NEWEST)
    Trio(root).fill()
    return root


@pytest.fixture
def trio(filled, tmp_path):
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    return Trio(tmp_path)


def edits(trio, kernel, path=X):
    return trio.woven(kernel)[path == Z].edits[path]


def returns(trio, kernel):
    """What f2, f5, ... return after the patch."""
    return " ".join(line.split()[1].rstrip(";") for line in edits(trio, kernel).added())


def refreshed(trio, kernel, subject=""):
    """Refresh, with the edits for the patch of that @subject; a second refresh would write the same."""
    git = trio.git(kernel)
    if subject:
        git("commit", "--quiet", "-a", "--fixup", f":/{subject}")
    files = git.line("rev-parse", "HEAD^{tree}")
    changed = refresh.refresh(trio.queue, kernel)
    assert git.line("rev-parse", "HEAD^{tree}") == files
    after = trio.snapshot()
    assert refresh.refresh(trio.queue, kernel) == [] and trio.snapshot() == after
    assert verify.problems(trio.queue) == []
    return changed


def test_each_inherits_from_the_next_newer(trio):
    assert [returns(trio, kernel) for kernel in trio.queue.kernels] == ["22 55 99"] * 3
    assert [hunk.old_start for hunk in edits(trio, trio.new).hunks] == [5, 20, 40]
    # Below the own hunk, the inherited ones are expected at the same offset as that one.
    for kernel in (trio.middle, trio.old):
        assert [hunk.old_start for hunk in edits(trio, kernel).hunks] == [7, 22, 42]
        assert "-\treturn 5 + 0;" in edits(trio, kernel).hunks[1].lines
    assert verify.problems(trio.queue) == []
    assert trio.woven(trio.old)[0].patch.where("5.10", X) == MIDDLE and trio.woven(trio.new)[0].patch.where("6.12", X) == PATCH
    assert trio.woven(trio.old)[0].patch.where("5.10", Y) == OLDEST


def test_the_deltas_of_a_carried_file_are_stacked(trio):
    def text(kernel):
        return "".join(line + "\n" for line in edits(trio, kernel, Y).added())
    shared = FILES[Y]
    assert text(trio.new) == shared
    assert text(trio.middle) == shared.replace("int y3;", "long y3;")
    assert text(trio.old) == shared.replace("int y3;", "long y3, y33;")
    # The oldest kernel's variant does not match without the next newer one.
    trio.write(MIDDLE, FILES[MIDDLE][:FILES[MIDDLE].index(f"diff --git a/{Y}")])
    with pytest.raises(Failure, match=r"x.5.10.patch: hunk 1 \(line 3\) does not fit drivers/y.c"):
        trio.woven(trio.old)


def test_nothing_changes_without_an_edit(trio):
    before = trio.snapshot()
    # z.c of 5.10 has the edit in the wrong block, but so does the tree.
    for kernel in trio.queue.kernels:
        trio.make(kernel)
        assert refreshed(trio, kernel) == []
    assert trio.snapshot() == before


def test_an_edit_on_the_newest_reaches_all(trio, capsys):
    trio.make(trio.new)
    trio.edit(trio.new.tree / X, "return 22;", "return 222;")
    trio.edit(trio.new.tree / X, "return 7;", "return 77;")     # a further hunk
    assert refreshed(trio, trio.new, "x: return") == [MIDDLE, PATCH]
    assert f"{MIDDLE} has hunks of its own in {X}" in capsys.readouterr().out
    assert trio.read(MIDDLE) == FILES[MIDDLE].replace("1 + 3", "1 + 3-4")
    assert [returns(trio, kernel) for kernel in trio.queue.kernels] == ["222 55 77 99"] * 3
    trio.make(trio.old)
    text = (trio.old.tree / X).read_text()
    assert "return 222;" in text and "return 77;" in text


def test_a_hunk_less_on_the_newest(trio):
    trio.make(trio.new)
    trio.edit(trio.new.tree / X, "return 22;", "return 2;")
    trio.edit(trio.new.tree / X, "return 55;", "return 555;")       # which resembles most the hunk that 6.1 replaces
    # The middle kernel's own hunks stay.
    assert refreshed(trio, trio.new, "x: return") == [MIDDLE, PATCH]
    assert trio.read(MIDDLE) == FILES[MIDDLE].replace("1 + 3", "+ 2")
    assert [returns(trio, kernel) for kernel in trio.queue.kernels] == ["55 99", "55 99", "555 99"]


def test_an_edit_in_the_middle_reaches_the_older_one(trio):
    trio.make(trio.middle)
    trio.edit(trio.middle.tree / X, "return 99;", "return 999;")
    assert refreshed(trio, trio.middle, "x: return") == [MIDDLE]
    text = trio.read(MIDDLE)
    assert text.startswith(f"Hunks: {X} 1 + +\n") and text.count(f"diff --git a/{X}") == 1 and "return 22" not in text
    assert [returns(trio, kernel) for kernel in trio.queue.kernels] == ["22 55 999", "22 55 999", "22 55 99"]
    # and back again
    trio.edit(trio.middle.tree / X, "return 999;", "return 99;")
    assert refreshed(trio, trio.middle, "x: return") == [MIDDLE] and trio.read(MIDDLE) == FILES[MIDDLE]


def test_a_hunk_less_in_the_middle(trio):
    trio.make(trio.middle)
    trio.edit(trio.middle.tree / X, "return 22;", "return 2;")
    assert refreshed(trio, trio.middle, "x: return") == [MIDDLE]
    assert trio.read(MIDDLE) == FILES[MIDDLE].replace("1 + 3", "+ 3")
    assert [returns(trio, kernel) for kernel in trio.queue.kernels] == ["55 99", "55 99", "22 55 99"]


def test_an_edit_on_the_oldest_is_its_own(trio):
    trio.make(trio.old)
    trio.edit(trio.old.tree / X, "return 55;", "return 5555;")
    assert refreshed(trio, trio.old, "x: return") == [OLDEST]
    text = trio.read(OLDEST)
    # Inherited from 6.1, the next newer kernel: the second hunk is not that of 6.12.
    assert text.startswith(f"Hunks: {X} 1 + 3\ndiff --git a/{X}") and text.count("@@ -") == 2
    assert [returns(trio, kernel) for kernel in trio.queue.kernels] == ["22 5555 99", "22 55 99", "22 55 99"]


def test_an_edit_of_a_carried_file_where_a_variant_has_its_own(trio):
    before = edits(trio, trio.old, Y)
    trio.make(trio.middle)
    trio.edit(trio.middle.tree / Y, "long y3;", "short y3;")
    assert refreshed(trio, trio.middle, "x: return") == [OLDEST, MIDDLE]
    assert "-int y3;\n+short y3;\n" in trio.read(MIDDLE) and "-short y3;\n+long y3, y33;\n" in trio.read(OLDEST)
    assert edits(trio, trio.old, Y) == before and trio.read(Y) == FILES[Y]


def test_two_edits_of_a_carried_file(trio):
    trio.make(trio.middle)
    trio.edit(trio.middle.tree / Y, "int y15;", "int y15, y15b;")
    assert refreshed(trio, trio.middle, "x: return") == [Y]
    assert trio.read(Y) == FILES[Y].replace("int y15;", "int y15, y15b;")
    trio.make(trio.old)
    trio.edit(trio.old.tree / Y, "int y1;", "int y0;\nint y1;")
    # Both deltas are one line lower.
    assert set(refreshed(trio, trio.old, "x: return")) == {Y, MIDDLE, OLDEST}
    assert "@@ -2,7 +2,7 @@" in trio.read(MIDDLE) and "@@ -2,7 +2,7 @@" in trio.read(OLDEST) and "+int y0;" not in trio.read(OLDEST)
    assert "long y3, y33;" in edits(trio, trio.old, Y).added() and "long y3;" in edits(trio, trio.middle, Y).added()


def test_a_place_that_is_ambiguous(trio):
    """On 5.10 the first block is where newer kernels have the second; the hunk has to apply to the second."""
    git = trio.make(trio.old)
    path = trio.old.tree / Z
    wrong = path.read_text()
    right = z_c(20, 3)
    at = right.rindex("\tthree();")
    right = (right[:at] + "\tfour(4);" + right[at + len("\tthree();"):]).replace("return 2;", "return 22;")
    assert wrong.index("four(4)") < right.index("four(4)")
    path.write_text(right)
    assert refreshed(trio, trio.old, "z: call") == ["drivers/z.5.10.patch"]
    text = trio.read("drivers/z.5.10.patch")
    # The same change with more context; the other hunk is inherited.
    assert text.startswith(f"Hunks: {Z} + 2\n") and text.count("@@ -") == 1 and "-\tthree();\n+\tfour(4);\n" in text
    assert 7 < udiff.parse(text.partition("\n")[2], "t")[Z].hunks[0].old_count <= 19
    trio.make(trio.old)
    assert path.read_text() == right and git("status", "--porcelain") == ""
    # Newer kernels are unchanged.
    assert edits(trio, trio.middle, Z) == edits(trio, trio.new, Z) and [hunk.old_start for hunk in edits(trio, trio.new, Z).hunks] == [21, 32]


def without_y(trio):
    """6.1 does not change y.c, and neither does 5.10."""
    trio.write(MIDDLE, f"Without: {Y}\n" + FILES[MIDDLE][:FILES[MIDDLE].index(f"diff --git a/{Y}")])
    (trio.root / OLDEST).unlink()


def test_what_is_left_alone_is_inherited(trio):
    without_y(trio)
    assert [sorted(trio.woven(kernel)[0].edits) for kernel in trio.queue.kernels] == [[X], [X], [X, Y]]
    assert trio.woven(trio.old)[0].patch.without("5.10") == {Y}
    trio.write(OLDEST, f"Without: {Y}\n")
    with pytest.raises(Failure, match=f"x.5.10.patch: `Without: {Y}`, but the patch does not touch it on newer kernels"):
        trio.woven(trio.old)
    # A diff can be added again, but not a recipe for hunks that do not exist.
    trio.write(MIDDLE, f"Without: {X}\n")
    trio.write(OLDEST, diff_of(X, changed(14, 2, 2, 22)))
    assert returns(trio, trio.old) == "22" and sorted(trio.woven(trio.middle)[0].edits) == [Y]
    trio.write(OLDEST, f"Hunks: {X} 1\n")
    with pytest.raises(Failure, match="x.5.10.patch: `Hunks: drivers/x.c 1`, but the inherited diff has 0 hunks"):
        trio.woven(trio.old)


def test_a_carried_file_does_not_come_back(trio):
    without_y(trio)
    trio.make(trio.old)
    (trio.old.tree / Y).write_text(FILES[Y])
    git = trio.git(trio.old)
    git("add", Y)
    git("commit", "--quiet", "--fixup", ":/x: return")
    before = trio.snapshot()
    with pytest.raises(Failure, match="drivers/x.patch: drivers/y.c is left out on 6.1, and cannot be there on 5.10, which is older"):
        refresh.refresh(trio.queue, trio.old)
    assert trio.snapshot() == before


def test_a_file_left_out_in_the_middle(trio):
    (trio.root / OLDEST).unlink()
    git = trio.make(trio.middle)
    git("rm", "--quiet", Y)
    git("commit", "--quiet", "--fixup", ":/x: return")
    assert refreshed(trio, trio.middle) == [MIDDLE]
    assert trio.read(MIDDLE).startswith(f"Without: {Y}\nHunks: {X} 1 + 3\n") and f"a/{Y}" not in trio.read(MIDDLE)
    assert Y not in trio.woven(trio.old)[0].edits and Y in trio.woven(trio.new)[0].edits


def numbers(*hunks):
    """A FileDiff of hunks that change one line each, given by line and text."""
    return udiff.FileDiff("x", [udiff.Hunk(start, 1, start, 1, "", [f"-{text}", f"+{text}!"]) for start, text in hunks])


@pytest.mark.parametrize("recipe, own, newest, then", [
    ([1], [], [(10, "a"), (30, "B")], Variant(recipes={"x": [1]})),
    ([1], [], [(30, "b")], Variant(without=["x"])),             # its only hunk is gone
    ([1, 0], [(31, "n")], [(30, "b")], Variant(diffs={"x": numbers((31, "n"))})),       # nothing is inherited any longer
    ([1], [], [(10, "a")], Variant()),                          # the hunk that was left out is gone
    ([0, 2], [(11, "n")], [(5, "m"), (10, "a"), (30, "b")], Variant(diffs={"x": numbers((11, "n"))}, recipes={"x": [1, 0, 3]})),
    ([1, 0], [(31, "n")], None, Variant(diffs={"x": numbers((11, "a"), (31, "n"))})),   # now only the older kernel has it
])
def test_what_older_kernels_say_follows(recipe, own, newest, then):
    def patch(diffs):
        variant = Variant(recipes={"x": list(recipe)}, diffs={"x": numbers(*own)} if own else {})
        return Patch("p.patch", "p: it", "why", diffs=diffs, variants={"5.10": variant})
    old, new = patch({"x": numbers((10, "a"), (30, "b"))}), patch({"x": numbers(*newest)} if newest else {})
    refresh.follow_up(old, new, "6.1")
    assert new.variants["5.10"] == then
    patchfile.check_variants(new)


def test_an_older_variant_that_was_as_wanted_stays():
    """Only the oldest kernel's variant is edited: no variant depends on it."""
    variants = {"6.1": Variant(recipes={"x": [1]}), "5.10": Variant(recipes={"x": [0]}, diffs={"x": numbers((1, "n"))})}
    old = Patch("p.patch", "p: it", "why", diffs={"x": numbers((10, "a"), (30, "b"))}, variants=variants)
    new = Patch("p.patch", "p: it", "why", diffs={"x": numbers((30, "b"))}, variants=dict(variants))
    refresh.follow_up(old, new, "5.10")
    assert new.variants["6.1"] == Variant(recipes={"x": [1]})
