# SPDX-License-Identifier: GPL-2.0
"""The suite `docs`: which words of Sphinx count, and that a page that is not rendered does; and how the queue's texts are spelt."""

import dataclasses

import pytest

from base import config, steps
from suites import docs, lint
from suites.results import FAIL, PASS, Results
from weave import table

OLD = "drivers/dma-buf/a.c:7: WARNING: old"
PAGE, ABI = "Documentation/driver-api/new.rst", "Documentation/ABI/testing/new"
TEXTS = [*(config.ROOT / name for name in ("README.md", "CONTRIBUTING.md", "TESTED.md", "series", "Makefile")),
         config.ROOT / table.PAGES, config.HERE]
WORDS = (*lint.WORDS, "bu", "extraversion")        # what codespell takes for misspelt: a macro of manual pages, a variable of make


def test_what_is_new():
    assert docs.new(["a.c:1: bad", "a.c:2: worse"], ["a.c:9: worse", "a.c:8: bad"]) == []
    assert docs.new(["a.c:1: bad", "a.c:2: bad", "b.c:1: bad"], ["a.c:9: bad"]) == ["a.c:2: bad", "b.c:1: bad"]


@pytest.fixture
def judge(toy, tmp_path, monkeypatch):
    """Function: the verdicts where Sphinx says @said of the woven tree, OLD of both, and renders the pages unless they are @lost."""
    kernel = dataclasses.replace(toy.old)
    for root in (kernel.tree, kernel.pristine):
        for path, text in ((PAGE, "Page\n====\n\nSee drivers/dma-buf/a.c.\n"), (ABI, "What:\t/sys/new\n"), ("scripts/get_abi.pl", ""),
                           ("Documentation/conf.py", "kerneldoc_bin = ''"), ("MAINTAINERS", ""), ("drivers/dma-buf/a.c", "")):
            if root == kernel.tree or path not in (PAGE, ABI):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text)
    (tmp_path / "root" / "tools" / "queue").mkdir(parents=True)
    for name in ("README.md", "CONTRIBUTING.md", "tools/queue/cli.py"):
        (tmp_path / "root" / name).write_text("")
    monkeypatch.setattr(docs.config, "ROOT", tmp_path / "root")
    woven = type("Woven", (), {"edits": [PAGE, ABI, "drivers/dma-buf/a.c"]})
    monkeypatch.setattr(docs.mails, "woven", lambda queue, kernel: [woven])
    monkeypatch.setattr(docs, "PLACE", tmp_path / "docs")
    monkeypatch.setattr(docs.config, "BUILD", tmp_path / "build")
    monkeypatch.setattr(docs.config, "OUT", tmp_path / "out")

    def run(said="", lost=(), planted="index.rst:1: underline too short\nno-such-file.c"):
        def program(words, cwd, env):
            assert str(env["srctree"]) in map(str, (kernel.tree, kernel.pristine))
            if "sphinx-build" not in words:
                return 0, "What\n----\n\nABI file testing/new\n", ""
            source, html = words[-2:]
            for page in source.rglob("*.rst"):
                name = page.relative_to(source).with_suffix(".html")
                (html / name).parent.mkdir(parents=True, exist_ok=True)
                (html / name).write_text("" if name.stem in lost else f"<h1>{page.read_text()}</h1>")
            if source.parent.name == "planted":
                return 0, "", planted
            return 0, "", f"{env['srctree']}/{OLD}\n" + (said if source.parent.name == "queue" else "")
        monkeypatch.setattr(docs.steps, "attempt", program)
        results = Results()
        docs.check(kernel, results)
        return {result.test: (result.verdict, result.reason) for result in results.all}
    run.kernel = kernel
    return run


def test_an_old_warning_is_none(judge, tmp_path):
    found = judge(said="")
    assert {verdict for verdict, _ in found.values()} == {PASS}
    assert set(found) == {"planted", "warnings", "driver-api/new.rst", "ABI/testing/new", "paths"}
    assert "Page" in (tmp_path / "out/docs/5.10/driver-api/new.html").read_text()


def test_a_new_warning_fails(judge):
    verdict, reason = judge(said="driver-api/new.rst:3: WARNING: new")["warnings"]
    assert verdict == FAIL and "1, first: driver-api/new.rst:3: WARNING: new; see" in reason
    assert judge(said=f"{judge.kernel.tree}/{OLD}")["warnings"][0] == FAIL      # once more than before


def test_a_page_that_is_not_rendered_fails(judge):
    found = judge(lost=("new", "abi"))
    assert {name for name, (verdict, _) in found.items() if verdict == FAIL} == {"driver-api/new.rst", "ABI/testing/new"}


def test_a_blind_sphinx_fails(judge):
    assert judge(planted="index.rst:1: underline too short")["planted"] == (FAIL, "1, first: Sphinx does not report: no-such-file.c")


def test_paths_that_are_nowhere(judge):
    (judge.kernel.tree / PAGE).write_text("See drivers/dma-buf/none.c, drivers/dma-buf/a.c and drivers/dma-buf/*.c.\n")
    assert judge()["paths"] == (FAIL, "1, first: new.rst: drivers/dma-buf/none.c")
    # What the unpatched page names as well is not the queue's.
    (judge.kernel.pristine / PAGE).parent.mkdir(parents=True)
    (judge.kernel.pristine / PAGE).write_text("See drivers/dma-buf/none.c.\n")
    assert judge()["paths"][0] == PASS
    assert docs.unknown(r"drivers/dma\-buf/no.c", judge.kernel.tree) == ["drivers/dma-buf/no.c"]
    assert docs.unknown(r"drivers/dma\-buf/a.c, scripts/*.pl, tools/queue/cli.py, Documentation/queue/TOPIC.md", judge.kernel.tree) == []


def misspelt(*paths):
    return steps.attempt(["codespell", f"--ignore-words-list={','.join(WORDS)}", r"--ignore-regex=\\[nt]", *paths])[1].splitlines()


def test_spelling():
    """Of what no kernel gets; the suite lint has the patches."""
    planted = [line for line in misspelt(config.HERE / "lint") if "checkpatch.diff" in line]
    assert planted
    assert [line for line in misspelt(*TEXTS) if line not in planted] == []
