# SPDX-License-Identifier: GPL-2.0
"""Compiling the last commit: what it finds, in each run."""

from types import SimpleNamespace

import pytest

from base import gitcmd
from base.steps import Failure
from lab import debian
from suites import commits, tip
from suites.results import FAIL, PASS, Results


@pytest.fixture
def tried(toy, monkeypatch):
    """Function: the verdicts of tip.check(); `says`: the compiler's warnings, by toggles off or not; `fails`: whether it fails."""
    toy.make(toy.old)
    state = SimpleNamespace(says={}, known=set(), fails=None, sparse="", targets=["drivers/dma-buf/"])
    objects = toy.old.tree / ".obj"

    class Variant(commits.Variant):
        def __init__(self, tree, kernel, arch):
            self.tree, self.arch, self.name, self.logs = tree, arch, arch, toy.root
            self.toggles, self.off = {"CONFIG_TOY": "y"}, ()
            self.kbuild = SimpleNamespace(obj=objects, log=None)

        def configure(self, off=()):
            self.off = off

        def targets(self, paths, included):
            return state.targets

        def make(self, number, targets, *words):
            if self.tree != toy.old.tree:
                return state.known
            # Deleted, so that it warns again; with toggles off make only compiles objects that change.
            assert (objects / "drivers/dma-buf/a.o").exists() == bool(self.off)
            (objects / "drivers/dma-buf").mkdir(parents=True, exist_ok=True)
            (objects / "drivers/dma-buf/a.o").touch()
            if state.fails == bool(self.off):
                raise Failure(f"{self.name}: a.c:1: error: x; see the log\nmore")
            return set(state.says.get(bool(self.off), ()))

    monkeypatch.setattr(commits, "Variant", Variant)
    monkeypatch.setattr(commits, "checkout", lambda kernel: (gitcmd.own(toy.old.pristine, toy.queue), None))
    monkeypatch.setattr(debian, "sparse", lambda: ["sparse"])
    monkeypatch.setattr(tip.commits.config, "queue", lambda: toy.queue)
    monkeypatch.setattr(commits, "CONFIGS", ("x86_64", "arm64"))
    judged, asked = [], []

    def run_sparse(variant, targets, command):
        asked.append((variant.name, targets))
        return state.sparse
    lint = SimpleNamespace(run_sparse=run_sparse, sparse_planted=lambda command: None,
                           sparse_judge=lambda touched, seen, warnings, short: judged.append((seen, warnings)))

    def run(suites=("build", "lint")):
        results = Results()
        tip.check(toy.old, suites, results, lint if "lint" in suites else None)
        return {result.test: (result.verdict, result.reason) for result in results.all}
    run.state, run.judged, run.asked = state, judged, asked
    return run


def test_all_is_well(tried):
    found = tried()
    # The toy's sources are in the subsystem, and were all compiled.
    assert found == {name: (PASS, "") for name in ("tip-x86_64-toggles-on", "tip-x86_64-toggles-off", "tip-arm64-toggles-on",
                                                   "tip-arm64-toggles-off", "coverage")}
    assert tried() == found     # objects that are up to date are compiled again


@pytest.mark.parametrize("off", [False, True])
def test_an_error(tried, off):
    tried.state.fails = off
    found = tried()
    name = f"tip-arm64-toggles-{'off' if off else 'on'}"
    assert found[name] == (FAIL, "arm64: a.c:1: error: x; see the log")
    assert found[f"tip-arm64-toggles-{'on' if off else 'off'}"][0] == PASS


def test_an_error_is_one_of_lint_alone_as_well(tried):
    tried.state.fails = False
    assert tried(("lint",)) == {"sparse": (FAIL, "x86_64: a.c:1: error: x; see the log")} and not tried.judged
    assert tried()["sparse"][0] == FAIL and "coverage" not in tried()


def test_a_warning_of_the_queue_and_one_of_the_kernel(tried):
    tried.state.says = {True: {("a.c", "warning: new"), ("a.c", "warning: old")}}
    tried.state.known = {("a.c", "warning: old")}
    for _ in range(2):      # the second time as well
        found = tried()
        assert found["tip-x86_64-toggles-off"] == (FAIL, "x86_64, toggles off: a.c: warning: new")
        assert found["tip-x86_64-toggles-on"][0] == PASS


def test_what_sparse_says(tried):
    tried.state.sparse = "  CHECK   ../drivers/dma-buf/a.c\ndrivers/dma-buf/a.c:3:4: warning: address spaces\n"
    assert tried(("lint",)) == {}       # reported to the Lint; no toggle is turned off without need
    assert tried.judged == [({"drivers/dma-buf/a.c"}, {("drivers/dma-buf/a.c", "warning: address spaces")})]


@pytest.mark.parametrize("checked, second", [
    ("ab", None),
    ("a", ["drivers/x/b.o"]),
    ("", ["drivers/dma-buf/", "drivers/dma-buf/a.o", "drivers/x/b.o"]),
])
def test_sparse_looks_at_each_source_once(tried, checked, second):
    tried.state.targets = ["drivers/dma-buf/", "drivers/dma-buf/a.o", "drivers/x/b.o"]
    paths = {"a": "drivers/dma-buf/a.c", "b": "drivers/x/b.c"}
    tried.state.sparse = "".join(f"  CHECK   ../{paths[name]}\n" for name in checked)
    tried(("lint",))
    assert tried.asked == [("x86_64", tried.state.targets)] + ([("arm64", second)] if second else [])


@pytest.mark.parametrize("again, toggles, left", [(True, "on", False), (False, "on", True), (True, "off", True)])
def test_what_is_up_to_date(tmp_path, again, toggles, left):
    built = tmp_path / "drivers/dma-buf/a.o"
    built.parent.mkdir(parents=True)
    built.touch()
    variant = SimpleNamespace(log=lambda number: tmp_path / "log", configure=lambda off=(): None, toggles={}, name="v", arch="x",
                              targets=lambda paths, included: ["drivers/dma-buf/"], make=lambda number, targets: set(),
                              kbuild=SimpleNamespace(obj=tmp_path))
    assert tip.compile_all(variant, toggles, [], again=again) == (["drivers/dma-buf/"], "", set())
    assert built.exists() == left


def test_an_unpatched_source_that_does_not_compile(toy, monkeypatch):
    """There is nothing to compare warnings with."""
    def unpatched(kernel, arch, targets):
        raise Failure("x86_64: no base\nmore")
    monkeypatch.setattr(tip, "unpatched", unpatched)
    variant = SimpleNamespace(name="v", arch="x86_64")
    assert tip.judged(toy.old, variant, "on", ["a.o"], "", {("a.c", "warning: w")}) == ([], ["x86_64: no base"])
    assert tip.judged(toy.old, variant, "on", ["a.o"], "", set()) == (["a.o"], [])
