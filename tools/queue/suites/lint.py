# SPDX-License-Identifier: GPL-2.0
"""`make lint`: checkpatch and codespell on every woven patch, sparse and kernel-doc on every file they touch, the queue's
own Coccinelle rules, and the page that lists the exporters of fences.

Each checker is first shown a planted fault (lint/): one that finds nothing there is blind, as an
old sparse is on a new kernel, and its silence about the queue would say nothing.
"""

import os
import re
import shutil
import sys
import time

from base import config, origin, steps
from base.steps import Failure
from lab import debian, source
from suites import commits, exporters
from suites.results import FAIL, PASS, Results
from weave import mails, tree

PLANTED = config.HERE / "lint"
WORDS = ("filp",)       # that codespell takes for misspelt ones
GROUPS = 8      # of patches that one checkpatch looks at

# What checkpatch is told to pass over, and why.
IGNORED = {
    "FILE_PATH_CHANGES": "new files are covered by our MAINTAINERS entry, a patch of its own in the series",
    "ALLOC_WITH_SIZEOF": "it asks for kzalloc_obj(), which only the newest kernels have",
    "CAMELCASE": "the kernel's names of page flags",
    "UNKNOWN_COMMIT_ID": "commits are upstream's, which a tree made from Debian's source does not have",
}       # and OBSOLETE, see Lint.make_root()

# The same for files below a directory: trace events have a layout of their own, which checkpatch does not know.
IGNORED_BELOW = {"include/trace/events/": ("PARENTHESIS_ALIGNMENT", "OPEN_ENDED_LINE")}


def main(kernels, which=""):
    source.announce(kernels, which)
    debian.deps()
    results = Results()
    for kernel in kernels:
        source.get(kernel, which)
        made = tree.make(config.queue(), kernel)
        tree.tell(config.queue(), kernel, made)
        Lint(kernel, results).run()
    return results.finish()


def about(where, path):
    """Whether a warning, whose place a checker calls @where, is about the file @path."""
    return where.removeprefix("../").endswith(path)


def said(patch):
    """What a patch says and does, without its number and date and the lines where it does it."""
    text = patch.read_text(encoding="utf-8").rpartition("\n-- \n")[0]
    return re.sub(r"^(Subject: \[PATCH [^]]*\]|Date:.*$|@@ .* @@.*$)", "", text, flags=re.MULTILINE)


def counts(patch, complaint):
    """Whether a @complaint of checkpatch about @patch, `LINE: LEVEL:TYPE: words`, counts in the file that it is about."""
    match = re.match(r"(\d+): [A-Z]+:([A-Z_]+): ", complaint)
    if not match:
        return True
    lines = patch.read_text(encoding="utf-8").split("\n")[:int(match[1])]
    path = next((line.removeprefix("+++ b/") for line in reversed(lines) if line.startswith("+++ b/")), "")
    return not any(path.startswith(where) and match[2] in types for where, types in IGNORED_BELOW.items())


def read_sparse(output):
    """(sources that sparse has looked at, {(file, warning)}) by what make printed."""
    return (set(re.findall(r"^  CHECK   (?:\.\./)?(\S+)$", output, re.MULTILINE)),
            set(re.findall(r"^([^\s:]+\.[ch]):\d+:\d+: ((?:warning|error): .*)$", output, re.MULTILINE)))


class Lint:
    # What checkpatch has nothing to say of, on one kernel: it is the same checkpatch for all.
    clean = set()

    def __init__(self, kernel, results):
        self.kernel = kernel
        self.results = results
        self.tools = source.tools_tree()
        self.log = config.BUILD / "log" / f"lint-{kernel.name}.log"
        self.root = config.BUILD / "lint" / kernel.name
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("", encoding="utf-8")

    def run(self):
        """All of it."""
        self.checkpatch()
        git, _ = commits.checkout(self.kernel)
        touched = commits.touched_by_all(self.kernel)
        self.sparse(git, touched)
        self.kernel_doc(touched)
        self.fence_exporters()
        self.coccinelle(touched)

    def run_short(self):
        """What takes a minute: not sparse, which tip.py compiles with, and of Coccinelle only the touched files."""
        self.checkpatch()
        touched = commits.touched_by_all(self.kernel)
        self.kernel_doc(touched)
        self.fence_exporters()
        self.coccinelle(touched, whole=False)

    def add(self, test, problems, start):
        self.results.add(self.kernel.name, "lint", test, FAIL if problems else PASS,
                         f"{len(problems)}, first: {problems[0]}; see {self.log}" if problems else "",
                         time.monotonic() - start, self.log)

    def each(self, checker, items, name, problems):
        """A result for each of @items, of what @problems finds in it; several are checked at once."""
        def timed(item):
            start = time.monotonic()
            return problems(item), time.monotonic() - start

        for item, (found, seconds) in zip(items, steps.parallel(timed, items)):
            self.add(f"{checker}.{name(item)}", found, time.monotonic() - seconds)

    def keep(self, title, text):
        with open(self.log, "a", encoding="utf-8", errors="replace") as file:
            file.write(f"--- {title}\n{text}\n")

    def planted(self, checker, problems):
        self.results.add(self.kernel.name, "lint", f"{checker}.planted", PASS if problems else FAIL,
                         "" if problems else f"{checker} does not report a fault that is there", log=self.log)

    # checkpatch

    def checkpatch(self):
        self.make_root()
        fault = PLANTED / "checkpatch.diff"
        found = " ".join(self.complaints([fault])[fault])
        self.planted("checkpatch", "CHECK:COMPARISON_TO_NULL" in found and "TYPO_SPELLING" in found)
        self.planted("codespell", self.misspelt([fault]))
        patches = mails.write(config.queue(), self.kernel)
        texts = {patch: said(patch) for patch in patches}
        doubtful = [patch for patch in patches if texts[patch] not in self.clean]
        groups = [doubtful[start::GROUPS] for start in range(GROUPS)]
        start = time.monotonic()
        complaints = {patch: [] for patch in patches}
        for found in steps.parallel(self.complaints, [group for group in groups if group]):
            complaints.update(found)
        self.clean.update(texts[patch] for patch in patches if not complaints[patch])
        for patch in patches:
            self.add(f"checkpatch.{patch.name}", complaints[patch], start)
        start = time.monotonic()
        self.add("codespell", self.misspelt(patches), start)

    def make_root(self):
        """Make the kernel's tree as checkpatch sees it: without the script that it would start for each file of a patch.

        That one reads MAINTAINERS, to say whether a file is obsolete, and takes more than half of the time.
        """
        shutil.rmtree(self.root, ignore_errors=True)
        (self.root / "scripts").mkdir(parents=True)
        for directory in (self.kernel.tree, self.kernel.tree / "scripts"):
            for entry in directory.iterdir():
                if entry.name not in ("scripts", "get_maintainer.pl"):
                    (self.root / entry.relative_to(self.kernel.tree)).symlink_to(entry)

    def misspelt(self, patches):
        """Words in what @patches say and add that codespell knows to be wrong.

        By itself: for checkpatch --codespell, which tries all 40,000 on each line, it takes minutes.
        """
        place = config.BUILD / "log" / f"codespell-{self.kernel.name}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for patch in patches:
            message, _, diff = patch.read_text(encoding="utf-8").partition("\n---\n")
            # A line is where it was, and what was there before is left out.
            diff = [line[1:] if line.startswith("+") else "" for line in diff.split("\n")]
            (place / patch.name).write_text("\n".join([message, "", *diff]), encoding="utf-8")
        status, stdout, stderr = steps.attempt(["codespell", f"--ignore-words-list={','.join(WORDS)}", place],
                                               env={"PATH": "/usr/bin:/bin"})
        self.keep("codespell", stdout + stderr)
        return stdout.splitlines() or ([stderr.strip()] if status else [])

    def complaints(self, patches):
        """{patch: errors, warnings and checks} of each; --strict ones count as much as the others.

        Several at once, because its lists of words take a third of the time to read.
        """
        status, stdout, stderr = steps.attempt(
            [self.tools / "scripts/checkpatch.pl", f"--root={self.root}", "--strict", "--no-signoff", "--show-types",
             "--no-summary", "--color=never", "--terse", "--emacs", "--ignore", ",".join(IGNORED), *patches], cwd=self.kernel.tree,
            env={"PATH": "/usr/bin:/bin"})      # its helpers are Python, and need Debian's modules
        self.keep("checkpatch", stdout + stderr)
        found = {patch: [line.removeprefix(f"{patch}:") for line in stdout.splitlines() if line.startswith(f"{patch}:")]
                 for patch in patches}
        if status and not any(found.values()):
            found[patches[0]] = (stderr or stdout).strip().splitlines()[-1:] or [f"exit status {status}"]
        return {patch: [line for line in lines if counts(patch, line)] for patch, lines in found.items()}

    # sparse

    def sparse(self, git, touched):
        """Warnings of the woven tree that the unpatched one does not have, for each touched source."""
        command = debian.sparse()
        self.sparse_planted(command)
        sources = [path for path in self.ours(touched) if path.endswith(".c")]
        with steps.step("sparse on the woven sources, and on the unpatched ones of those that it warns of"):
            checked, warnings, variant = self.warnings(git, "origin/queue", sources, command)
            self.sparse_names(git, variant, command)
            self.sparse_judge(touched, checked, warnings)

    def sparse_planted(self, command):
        text = "".join(steps.attempt([*command, PLANTED / "sparse.c"])[1:])
        self.planted("sparse", re.findall("address spaces", text))

    @staticmethod
    def ours(touched):
        return sorted(path for path in touched if path.endswith((".c", ".h")) and path.startswith((*commits.CODE, "include/"))
                      and not path.startswith(commits.USER))

    def known(self):
        """Warnings of the unpatched sources that are known, if these are the tested ones."""
        if not origin.is_tested(config.queue(), self.kernel):
            return set()
        lines = (line.partition(" ") for line in (PLANTED / "sparse.known").read_text(encoding="utf-8").splitlines())
        return {tuple(text.split(": ", 1)) for name, _, text in lines if name == self.kernel.name}

    def sparse_judge(self, touched, checked, warnings, short=False):
        """A result for each touched source, of what sparse has @checked, and its @warnings.

        Those of the unpatched sources do not count: if @short, what is known of them is believed.
        """
        ours = self.ours(touched)
        sources = [path for path in ours if path.endswith(".c")]
        warnings = {(where.removeprefix("../"), text) for where, text in warnings}
        warnings = {(where, text) for where, text in warnings if any(about(where, path) for path in ours)}
        known = self.known()
        if short:
            warnings -= known
        doubtful = [path for path in ours if any(about(where, path) for where, _ in warnings)]
        if doubtful:
            # A header has no object of its own: then everything is looked at.
            again = doubtful if set(doubtful) <= set(sources) else sources
            git, _ = commits.checkout(self.kernel)
            before = {(where.removeprefix("../"), text) for where, text in self.warnings(git, "base", again, debian.sparse())[1]}
            if not short and origin.is_tested(config.queue(), self.kernel):
                self.add("sparse.known", [f"{'not said' if one in known else 'said'} of the unpatched source: {': '.join(one)}"
                                          for one in sorted(known ^ (warnings & before))], time.monotonic())
            warnings -= before
        start = time.monotonic()
        for path in ours:
            problems = [f"{where}: {text}" for where, text in sorted(warnings) if about(where, path)]
            if path in sources and touched[path] != "D" and path not in checked:
                problems.append("sparse never saw it; add its option to configs/compile-*.config")
            if path in sources or problems:
                self.add(f"sparse.{path}", problems, start)

    def warnings(self, git, commit, sources, command):
        """What sparse says of those of @sources that a @commit has: (what it saw, its warnings, the last variant)."""
        git("checkout", "--quiet", "--force", "--detach", commit)
        seen, found = set(), set()
        for arch in commits.CONFIGS:
            variant = commits.Variant(git.directory, self.kernel, arch)
            variant.kbuild.log = variant.log(9001)
            variant.configure()
            # Each source once, for the first architecture that has it: few have lines that differ.
            targets = [f"{path[:-1]}o" for path in sources if path not in seen and
                       (git.directory / path).exists() and variant.builds(path)]
            if not targets:
                continue
            output = self.run_sparse(variant, targets, command)
            checked, said = read_sparse(output)
            seen |= checked
            found |= said
        return seen, found, variant

    def sparse_names(self, git, variant, command):
        """A caller that forgets rcu_dereference() on a fence's name is reported, one that has it is not.

        Both are planted at the end of a source of the woven tree, because they need its headers.
        """
        path = "drivers/dma-buf/sync_file.c"
        source_file = git.directory / path
        text = source_file.read_text(encoding="utf-8")
        planted = (PLANTED / "fence_names.c").read_text(encoding="utf-8")
        source_file.write_text(text + planted, encoding="utf-8")
        try:
            output = self.run_sparse(variant, [f"{path[:-1]}o"], command)
        finally:
            git("checkout", "--quiet", "--force", "--", path)
        before = text.count("\n")
        wanted = {before + number for number, line in enumerate(planted.splitlines(), 1) if "/* forgets */" in line}
        found = {int(number) for number in re.findall(rf"{path}:(\d+):\d+: warning: .*address spaces", output)}
        self.planted("sparse.fence_names", {number for number in found if number > before} == wanted)

    def run_sparse(self, variant, targets, command):
        log = variant.kbuild.log
        status = log.stat().st_size if log.exists() else 0
        variant.compile(targets, "C=2", f"CHECK={' '.join(map(str, command))}")
        output = log.read_bytes()[status:].decode("utf-8", "replace")
        self.keep(f"sparse {variant.name}", output)
        return output

    # kernel-doc

    def kernel_doc(self, touched):
        self.planted("kernel-doc", self.doc_warnings(PLANTED, "kernel-doc.h"))
        paths = [path for path, kind in touched.items() if kind != "D" and path.endswith((".c", ".h"))
                 and path.startswith((*commits.CODE, "include/"))]

        if not paths:
            return
        # At once, because a start takes longer than a file. What it says of one alone is heard where it says anything.
        said = self.doc_warnings(self.kernel.tree, *paths)
        doubtful = {path for path in paths if any(path in line for line in said)}
        if any(not any(path in line for path in paths) for line in said):
            doubtful = set(paths)

        def new_warnings(path):
            now = self.doc_warnings(self.kernel.tree, path) if path in doubtful else []
            # A warning may name the line, which the patches move: numbers tell, for an edited file.
            old = self.doc_warnings(self.kernel.pristine, path) if now and touched[path] != "A" else []
            return now if len(now) > len(old) else []

        self.each("kernel-doc", sorted(paths), str, new_warnings)

    def doc_warnings(self, root, *paths):
        status, stdout, stderr = steps.attempt([sys.executable, "-B", self.tools / "scripts/kernel-doc", "-none",
                                                *(root / path for path in paths)], cwd=root)
        text = stdout + stderr
        self.keep(f"kernel-doc of {len(paths)} in {root}, {paths[0]} first", text)
        found = [line for line in text.splitlines() if re.search(r"\b(warning|error)\b", line, re.IGNORECASE)]
        # It ends with 0 after a warning. What ends it otherwise leaves the files behind that one unread.
        return found + [f"exit status {status}: {text.strip().splitlines()[-1] if text.strip() else ''}"] * bool(status)

    # exporters of fences

    def fence_exporters(self):
        """Each has a row in the page that lists them, if the topic that has the page is taken."""
        page = self.kernel.tree / exporters.PAGE
        if not page.exists():
            return
        start = time.monotonic()
        known = exporters.defined(self.kernel.tree), self.kernel.name, [kernel.name for kernel in config.queue().kernels]
        self.planted("exporters", exporters.problems("", *known))
        self.add("exporters", exporters.problems(page.read_text(encoding="utf-8"), *known), start)

    # coccinelle

    def coccinelle(self, touched, whole=True):
        """Each rule finds what it is for in the unpatched drivers, and nothing in the woven ones; unless @whole, of touched files.

        lint/RULE.cocci.c beside the other planted faults, if it is there, marks the lines that the rule has to
        find in it. It may find nothing else there, and where upstream has mended the drivers, that is the proof.
        """
        for rule in sorted(path for path, kind in touched.items() if path.endswith(".cocci") and kind == "A"):
            name = rule.rpartition("/")[2]
            unpatched = self.matches(rule, self.kernel.pristine / "drivers") if whole else []
            sample = PLANTED / f"{name}.c"
            if sample.exists():
                start = time.monotonic()
                self.add(f"coccinelle.{name}.sample", self.sample(rule, sample), start)
            elif whole:
                self.planted(f"coccinelle.{name}", unpatched)
            start = time.monotonic()
            only = None if whole else [path for path in touched if path.endswith(".c") and path.startswith("drivers/")]
            self.add(f"coccinelle.{name}", self.matches(rule, self.kernel.tree / "drivers", only), start)
            if whole:
                steps.say(f"    {rule}: {len(unpatched)} in the unpatched {self.kernel.name}")

    def sample(self, rule, sample):
        """What the rule misses in its sample, or finds where nothing is marked."""
        marked = {number for number, line in enumerate(sample.read_text(encoding="utf-8").splitlines(), 1)
                  if "/* reported */" in line}
        found = {int(match[1]) for line in self.matches(rule, sample) if (match := re.match(r"[^:]+:(\d+):", line))}
        return [f"{sample.name}:{line}: {'not reported' if line in marked else 'reported, though it is right'}"
                for line in sorted(marked ^ found)] or ([] if marked else [f"{sample}: no line is marked"])

    def matches(self, rule, place, only=None):
        """Lines that @rule reports of @place, a file or a directory of a git tree, or of those files @only of the tree.

        Of a directory only files are read that have one of the rule's keywords: all of a kernel's
        drivers take minutes.
        """
        groups = [[place]]
        if place.is_dir():
            text = (config.ROOT / rule).read_text(encoding="utf-8")
            keywords = re.search(r"^// Keywords: (.*)$", text, re.MULTILINE)
            if not keywords:
                raise Failure(f"{rule}: needs a line `// Keywords: WORD, WORD`, one of which each file to look at has")
            patterns = [word for name in keywords[1].split(", ") for word in ("-e", name)]
            names = steps.attempt(["git", "-C", place, "grep", "--name-only", "--word-regexp", *patterns, "--", "*.c"])[1]
            groups = [[place / name] for name in names.splitlines() if only is None or f"drivers/{name}" in only]
        files = config.BUILD / "log" / f"coccinelle-{self.kernel.name}.groups"
        files.write_text("\n\n".join("\n".join(map(str, group)) for group in groups) + "\n", encoding="utf-8")
        output = steps.run(["spatch", "--very-quiet", "-D", "report", "--no-includes", "-j", str(os.cpu_count() or 1), "--cocci-file",
                            config.ROOT / rule, "--file-groups", files], what=f"running {rule}")
        self.keep(f"coccinelle {rule} on {place}", output)
        return output.splitlines()
