# SPDX-License-Identifier: GPL-2.0
"""The negative control: tests that have to fail without the patches, or with the toggles off."""

import json
import subprocess
from types import SimpleNamespace

import pytest

from lab import build
from suites import inguest, kselftest, kunit, results
from suites.results import FAIL, PASS, SKIP

TABLE = """
[[passes]]
kernels = ["6.1"]
test = "kselftest.*known"
toggle = true
reason = "upstream has it"
"""
REFUSED = "TAP version 13\n1..2\nok 1 a.a\n# p.c:1:b:Expected 0 (0) == errno (25)\nnot ok 2 a.b\n"
GOOD = "TAP version 13\n1..1\nok 1 a.a\n"


@pytest.fixture
def recorded(tmp_path, monkeypatch, capsys):
    (tmp_path / "control.toml").write_text(TABLE)
    monkeypatch.setattr(results, "UNPATCHED", tmp_path / "control.toml")
    return results.Results()


def session(tmp_path, *names, kernel="6.1", modules=()):
    image = build.Image(tmp_path, tmp_path)
    (tmp_path / "modules.order").write_text("".join(f"drivers/dma-buf/{name}.ko\n" for name in modules))
    programs = [kselftest.Program(name, tmp_path / name, f"tools/{name}.c") for name in names]
    return inguest.GuestSession(SimpleNamespace(name=kernel), image, programs, "control")


def test_modules_that_programs_load_are_those_of_the_kernel_that_boots(tmp_path, recorded):
    machine = session(tmp_path, "known", modules=["mbochs", "dma-resv-test", "vkms"])
    assert machine.files(["kselftest"]) == {"test/kselftest/known": tmp_path / "known",
                                            "test/kselftest/mbochs.ko": tmp_path / "drivers/dma-buf/mbochs.ko",
                                            "test/kselftest/vkms.ko": tmp_path / "drivers/dma-buf/vkms.ko"}
    assert "test/kselftest/mbochs.ko" not in machine.files(["kunit"])


def boot(tmp_path, **logs):
    """A boot whose items have printed @logs."""
    items = {f"kselftest.{name}": text for name, text in logs.items()}
    return SimpleNamespace(dir=tmp_path, log=items.get, status=dict.fromkeys(items, 0), seconds={}, leaks="",
                           splats=lambda: [], path=lambda item: tmp_path / item)


def verdicts(recorded):
    return {result.test: result.verdict for result in recorded.all}


@pytest.mark.parametrize("test,kernel,tests,verdict", [
    ("kselftest.other", "6.1", [PASS], FAIL),
    ("kselftest.known", "6.1", [PASS], PASS),
    ("kselftest.compat.known", "6.1", [PASS], PASS),
    ("kselftest.known", "5.10", [PASS], FAIL),
    ("kselftest.known", "6.1", [PASS, FAIL], PASS),
    ("kselftest.known", "6.1", [SKIP], FAIL),
    ("kselftest.known", "6.1", [], FAIL),
    ("kselftest.other", "6.1", [PASS, FAIL], PASS),
])
def test_what_passes_unpatched_must_be_in_the_table(tmp_path, recorded, test, kernel, tests, verdict):
    control = inguest.Unpatched(session(tmp_path, kernel=kernel), recorded, set(), set())
    control.judge(test, [(str(number), result) for number, result in enumerate(tests)], "", [], 0)
    assert verdicts(recorded) == {test: verdict}


def test_an_entry_that_fits_no_test(tmp_path, recorded, monkeypatch):
    (tmp_path / inguest.LEAKER).touch()
    machine = session(tmp_path, "other", modules=["kmemleak-test"])
    monkeypatch.setattr(machine, "run", lambda suites, ended: None)
    inguest.Unpatched(machine, recorded, set(), set()).run(["kselftest"], judged=True)
    assert verdicts(recorded)["kselftest.*known"] == FAIL


def test_modules_of_the_kernels_own(tmp_path, recorded, monkeypatch):
    machine = session(tmp_path, modules=["dmabuf_kunit", "own-test", "drm-sched-tests", "kmemleak-test"])
    monkeypatch.setattr(machine, "run", lambda suites, ended: None)
    own = {"drivers/dma-buf/own-test.c", "drivers/dma-buf/new-test.c", kunit.source_of("drm-sched-tests")}
    control = inguest.Unpatched(machine, recorded, own, {"dmabuf_kunit", "own-test", "new-test"})
    control.run(["kunit"], judged=True)
    assert set(machine.modules) == {"kunit.own-test", "kunit.drm-sched-tests"}
    assert verdicts(recorded)["kunit.new-test"] == PASS
    assert "kunit.dmabuf_kunit" not in verdicts(recorded)


def test_a_module_that_needs_another_and_has_more_suites(tmp_path):
    module = tmp_path / "tests" / "drm-sched-tests.ko"
    assert kunit.files([module]) == {"test/kunit/drm-sched-tests.ko": module,
                                     "test/kunit/gpu-sched.ko": tmp_path / "tests" / "../gpu-sched.ko"}
    command = kunit.item(module).command
    order = ["echo -n drm_sched_names >", "insmod /test/kunit/gpu-sched.ko", "insmod /test/kunit/drm-sched-tests.ko",
             "rmmod drm-sched-tests", "echo -n '*' >", "rmmod gpu-sched"]
    assert [command.index(word) for word in order] == sorted(command.index(word) for word in order)
    assert "gpu-sched" not in kunit.item(tmp_path / "own-test.ko").command


@pytest.mark.parametrize("log,verdict", [(REFUSED, PASS), (GOOD, FAIL), (REFUSED.replace("(25)", "(22)"), FAIL), ("", FAIL)],
                         ids=["refused", "passes", "another-errno", "silent"])
def test_with_the_toggles_off_it_must_be_enotty(tmp_path, recorded, log, verdict):
    machine = session(tmp_path, "known", "dmabuf_absent")
    off = inguest.Off(machine, recorded, results.passing_unpatched("6.1"))
    off.ended(boot(tmp_path, known=log), "kselftest.known")
    assert [(str(result.suite), result.test, result.verdict) for result in recorded.all] == [
        ("control", "toggles-off.kselftest.known", verdict)]
    off.ended(boot(tmp_path, dmabuf_absent=GOOD), "kselftest.dmabuf_absent")
    assert recorded.all[-1].suite == "kselftest" and recorded.all[-1].verdict == PASS


def test_igt_with_the_toggles_off(tmp_path, recorded):
    off = inguest.Off(session(tmp_path), recorded, results.passing_unpatched("6.1"))
    (tmp_path / "igt").mkdir()
    (tmp_path / "igt" / "results.json").write_text(json.dumps({"tests": {
        "igt@dmabuf_sync_file@a": {"result": "fail", "err": "CRITICAL: Last errno: 25, Inappropriate ioctl for device"},
        "igt@sw_sync@b": {"result": "pass"}}}))
    off.ended(boot(tmp_path), "igt")
    assert str(recorded.all[-1]) == ("PASS 6.1 control toggles-off.igt.dmabuf_sync_file "
                                     "(1 of 1 tests failed with ENOTTY, as they should)")


@pytest.mark.parametrize("on,off,verdict", [(True, False, PASS), (True, True, FAIL), (False, False, FAIL)])
def test_code_that_stays_in_the_kernels_own_file(tmp_path, recorded, on, off, verdict):
    for name, there in (("on", on), ("off", off)):
        path = tmp_path / name / inguest.DMA_BUF
        path.parent.mkdir(parents=True)
        source = "int sync_file_create(void); int f(void) { return sync_file_create(); }" if there else "int f;"
        subprocess.run(["gcc", "-c", "-x", "c", "-", "-o", path], input=source, text=True, check=True)
    machine = session(tmp_path)
    machine.image = build.Image(tmp_path, tmp_path / "off")
    inguest.Off(machine, recorded).no_code({"drivers/dma-buf/x.c"}, build.Image(tmp_path, tmp_path / "on"))
    assert verdicts(recorded) == {"toggles-off.no-code": verdict}


def test_code_where_nobody_looks(tmp_path, recorded):
    machine = session(tmp_path)
    inguest.Off(machine, recorded).no_code({"drivers/other/x.c"}, build.Image(tmp_path, tmp_path / "on"))
    assert verdicts(recorded) == {"toggles-off.no-code": FAIL}
    assert "drivers/other/x.o" in recorded.all[0].reason


@pytest.mark.parametrize("fault,runs", [(None, [3, 1]), ("int3", [3, 2, 2, 2, 2, 2, 1])])
def test_what_the_emulator_did_is_run_again(tmp_path, monkeypatch, fault, runs):
    """But not without limit."""
    machine, seen, down = session(tmp_path, "one", "two", "three"), [], "kselftest.two"

    def run(name, files, plan, ended):
        items = [item.name for item in plan]
        done = items[:items.index(down)] if down in items else items
        seen.append(len(items))
        return SimpleNamespace(dir=tmp_path, status=dict.fromkeys(done, 0), error="it stopped" if down in items else None,
                               running=down if down in items else None, fault=lambda: fault, splats=lambda: [])

    ended = []
    monkeypatch.setattr(machine, "boot", run)
    assert machine.run(["kselftest"], lambda _, item: ended.append(item)) is None
    assert (seen, ended, list(machine.down)) == (runs, [down], [down])


@pytest.mark.parametrize("fault,starts,error", [(None, 1, "it stopped"), ("early", 2, None)])
def test_a_guest_that_does_not_come_up(tmp_path, monkeypatch, fault, starts, error):
    machine, boots_ = session(tmp_path, "one"), []

    def run(name, files, plan, ended):
        boots_.append(name)
        failed = len(boots_) == 1
        return SimpleNamespace(dir=tmp_path, status={}, error="it stopped" if failed else None, running=None,
                               fault=lambda: fault if failed else None, splats=lambda: [])

    monkeypatch.setattr(machine, "boot", run)
    assert machine.run(["kselftest"], None) == error
    assert len(boots_) == starts
