# SPDX-License-Identifier: GPL-2.0
"""Postings: their patches, the messages, the recipients, and the letter."""

import email
import email.header
import re
from dataclasses import replace

import pytest

import cli
from base import config
from base.steps import Failure
from conftest import FILES, Toy
from weave import posting, series

LETTERS = """\
<!-- SPDX-License-Identifier: GPL-2.0 -->
# Postings

## toy

Subject: dma-buf: counters that count

They did not.

Tested in my head.

## other

Subject: nothing

Nothing.
"""
# Prints the recipients as the kernel's script does, by the touched files.
SCRIPT = """\
#!/bin/sh
test -e Makefile || exit 9
case "$*" in *--nogit*--nogit-fallback*) ;; *) exit 8;; esac
for last; do :; done
grep -q '^+++ b/drivers/dma-buf/a.c' "$last" && echo 'Ann Maintainer <ann@example.org> (maintainer:ALPHA)'
grep -q '^+++ b/drivers/dma-buf/new.c' "$last" && echo '"J\u00f6rg, B." <b@example.org> (supporter:BETA,commit_signer:1/2=50%)'
echo 'Rev <rev@example.org> (reviewer:DMA BUFFER SHARING FRAMEWORK)'
echo 'The Toy <toy@example.org> (maintainer:COUNTERS)'
echo 'list@example.org (open list:DMA BUFFER SHARING FRAMEWORK)'
"""


@pytest.fixture
def posted(toy):
    """The toy with letters, and the newest kernel's woven tree with a get_maintainer.pl in it."""
    toy.write(posting.LETTERS, LETTERS)
    toy.edit("drivers/dma-buf/new.patch", "It is new.\n", "It is new, since 1111222233334444 (\"dma-buf: remove\nnew.c\").\n\nSee https://example.org/report.\n")
    toy.make(toy.new)
    script = toy.new.tree / "scripts/get_maintainer.pl"
    script.parent.mkdir()
    script.write_text(SCRIPT, encoding="utf-8")
    script.chmod(0o755)
    return toy


def read(paths):
    return [email.message_from_bytes(path.read_bytes()) for path in paths]


def text(mail):
    return mail.get_payload(decode=True).decode("utf-8")


def subject(mail):
    return re.sub(r"\s+", " ", str(email.header.make_header(email.header.decode_header(mail["Subject"]))))


def people(mail, header):
    return [re.sub(r"\s+", " ", person) for person in (mail[header] or "").split(",\n")]


def test_what_is_posted(posted):
    paths = posting.post(posted.queue, "toy")
    assert [path.name for path in paths] == ["0000-cover-letter.patch", "0001-dma-buf-add-the-toggle.patch", "0002-dma-buf-add-new.c.patch",
                                             "0003-dma-buf-add-a-test.patch", "0004-MAINTAINERS-add-an-entry.patch"]
    assert paths[0].parent == posted.queue.out / "mail" / "toy"
    assert [subject(mail) for mail in read(paths)] == [
        "[PATCH 0/4] dma-buf: counters that count", "[PATCH 1/4] dma-buf: add the toggle", "[PATCH 2/4] dma-buf: add new.c",
        "[PATCH 3/4] dma-buf: add a test", "[PATCH 4/4] MAINTAINERS: add an entry"]


def test_a_backport_is_left_out_and_named(posted, capsys):
    letter = text(read(posting.post(posted.queue, "toy"))[0])
    assert "Not in here, since upstream has them:\n\n  dma-buf: fix a3() and a8(): v6.3 0123456789ab\n" in letter
    assert "left out, upstream has it: dma-buf: fix a3() and a8() (v6.3 0123456789ab)" in capsys.readouterr().out


def test_the_letter(posted):
    letter = text(read(posting.post(posted.queue, "toy"))[0])
    assert letter.startswith("They did not.\n\nTested in my head.\n")
    assert "It is based on v6.1.7.\n" in letter and "Changes in" not in letter and "***" not in letter
    assert "The Toy (4):\n  dma-buf: add the toggle\n" in letter
    assert re.search(r"^ drivers/dma-buf/new\.c +\| +20 \+", letter, re.MULTILINE) or " create mode 100644 drivers/dma-buf/new.c\n" in letter


def test_what_speaks_of_older_kernels_is_named(posted, capsys):
    posted.edit("drivers/dma-buf/tests.patch", "It tests.", "It tests. On 5.10 it does not.")
    posting.post(posted.queue, "toy")
    assert "written for older kernels, too, reword it: 0003-dma-buf-add-a-test.patch\n" in capsys.readouterr().out


def test_a_paragraph_about_older_kernels_stays_here(posted, capsys):
    posted.edit("drivers/dma-buf/tests.patch", "It tests.", "It tests.\n\nOlder kernels: on 5.10 it\ndoes not.\n\nNor does it here.")
    mail = text(read(posting.post(posted.queue, "toy"))[3])
    assert mail.startswith("It tests.\n\nNor does it here.\n") and "5.10" not in mail.partition("---\n")[0]
    assert "reword" not in capsys.readouterr().out


def test_a_second_version(posted):
    posted.edit(posting.LETTERS, "Tested in my head.\n", "Tested in my head.\n\n### v3\n\nMore.\n\n### v2\n\nLess, as \N{LATIN SMALL LETTER E WITH ACUTE}.\n")
    mails = read(posting.post(posted.queue, "toy"))
    assert subject(mails[0]) == "[PATCH v3 0/4] dma-buf: counters that count" and subject(mails[4]).startswith("[PATCH v3 4/4] ")
    assert "Changes in v3:\n\nMore.\n\nChanges in v2:\n\nLess, as \N{LATIN SMALL LETTER E WITH ACUTE}.\n" in text(mails[0])
    assert {path.name[0] for path in (posted.queue.out / "mail/toy").iterdir()} == {"0"}


def test_trailers(posted):
    new = text(read(posting.post(posted.queue, "toy"))[2])
    assert new.startswith('It is new, since 1111222233334444 ("dma-buf: remove\nnew.c").\n\nSee https://example.org/report.\n\n'
                          'Fixes: 111122223333 ("dma-buf: remove new.c")\nLink: https://example.org/report\n---\n')
    for path in (posted.queue.out / "mail/toy").iterdir():
        mail = path.read_text(encoding="utf-8")
        assert not re.search(r"^(Upstream|New|Needs|Inserts): ", mail, re.MULTILINE) and "Signed-off-by" not in mail


def test_own_trailers_stay_and_are_not_there_twice(posted):
    entry = next(entry for entry in series.load(posted.queue) if entry.patch.path.endswith("/new.patch"))
    patch = replace(entry.patch, body='Since 1111222233334444 ("a").\n\nFixes: 111122223333 ("a")\nUpstream: no, it is new\nReported-by: A <a@b.c>')
    assert posting.body(patch, {}, "") == 'Since 1111222233334444 ("a").\n\nFixes: 111122223333 ("a")\nReported-by: A <a@b.c>'
    assert posting.body(replace(patch, body="One.\n\nTwo: three.\nFour."), {}, "") == "One.\n\nTwo: three.\nFour."


def test_the_toggles_are_those_of_the_posting(posted):
    toggle = text(read(posting.post(posted.queue, "toy"))[1])
    assert toggle.startswith("The code that this series brings is under these options:\n\n  CONFIG_TOY\n\n")


def test_signed(posted):
    mails = read(posting.post(posted.queue, "toy", "Jane Doe <jane@example.org>"))
    assert {mail["From"] for mail in mails} == {"Jane Doe <jane@example.org>"}
    assert all("Signed-off-by: Jane Doe <jane@example.org>\n---\n" in text(mail) for mail in mails[1:])
    assert "Jane Doe (4):" in text(mails[0])
    with pytest.raises(Failure, match="SIGN=Jane"):
        posting.post(posted.queue, "toy", "Jane")


def test_whom_it_is_for(posted):
    letter, toggle, new, test, _ = read(posting.post(posted.queue, "toy"))
    assert toggle["To"] is None and people(toggle, "Cc") == ["Rev <rev@example.org>", " list@example.org"]
    assert people(test, "To") == ["Ann Maintainer <ann@example.org>"]
    assert "=?utf-8?" in new["To"].lower() and "b@example.org" in new["To"]
    assert "ann@example.org" in letter["To"] and "b@example.org" in letter["To"] and "rev@example.org" in letter["Cc"]
    assert "toy@example.org" not in str(letter["To"]) + str(letter["Cc"])


def test_they_apply_and_give_what_the_queue_gives(posted):
    paths = posting.post(posted.queue, "toy")
    git = Toy.make_git(posted, posted.root / "upstream", posted.new, {**FILES, "drivers/dma-buf/b.c": (posted.new.pristine / "drivers/dma-buf/b.c").read_bytes()})
    git("am", "--quiet", *paths[1:])
    for path in ("drivers/dma-buf/new.c", "drivers/dma-buf/Kconfig", "MAINTAINERS"):
        assert (posted.root / "upstream" / path).read_bytes() == (posted.new.tree / path).read_bytes()


def test_an_earlier_posting_goes(posted):
    place = posted.queue.out / "mail/toy"
    place.mkdir(parents=True)
    (place / "0009-old.patch").write_text("old")
    posting.post(posted.queue, "toy")
    assert not (place / "0009-old.patch").exists()


def test_of_the_first_topic_only_what_is_needed(posted):
    text_ = posted.read("series").replace("topic toy: all of it\n", "topic toy: all of it\ndrivers/dma-buf/tests.patch            all    no       control\n") \
        .replace("topic toy:", "MAINTAINERS.patch                      all    no\n\ntopic toy:")
    posted.write("series", text_.rpartition("drivers/dma-buf/tests.patch")[0])
    posted.make(posted.new)
    names = [path.name for path in posting.post(posted.queue, "toy")]
    assert "0001-dma-buf-add-the-toggle.patch" in names and not [name for name in names if "MAINTAINERS" in name]


@pytest.mark.parametrize("topic, said", [("", "say which topic"), ("toys", "has no letter for toys"), ("other", "no topic 'other'")])
def test_refusals(posted, topic, said):
    with pytest.raises(Failure, match=said):
        posting.post(posted.queue, topic)


def test_what_a_letter_has_to_be(posted):
    posted.edit(posting.LETTERS, "They did not.", "They did not, " + "and not " * 10)
    with pytest.raises(Failure, match="75 columns"):
        posting.post(posted.queue, "toy")
    posted.write(posting.LETTERS, "## toy\n\nThey did not.\n")
    with pytest.raises(Failure, match="the first line is `Subject"):
        posting.post(posted.queue, "toy")


def test_without_a_tree(posted):
    (posted.new.tree / "scripts/get_maintainer.pl").unlink()
    with pytest.raises(Failure, match="make tree KERNEL=6.1"):
        posting.post(posted.queue, "toy")


def test_nobody_to_write_to(posted):
    (posted.new.tree / "scripts/get_maintainer.pl").write_text("#!/bin/sh\n")
    with pytest.raises(Failure, match="knows nobody for 0001"):
        posting.post(posted.queue, "toy")


def test_the_command(posted, monkeypatch, capsys):
    monkeypatch.setattr(config, "queue", lambda: posted.queue)
    monkeypatch.setattr(config, "choose", lambda features: None)
    assert cli.main(["mail", "--topic", "toy", "--sign", "Jane Doe <jane@example.org>"]) == 0
    assert "git send-email" in capsys.readouterr().out
    assert cli.main(["mail"]) == 1


def test_each_topic_has_a_letter():
    """Except for the first, which is posted with the topics that need it."""
    topics = list(series.topics(series.load(config.queue())))
    for topic in topics[1:]:
        assert posting.read(config.queue(), topic).text
