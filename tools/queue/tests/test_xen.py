# SPDX-License-Identifier: GPL-2.0
"""What Xen starts, where it finds these files, and what runs in which domain."""

import struct
import subprocess
import zlib
from types import SimpleNamespace

import pytest

from lab import build, guest, xen
from suites import demo, kselftest, picture, results, xensuite
from suites.results import FAIL, PASS

PLAN = [guest.Item("one", 10, "true")]


@pytest.fixture
def files(tmp_path):
    for name, size in (("Image", 3 * xen.STEP + 1), ("initramfs.cpio", 5), ("peer.cpio", xen.STEP)):
        (tmp_path / name).write_bytes(bytes(size))
    return [(tmp_path / "Image", "kernel"), (tmp_path / "initramfs.cpio", "ramdisk"), (tmp_path / "peer.cpio", "ramdisk")]


def test_modules_do_not_overlap(files):
    modules = xen.place(*files)
    ends = [module.address + module.path.stat().st_size for module in modules]
    assert [module.address for module in modules] == [xen.LOAD, xen.LOAD + 4 * xen.STEP, xen.LOAD + 5 * xen.STEP]
    assert all(end <= module.address for end, module in zip(ends, modules[1:]))


@pytest.mark.parametrize("peers", [[], ["/test/peer serve", "/test/peer silent"]], ids=["alone", "two"])
def test_the_device_tree(tmp_path, files, peers):
    machine = "/dts-v1/;\n/ { #address-cells = <2>; #size-cells = <2>; apb-pclk { phandle = <0x8000>; }; };\n"
    source = machine + xen.tree(*xen.place(*files), peers, "quiet", 768)
    blob = subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb"], input=source.encode(), check=True, capture_output=True)
    (tmp_path / "dtb").write_bytes(blob.stdout)

    def get(*args):
        done = subprocess.run(["fdtget", tmp_path / "dtb", *args], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    assert get("/chosen", "xen,dom0-bootargs").endswith(f" {xen.CMA} quiet")
    assert get("/chosen", "xen,xen-bootargs").startswith("dom0_mem=768M ")
    assert get("-tx", "/arcpgu@4000000", "clocks") == "8000"
    assert get("-tx", f"/chosen/module@{xen.LOAD:x}", "reg") == f"0 {xen.LOAD:x} 0 {3 * xen.STEP + 1:x}"
    domains = [name for name in get("-l", "/chosen").split() if name.startswith("domU")]
    assert domains == [f"domU{number}" for number in range(1, len(peers) + 1)]
    for name, command in zip(domains, peers):
        assert get(f"/chosen/{name}/module@{xen.LOAD:x}", "bootargs").endswith(f" -- {command}")
        assert get("-l", f"/chosen/{name}").split() == [f"module@{xen.LOAD:x}", f"module@{xen.LOAD + 5 * xen.STEP:x}"]


def test_second_domains_are_for_arm64(tmp_path, monkeypatch):
    monkeypatch.setattr(guest, "fresh", lambda name: tmp_path)
    with pytest.raises(guest.Failure, match="arm64"):
        xen.run("x", build.Image(tmp_path, tmp_path), {}, PLAN, peers=["/test/peer"])


@pytest.fixture
def recorded(tmp_path, monkeypatch, capsys):
    return results.Results()


def session(tmp_path, mode, *names):
    programs = [kselftest.Program(name, tmp_path / name, f"tools/{name}.c", not name.endswith("_peer")) for name in names]
    image = build.Image(tmp_path, tmp_path, mode)
    return xensuite.XenSession(SimpleNamespace(name="6.1"), image, programs, "queue", mode)


@pytest.mark.parametrize("mode,runs", [("arm64", ["b", "a_domains"]), ("pvh", ["b"]), ("pv", ["c_pv"])])
def test_what_runs_where(tmp_path, mode, runs):
    machine = session(tmp_path, mode, "a_domains", "b", "b_peer", "c_pv")
    assert [item.name for item in machine.plan(["xen"])] == [f"kselftest.{name}" for name in runs]
    assert "test/kselftest/b_peer" in machine.files(["xen"])


def test_only_arm64_has_second_domains(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(xen, "run", lambda name, image, files, plan, **options: seen.update(options))
    session(tmp_path, "arm64", "b").boot("x", {}, [], None)
    assert [command.split()[-1] for command in seen["peers"]] == list(xensuite.PEERS)
    session(tmp_path, "pvh", "b").boot("x", {}, [], None)
    assert seen["peers"] == [] and seen["mode"] == "pvh"


def test_no_program_is_a_failure(tmp_path, recorded):
    xensuite.XenPatched(session(tmp_path, "pv", "b"), recorded).run()
    assert [(result.test, result.verdict) for result in recorded.all] == [("pv.present", FAIL)]


@pytest.mark.parametrize("log,verdicts", [
    ("1..1\nnot ok 1 a\n# x.c:1:a:Expected 0 (0) == ret (-25)\n", [PASS, PASS]),
    ("1..1\nnot ok 1 a\n", [PASS, FAIL]),
    ("1..1\nok 1 a\n", [FAIL, FAIL]),
], ids=["enotty", "another-errno", "passes"])
def test_the_unpatched_kernel(tmp_path, recorded, monkeypatch, log, verdicts):
    machine = session(tmp_path, "arm64", "b", "own")
    item = "kselftest.b"
    boot = SimpleNamespace(dir=tmp_path, log={item: log}.get, status={item: 1}, seconds={}, splats=lambda: [])
    monkeypatch.setattr(machine, "run", lambda suites, ended: ended(boot, item))
    monkeypatch.setattr(xensuite.XenUnpatched, "judge_stock", lambda self: None)
    xensuite.XenUnpatched(machine, recorded, {"tools/b.c"}).run()
    assert list(machine.programs) == [item]
    assert [(result.suite, result.verdict) for result in recorded.all] == [("xen", verdict) for verdict in verdicts]


STOCK = "1..4\n" + "".join(f"{verdict} {number} {test}\n" for number, (verdict, test) in enumerate((
    ("not ok", "stock.export_two_waiters"), ("ok", "stock.export_waiter_with_signals"),
    ("ok", "stock.export_and_wait"), ("ok", "stock.import")), 1))


@pytest.mark.parametrize("log,splat,wrong", [
    (STOCK, f"WARNING: {xensuite.INVERSION} dependency detected", []),
    (STOCK.replace("not ok 1", "ok 1"), f"WARNING: {xensuite.INVERSION}", ["control.stock.export_two_waiters"]),
    (STOCK.replace("ok 4", "not ok 4"), f"WARNING: {xensuite.INVERSION}", ["control.stock.import"]),
    (STOCK, "BUG: another", ["control.stock.map_while_mapping"]),
])
def test_the_older_ioctls_of_the_unpatched_kernel(tmp_path, recorded, monkeypatch, log, splat, wrong):
    machine = session(tmp_path, "arm64", "b")
    item = "kselftest.b"
    machine.boots = [SimpleNamespace(dir=tmp_path, log={item: log}.get, status={item: 1}, seconds={},
                                     splats=lambda: [(item, splat)])]
    monkeypatch.setattr(machine, "run", lambda suites, ended: ended(machine.boots[0], item))
    xensuite.XenUnpatched(machine, recorded, {"tools/b.c"}).run()
    assert [result.test for result in recorded.all if result.verdict == FAIL and "stock" in result.test] == wrong


@pytest.mark.parametrize("machine", [(640, 1792), (1024, 3328)], ids=["usual", "large"])
def test_large_files_are_for_the_first_domain(tmp_path, monkeypatch, machine):
    packed = {}
    large = {"usr/lib/liblarge.so": tmp_path / "liblarge.so"} if machine[0] == xen.LARGE_DOM0_MIB else {}
    monkeypatch.setattr(guest, "fresh", lambda name: tmp_path)
    monkeypatch.setattr(guest, "initramfs", lambda dest, files, *_, **__: packed.update({dest.name: set(files)}))
    monkeypatch.setattr(xen.debian, "arm64", lambda: tmp_path)
    monkeypatch.setattr(xen, "qemu_arm64", lambda *args: [f"memory {args[-1]}"])
    image = build.Image(tmp_path, tmp_path, "arm64")
    made = xen.prepare("x", image, {"test/demo": tmp_path}, PLAN, ["/test/demo draw"], "", "", False, "", large)
    assert made.cmd == [f"memory {machine}"]
    assert packed == {"initramfs.cpio": {"test/demo", *large}, "peer.cpio": {"test/demo"}}


@pytest.fixture
def screenshot(tmp_path):
    def save(name, sun, grass=demo.GRASS):
        rows = [[demo.SUN if sun and x in sun else (90, 140, 210) for x in range(8)], [grass] * 8]
        pixels = bytes(value for row in rows for pixel in row for value in pixel)
        (tmp_path / name).write_bytes(picture.png(b"P6\n8 2\n255\n" + pixels))
        return tmp_path / name
    return save


def test_the_sun_on_a_screenshot(screenshot, tmp_path):
    assert demo.sun(screenshot("1.png", (2, 3, 4))) == 3
    for path, why in ((screenshot("2.png", ()), "does not have"), (screenshot("3.png", (2,), (0, 0, 0)), "does not have"),
                      (tmp_path / "4.png", "no screenshot")):
        with pytest.raises(demo.Failure, match=why):
            demo.sun(path)


def test_a_picture():
    pixels = bytes(range(2 * 3 * 3))
    data = picture.png(b"P6\n2 3\n255\n" + pixels)
    chunks, rest = {}, data[8:]
    while rest:
        size, kind = struct.unpack(">I4s", rest[:8])
        assert struct.unpack(">I", rest[8 + size:12 + size])[0] == zlib.crc32(rest[4:8 + size])
        chunks[kind], rest = rest[8:8 + size], rest[12 + size:]
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (2, 3)
    assert zlib.decompress(chunks[b"IDAT"]) == b"".join(b"\0" + pixels[at:at + 6] for at in (0, 6, 12))
    with pytest.raises(demo.Failure, match="2 x 3"):
        picture.png(b"P6\n2 3\n255\n" + pixels[1:])
