# SPDX-License-Identifier: GPL-2.0
"""Each patch on each release: which releases, which of their files, and the result for each patch."""

import json
import tarfile
from dataclasses import replace

import pytest

from base import gitcmd, steps
from conftest import A_C, FILES
from suites import upkeep
from suites.upkeep import EXACT, FAILS, OFFSET, THERE
from weave import series

LISTED = {"linux-source-5.10": ["5.10.11-1", "5.10.9-1"], "linux-source-6.1": ["6.1.7-1"], "linux-source-5.15": ["5.15.3-1"]}


@pytest.fixture
def suites(toy, monkeypatch):
    """Three packages; a function sets the files of a release of the old kernel, by version."""
    monkeypatch.setattr(upkeep.debian, "names", lambda pattern: list(LISTED))
    monkeypatch.setattr(upkeep.debian, "listed", LISTED.get)
    monkeypatch.setattr(upkeep.debian, "gone", lambda suite: True)
    monkeypatch.setattr(upkeep, "REPORT", toy.root / "upkeep.json")
    other = {}

    def files(queue, release):
        if release.kernel == toy.new:
            return gitcmd.own(toy.new.pristine, queue)
        path = toy.root / "releases" / release.version
        if not path.exists():
            toy.make_git(path, toy.old, {**FILES, **other.get(release.version, {})})("tag", "base")
        return gitcmd.own(path, queue)

    monkeypatch.setattr(upkeep, "files", files)
    return other.__setitem__


def verdicts(toy):
    found = json.loads((toy.root / "upkeep.json").read_text())
    return {release["version"]: {path.rpartition("/")[2]: patch["verdict"] for path, patch in release["patches"].items()}
            for release in found}


def test_all_is_well(toy, suites, capsys):
    assert upkeep.main(toy.queue, list(toy.queue.kernels)) == 0
    assert set(verdicts(toy)) == {"5.10.11-1", "5.10.9-1", "6.1.7-1", "5.15.3-1"}
    assert set(verdicts(toy)["5.10.9-1"].values()) == {EXACT}
    output = capsys.readouterr().out
    # The newest ones come first, a neighbour after those that are supported.
    assert [line.split()[2].rstrip(":") for line in output.splitlines() if line.startswith("[")] == [
        "5.10.11-1", "6.1.7-1", "5.15.3-1", "5.10.9-1"]
    assert "(neighbour, patches of 5.10)" in output


def test_how_a_patch_fares(toy, suites, capsys):
    text = A_C.replace("return 2;", "return\n2;").replace("return 12;", "return 12; /* tested */").replace("return 1;", "return 0;")
    suites("5.10.11-1", {"drivers/dma-buf/a.c": text})
    assert upkeep.main(toy.queue, [toy.old]) == 1
    assert verdicts(toy)["5.10.11-1"] == {"Kconfig.patch": EXACT, "a-fix.patch": OFFSET, "new.patch": EXACT, "old-only.patch": FAILS,
                                          "tests.patch": FAILS, "MAINTAINERS.patch": EXACT}
    output = capsys.readouterr().out
    assert "old-only.patch: hunk 1 of drivers/dma-buf/a.c (line 1) does not apply" in output
    assert "error: 5.10.11-1, the newest 5.10: 2 patches fail" in output


def test_an_offset_is_of_the_variant_that_says_it(toy):
    """Even if the variant belongs to a newer kernel, from which the older one inherits."""
    queue = replace(toy.queue, kernels=(toy.old, replace(toy.old, name="5.15"), toy.new))
    toy.write("drivers/dma-buf/a-fix.5.15.patch", "Hunks: drivers/dma-buf/a.c 1\n")
    patch = next(entry.patch for entry in series.load(queue) if entry.patch.path.endswith("a-fix.patch"))
    said = patch.where("5.10", "drivers/dma-buf/a.c")
    assert said == "drivers/dma-buf/a-fix.5.15.patch" and said in upkeep.places(patch, toy.old)
    assert said not in upkeep.places(patch, toy.new)


def test_what_is_there_already(toy, suites):
    suites("5.10.11-1", {"drivers/dma-buf/a.c": A_C.replace("return 3;", "return 33;").replace("return 8;", "return 88;")})
    assert upkeep.main(toy.queue, [toy.old], "newest") == 0
    assert verdicts(toy)["5.10.11-1"]["a-fix.patch"] == THERE and set(verdicts(toy)) == {"5.10.11-1", "5.15.3-1"}


def test_an_older_release_is_no_error(toy, suites):
    suites("5.10.9-1", {"drivers/dma-buf/a.c": A_C.replace("return 1;", "return 0;")})
    assert upkeep.main(toy.queue, [toy.old]) == 0
    assert verdicts(toy)["5.10.9-1"]["old-only.patch"] == FAILS


def test_a_file_that_is_gone(toy, suites, monkeypatch, capsys):
    files = upkeep.files
    gone = ["5.10.9-1"]

    def some(queue, release):
        if release.version in gone:
            raise steps.Failure("listed, but the mirror no longer has the file")
        return files(queue, release)
    monkeypatch.setattr(upkeep, "files", some)
    assert upkeep.main(toy.queue, [toy.old]) == 0
    assert "5.10.9-1               listed, but the mirror" in capsys.readouterr().out
    gone.append("5.10.11-1")
    assert upkeep.main(toy.queue, [toy.old]) == 1
    assert "error: 5.10.11-1, the newest 5.10: listed, but" in capsys.readouterr().out


def test_a_suite_that_is_gone(toy, suites, monkeypatch, capsys):
    monkeypatch.delitem(LISTED, "linux-source-5.10")
    assert upkeep.main(toy.queue, list(toy.queue.kernels)) == 1
    assert "make source KERNEL=5.10 FROM=~/linux" in capsys.readouterr().out


@pytest.mark.parametrize("name, kernel", [("5.4", "5.10"), ("5.15", "5.10"), ("5.19", "6.1"), ("6.0", "6.1"), ("7.2", "6.1")])
def test_the_nearest(toy, name, kernel):
    assert upkeep.nearest(toy.queue, name).name == kernel


def test_a_real_package(toy, tmp_path):
    """Built by dpkg-deb like Debian's: a tar in a tar; files that no kernel has are not required."""
    top = tmp_path / "linux-source-5.10"
    for path, text in FILES.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(steps.encode(text))
    package = tmp_path / "package"
    (package / "usr/src").mkdir(parents=True)
    (package / "DEBIAN").mkdir()
    (package / "DEBIAN/control").write_text("Package: linux-source-5.10\nVersion: 1\nArchitecture: all\n"
                                            "Maintainer: The Toy <toy@example.org>\nDescription: a toy\n")
    with tarfile.open(package / "usr/src/linux-source-5.10.tar.xz", "w:xz") as tar:
        tar.add(top, top.name)
    steps.run(["dpkg-deb", "--build", package, tmp_path / "toy.deb"])
    (tmp_path / "out").mkdir()
    upkeep.extract(tmp_path / "toy.deb", "5.10", ["MAINTAINERS", "drivers/dma-buf/a.c", "drivers/dma-buf/new.c"], tmp_path / "out")
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert found == ["MAINTAINERS", "drivers/dma-buf/a.c"]
    (tmp_path / "bad.deb").write_bytes(b"no package")
    with pytest.raises(steps.Failure, match="unpacking"):
        upkeep.extract(tmp_path / "bad.deb", "5.10", ["MAINTAINERS"], tmp_path / "out")
