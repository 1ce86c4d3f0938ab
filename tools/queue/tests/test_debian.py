# SPDX-License-Identifier: GPL-2.0
"""apt's messages when it reads package lists, and their consequences."""

import pytest

from base.steps import Failure
from lab import debian

NONE = "E: The repository 'http://mirror.example/debian {} Release' {} a Release file."
BROKEN = "E: Failed to fetch http://mirror.example/debian/dists/new/InRelease  503  Service Unavailable"


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """An Apt with the suites old and new, and the answers of apt-get."""
    monkeypatch.setattr(debian.config, "BUILD", tmp_path)
    monkeypatch.setattr(debian, "KEYRING", __file__)
    monkeypatch.setattr(debian, "sites", lambda: ("main", "security"))
    it = debian.Apt("amd64", "apt", lambda: ["old", "new"])
    it.answer = (0, "", "")
    monkeypatch.setattr(debian.steps, "attempt", lambda cmd, env: it.answer)
    return it


@pytest.mark.parametrize("sources, found", [
    ([("browser", "stable"), ("main", "bookworm"), ("safe", "bookworm-security")], ("main", "safe")),
    ([("main", "stable"), ("other", "stable")], ("main", "main-security"))], ids=["codename", "stable"])
def test_where_the_mirror_is(monkeypatch, sources, found):
    uris = "".join(f"'http://{site}/dists/{suite}/InRelease' {suite} 0 \n'http://{site}/dists/{suite}/main/binary-amd64/Packages.xz' x 0 \n"
                   for site, suite in sources)
    monkeypatch.setattr(debian, "codename", lambda: "bookworm")
    monkeypatch.setattr(debian.steps, "run", lambda cmd, what: uris)
    assert debian.sites() == tuple(f"http://{site}" for site in found)


def test_no_source_for_debian(monkeypatch):
    monkeypatch.setattr(debian.steps, "run", lambda cmd, what: "'http://browser/dists/edge/main/binary-amd64/Packages.xz' x 0 \n")
    with pytest.raises(Failure, match="apt has no source for Debian"):
        debian.sites()


def test_what_apt_answers(apt, monkeypatch):
    answers = {"madison": "  a | 2-1 | main new/main amd64 Packages\n  a | 2-1 | main old/main amd64 Packages\n  a | 1-1 | main old/main amd64 Packages\n",
               "--print-uris": "Reading...\n'main/b_1_all.deb' b_1_all.deb 1 SHA256:0\n'main/a_1%3a2-1_amd64.deb' a_1%3a2-1_amd64.deb 1 SHA256:0\n"}
    monkeypatch.setattr(debian.steps, "run", lambda cmd, what: answers[cmd[3]])
    assert apt.listed("a") == ["2-1", "1-1"]
    assert apt.closure(["a"], "old") == ["a", "b"]


def test_a_file_that_is_listed_and_gone(apt, tmp_path, monkeypatch):
    apt.setup()
    answer = (100, "", "E: Failed to fetch http://mirror.example/a.deb  404  Not Found [IP: x]\n")
    monkeypatch.setattr(debian.steps, "attempt", lambda cmd, cwd, env: answer)
    with pytest.raises(debian.Gone, match="a=1 is listed"):
        apt.unpack(["a=1"], tmp_path / "a")
    answer = (100, "", BROKEN)
    with pytest.raises(Failure, match="downloading a=1 failed") as caught:
        apt.unpack(["a=1"], tmp_path / "a")
    assert caught.type is Failure and not (tmp_path / "a").exists()


def test_all_is_there(apt):
    assert not apt.gone("old") and not apt.gone("new")


@pytest.mark.parametrize("words", ["does not have", "no longer has"])
def test_a_suite_that_has_left(apt, words):
    lists = apt.dir / "lists"
    lists.mkdir(parents=True)
    for suite in ("old", "new"):
        (lists / f"mirror_dists_{suite}_main_binary-amd64_Packages").touch()
    apt.answer = (100, "", f"{NONE.format('old', words)}\nW: more\n")
    assert apt.gone("old") and not apt.gone("new")
    assert [path.name for path in lists.glob("*Packages")] == ["mirror_dists_new_main_binary-amd64_Packages"]


@pytest.mark.parametrize("errors", [
    BROKEN, f"{NONE.format('old', 'no longer has')}\n{BROKEN}", "W: nothing said",
    "\n".join(NONE.format(suite, "does not have") for suite in ("old", "new"))])
def test_a_network_that_does_not_work(apt, errors):
    apt.answer = (100, "", errors)
    with pytest.raises(Failure, match="reading the package lists failed, see .*apt.log"):
        apt.gone("new")
