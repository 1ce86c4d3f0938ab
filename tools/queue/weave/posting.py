# SPDX-License-Identifier: GPL-2.0
"""A topic as a posting to the kernel's lists: a cover letter and numbered mails for git send-email or b4.

It is for the newest kernel. It has the topic's patches, those of the topics it needs, and those patches of the first
topic, which is part of every selection, that these use. Text that is only for the queue is left out (`Upstream:` and the
like, paragraphs about older kernels). So are backports, which the letter lists. The kernel's own get_maintainer.pl gives
the recipients.

The letters are in LETTERS, one section for each topic. A `### v2` in a section says what has changed since v1, and makes
the posting that version.
"""

import email.utils
import re
from dataclasses import dataclass, field, replace

from base import gitcmd
from base.steps import Failure, decode, encode, note, run, say, step
from weave import mails, needs, series, tree

LETTERS = "Documentation/queue/postings.md"
OURS = re.compile(r"Upstream(?:-\w+)?: ")       # trailers of the queue
OLDER = "Older kernels: "                       # begins a paragraph that is only for the queue
SINCE = re.compile(r"\b[Ss]ince\s+([0-9a-f]{12,40})\s+(\(\"[^\"]+\"\))")
URL = re.compile(r"\bhttps?://[^\s<>()]+[^\s<>().,;:]")
PERSON = re.compile(r"(.+?) \(([^()]*)\)")      # NAME <ADDRESS> (ROLE:SUBSYSTEM), as get_maintainer.pl prints it
WIDTH = 75
OPTIONS = """\
The code that this series brings is under these options:

{}

Add them first, so that each of the patches can be built with its code and
without."""


@dataclass
class Letter:
    subject: str
    text: str
    changes: list = field(default_factory=list)     # (version, text), the newest first

    @property
    def version(self):
        return max((version for version, _ in self.changes), default=1)


def post(queue, topic, sign=""):
    """Write the posting of @topic into out/mail/TOPIC; returns the paths, the letter first. @sign: who signs it off."""
    if not topic:
        raise Failure("say which topic: `make mail TOPIC=names`; `make topics` prints them")
    if sign and not re.fullmatch(r"[^<>]*\S <[^<>\s]+@[^<>\s]+>", sign):
        raise Failure(f"SIGN={sign}: that is a name and an address, SIGN='Jane Doe <jane@example.org>'")
    queue = replace(queue, features=(topic,), identity=sign or queue.identity)
    kernel = queue.kernels[-1]
    letter = read(queue, topic)
    patches, backports = chosen(queue, kernel, topic)
    script = kernel.tree / "scripts/get_maintainer.pl"
    if not script.exists():
        raise Failure(f"there is no {script}, which says whom to write to; `make tree KERNEL={kernel.name}`")
    patches = [woven._replace(patch=replace(woven.patch, body=body(woven.patch, woven.edits, sign))) for woven in patches]
    place = queue.out / "mail" / topic
    with step(f"{place}: {len(patches)} patches and a letter for Linux {kernel.name}"):
        paths = format_patches(queue, kernel, letter, patches, place)
        everyone = {"To": [], "Cc": []}
        for path in paths[1:]:
            people = ask(script, path, queue.identity)
            add_headers(path, people)
            for header, found in everyone.items():
                found += [person for person in people[header] if person not in found]
        everyone["Cc"] = [person for person in everyone["Cc"] if person not in everyone["To"]]
        write_letter(paths[0], letter, kernel, backports)
        add_headers(paths[0], everyone)
    for woven in backports:
        note(f"left out, upstream has it: {woven.patch.subject} ({upstream(woven.patch)})")
    older = "|".join(re.escape(other.name) for other in queue.kernels[:-1])
    speaking = [path.name for path, woven in zip(paths[1:], patches) if older and re.search(rf"(?<![.\d])v?(?:{older})(?![.\d]*\d)", woven.patch.body)]
    if speaking:
        note("the message is written for older kernels, too, reword it: " + " ".join(speaking))
    say(f"{place}: read them, then `git send-email {place}/*.patch`, or `git am` them for b4"
        + ("" if sign else "; sign them off first: SIGN='Jane Doe <jane@example.org>'"))
    return paths


def read(queue, topic):
    """The Letter of @topic."""
    file = queue.root / LETTERS
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    section = re.search(rf"^## {re.escape(topic)}\n+(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if not section:
        raise Failure(f"{LETTERS} has no letter for {topic}: write a section `## {topic}`, its first line `Subject: ...`")
    head, *changes = re.split(r"^### v(\d+)\n+", section[1], flags=re.MULTILINE)
    subject, _, body_ = head.partition("\n")
    if not subject.startswith("Subject: ") or not body_.strip():
        raise Failure(f"{LETTERS}, {topic}: the first line is `Subject: ...`, then an empty line and the letter")
    wide = [line for line in section[1].splitlines() if len(line.removeprefix("Subject: ")) > WIDTH and " " in line.strip()]
    if wide:
        raise Failure(f"{LETTERS}, {topic}: a mail has {WIDTH} columns: {wide[0]!r}")
    pairs = [(int(version), text.strip("\n")) for version, text in zip(changes[::2], changes[1::2])]
    return Letter(subject.removeprefix("Subject: ").strip(), body_.strip("\n"), sorted(pairs, reverse=True))


def chosen(queue, kernel, topic):
    """(the patches to post, those that upstream has in a later release than @kernel), as Woven."""
    entries = series.load(queue)
    topics = series.topics(entries)
    if topic not in topics:
        raise Failure(f"there is no topic {topic!r}; there is: {' '.join(topics)}")
    first = next(iter(topics))
    of = {entry.patch.path: entry.topic.name for entry in entries}
    everything = mails.woven(queue, kernel, entries=entries)
    backports = [woven for woven in everything if woven.patch.upstream != "no"]
    woven = [woven for woven in everything if woven not in backports]
    needed = needs.of(woven)
    wanted = {one.patch.path for one in woven if of[one.patch.path] != first or topic == first}
    for one in reversed(woven):
        if one.patch.path in wanted:
            wanted |= needed[one.patch.path]
    patches = [one for one in woven if one.patch.path in wanted]
    if not patches:
        raise Failure(f"{topic} has no patch for Linux {kernel.name} that upstream does not have")
    return patches, backports


def upstream(patch):
    """What the patch's trailer says of upstream."""
    return re.search(r"^Upstream: (.*)$", patch.body, re.MULTILINE)[1]


def body(patch, edits, sign):
    """The message without what is only for the queue, and with trailers for the commits and reports that it names."""
    text, _, last = patch.body.rpartition("\n\n")
    if patch.path == mails.OPTIONS:     # its message is about all topics
        text = OPTIONS.format("\n".join(f"  CONFIG_{name}" for edit in edits.values() for hunk in edit.hunks
                                        for name in sorted(mails.options(hunk))))
    text = "\n\n".join(paragraph for paragraph in text.split("\n\n") if not paragraph.startswith(OLDER))
    lines = [line for line in last.split("\n") if not OURS.match(line)]
    # A trailer is a line of the last paragraph; if that is prose, there are no trailers.
    trailers = lines if all(re.match(r"[A-Z][A-Za-z-]*: ", line) for line in lines) else []
    text = text if trailers or not lines else "\n\n".join(filter(None, [text, "\n".join(lines)]))
    named = [f"Fixes: {commit[:12]} {' '.join(subject.split())}" for commit, subject in SINCE.findall(text)]
    named += [f"Link: {url}" for url in URL.findall(text)]
    trailers = [*(line for line in named if not any(line.split()[1] in other for other in trailers)), *trailers]
    if sign:
        trailers.append(f"Signed-off-by: {sign}")
    return "\n\n".join(filter(None, [text, "\n".join(dict.fromkeys(trailers))]))


def format_patches(queue, kernel, letter, patches, place):
    """The mails as git format-patch makes them, which also shows that the posting applies by itself."""
    git = tree.pristine(queue, kernel)
    base = git.commit("refs/tags/base")
    done = tree.stack(git, base, kernel, patches, queue)
    if not done.whole:
        raise Failure(f"the posting does not apply to {kernel.version} by itself:\n{done.refused()}")
    place.mkdir(parents=True, exist_ok=True)
    for stale in place.glob("[0-9][0-9][0-9][0-9]-*.patch"):
        stale.unlink()
    version = ["-v", str(letter.version)] if letter.version > 1 else []
    git("format-patch", "--quiet", "--numbered", "--zero-commit", "--no-renames", "--cover-letter", "--signature", kernel.name,
        *version, "--output-directory", place, f"{base}..{done.tip}")
    # git names the files of a second version v2-0001-...
    return sorted(path.rename(place / re.sub(r"^v\d+-", "", path.name)) for path in place.glob("*.patch"))


def ask(script, path, self):
    """{"To": maintainers, "Cc": reviewers and lists} for the mail at @path, without the sender."""
    lines = run([script, "--nogit", "--nogit-fallback", path], cwd=script.parent.parent, what=f"asking whom {path.name} is for").splitlines()
    people = {"To": [], "Cc": []}
    own = email.utils.parseaddr(self)[1]
    for line in lines:
        match = PERSON.fullmatch(line)
        name, address = email.utils.parseaddr(match[1]) if match else ("", "")
        if address and address != own:
            person = email.utils.formataddr((name, address))        # with a name that is not ASCII as headers have it
            people["To" if re.match("maintainer|supporter", match[2]) else "Cc"].append(person)
    if not people["To"] and not people["Cc"]:
        raise Failure(f"{script} knows nobody for {path.name}")
    return people


def add_headers(path, people):
    """Put @people into the mail's header."""
    head, separator, rest = decode(path.read_bytes()).partition("\n\n")
    lines = [f"{header}: " + ",\n\t".join(found) for header, found in people.items() if found]
    path.write_bytes(encode("\n".join([head, *lines]) + separator + rest))


def write_letter(path, letter, kernel, backports):
    """Fill in what git format-patch left open in the cover letter."""
    text = decode(path.read_bytes())
    paragraphs = [letter.text]
    if backports:
        paragraphs.append("Not in here, since upstream has them:\n\n" + "\n".join(f"  {one.patch.subject}: {upstream(one.patch)}" for one in backports))
    paragraphs += [f"Changes in v{version}:\n\n{changes}" for version, changes in letter.changes]
    release = re.match("[0-9.]+", kernel.version)[0]
    paragraphs.append(f"It is based on v{release}.")
    for mark, with_ in (("*** SUBJECT HERE ***", letter.subject), ("*** BLURB HERE ***", "\n\n".join(paragraphs))):
        if text.count(mark) != 1:
            raise Failure(f"git format-patch made a letter without {mark!r}: {path}")
        text = text.replace(mark, with_)
    if not text.isascii() and "\nContent-Type:" not in text:
        text = text.replace("\n\n", "\nMIME-Version: 1.0\nContent-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n", 1)
    path.write_bytes(encode(text))
