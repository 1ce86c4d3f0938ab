# SPDX-License-Identifier: GPL-2.0
"""One more kernel: 6.0, between the toy's 5.10 and 6.1, and 5.4, before both."""

import pytest

from base import config, gitcmd
from conftest import A_C, B_C, FILES
from weave import mails, newbase, series, tree

NEW_B = B_C.replace("int b(", "// 6.1 has one more line\nint b(")


def begin(toy, name, **changed):
    """The Kernel called @name with its unpatched tree, which differs from 6.1's by the files @changed."""
    kernel = config.Kernel(name, f"{name}.3-1", f"linux-source-{name}", ("other",), "", toy.root / "build" / name, toy.root / "out" / name)
    files = {**FILES, "drivers/dma-buf/b.c": NEW_B, **{f"drivers/dma-buf/{path}.c": text for path, text in changed.items()}}
    toy.pristine(kernel, files)
    return kernel


def add(toy, kernel):
    before = newbase.look(toy.queue, kernel.name, toy.new)
    queue, ranges = newbase.add(toy.queue, toy.new, kernel)
    return queue, newbase.merge(queue, kernel, before), ranges


def lines(queue, kernel):
    return [(one.name, {path: [hunk.lines for hunk in diff.hunks] for path, diff in one.edits.items()}) for one in mails.woven(queue, kernel)]


def test_what_applies_as_it_is(toy):
    kernel = begin(toy, "6.0")
    queue, done, ranges = add(toy, kernel)
    assert done.whole and not ranges
    assert [one.name for one in queue.kernels] == ["5.10", "6.0", "6.1"]
    assert config.load(queue.root, queue.table).kernel("6.0").woven == gitcmd.own(kernel.tree, queue).line("rev-parse", "queue^{tree}")
    assert not list(toy.root.rglob("*.6.0.patch"))


def test_what_has_to_be_merged_becomes_a_variant_and_others_keep_theirs(toy):
    had = {kernel.name: lines(toy.queue, kernel) for kernel in toy.queue.kernels}
    kernel = begin(toy, "6.0", a=A_C.replace("int a4(void)", "int a4(int)"))
    queue, done, _ = add(toy, kernel)
    assert done.whole
    assert toy.read("drivers/dma-buf/a-fix.6.0.patch").startswith("Hunks: drivers/dma-buf/a.c + 2\n")
    assert {one.name: lines(queue, one) for one in queue.kernels if one.name != "6.0"} == had
    # It gives that tree again.
    tree.make(queue, queue.kernel("6.0"))


def test_what_does_not_merge_is_a_list(toy, capsys):
    kernel = begin(toy, "6.0", a=A_C.replace("return 3;", "return 4 - 1;"))
    queue, done, ranges = add(toy, kernel)
    assert list(done.left) == ["drivers/dma-buf/a-fix.patch"]
    assert not config.load(queue.root, queue.table).kernel("6.0").woven, "a tree without it is no pin"
    newbase.report(kernel, done, ranges)
    assert "4 of 5 patches" in capsys.readouterr().out


def test_a_range_that_would_give_it_to_others(toy):
    toy.edit("series", "drivers/dma-buf/a-fix.patch            all ", "drivers/dma-buf/a-fix.patch            6.1 ")
    kernel = begin(toy, "5.4")
    queue, ranges = newbase.add(toy.queue, toy.new, kernel)
    assert ranges == ["drivers/dma-buf/a-fix.patch"]
    by_path = {entry.patch.path: entry.kernels for entry in series.load(queue)}
    assert by_path["drivers/dma-buf/a-fix.patch"] == ["6.1"]
    assert by_path["drivers/dma-buf/new.patch"] == ["5.4", "5.10", "6.1"]


def test_a_failure_leaves_nothing(toy):
    kernel = begin(toy, "6.0")
    before = toy.snapshot(), toy.queue.table.read_text()
    with pytest.raises(KeyboardInterrupt):
        with newbase.saved(toy.queue):
            newbase.add(toy.queue, toy.new, kernel)
            toy.write("drivers/dma-buf/a-fix.6.0.patch", "x")
            raise KeyboardInterrupt
    assert (toy.snapshot(), toy.queue.table.read_text()) == before
