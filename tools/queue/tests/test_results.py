# SPDX-License-Identifier: GPL-2.0
"""How the output of tests becomes verdicts."""

import json

import pytest

from base import steps
from lab import build
from suites import igt, kselftest, kunit, results
from suites.results import FAIL, PASS, SKIP

HARNESS = """\
TAP version 13
1..4
# Starting 4 tests from 2 test cases.
#  RUN           global.good ...
#            OK  global.good
ok 1 global.good
#  RUN           prog.bad ...
# prog.c:12:bad:Expected 0 (0) == ret (-1)
# bad: Test failed at step #5
#          FAIL  prog.bad
not ok 2 prog.bad
#  RUN           prog.skipped ...
#      SKIP      no such device
ok 3 # SKIP no such device
#  RUN           other.good ...
ok 4 other.good
# FAILED: 3 / 4 tests passed.
"""


def test_the_harness():
    tap = kselftest.parse(HARNESS, 1)
    assert tap.errors == []
    assert [(kselftest.test_id("prog", name), verdict) for name, verdict, _ in tap.tests] == [
        ("prog.good", PASS), ("prog.bad", FAIL), ("prog.skipped", SKIP), ("other.good", PASS)]
    assert tap.tests[1][2] == "prog.c:12:bad:Expected 0 (0) == ret (-1)"
    assert tap.tests[2][2] == "no such device"


def test_a_program_that_skips_its_rest():
    text = "TAP version 13\n1..7\nok 1 drivers/x: [PASS,test-1]\n# drivers/x: [skip,no-memfd]\n"
    tap = kselftest.parse(text, kselftest.KSFT_SKIP)
    assert tap.errors == []
    assert tap.tests == [("test-1", PASS, ""), ("2-7", SKIP, "drivers/x: [skip,no-memfd]")]
    assert kselftest.parse(text, 0).errors == ["1 tests of 7 were run"]


def test_what_stands_behind_a_result():
    """In the form of ksft_test_result_code(): words, or the name of a result and words."""
    tap = kselftest.parse("TAP version 13\n1..3\nok 1 p.a # XFAIL known\nok 2 p.b #  fine\nnot ok 3 p.c #  was 3\n", 1)
    assert tap == kselftest.Tap([("p.a", PASS, ""), ("p.b", PASS, ""), ("p.c", FAIL, "was 3")])


def test_names_of_32_bit_tests():
    assert kselftest.test_id("compat.prog", "prog.bad") == "compat.prog.bad"
    assert kselftest.test_id("compat.prog", "global.bad") == "compat.prog.bad"
    assert kselftest.test_id("compat.prog", "") == "compat.prog"


@pytest.mark.parametrize("text,status,error", [
    (HARNESS.replace("1..4", "1..5"), 1, "4 tests of 5"),
    (HARNESS.replace("1..4\n", ""), 1, "no plan"),
    (HARNESS.replace("ok 4 other.good\n", ""), 1, "3 tests of 4"),
    (HARNESS.replace("ok 4", "ok 5"), 1, "test 5 where 4 is due"),
    ("1..1\nok 1 a\n", 139, "exit status 139"),
    ("1..1\nok 1 a\nBail out! no\n", 1, "Bail out!"),
], ids=["one-short", "no-plan", "one-missing", "misnumbered", "crashed", "bailed-out"])
def test_output_that_is_not_whole(text, status, error):
    assert any(error in found for found in kselftest.parse(text, status).errors)


@pytest.mark.parametrize("status,verdict", [(0, PASS), (4, SKIP), (1, FAIL), (137, FAIL)],
                         ids=["0", "4", "1", "137"])
def test_a_program_without_tap_is_judged_by_its_status(status, verdict):
    assert [test[1] for test in kselftest.parse("some words\n", status).tests] == [verdict]


def test_a_skip_needs_a_reason_in_the_table(tmp_path, monkeypatch):
    table = tmp_path / "skips.toml"
    table.write_text('[[skip]]\nkernels = ["5.10"]\nsuite = "igt"\ntest = "prime_*"\nreason = "no GPU"\n')
    monkeypatch.setattr(results, "SKIPS", table)
    found = results.Results()
    assert str(found.add("5.10", "igt", "prime_vgem", SKIP, "why")) == "SKIP 5.10 igt prime_vgem (no GPU)"
    assert found.add("5.10", "igt", "other", SKIP, "why").verdict == FAIL
    assert found.add("6.1", "igt", "prime_vgem", SKIP, "why").verdict == FAIL
    assert found.add("5.10", "kunit", "prime_vgem", SKIP, "why").verdict == FAIL


def test_the_report(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "REPORT", tmp_path / "report" / "results.json")
    found = results.Results()
    assert found.finish() == 1      # a run without tests is no success
    found.add("5.10", "kunit", "a.b", PASS, seconds=1.234)
    assert found.finish() == 0
    found.add("5.10", "kunit", "a.c", FAIL, "line one\nline two")
    assert found.finish() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 1 failed, 0 skipped"
    assert json.loads(results.REPORT.read_text()) == [
        {"kernel": "5.10", "suite": "kunit", "test": "a.b", "verdict": "PASS", "reason": "", "seconds": 1.23, "log": ""},
        {"kernel": "5.10", "suite": "kunit", "test": "a.c", "verdict": "FAIL", "reason": "line one", "seconds": 0.0, "log": ""}]


def test_igt_is_measured_against_the_control_kernel():
    def ran(**tests):
        return {name.replace("__", "."): (result, "", 0.0) for name, result in tests.items()}
    found = ran(a__same="fail", a__better="pass", a__worse="fail", a__warns="warn", b__x="skip", b__y="skip", a__gone="pass")
    control = ran(a__same="fail", a__better="fail", a__worse="pass", a__warns="pass", b__x="skip", b__y="skip",
                  a__lost="pass", a__gone="pass")
    del found["a.gone"]
    verdicts = {test: verdict for test, verdict, _, _ in igt.compared(found, control)}
    assert verdicts == {"a.same": PASS, "a.better": PASS, "a.worse": FAIL, "a.warns": PASS, "b": SKIP,
                        "a.lost": FAIL, "a.gone": FAIL}


def test_kunits_own_words_become_the_reason():
    lines = ["    # Subtest: suite", "    1..2", "    ok 1 - good",
             "    # bad: EXPECTATION FAILED at drivers/dma-buf/x-test.c:7", "    not ok 2 - bad", "not ok 1 - suite"]
    group = {"sub_groups": [{"name": "suite", "test_cases": [
        {"name": "good", "status": "PASS"}, {"name": "bad", "status": "FAIL"}, {"name": "off", "status": "SKIP"},
        {"name": "cut", "status": "ERROR"}]}]}
    assert list(kunit.cases(group, lines)) == [
        ("suite.good", PASS, ""), ("suite.bad", FAIL, "drivers/dma-buf/x-test.c:7"), ("suite.off", SKIP, "skip"),
        ("suite.cut", FAIL, "error")]


def test_a_sample_is_a_program(tmp_path):
    """Its exit status is its verdict; a sample with compiler warnings is not built."""
    place = tmp_path / "samples" / "dma-buf"
    place.mkdir(parents=True)
    good, bad = place / "good.c", place / "bad.c"
    good.write_text("int main(void) { return 0; }\n")
    bad.write_text("int main(void) { int unused; return 0; }\n")
    env, log = {"CFLAGS": "-Wall -static"}, tmp_path / "log"
    program = kselftest.sample("compat.", tmp_path, "samples/dma-buf/good.c", tmp_path, env, log)
    assert (program.name, program.source, program.tests) == ("compat.good", "samples/dma-buf/good.c", True)
    assert steps.attempt([program.path])[0] == 0
    with pytest.raises(steps.Failure, match="unused"):
        kselftest.sample("", tmp_path, "samples/dma-buf/bad.c", tmp_path, env, log)


def test_a_sample_that_needs_a_module():
    program = kselftest.Program("compat.release_watch", None, "")
    assert kselftest.item(program).command == (
        "cd /tmp && { [ -d /sys/module/release_notifier ] || insmod /test/kselftest/release_notifier.ko; } && "
        "/test/kselftest/compat.release_watch && { ! grep -q '^release_notifier ' /proc/modules || rmmod release_notifier; }")
    assert "insmod" not in kselftest.item(kselftest.Program("sync_file_bridge", None, "")).command


@pytest.mark.parametrize("code, verdict", [("int zero;", PASS), ("unknown_t zero;", FAIL)])
def test_programs_in_documents_have_to_compile(tmp_path, code, verdict):
    (tmp_path / "a.rst").write_text(f"Text\n\n.. code-block:: c\n\n  int part;\n\n.. code-block:: c\n\n  #include <errno.h>\n\n  {code}\n\nEnd\n")
    found = kselftest.examples(build.Image(tmp_path, tmp_path), ["a.rst", "b.c"])
    assert [entry[:2] for entry in found] == [("documentation.a", verdict)]
