# SPDX-License-Identifier: GPL-2.0
"""Which source is taken: the tested one first, or what FROM= names; and the message about a suite that no longer exists."""

import tarfile

import pytest

from base import gitcmd, origin
from base.steps import Failure
from conftest import FILES
from lab import source

TESTED = "5.10.9-1"


@pytest.fixture
def kernel(toy, monkeypatch):
    """The toy's old kernel without a source; `listed`: the versions that the suites have, newest first."""
    monkeypatch.setattr(source.config, "queue", lambda: toy.queue)
    monkeypatch.setattr(source.debian, "listed", lambda package: toy.listed)
    monkeypatch.setattr(source.debian, "gone", lambda suite: not toy.listed)
    monkeypatch.setattr(source, "tarball", lambda package, version, dest: pack(toy, dest, version))
    monkeypatch.setattr(source, "GONE", toy.root / "gone")
    toy.listed = ["5.10.11-1", TESTED, "5.10.3-2"]
    toy.old.pristine.rename(toy.root / "elsewhere")
    return toy.old


def pack(toy, dest, version, name="5.10"):
    """A tar archive with a kernel's source in one directory, like those of Debian and kernel.org."""
    dest.mkdir(parents=True, exist_ok=True)
    release = version.partition("-")[0].split(".")
    top = dest / "linux-x"
    for path, text in {**FILES, "Makefile": f"VERSION = {name.partition('.')[0]}\nPATCHLEVEL = {name.partition('.')[2]}\n"
                                            f"SUBLEVEL = {release[2]}\n"}.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    archive = dest / "source.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        tar.add(top, "linux-x")
    return archive


def version(toy, kernel):
    return origin.recorded(toy.queue, kernel)


def test_the_tested_one_is_taken_while_it_is_listed(toy, kernel, capsys):
    source.announce([kernel])
    assert not capsys.readouterr().out
    assert source.get(kernel) == kernel.pristine
    assert version(toy, kernel) == ("linux-source-5.10", TESTED) and origin.is_tested(toy.queue, kernel)
    toy.listed = []     # no suite is asked while the source exists
    source.get(kernel)


def test_else_the_newest_and_the_first_line_says_so(toy, kernel, capsys):
    toy.listed = ["5.10.11-1", "5.10.3-2"]
    source.announce([kernel])
    assert capsys.readouterr().out.startswith("note: the source of 5.10 is 5.10.11-1 (the newest, since Debian no longer "
                                              "has the tested one); tested was 5.10.9-1\n")
    source.get(kernel)
    assert version(toy, kernel)[1] == "5.10.11-1" and not origin.is_tested(toy.queue, kernel)


def test_the_newest_on_purpose_and_back(toy, kernel, capsys):
    source.get(kernel)
    source.announce([kernel], "newest")
    assert "5.10.11-1 (the newest); tested was" in capsys.readouterr().out
    source.get(kernel, "newest")
    assert version(toy, kernel)[1] == "5.10.11-1"
    source.get(kernel)
    assert version(toy, kernel)[1] == TESTED
    with pytest.raises(Failure, match="SOURCE=oldest: there is SOURCE=tested and SOURCE=newest"):
        source.announce([kernel], "oldest")


def test_a_file_that_is_gone(toy, kernel, monkeypatch, capsys):
    gone = [TESTED]

    def tarball(package, version, dest):
        if version in gone:
            raise source.debian.Gone(f"{package} {version}: the mirror no longer has it")
        return pack(toy, dest, version)
    monkeypatch.setattr(source, "tarball", tarball)
    source.get(kernel)
    assert version(toy, kernel)[1] == "5.10.11-1"
    output = capsys.readouterr().out
    assert "note: linux-source-5.10 5.10.9-1: the mirror no longer has it\n" in output
    assert "5.10.11-1 (the newest, since Debian no longer has the tested one)" in output
    source.get(kernel)      # neither is tried again
    assert "getting" not in capsys.readouterr().out
    source.announce([kernel])
    assert "Debian no longer has the tested one" in capsys.readouterr().out
    gone += toy.listed
    monkeypatch.setattr(source, "GONE", toy.root / "none")
    with pytest.raises(Failure, match="no longer has one"):
        kernel.pristine.rename(toy.root / "lost")
        monkeypatch.setattr(source.debian, "gone", lambda suite: False)
        source.get(kernel)
    (toy.root / "lost").rename(kernel.pristine)
    source.get(kernel)      # the existing source is used
    kernel.pristine.rename(toy.root / "lost")
    with pytest.raises(Failure, match="make source KERNEL=5.10 FROM=~/linux"):
        source.get(kernel, "newest")


def test_a_suite_that_is_gone(toy, kernel):
    toy.listed = []
    source.announce([kernel])
    with pytest.raises(Failure, match=r"no linux-source-5.10: old has left this machine's mirror(.|\n)*"
                                      r"make source KERNEL=5.10 FROM=~/linux\nAll other commands then use"):
        source.get(kernel)


def test_what_is_there_outlives_its_suite(toy, kernel, capsys):
    source.get(kernel, "newest")
    toy.listed = []
    capsys.readouterr()
    source.announce([kernel])
    assert "5.10.11-1 (which is here; Debian has none any more)" in capsys.readouterr().out
    source.get(kernel)
    assert version(toy, kernel)[1] == "5.10.11-1"


def users_tree(toy, tmp_path, head="5.10"):
    """A user's git tree with the tags v5.10.7, v5.10.9 and v5.10.12-rc1, and another release checked out."""
    git = toy.make_git(tmp_path / "linux", toy.old, FILES)
    for tag in ("v5.10.7", "v5.10.9", "v5.10.12-rc1"):
        git("tag", tag)
    number = head.split(".")
    (git.directory / "Makefile").write_text(f"VERSION = {number[0]}\nPATCHLEVEL = {number[1]}\nSUBLEVEL = 20\n")
    git("commit", "--quiet", "-a", "-m", head)
    return git


def test_from_a_git_tree(toy, kernel, tmp_path, monkeypatch, capsys):
    git = users_tree(toy, tmp_path)
    (git.directory / "Kbuild").write_text("edited\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    source.take(kernel, "~/linux")
    assert version(toy, kernel) == ("linux", "5.10.20")
    assert "uncommitted changes" in capsys.readouterr().out
    assert (kernel.pristine / "Kbuild").read_text() == FILES["Kbuild"]
    # Other commands use it, too, until SOURCE= is given.
    toy.listed = []
    source.announce([kernel])
    assert "5.10.20 (given by FROM=); tested was 5.10.9-1" in capsys.readouterr().out
    source.get(kernel)
    toy.make(kernel)
    toy.listed = [TESTED]
    source.get(kernel, "tested")
    assert origin.is_tested(toy.queue, kernel)


def test_from_a_git_tree_of_another_release(toy, kernel, tmp_path):
    git = users_tree(toy, tmp_path, head="6.12")
    source.take(kernel, git.directory)
    subject = gitcmd.own(kernel.pristine, toy.queue).line("log", "-1", "--format=%s")
    assert subject == f"linux 5.10.9 from v5.10.9 of {git.directory}"       # the tested release
    git("tag", "-d", "v5.10.9")
    source.take(kernel, git.directory)
    assert "from v5.10.7 of" in gitcmd.own(kernel.pristine, toy.queue).line("log", "-1", "--format=%s")
    git("tag", "-d", "v5.10.7")
    git("branch", "linux-5.10.y", "HEAD~")
    source.take(kernel, git.directory)
    git("branch", "-D", "linux-5.10.y")
    with pytest.raises(Failure, match="has Linux 6.12 checked out, and neither a tag v5.10.N nor a branch linux-5.10.y"):
        source.take(kernel, git.directory)


def test_from_a_tarball(toy, kernel, tmp_path):
    source.take(kernel, pack(toy, tmp_path / "there", "5.10.30"))
    assert version(toy, kernel) == ("linux", "5.10.30")
    before = (kernel.pristine / "Makefile").read_text()
    with pytest.raises(Failure, match="is Linux 6.6, not 5.10"):
        source.take(kernel, pack(toy, tmp_path / "other", "6.6.1", "6.6"))
    with pytest.raises(Failure, match="neither a git tree nor a tarball"):
        source.take(kernel, tmp_path / "nowhere")
    with pytest.raises(Failure, match="no git tree with a commit"):
        (tmp_path / "empty").mkdir()
        source.take(kernel, tmp_path / "empty")
    assert (kernel.pristine / "Makefile").read_text() == before


def test_the_tools_where_their_package_is_gone(toy, kernel, monkeypatch, tmp_path, capsys):
    def tarball(package, version, dest):
        if version == TESTED:
            raise source.debian.Gone(f"{package} {version}: the mirror no longer has it")
        for name in source.TOOLS:
            (dest / "linux" / name).mkdir(parents=True)
            (dest / "linux" / name / "version").write_text(version)
        with tarfile.open(dest / "linux.tar.xz", "w:xz") as tar:
            tar.add(dest / "linux", "linux")
        return dest / "linux.tar.xz"
    monkeypatch.setattr(source, "tarball", tarball)
    monkeypatch.setattr(source.config, "kernels", lambda: [kernel])
    monkeypatch.setattr(source.config, "BUILD", tmp_path / "build")
    path = source.tools_tree()
    assert path.name == "linux-5.10.11-1" and (path / "scripts/version").read_text() == "5.10.11-1"
    assert "the mirror no longer has it" in capsys.readouterr().out
