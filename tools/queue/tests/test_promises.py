# SPDX-License-Identifier: GPL-2.0
"""What is promised of `make am`, also where some patches do not apply."""

from types import SimpleNamespace

import pytest

from conftest import A_C, FILES
from suites import promises
from suites.results import FAIL, PASS, SKIP, Results
from weave import mails
from weave.tree import Stack


@pytest.fixture
def kernel(toy, monkeypatch):
    monkeypatch.setattr(promises.config, "queue", lambda: toy.queue)
    toy.make(toy.old)
    return toy.old


def am(monkeypatch, toy, status=0, output=""):
    """A fake `make am`: its output, and whether it applies the patches."""
    def command(*args, env=None):
        if status == 0:
            git = promises.gitcmd.own(args[2], toy.queue)
            git("am", "--quiet", *mails.write(toy.queue, toy.old))
        return status, output
    monkeypatch.setattr(promises, "command", command)


def test_all_apply(toy, kernel, monkeypatch):
    am(monkeypatch, toy)
    assert promises.am_gives_tree(kernel, Stack("")) is None
    (kernel.tree / "drivers/dma-buf/new.c").write_text("other\n")
    toy.git(kernel)("commit", "--quiet", "-a", "-m", "x")
    assert "other files" in promises.am_gives_tree(kernel, Stack(""))
    am(monkeypatch, toy, 1, "error: no\nmore")
    assert promises.am_gives_tree(kernel, Stack("")) == "error: no; more"


def test_what_the_user_has(toy, kernel):
    git, touched = promises.users_tree(kernel)
    assert sorted(git("ls-files").split()) == sorted({*FILES, "Makefile"}) and "drivers/dma-buf/new.c" in touched


@pytest.mark.parametrize("status, output, fine", [
    (1, "a.patch: a.5.10.patch: hunk 1\nb.patch: the tree has this already", True),
    (1, "a.patch: hunk 1", False), (0, "", False)])
def test_where_some_do_not_it_names_them_all(toy, kernel, monkeypatch, status, output, fine):
    am(monkeypatch, toy, status, output)
    reason = promises.am_gives_tree(kernel, Stack("", left={"a.patch": "hunk 1"}, there=["b.patch"]))
    assert (reason is None) == fine and (fine or "name a.patch b.patch" in reason)


def test_refresh_is_promised_for_the_tested_source(toy, kernel, monkeypatch, tmp_path):
    for name in ("series_repeats", "refresh_leaves_no_diff"):
        monkeypatch.setattr(promises, name, lambda kernel: None)
    monkeypatch.setattr(promises, "am_gives_tree", lambda kernel, made: None)

    def verdicts():
        results = Results()
        promises.check(kernel, Stack(""), results)
        return [result.verdict for result in results.all]
    monkeypatch.setattr(promises.tree, "unlike_pin", lambda queue, kernel: "it is another")
    assert sorted(verdicts()) == [FAIL, PASS, PASS, PASS, PASS, PASS], "the pin, and two topics"
    kernel.pristine.rename(tmp_path / "gone")
    toy.pristine(kernel, {**FILES, "drivers/dma-buf/a.c": A_C}, "linux-source-5.10 5.10.10-1")
    assert verdicts() == [PASS, PASS, SKIP]


def test_the_weavers_own_tests(monkeypatch, tmp_path):
    report = """<testsuite><testcase classname="tests.test_a" name="one"/><testcase classname="tests.test_a" name="two">
                <failure message="no"/></testcase></testsuite>"""
    monkeypatch.setattr(promises.config, "BUILD", tmp_path)

    def attempt(cmd, cwd):
        (tmp_path / "pytest.xml").write_text(report)
        return 1, "", ""
    monkeypatch.setattr(promises, "steps", SimpleNamespace(attempt=attempt))
    results = Results()
    promises.pytest(results)
    assert [str(result) for result in results.all] == ["PASS - queue test_a.one", "FAIL - queue test_a.two (no)"]
