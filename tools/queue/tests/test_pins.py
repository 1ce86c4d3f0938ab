# SPDX-License-Identifier: GPL-2.0
"""The ids of the woven trees in kernels.toml: which commands write them, and which report a difference."""

import tomllib

import pytest

from base import config
from base.steps import Failure
from conftest import FILES, TABLE
from weave import refresh, tree

QUEUE = '[queue]\nidentity = "The Toy <toy@example.org>"\ndate = "Sat, 21 Nov 2026 00:00:00 +0000"\n'
OLD = '[[kernel]]\nname = "5.10"\nversion = "1"\npackage = "p"\nsuites = ["old"]\n'
NEW = '[[kernel]]\nname = "6.1"\nversion = "2"\npackage = "p"\nsuites = ["new"]\n'

TABLES = {
    "none": QUEUE + OLD + NEW,
    "apart": f"# words\n\n{QUEUE}\n# name = \"5.10\"\n{OLD}\n# of the next\n\n{NEW}\n",
    "no newline at the end": (QUEUE + OLD + NEW).rstrip("\n"),
    "there": QUEUE + OLD + 'woven = "0"\n' + NEW + 'woven = "1"\n',
    "only one": QUEUE + OLD + NEW + 'woven = "1"\n',
    "the other one": QUEUE + OLD + 'woven = "0"\n' + NEW,
    "before the others": QUEUE + OLD.replace("version", 'woven = "0"\nversion') + NEW,
    "before the name": QUEUE + OLD.replace("name", 'woven = "0"\nname') + NEW,
    "after a comment": QUEUE + OLD + '# the tree\nwoven = "0"\n\n' + NEW,
    "with a comment": QUEUE + OLD.replace('"5.10"', '"5.10"   # the oldest') + 'woven = "0"    # made\n' + NEW,
    "other blanks": QUEUE + OLD.replace("name = ", "name=") + 'woven="0"\n' + NEW,
    "an array of lines": QUEUE + OLD.replace('["old"]', '[\n"old",\n    "older",\n]') + NEW,
    "the name last": QUEUE + '[[kernel]]\nversion = "1"\npackage = "p"\nsuites = []\nname = "5.10"\n\n' + NEW,
}


@pytest.mark.parametrize("name", ["5.10", "6.1"])
@pytest.mark.parametrize("form", TABLES)
def test_a_pin_in_a_table(tmp_path, form, name):
    table = tmp_path / "kernels.toml"
    table.write_text(TABLES[form])
    queue = config.load(tmp_path, table)
    was = queue.kernel(name).woven
    assert config.pin(queue, queue.kernel(name), "abc")
    then = config.load(tmp_path, table)
    assert then.kernel(name).woven == "abc"
    # Nothing else has changed.
    data, before = tomllib.loads(table.read_text()), tomllib.loads(TABLES[form])
    for entry in data["kernel"] + before["kernel"]:
        if entry["name"] == name:
            entry.pop("woven", None)
    assert data == before and len(table.read_text().splitlines()) == len(TABLES[form].splitlines()) + (not was)
    assert not config.pin(then, then.kernel(name), "abc")


def test_a_table_in_which_there_is_no_place(tmp_path):
    table = tmp_path / "kernels.toml"
    table.write_text((QUEUE + OLD).replace('"5.10"', "'5.10'"))
    queue = config.load(tmp_path, table)
    with pytest.raises(Failure, match='there is no line `name = "5.10"` below'):
        config.pin(queue, queue.kernels[0], "abc")


def again(toy):
    """The queue as the next command reads it."""
    toy.queue = config.load(toy.root, toy.queue.table)
    toy.old, toy.new = toy.queue.kernels
    return toy


def test_a_difference_is_noted(toy, capsys):
    def said():
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("note:")]
    git = toy.make(toy.old)
    woven = git.line("rev-parse", "HEAD^{tree}")
    note, = said()
    assert note.startswith(f"note: 5.10: the woven tree is {woven[:12]}, kernels.toml has none. If") and "`make pin`" in note
    assert tree.pin(toy.queue, toy.old)
    assert again(toy).old.woven == woven and toy.new.woven == ""
    toy.make(toy.old)
    assert said() == []
    # A message is not part of the tree, an edit is.
    toy.edit("drivers/dma-buf/a-fix.patch", "Both returned", "They returned")
    toy.make(toy.old)
    assert said() == []
    toy.edit("drivers/dma-buf/a-fix.patch", "+\treturn 33;", "+\treturn 34;")
    toy.make(toy.old)
    note, = said()
    assert f"kernels.toml has {woven[:12]}. If" in note
    # The control has no pin.
    tree.make_control(toy.queue, toy.old)
    assert said() == []


def test_refresh_writes_the_pin(toy, capsys):
    git = toy.make(toy.new)
    toy.edit(toy.new.tree / "drivers/dma-buf/new.c", "int new1;", "int one;")
    refresh.refresh(toy.queue, toy.new)
    assert "    kernels.toml: the id of the woven tree\n" in capsys.readouterr().out
    assert again(toy).new.woven == git.line("rev-parse", "HEAD^{tree}") and toy.old.woven == ""
    refresh.refresh(toy.queue, toy.new)
    assert "kernels.toml" not in capsys.readouterr().out


def test_another_source_has_no_pin(toy, tmp_path, capsys):
    toy.old.pristine.rename(tmp_path / "gone")
    toy.pristine(toy.old, FILES, "linux-source-5.10 5.10.10-1")
    with pytest.raises(Failure, match="is not linux-source-5.10 5.10.9-1, the source that was tested; `make source KERNEL=5.10 SOURCE=tested`"):
        tree.pin(toy.queue, toy.old)
    toy.make(toy.old)
    toy.edit(toy.old.tree / "drivers/dma-buf/new.c", "int new1;", "int one;")
    refresh.refresh(toy.queue, toy.old)
    assert toy.queue.table.read_text() == TABLE and "the woven tree" not in capsys.readouterr().out


def test_a_queue_that_does_not_apply_is_not_pinned(toy):
    toy.edit("drivers/dma-buf/a-fix.patch", "-\treturn 8;", "-\treturn 7;")
    with pytest.raises(tree.Conflict, match="1 of 5 patches do not apply"):
        tree.pin(toy.queue, toy.new)
    assert toy.queue.table.read_text() == TABLE


def test_the_pin_of_a_tree_that_was_never_made(toy):
    assert tree.pin(toy.queue, toy.new) and not toy.new.tree.exists()
    assert again(toy).new.woven == toy.make(toy.new).line("rev-parse", "HEAD^{tree}")
