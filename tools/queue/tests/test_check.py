# SPDX-License-Identifier: GPL-2.0
"""What `make check` does on which kernel."""

import threading

import pytest

import check
from results import Results


@pytest.fixture
def done(monkeypatch):
    """What was done, in the order in which it ended, instead of doing it; guests of the last kernel end last."""
    log, lock, others = [], threading.Lock(), threading.Event()

    def note(what, kernel=None):
        with lock:
            log.append((what, kernel))
        if sum(entry[0] == "commits" for entry in log) == 2:
            others.set()

    monkeypatch.setattr(check.debian, "deps", lambda: None)
    monkeypatch.setattr(check, "Preparation", lambda: lambda kernel: None)
    monkeypatch.setattr(check, "weaver_tests", lambda results: note("weaver"))
    monkeypatch.setattr(check, "check_commits", lambda kernel, suites, results: note("commits", kernel))
    monkeypatch.setattr(check, "check_guests", lambda kernel, guests, control, results:
                        (others.wait(10) if kernel == "c" and "lint" in check_suites else None, note("guests", kernel)))
    monkeypatch.setattr(Results, "finish", lambda self: 0)
    check_suites = []

    def run(suites):
        check_suites[:] = suites
        check.main(["a", "b", "c"], list(suites))
        return log

    return run


def test_all_is_done_once(done):
    log = done(["queue", "lint", "kunit"])
    assert sorted(log, key=str) == sorted([("weaver", None)] + [(what, kernel) for what in ("commits", "guests") for kernel in "abc"], key=str)
    # The guests begin with the oldest kernel, the other lane with the newest.
    assert [kernel for what, kernel in log if what == "guests"] == ["a", "b", "c"]
    assert [kernel for what, kernel in log if what == "commits"][0] == "c"


@pytest.mark.parametrize("suite, what", [("kunit", "guests"), ("control", "guests"), ("lint", "commits"), ("build", "commits")])
def test_one_suite(done, suite, what):
    kernels = ["a", "b", "c"] if what == "guests" else ["c", "b", "a"]
    assert done([suite]) == [(what, kernel) for kernel in kernels]


def test_items_are_taken_once():
    shared = check.Shared("abc")
    first, second = iter(shared), iter(shared)
    assert [next(first), next(second), next(first)] == ["a", "b", "c"]
    assert list(first) == list(second) == []
