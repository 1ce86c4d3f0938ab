# SPDX-License-Identifier: GPL-2.0
"""`index` lines and diffstats of the mails are those of git format-patch; which ids are recorded, and when they are stale."""

import re
from dataclasses import replace

import pytest

from base import config, steps
from base.steps import Failure
from conftest import A_C, FILES
from weave import blobs, diffstat, mails, refresh, tree, udiff, verify


@pytest.fixture
def pinned(toy):
    tree.pin(toy.queue, toy.old)
    tree.pin(toy.queue, toy.new)
    return again(toy)


def again(toy):
    toy.queue = replace(config.load(toy.root, toy.queue.table), features=toy.queue.features)
    toy.old, toy.new = toy.queue.kernels
    return toy


def parts(data):
    """The parts that git format-patch and the weaver share: diffstat, and the lines above the hunks."""
    text = steps.decode(data)
    start, diff = text.index("\n---\n"), text.index("\ndiff --git ")
    return text[start:diff].rstrip(), re.findall(r"^(?:diff --git|index|new file mode|---|\+\+\+) .*$", text[diff:], re.MULTILINE)


def test_the_mails_are_those_of_git_format_patch(pinned, tmp_path):
    for kernel in pinned.queue.kernels:
        git = pinned.make(kernel)
        made = git("format-patch", "--abbrev=12", "-o", tmp_path / kernel.name, "base..").split()
        woven = pinned.woven(kernel)
        assert [parts((kernel.tree / name).read_bytes()) for name in made] == [parts(one.data) for one in woven]
        assert all(data.count(b"\ndiff --git ") == data.count(b"\nindex ") for _, data, *_ in woven)


@pytest.mark.parametrize("lines", [1, 20, 400, 70000])
def test_a_diffstat_is_gits(toy, tmp_path, lines):
    git = toy.make_git(tmp_path / "stat", toy.old, {})
    names = ["a.c", "drivers/" + "long-" * 14 + "name.c", f"{'deep/' * 20}b.c", "mode/x" * 7]
    for number, name in enumerate(names):
        file = tmp_path / "stat" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in range(lines // (number + 1) + number)))
    (tmp_path / "stat/Makefile").write_text("1\n2\n")
    git("add", "-A")
    git("commit", "--quiet", "-m", "x")
    text = git("diff-tree", "-p", "--no-commit-id", "HEAD^", "HEAD")
    edits = {}
    for part in re.split(r"^(?=diff --git )", text, flags=re.MULTILINE)[1:]:
        path = re.match(r"diff --git a/(\S+)", part)[1]
        body = re.search(r"^@@(.|\n)*", part, re.MULTILINE)[0].rstrip("\n").split("\n")[1:]
        edits[path] = udiff.FileDiff(path, [udiff.Hunk(1, 1, 1, 1, "", body)], "100644" if "new file" in part else "")
    mail = git("format-patch", "-1", "--stdout")
    assert diffstat.text(edits) == mail[mail.index("\n---\n") + 5:mail.index("\ndiff --git ")]


def index_of(woven):
    return {path: re.search(rf"^diff --git a/{re.escape(path)} .*\n(?:new file.*\n)?(index .*\n)?", steps.decode(woven.data), re.MULTILINE)[1]
            for path in woven.edits}


def test_a_selection_has_no_id_that_would_be_wrong(pinned):
    """a-fix, old-only and tests change a.c: without the first of them the others apply to another file."""
    whole = {one.patch.path: index_of(one) for one in pinned.woven(pinned.old)}
    pinned.edit("series", "drivers/dma-buf/a-fix.patch", "topic other: the rest\ndrivers/dma-buf/a-fix.patch")
    pinned.edit("series", "topic other", "drivers/dma-buf/old-only.patch 5.10 v5.15\ntopic other")
    pinned.edit("series", "drivers/dma-buf/old-only.patch         5.10   v5.15\n", "")
    pinned.queue = replace(pinned.queue, features=("toy",))
    some = {one.patch.path: index_of(one) for one in pinned.woven(pinned.old)}
    assert some["drivers/dma-buf/old-only.patch"] == {"drivers/dma-buf/a.c": None}
    pinned.queue = replace(pinned.queue, features=("other",))
    some = {one.patch.path: index_of(one) for one in pinned.woven(pinned.old)}
    assert some["drivers/dma-buf/a-fix.patch"] == whole["drivers/dma-buf/a-fix.patch"]
    assert some["drivers/dma-buf/new.patch"] == whole["drivers/dma-buf/new.patch"] and len(some["drivers/dma-buf/new.patch"]) == 4
    assert some["drivers/dma-buf/tests.patch"]["drivers/dma-buf/a.c"] is None
    # The id of a new file follows from its text.
    assert some["drivers/dma-buf/tests.patch"]["drivers/dma-buf/test.c"].startswith(f"index {'0' * 12}..")


def test_the_control_has_only_ids_that_hold(pinned):
    control, = pinned.woven(pinned.old, control=True)
    assert index_of(control)["drivers/dma-buf/a.c"] is None


def test_git_am_3_takes_the_short_ids(pinned, tmp_path):
    """With the objects of the tested source available, on a file with a different neighbouring line."""
    pinned.make(pinned.old)
    git = pinned.make_git(tmp_path / "linux", pinned.old, {**FILES, "drivers/dma-buf/a.c": A_C.replace(
        "int a3(void)", "int a3(void) /* mine */").replace("int a12(void)", "int a12(void) /* mine */")})
    (tmp_path / "linux/.git/objects/info").mkdir(exist_ok=True)
    (tmp_path / "linux/.git/objects/info/alternates").write_text(f"{pinned.old.tree}/.git/objects\n")
    files = mails.write(pinned.queue, pinned.old)
    assert git.attempt("am", "--quiet", *files)[0]
    git("am", "--abort")
    git("am", "--quiet", "-3", *files)
    assert "int a3(void) /* mine */\n{\n\treturn 33;" in (tmp_path / "linux/drivers/dma-buf/a.c").read_text()


def test_verify_refuses_stale_ids(pinned):
    assert verify.problems(pinned.queue) == []
    pinned.edit("drivers/dma-buf/a-fix.patch", "+\treturn 33;", "+\treturn 34;")
    assert verify.problems(pinned.queue) == [f"blobs-{name}.txt: not of the patches as they are (1 files, such as drivers/dma-buf/a.c); "
                                             f"`make pin KERNELS={name}` writes it" for name in ("5.10", "6.1")]
    # Until then the mails have no index lines.
    assert index_of(pinned.woven(pinned.old)[1]) == {"drivers/dma-buf/a.c": None}
    assert tree.pin(pinned.queue, pinned.old) and tree.pin(pinned.queue, pinned.new)
    assert verify.problems(pinned.queue) == []
    assert not tree.pin(again(pinned).queue, pinned.old)


def test_moved_hunks_and_messages_are_not_stale(pinned):
    pinned.edit("drivers/dma-buf/old-only.patch", "@@ -1,6 +1,6 @@", "@@ -2,6 +2,6 @@")
    pinned.edit("drivers/dma-buf/a-fix.patch", "Both returned", "They returned")
    assert verify.problems(pinned.queue) == []


def test_a_record_that_is_gone_or_broken(pinned):
    blobs.place(pinned.queue, pinned.old).unlink()
    assert [problem.partition(":")[0] for problem in verify.problems(pinned.queue)] == ["blobs-5.10.txt"]
    blobs.place(pinned.queue, pinned.old).write_text("drivers/dma-buf/a.c 100644\n")
    with pytest.raises(Failure, match="blobs-5.10.txt:1: not `PATH MODE.*make pin KERNELS=5.10"):
        pinned.woven(pinned.old)


def test_refresh_writes_the_ids(pinned):
    pinned.make(pinned.old)
    pinned.edit(pinned.old.tree / "drivers/dma-buf/a.c", "int a1(void)\n{\n\treturn 11;", "int a1(void)\n{\n\treturn 12;")
    pinned.git(pinned.old)("commit", "--quiet", "-a", "--fixup", "HEAD~2")
    refresh.refresh(pinned.queue, pinned.old)
    assert verify.problems(again(pinned).queue) == []


def test_the_record_of_this_repository():
    for kernel in config.kernels():
        assert blobs.load(config.queue(), kernel)
