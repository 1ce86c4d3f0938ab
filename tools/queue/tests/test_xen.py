# SPDX-License-Identifier: GPL-2.0
"""What Xen is told to start, and where it finds it."""

import subprocess

import pytest

import build
import guest
import xen

PLAN = [guest.Item("one", 10, "true")]


@pytest.fixture
def files(tmp_path):
    for name, size in (("Image", 3 * xen.STEP + 1), ("initramfs.gz", 5), ("peer.gz", xen.STEP)):
        (tmp_path / name).write_bytes(bytes(size))
    return [(tmp_path / "Image", "kernel"), (tmp_path / "initramfs.gz", "ramdisk"), (tmp_path / "peer.gz", "ramdisk")]


def test_modules_do_not_overlap(files):
    modules = xen.place(*files)
    ends = [module.address + module.path.stat().st_size for module in modules]
    assert [module.address for module in modules] == [xen.LOAD, xen.LOAD + 4 * xen.STEP, xen.LOAD + 5 * xen.STEP]
    assert all(end <= module.address for end, module in zip(ends, modules[1:]))


@pytest.mark.parametrize("peers", [[], ["/test/peer serve", "/test/peer silent"]], ids=["alone", "two"])
def test_the_device_tree(tmp_path, files, peers):
    source = "/dts-v1/;\n" + xen.tree(*xen.place(*files), peers, "quiet")
    blob = subprocess.run(["dtc", "-q", "-I", "dts", "-O", "dtb"], input=source.encode(), check=True, capture_output=True)
    (tmp_path / "dtb").write_bytes(blob.stdout)

    def get(*args):
        done = subprocess.run(["fdtget", tmp_path / "dtb", *args], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    assert get("/chosen", "xen,dom0-bootargs").endswith(" quiet")
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
