# SPDX-License-Identifier: GPL-2.0
"""Which warnings of sparse and checkpatch count: those that the unpatched source does not have and that are not excepted."""

import pytest

from suites import lint
from suites.results import FAIL, PASS, Results

OLD = ("drivers/a.c", "warning: old")
NEW = ("../drivers/a.c", "warning: new")
TOUCHED = {"drivers/a.c": "M", "drivers/b.c": "A"}


@pytest.fixture
def judge(toy, tmp_path, monkeypatch):
    """Function: the verdicts on warnings of the woven source; `before`: sparse's warnings for the unpatched one; `asked`: the runs."""
    (tmp_path / "sparse.known").write_text(f"# words\n5.10 {OLD[0]}: {OLD[1]}\n6.1 drivers/b.c: warning: x\n")
    monkeypatch.setattr(lint, "PLANTED", tmp_path)
    monkeypatch.setattr(lint.config, "queue", lambda: toy.queue)
    monkeypatch.setattr(lint.commits, "checkout", lambda kernel: (None, None))
    monkeypatch.setattr(lint.debian, "sparse", lambda: ["sparse"])

    def run(warnings, short, checked=("drivers/a.c", "drivers/b.c")):
        it = lint.Lint.__new__(lint.Lint)
        it.kernel, it.results, it.log = toy.old, Results(), tmp_path / "log"

        def unpatched(git, commit, sources, command):
            run.asked += 1
            return set(), set(run.before), None
        monkeypatch.setattr(it, "warnings", unpatched)
        it.sparse_judge(TOUCHED, set(checked), set(warnings), short)
        return {result.test: result.verdict for result in it.results.all}
    run.before, run.asked = [OLD], 0
    return run


def test_what_is_known(judge):
    assert judge([OLD], short=True) == {"sparse.drivers/a.c": PASS, "sparse.drivers/b.c": PASS}
    assert judge.asked == 0


def test_what_is_new(judge):
    assert judge([OLD, NEW], short=True)["sparse.drivers/a.c"] == FAIL
    judge.before = [OLD, NEW]
    assert judge([OLD, NEW], short=True)["sparse.drivers/a.c"] == PASS and judge.asked == 2


def test_another_source_is_looked_at_itself(judge, toy, tmp_path):
    toy.old.pristine.rename(tmp_path / "gone")
    judge([OLD], short=True)
    assert judge.asked == 1


def test_what_is_known_is_compared(judge):
    assert judge([OLD], short=False)["sparse.known"] == PASS
    judge.before = [OLD, NEW]
    assert judge([OLD, NEW], short=False)["sparse.known"] == FAIL      # one more
    judge.before = []
    assert judge([OLD], short=False)["sparse.known"] == FAIL           # one less
    assert judge([OLD], short=False)["sparse.drivers/a.c"] == FAIL


def test_what_sparse_never_saw(judge):
    assert judge([], short=True, checked=["drivers/a.c"])["sparse.drivers/b.c"] == FAIL


@pytest.mark.parametrize("said, alone, bad", [
    ([], {}, set()),
    (["Warning: /t/drivers/a.c:3 no"], {"drivers/a.c": ["x"]}, {"drivers/a.c"}),
    (["Traceback: error"], {"drivers/b.c": ["x"]}, {"drivers/b.c"}),       # not for a certain file: each is checked alone
    (["Warning: /t/drivers/old.c:9 known"], {"drivers/old.c": ["moved"]}, set()),
])
def test_kernel_doc_of_all_at_once(toy, tmp_path, monkeypatch, said, alone, bad):
    monkeypatch.setattr(lint.config, "BUILD", tmp_path)
    monkeypatch.setattr(lint.source, "tools_tree", lambda: tmp_path)
    asked = []

    def doc_warnings(self, root, *paths):
        asked.append(paths)
        if root == lint.PLANTED:
            return ["planted"]
        return said if len(paths) > 1 else alone.get(paths[0], []) if root == toy.old.tree else [f"{paths[0]} before"] * ("old" in paths[0])
    monkeypatch.setattr(lint.Lint, "doc_warnings", doc_warnings)
    results = Results()
    lint.Lint(toy.old, results).kernel_doc({"drivers/a.c": "A", "drivers/b.c": "A", "drivers/old.c": "M", "drivers/gone.c": "D"})
    assert {result.test.removeprefix("kernel-doc.") for result in results.all if result.verdict == FAIL} == bad
    assert len(results.all) == 4 and (said or len(asked) == 2)


def test_kernel_doc_that_crashes(toy, tmp_path, monkeypatch):
    """Files that it did not reach, because of an earlier file, are checked separately."""
    monkeypatch.setattr(lint.config, "BUILD", tmp_path)
    monkeypatch.setattr(lint.source, "tools_tree", lambda: tmp_path)
    monkeypatch.setattr(lint, "PLANTED", tmp_path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/kernel-doc").write_text(
        "import sys\n"
        "for path in sys.argv[2:]:\n"
        "    text = open(path).read()\n"
        "    {}[text] if text == 'crash' else print(f'Warning: {path}:1 no') if text == 'bad' else None\n")
    (tmp_path / "kernel-doc.h").write_text("bad")
    files = {"drivers/a.c": "fine", "drivers/b.c": "crash", "drivers/c.c": "bad", "drivers/d.c": "fine"}
    for path, text in files.items():
        (toy.old.tree / path).parent.mkdir(parents=True, exist_ok=True)
        (toy.old.tree / path).write_text(text)
    results = Results()
    lint.Lint(toy.old, results).kernel_doc(dict.fromkeys(files, "A"))
    assert {result.test: result.verdict for result in results.all} == {
        "kernel-doc.planted": PASS, "kernel-doc.drivers/a.c": PASS, "kernel-doc.drivers/b.c": FAIL,
        "kernel-doc.drivers/c.c": FAIL, "kernel-doc.drivers/d.c": PASS}


def test_the_tree_as_checkpatch_sees_it(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(lint.config, "BUILD", tmp_path)
    monkeypatch.setattr(lint.source, "tools_tree", lambda: tmp_path)
    for path in ("COPYING", "drivers/a.c", "scripts/get_maintainer.pl", "scripts/spdxcheck.py"):
        (toy.old.tree / path).parent.mkdir(parents=True, exist_ok=True)
        (toy.old.tree / path).touch()
    it = lint.Lint(toy.old, Results())
    for _ in range(2):
        it.make_root()
        assert (it.root / "COPYING").exists() and (it.root / "drivers/a.c").exists()
        assert [path.name for path in (it.root / "scripts").iterdir()] == ["spdxcheck.py"]
    assert (toy.old.tree / "scripts/get_maintainer.pl").exists()


PATCH = """\
Subject: [PATCH] trace

---
--- a/include/trace/events/dma_fence.h
+++ b/include/trace/events/dma_fence.h
@@ -1 +1 @@
-a(
+b(
--- a/drivers/a.c
+++ b/drivers/a.c
@@ -1 +1 @@
+c(
"""


@pytest.mark.parametrize("complaint, wanted", [
    ("8: CHECK:OPEN_ENDED_LINE: Lines should not end with a '('", False),
    ("8: CHECK:PARENTHESIS_ALIGNMENT: Alignment should match open parenthesis", False),
    ("8: ERROR:SPACING: space required", True),
    ("12: CHECK:OPEN_ENDED_LINE: Lines should not end with a '('", True),       # for another file
    ("1: WARNING:OPEN_ENDED_LINE: of the message", True),
    ("exit status 2", True),
])
def test_layout_of_trace_events_is_passed_over(tmp_path, complaint, wanted):
    patch = tmp_path / "a.patch"
    patch.write_text(PATCH)
    assert lint.counts(patch, complaint) == wanted


@pytest.mark.parametrize("status, said, left", [
    (1, ["8: CHECK:OPEN_ENDED_LINE: no", "12: CHECK:OPEN_ENDED_LINE: no"], ["12: CHECK:OPEN_ENDED_LINE: no"]),
    (1, ["8: CHECK:OPEN_ENDED_LINE: no"], []),      # not mistaken for a failure of checkpatch
    (2, [], ["it died"]),
])
def test_what_checkpatch_complains_of(toy, tmp_path, monkeypatch, status, said, left):
    patch = tmp_path / "a.patch"
    patch.write_text(PATCH)
    monkeypatch.setattr(lint.config, "BUILD", tmp_path)
    monkeypatch.setattr(lint.source, "tools_tree", lambda: tmp_path)
    monkeypatch.setattr(lint.steps, "attempt", lambda *a, **k: (status, "".join(f"{patch}:{line}\n" for line in said), "it died\n"))
    assert lint.Lint(toy.old, Results()).complaints([patch]) == {patch: left}
