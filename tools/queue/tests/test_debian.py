# SPDX-License-Identifier: GPL-2.0
"""What apt says when it reads package lists, and what follows from it."""

import pytest

from base.steps import Failure
from lab import debian

NONE = "E: The repository 'http://mirror.example/debian {} Release' {} a Release file."
BROKEN = "E: Failed to fetch http://mirror.example/debian/dists/new/InRelease  503  Service Unavailable"


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """An Apt of the suites old and new, and what apt-get answers."""
    monkeypatch.setattr(debian.config, "BUILD", tmp_path)
    monkeypatch.setattr(debian, "KEYRING", __file__)
    monkeypatch.setattr(debian, "sites", lambda: ("main", "security"))
    it = debian.Apt("amd64", "apt", lambda: ["old", "new"])
    it.answer = (0, "", "")
    monkeypatch.setattr(debian.steps, "attempt", lambda cmd, env: it.answer)
    return it


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
