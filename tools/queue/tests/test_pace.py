# SPDX-License-Identifier: GPL-2.0
"""What each line says about the whole run, and the profile at the end."""

from types import SimpleNamespace

import pytest

from suites import pace
from suites.pace import Pace


@pytest.fixture
def clock(monkeypatch, tmp_path):
    """A clock to set, and no earlier run."""
    monkeypatch.setattr(pace, "HERE", tmp_path / "here.json")
    monkeypatch.setattr(pace, "KEPT", tmp_path / "kept.json")
    monkeypatch.setattr(pace.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(pace.config, "kernel", lambda name: SimpleNamespace(tree=clock.tree))

    class clock:
        now = 1000.0
        tree = tmp_path / "tree"
    return clock


def run(clock, step=100, kernels=("5.10", "6.1"), tier="check", whole=True):
    """Two kernels with three tests each, one every @step seconds; returns the lines and the profile."""
    clock.now = 1000.0
    it = Pace(tier, kernels, ["kunit"], whole)
    said = []
    for kernel in kernels:
        with it.timed("guest", kernel):
            for _ in range(3):
                clock.now += step
                said.append(it.note(kernel, "kunit"))
    return said, it.finish()


def test_the_first_run_knows_nothing(clock):
    said, profile = run(clock)
    assert said[0] == "[1 done, part 1 of 2]" and said[-1] == "[6 done, part 2 of 2]"
    assert profile == ["seconds  5.10  6.1", "guest     300  300", "all of it: 600 s"]


def test_the_next_one_knows(clock):
    run(clock)
    said, _ = run(clock)
    assert said == ["[1/6, about 8 min left]", "[2/6, about 7 min left]", "[3/6, about 5 min left]",
                    "[4/6, about 3 min left]", "[5/6, about 2 min left]", "[6/6, about 0 s left]"]


def test_a_slower_machine(clock):
    run(clock)
    said, _ = run(clock, step=200)
    assert said[2] == "[3/6, about 10 min left]"


def test_a_part_of_it(clock):
    run(clock)
    said, _ = run(clock, kernels=("6.1",), whole=False)
    assert said == ["[1/3]", "[2/3]", "[3/3]"]      # the time is not known yet
    assert run(clock, kernels=("6.1",), whole=False)[0][0] == "[1/3, about 3 min left]"


def test_a_run_that_goes_on_where_one_was_stopped(clock):
    run(clock)
    it = Pace("check", ("5.10", "6.1"), ["kunit"], True)
    it.kept([SimpleNamespace(kernel="5.10", suite="kunit")] * 3, {})
    assert it.note("6.1", "kunit") == "[4/6, about 3 min left]"     # two thirds of half of ten minutes


def test_more_tests_than_before(clock):
    run(clock, kernels=("5.10",))
    it = Pace("check", ("5.10",), ["kunit"], True)
    for _ in range(4):
        line = it.note("5.10", "kunit")
    assert line.startswith("[4/4")
    assert it.note("5.10", "igt").startswith("[5/5")


def test_what_is_kept_for_others(clock):
    run(clock)
    run(clock, kernels=("6.1",), whole=False)
    assert pace.keep() and not pace.keep()
    pace.HERE.unlink()
    assert run(clock)[0][0] == "[1/6, about 8 min left]"
    assert run(clock, kernels=("5.10",), whole=False)[0][0] == "[1/3]"
    # pace.json is for machines without earlier builds: a run with earlier builds is not kept.
    clock.tree.mkdir()
    run(clock, step=10)
    assert not pace.keep()


def test_what_does_not_count(clock):
    it = Pace("check-full", ["5.10"], ["lint", "kunit"], True)
    it.kept([SimpleNamespace(kernel="5.10", suite="lint")] * 3, {})
    assert it.note("5.10", "kunit") == "[4 done, part 2 of 2]"
    it.finish()
    broken = Pace("check", ["5.10"], ["kunit"], True)
    broken.note("5.10", "kunit")
    broken.finish(through=False)
    assert pace.load(pace.HERE) == {}
