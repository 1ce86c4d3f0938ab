# SPDX-License-Identifier: GPL-2.0
"""make am: it applies the queue to a user's tree, or refuses and changes nothing."""

from dataclasses import replace

import pytest

from base.gitcmd import FIXED, Git
from base.steps import Failure
from conftest import A_C, FILES, commit, state
from weave import am


def refused(toy, user, message, kdir=None):
    before = state(user)
    objects = user("count-objects")
    with pytest.raises(Failure, match=message):
        am.am(toy.queue, str(kdir or user.directory))
    assert state(user) == before
    assert user("count-objects") == objects


def test_applied(toy, user, capsys):
    am.am(toy.queue, str(user.directory))
    assert user("log", "--format=%s|%an|%cn").split("\n")[0] == "MAINTAINERS: add an entry|The Toy|A User"
    assert user("status", "--porcelain") == ""
    output = capsys.readouterr().out
    assert "make olddefconfig" in output and "CONFIG_TOY" in output and "note:" not in output
    toy.make(toy.old)
    assert user("rev-parse", "HEAD^{tree}") == toy.git(toy.old)("rev-parse", "HEAD^{tree}")


def test_a_tilde_and_a_relative_path(toy, user, monkeypatch):
    monkeypatch.setenv("HOME", str(user.directory.parent))
    monkeypatch.chdir(user.directory.parent)
    am.am(toy.queue, "~/linux")
    refused(toy, user, "has 6 of the queue's 6 patches already", kdir="linux")


def test_offsets_are_taken(toy, user, capsys):
    moved = A_C.replace("return 2;", "return\n2;")
    commit(user, "drivers/dma-buf/a.c", moved)
    am.am(toy.queue, str(user.directory))
    fixed = moved.replace("return 1;", "return 11;").replace("return 3;", "return 33;").replace("return 8;", "return 88;")
    assert (user.directory / "drivers/dma-buf/a.c").read_text() == fixed.replace("return 12;", "return 12; /* tested */")
    assert "note:" not in capsys.readouterr().out


def test_some_features(toy, user, capsys):
    toy.edit("series", "drivers/dma-buf/tests.patch", "\ntopic tests: of it\ndrivers/dma-buf/tests.patch")
    toy.edit("series", "MAINTAINERS.patch                      all    no\n", "")
    toy.edit("series", "topic toy", "MAINTAINERS.patch all no\ntopic toy")
    toy.edit("drivers/dma-buf/tests.patch", "-\treturn 12;", "-\treturn 13;")     # of another topic: not required
    toy.queue = replace(toy.queue, features=("toy",))
    am.am(toy.queue, str(user.directory))
    assert user("log", "--format=%s", "--reverse", "-5").splitlines() == [
        "dma-buf: add the toggle", "MAINTAINERS: add an entry", "dma-buf: fix a3() and a8()", "dma-buf: add new.c", "dma-buf: fix a1()"]
    assert not (user.directory / "drivers/dma-buf/test.c").exists() and "CONFIG_TOY" in capsys.readouterr().out
    refused(toy, user, "has 5 of the queue's 5 patches already")


def test_a_feature_without_an_option(toy, user, capsys):
    """Kconfig.patch then adds nothing, and is left out."""
    toy.edit("series", "MAINTAINERS.patch                      all    no\n", "")
    toy.edit("series", "topic toy", "MAINTAINERS.patch all no\ntopic toy")
    toy.queue = replace(toy.queue, features=("base",))
    am.am(toy.queue, str(user.directory))
    assert user("log", "--format=%s", "--skip=1", "-1") == "linux-source-5.10 5.10.9-1\n"
    # The entry is there, but without the line of the missing file.
    text = (user.directory / "MAINTAINERS").read_text()
    assert "COUNTERS\nM:\tThe Toy <toy@example.org>\n\nDELTA" in text
    assert "options" not in capsys.readouterr().out


def test_no_kdir(toy):
    with pytest.raises(Failure, match="make am KDIR=~/linux"):
        am.am(toy.queue, "")


def test_no_kernel(toy, user, tmp_path):
    refused(toy, user, "not the top of a kernel tree", kdir=tmp_path / "nowhere")
    refused(toy, user, "not the top of a kernel tree", kdir=tmp_path)
    refused(toy, user, "not the top of a kernel tree", kdir=user.directory / "drivers/dma-buf")


def test_no_git(toy, user, tmp_path):
    (user.directory / ".git").rename(tmp_path / "dotgit")
    with pytest.raises(Failure, match="not a git work tree.*patch -p1"):
        am.am(toy.queue, str(user.directory))
    assert not (user.directory / "drivers/dma-buf/new.c").exists()


def test_inside_another_git_tree(toy, user, tmp_path):
    (user.directory / ".git").rename(tmp_path / ".git")
    outer = Git(tmp_path, FIXED)
    refused(toy, outer, "a directory inside another git tree", kdir=user.directory)


def test_no_commit(toy, user):
    user("update-ref", "-d", "HEAD")
    refused(toy, user, "has no commit yet")


def test_unsupported(toy, user):
    commit(user, "Makefile", "VERSION = 5\nPATCHLEVEL = 15\n")
    refused(toy, user, r"is Linux 5.15; this queue supports 5.10, 6.1")


def test_dirty(toy, user):
    path = user.directory / "Kbuild"
    path.write_text("edited\n")
    refused(toy, user, "uncommitted changes; commit or stash them first:\n M Kbuild")
    user("add", "Kbuild")
    refused(toy, user, "uncommitted changes")


def test_untracked_files_matter_only_in_the_way(toy, user):
    (user.directory / "notes").write_text("mine\n")
    (user.directory / "drivers/dma-buf/new.c").write_text("mine\n")
    refused(toy, user, "untracked file drivers/dma-buf/new.c")
    (user.directory / "drivers/dma-buf/new.c").unlink()
    am.am(toy.queue, str(user.directory))
    assert (user.directory / "notes").read_text() == "mine\n"


def test_ignored_files_in_the_way(toy, user):
    commit(user, ".gitignore", "new.c\n")
    (user.directory / "drivers/dma-buf/new.c").write_text("mine\n")
    refused(toy, user, "untracked file drivers/dma-buf/new.c")


def test_in_progress(toy, user):
    user.attempt("rebase", "--exec", "false", "--root")
    refused(toy, user, "in the middle of a git rebase")


def test_a_part_of_the_queue(toy, user):
    am.am(toy.queue, str(user.directory))
    user("reset", "--quiet", "--hard", "HEAD~3")
    refused(toy, user, "has 3 of the queue's 6 patches already")


def test_a_squashed_queue(toy, user):
    head = user.commit("HEAD")
    am.am(toy.queue, str(user.directory))
    user("reset", "--quiet", "--soft", head)
    user("commit", "--quiet", "-m", "all of it")
    refused(toy, user, "has drivers/dma-buf/new.c already")


def test_a_toggle_that_is_there(toy, user):
    commit(user, "drivers/dma-buf/Kconfig", FILES["drivers/dma-buf/Kconfig"] + "config TOY\n\tbool\n")
    refused(toy, user, "has the option TOY in drivers/dma-buf/Kconfig already")


def test_no_identity(toy, user, tmp_path):
    (tmp_path / "gitconfig").write_text("")
    refused(toy, user, "git config --global user.name")


def test_a_conflict(toy, user):
    commit(user, "drivers/dma-buf/a.c", A_C.replace("return 8;", "return 7;"))
    refused(toy, user, r"does not apply to .*, which was not changed(.|\n)*"
                       r"a-fix.patch: hunk 2 of drivers/dma-buf/a.c \(line 35\)")


def test_each_conflict_is_named(toy, user):
    commit(user, "drivers/dma-buf/a.c", A_C.replace("return 8;", "return 7;").replace("return 12;", "return 13;"))
    commit(user, "Makefile", "VERSION = 5\nPATCHLEVEL = 10\nSUBLEVEL = 4\n")
    refused(toy, user, r"that is Linux 5.10.4; the queue was made for 5.10.9-1.\n2 of 6 patches do not apply:\n"
                       r"(.|\n)*a-fix.patch: hunk 2(.|\n)*tests.patch: hunk 1")


def refuse_new_c(user):
    """A user's hook that refuses the third patch; a rehearsal does not find it."""
    hook = user.directory / ".git/hooks/applypatch-msg"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\n! grep -q '^dma-buf: add new.c' \"$1\"\n")
    hook.chmod(0o755)


def test_a_failure_midway(toy, user):
    refuse_new_c(user)
    before = state(user)
    with pytest.raises(Failure, match="git am failed; .* is as it was before"):
        am.am(toy.queue, str(user.directory))
    assert state(user) == before


def test_an_interrupt_midway(toy, user, monkeypatch):
    refuse_new_c(user)
    before = state(user)
    attempt = Git.attempt

    def interrupted(self, *args, **kwargs):
        result = attempt(self, *args, **kwargs)
        if "am" in args and "--abort" not in args:
            assert user("log", "--format=%s", "-1") == "dma-buf: fix a3() and a8()\n"
            raise KeyboardInterrupt
        return result
    monkeypatch.setattr(Git, "attempt", interrupted)
    with pytest.raises(KeyboardInterrupt):
        am.am(toy.queue, str(user.directory))
    monkeypatch.undo()
    assert state(user) == before
