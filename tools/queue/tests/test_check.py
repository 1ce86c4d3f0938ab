# SPDX-License-Identifier: GPL-2.0
"""What `make check` and `make check-full` do on which kernel, and which results they keep."""

import threading

import pytest

from base import config
from base.steps import Failure
from conftest import FILES
from suites import check, full
from suites.results import FAIL, PASS, Results

ALL = [kernel.name for kernel in config.kernels()]


@pytest.fixture
def log(monkeypatch):
    """Records the work, in the order in which it ends, instead of doing it."""
    found, lock = [], threading.Lock()

    def note(what, kernel, result=None):
        with lock:
            found.append((what, kernel.name if kernel else None))
        return result

    monkeypatch.setattr(check.source, "announce", lambda kernels, which: None)
    monkeypatch.setattr(check.debian, "deps", lambda more=(): None)
    # On a full disk the kernels' real files would be deleted.
    monkeypatch.setattr(check.room, "free", lambda: check.room.SPARE)
    monkeypatch.setattr(check.Preparation, "prepare", lambda self, kernel: note("tree", kernel, check.tree.Stack("")))
    monkeypatch.setattr(Results, "finish", lambda self: 0)
    monkeypatch.setattr(check.promises, "weaver", lambda results: note("weaver", None))
    monkeypatch.setattr(check.readme, "check", lambda results: note("readme", None))
    monkeypatch.setattr(check.Check, "for_guest", lambda self, kernel: note("kernel", kernel))
    monkeypatch.setattr(check.Check, "for_xen", lambda self, kernel: note("xen's kernel", kernel))
    monkeypatch.setattr(check.Check, "boot_guest", lambda self, kernel: note("guest", kernel, self.built[kernel.name].result()))
    monkeypatch.setattr(check.Check, "boot_xen", lambda self, kernel: note("xen", kernel, self.xen.result()))
    monkeypatch.setattr(check.Check, "check_kernel", lambda self, kernel: note("patches", kernel))
    return found


def kernels_of(log, what):
    return [kernel for found, kernel in log if found == what]


def test_all_is_done_once(log):
    check.main(config.kernels(), [])
    assert log.count(("weaver", None)) == 1
    assert log[-1] == ("readme", None), "the README's commands use what the others build"
    for what in ("kernel", "guest", "patches"):
        assert sorted(kernels_of(log, what)) == sorted(ALL), what
    # The kernels with the longest runs are built first; Xen is started with one.
    assert kernels_of(log, "kernel") == [ALL[0], ALL[-1], *ALL[1:-1]]
    assert kernels_of(log, "xen's kernel") == kernels_of(log, "xen") == ALL[:1]
    assert all(log.index(("kernel", name)) < log.index(("guest", name)) for name in ALL)


@pytest.mark.parametrize("suite, done", [
    ("kunit", {"kernel", "guest"}), ("stress", {"kernel", "guest"}), ("lint", {"patches"}), ("build", {"patches"}),
    ("queue", {"weaver", "patches"}), ("xen", {"xen's kernel", "xen"})])
def test_one_suite_of_one_kernel(log, suite, done):
    check.main([config.kernels()[1]], [suite])
    assert {what for what, _ in log} == done
    assert {kernel for _, kernel in log} - {None} == {ALL[1]}


def test_a_suite_that_is_not_there(log):
    with pytest.raises(Failure, match="no suite control here; there is: queue .*make check-full"):
        check.main(config.kernels(), ["control"])
    with pytest.raises(Failure, match="no suite nonsense here"):
        full.main(config.kernels(), ["nonsense"])


def test_one_kernel_that_cannot_be_built(log, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(Results, "finish", lambda self: seen.extend(self.all) or 1)

    def broken(self, kernel):
        if kernel.name == ALL[0]:
            raise Failure("no compiler")
        log.append(("kernel", kernel.name))
    monkeypatch.setattr(check.Check, "for_guest", broken)
    assert check.main(config.kernels(), ["kunit", "lint"]) == 1
    assert [(result.kernel, result.verdict, result.reason) for result in seen] == [(ALL[0], FAIL, "no compiler")]
    assert sorted(kernels_of(log, "guest")) == sorted(ALL[1:]) and len(kernels_of(log, "patches")) == 4
    assert "error: no compiler" in capsys.readouterr().err


def test_the_same_failure_of_two_kernels_and_one_that_nobody_thought_of(log, monkeypatch, capsys):
    seen = []
    monkeypatch.setattr(Results, "finish", lambda self: seen.extend(self.all) or 1)

    def broken(self, kernel):
        if kernel.name == ALL[2]:
            raise OSError("no room")
        raise Failure("no network")
    monkeypatch.setattr(check.Check, "check_kernel", broken)
    monkeypatch.setattr(check.promises, "weaver", lambda results: {}["nothing"])
    assert check.main(config.kernels(), []) == 1
    assert {(result.kernel, result.reason) for result in seen} == {
        ("-", "KeyError: 'nothing'"), (ALL[2], "OSError: no room"), *((name, "no network") for name in ALL if name != ALL[2])}
    assert len(seen) == 5 and all(result.verdict == FAIL for result in seen)
    assert len(kernels_of(log, "guest")) == 4       # the other lanes continued
    assert "Traceback" in capsys.readouterr().err


def test_patches_that_are_left_out(monkeypatch):
    kernel = config.kernels()[0]
    monkeypatch.setattr(check.source, "get", lambda kernel, which: None)
    monkeypatch.setattr(check.tree, "make", lambda queue, kernel: check.tree.Stack("", left={
        "a.patch": "hunk 1 does not apply", "b.patch": "needs a.patch"}))
    monkeypatch.setattr(check.room, "after_preparing", lambda kernel: None)
    results = Results()
    prepare = check.Preparation("", results)
    assert list(prepare(kernel).left) == list(prepare(kernel).left) == ["a.patch", "b.patch"]
    assert [str(result) for result in results.all] == [
        "FAIL 5.10 queue applies.a.patch (hunk 1 does not apply)", "FAIL 5.10 queue applies.b.patch (needs a.patch)"]


# check-full

@pytest.fixture
def parts(log, monkeypatch, tmp_path):
    """Function: the parts that a run of check-full does; a suite in `broken` fails, the parts depend on `inputs`."""
    class State:
        broken, inputs, done, stops = set(), {}, [], None

    def suite(name, kernel, results):
        State.done.append(f"{kernel} {name}")
        results.add(kernel, name, "test", FAIL if name in State.broken else PASS)

    def alone(kernel, suites, control, results, save):
        for name in [*suites, *["control"] * control]:
            suite(name, kernel.name, results)
            save(name)
            if name == State.stops:
                raise Failure("stopped")

    monkeypatch.setattr(full, "HERE", tmp_path / "full")
    monkeypatch.setattr(full, "tools_hash", lambda: "tools")
    monkeypatch.setattr(full, "inputs", lambda kernel, tools: State.inputs.get(full.name_of(kernel), "same"))
    monkeypatch.setattr(full, "check_alone", alone)
    monkeypatch.setattr(full.source, "restore_files", lambda kernel: None)
    monkeypatch.setattr(full.origin, "recorded", lambda queue, kernel: ("", "1.2.3"))
    monkeypatch.setattr(full.promises, "weaver", lambda results: suite("queue", "-", results))
    monkeypatch.setattr(full.promises, "check", lambda kernel, left, results: suite("queue", kernel.name, results))
    monkeypatch.setattr(full.lint, "Lint", lambda kernel, results: type("Lint", (), {"run": lambda self: suite("lint", kernel.name, results)})())
    monkeypatch.setattr(full.readme, "check", lambda results, slow: None)
    monkeypatch.setattr(full.docs, "check", lambda kernel, results: suite("docs", kernel.name, results))
    monkeypatch.setattr(full.alone, "check", lambda kernel, results: suite("topics", kernel.name, results))
    monkeypatch.setattr(full.commits, "check", lambda kernel, results: suite("build", kernel.name, results))
    monkeypatch.setattr(full.xensuite, "check", lambda kernel, results: suite("xen", kernel.name, results))
    monkeypatch.setattr(full.clients, "check", lambda kernel, results: suite("clients", kernel.name, results))

    def run(kernels=None, suites=(), force=False):
        State.done = []
        counted = []
        monkeypatch.setattr(Results, "finish", lambda self: counted.extend(self.all))
        full.main(kernels or config.kernels(), list(suites), force=force)
        run.results = counted
        return State.done
    run.state = State
    return run


def test_what_passed_is_kept(parts, capsys):
    everything = {f"{name} {suite}" for name in ALL for suite in full.SUITES} | {"- queue"}
    assert set(parts()) == everything and len(parts.results) == len(everything)
    capsys.readouterr()
    assert parts() == [] and len(parts.results) == len(everything)      # its results still count
    assert capsys.readouterr().out.count("kept: ") == len(everything)
    assert set(parts(force=True)) == everything


def test_what_failed_is_run_again(parts):
    parts.state.broken = {"lint"}
    parts()
    parts.state.broken = set()
    assert sorted(parts()) == sorted(f"{name} lint" for name in ALL)
    assert parts() == []


def test_other_inputs(parts):
    parts()
    parts.state.inputs = {ALL[1]: "others"}
    assert set(parts()) == {f"{ALL[1]} {suite}" for suite in full.SUITES}


def test_what_changes_meanwhile_is_not_kept(parts, monkeypatch, capsys):
    def changed(kernel, results):
        results.add(kernel.name, "build", "test", PASS)
        parts.state.inputs = {ALL[0]: "others"}
    monkeypatch.setattr(full.commits, "check", changed)
    kernel = config.kernels()[0]
    parts([kernel], ["build"])
    assert "changed during the run: build not kept" in capsys.readouterr().out
    assert full.load(full.part_file(kernel, "build")) is None


def test_what_passed_before_a_stop_is_kept(parts):
    kernel = config.kernels()[0]
    parts.state.stops = "igt"
    done = parts([kernel])
    assert f"{kernel.name} control" not in done and f"{kernel.name} xen" in done     # Xen is a separate part
    parts.state.stops = None
    assert set(parts([kernel])) == {f"{kernel.name} stress", f"{kernel.name} control"}


def test_with_patches_left_out_nothing_is_kept(parts, monkeypatch):
    monkeypatch.setattr(check.Preparation, "prepare", lambda self, kernel: check.tree.Stack("", left={"a.patch": "x"}))
    kernel = config.kernels()[0]
    assert parts([kernel], ["lint"]) == parts([kernel], ["lint"]) == [f"{kernel.name} lint"]


def test_parts_of_it(parts):
    kernel = config.kernels()[2]
    assert set(parts([kernel], ["lint", "control"])) == {f"{kernel.name} lint", f"{kernel.name} control"}
    assert set(parts([kernel], ["lint", "build"])) == {f"{kernel.name} build"}


def test_what_a_part_depends_on(toy, monkeypatch):
    monkeypatch.setattr(full.config, "queue", lambda: toy.queue)
    before = full.inputs(toy.old, "tools"), full.inputs(toy.new, "tools")
    assert before == (full.inputs(toy.old, "tools"), full.inputs(toy.new, "tools"))
    assert full.inputs(toy.old, "others") != before[0]
    toy.edit("drivers/dma-buf/old-only.patch", "Only old", "Merely old")
    assert full.inputs(toy.old, "tools") != before[0] and full.inputs(toy.new, "tools") == before[1]
    # A source of the same version with other content is another source.
    toy.old.pristine.rename(toy.root / "gone")
    toy.pristine(toy.old, {**FILES, "Kbuild": "other\n"})
    now = full.inputs(toy.old, "tools")
    toy.old.pristine.rename(toy.root / "gone too")
    assert now != full.inputs(toy.old, "tools")


def test_only_the_docs_depend_on_the_queues_own_pages(monkeypatch):
    before = full.wanted("state", "docs")
    assert full.wanted("state", "lint") == "state" and before == full.wanted("state", "docs") != "state"
    monkeypatch.setattr(full.docs, "texts", lambda: [config.ROOT / "README.md"])
    assert full.wanted("state", "docs") != before
