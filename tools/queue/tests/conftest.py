# SPDX-License-Identifier: GPL-2.0
"""A toy queue for two toy kernels, 5.10 and 6.1, in a temporary directory."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# pylint: disable=wrong-import-position
from base import config, gitcmd, steps  # noqa: E402
from base.gitcmd import FIXED, Git      # noqa: E402
from weave import mails, tree           # noqa: E402

TABLE = """
[queue]
identity = "The Toy <toy@example.org>"
date = "Sat, 21 Nov 2026 00:00:00 +0000"
[[kernel]]
name = "5.10"
version = "5.10.9-1"
package = "linux-source-5.10"
suites = ["old"]
[[kernel]]
name = "6.1"
version = "6.1.7-1"
package = "linux-source-6.1"
suites = ["new"]
"""

A_C = "".join(f"int a{n}(void)\n{{\n\treturn {n};\n}}\n\n" for n in range(1, 13))
B_C = "// some other file\n\f\nint b(void)\n{\n\treturn 0;\n}\n"
MAINTAINERS = "".join(f"{name}\nM:\tSomebody <s@example.org>\nF:\tdrivers/{name.lower()}/\n\n"
                      for name in ("ALPHA", "BETA", "DELTA", "EPSILON"))
FILES = {
    "Kbuild": "# SPDX\n",
    "drivers/dma-buf/a.c": A_C,
    "drivers/dma-buf/b.c": B_C,
    "drivers/dma-buf/Kconfig": "menu \"DMABUF\"\n\nconfig SYNC_FILE\n\tbool \"sync\"\n\nendmenu\n",
    "drivers/dma-buf/Makefile": "obj-y := a.o\nobj-y += b.o\n",
    "MAINTAINERS": MAINTAINERS,
}

SERIES = """\
# the toy series
topic base: the toggle
Kconfig.patch                          all    no

topic toy: all of it
drivers/dma-buf/a-fix.patch            all    v6.3     # a comment
drivers/dma-buf/new.patch              all    no
drivers/dma-buf/old-only.patch         5.10   v5.15
drivers/dma-buf/tests.patch            all    no       control
MAINTAINERS.patch                      all    no
"""

NEW_C = "// SPDX-License-Identifier: GPL-2.0\n" + "".join(f"int new{n};\n" for n in range(1, 21))
ENTRY = "COUNTERS\nM:\tThe Toy <toy@example.org>\nF:\tdrivers/dma-buf/new.c\n"

PATCHES = {
    "Kconfig.patch": """\
Subject: dma-buf: add the toggle

Somebody wants to switch it off.

Upstream: no, it is ours
---
diff --git a/drivers/dma-buf/Kconfig b/drivers/dma-buf/Kconfig
--- a/drivers/dma-buf/Kconfig
+++ b/drivers/dma-buf/Kconfig
@@ -3,4 +3,7 @@ menu "DMABUF"
 config SYNC_FILE
 \tbool "sync"
 
+config TOY
+\tbool "toy"
+
 endmenu
""",
    "drivers/dma-buf/a-fix.patch": """\
Subject: dma-buf: fix a3() and a8()

Both returned what they should not.

#include is not a comment, and \N{LATIN SMALL LETTER E WITH ACUTE} is not ASCII.

Upstream: v6.3 0123456789ab
Fixes: ba9876543210 ("dma-buf: break a3()")
---
diff --git a/drivers/dma-buf/a.c b/drivers/dma-buf/a.c
--- a/drivers/dma-buf/a.c
+++ b/drivers/dma-buf/a.c
@@ -10,7 +10,7 @@ int a2(void)
 
 int a3(void)
 {
-\treturn 3;
+\treturn 33;
 }
 
 int a4(void)
@@ -35,7 +35,7 @@ int a7(void)
 
 int a8(void)
 {
-\treturn 8;
+\treturn 88;
 }
 
 int a9(void)
""",
    # 5.10 has b() elsewhere, and its new.c differs by one line.
    "drivers/dma-buf/new.patch": """\
Subject: dma-buf: add new.c

It is new.

Upstream: no, it is new
New: drivers/dma-buf/new.c
New: tools/testing/run.sh
---
diff --git a/drivers/dma-buf/Makefile b/drivers/dma-buf/Makefile
--- a/drivers/dma-buf/Makefile
+++ b/drivers/dma-buf/Makefile
@@ -1,2 +1,3 @@
 obj-y := a.o
 obj-y += b.o
+obj-$(CONFIG_TOY) += new.o
diff --git a/drivers/dma-buf/b.c b/drivers/dma-buf/b.c
--- a/drivers/dma-buf/b.c
+++ b/drivers/dma-buf/b.c
@@ -3,5 +3,5 @@
 // 6.1 has one more line
 int b(void)
 {
-\treturn 0;
+\treturn new1;
 }
""",
    "drivers/dma-buf/new.5.10.patch": """\
diff --git a/drivers/dma-buf/b.c b/drivers/dma-buf/b.c
--- a/drivers/dma-buf/b.c
+++ b/drivers/dma-buf/b.c
@@ -2,5 +2,5 @@
 \f
 int b(void)
 {
-\treturn 0;
+\treturn new1;
 }
diff --git a/drivers/dma-buf/new.c b/drivers/dma-buf/new.c
--- a/drivers/dma-buf/new.c
+++ b/drivers/dma-buf/new.c
@@ -10,7 +10,7 @@ int new8;
 int new9;
 int new10;
 int new11;
-int new12;
+long new12;
 int new13;
 int new14;
 int new15;
""",
    "drivers/dma-buf/old-only.patch": """\
Subject: dma-buf: fix a1()

Only old kernels have it wrong.

Upstream: v5.15 abcdef012345, reduced
---
diff --git a/drivers/dma-buf/a.c b/drivers/dma-buf/a.c
--- a/drivers/dma-buf/a.c
+++ b/drivers/dma-buf/a.c
@@ -1,6 +1,6 @@
 int a1(void)
 {
-\treturn 1;
+\treturn 11;
 }
 
 int a2(void)
""",
    "drivers/dma-buf/tests.patch": """\
Subject: dma-buf: add a test

It tests.

Upstream: no, it is new
New: drivers/dma-buf/test.c
---
diff --git a/drivers/dma-buf/a.c b/drivers/dma-buf/a.c
--- a/drivers/dma-buf/a.c
+++ b/drivers/dma-buf/a.c
@@ -55,6 +55,6 @@ int a11(void)
 
 int a12(void)
 {
-\treturn 12;
+\treturn 12; /* tested */
 }
 
""",
    "MAINTAINERS.patch": """\
Subject: MAINTAINERS: add an entry

Somebody has to.

Upstream: no, it is ours
Inserts: MAINTAINERS
---
diff --git a/MAINTAINERS b/MAINTAINERS
--- a/MAINTAINERS
+++ b/MAINTAINERS
@@ -6,6 +6,6 @@
 M:\tSomebody <s@example.org>
 F:\tdrivers/beta/
 
 DELTA
 M:\tSomebody <s@example.org>
 F:\tdrivers/delta/
""",
}
NEW_FILES = {
    "drivers/dma-buf/new.c": NEW_C,
    "drivers/dma-buf/test.c": "// SPDX-License-Identifier: GPL-2.0\nint test;\n",
    "tools/testing/run.sh": "#!/bin/sh\n# SPDX-License-Identifier: GPL-2.0\ntrue\n",
    "MAINTAINERS": ENTRY,
}


class Toy:
    """The toy repository; paths are relative to it, or to a kernel's git tree."""

    def __init__(self, root):
        self.root = root / "repo"
        self.queue = config.load(self.root, root / "kernels.toml")
        self.old, self.new = self.queue.kernels[0], self.queue.kernels[-1]

    def fill(self):
        self.root.mkdir()
        for path, text in {"series": SERIES, **PATCHES, **NEW_FILES}.items():
            self.write(path, text)
        (self.root / "tools/testing/run.sh").chmod(0o755)
        self.pristine(self.old, FILES)
        self.pristine(self.new, {**FILES, "drivers/dma-buf/b.c":
                                 B_C.replace("int b(", "// 6.1 has one more line\nint b(")})

    def pristine(self, kernel, files, message=None):
        self.make_git(kernel.pristine, kernel, files, message)
        gitcmd.own(kernel.pristine, self.queue)("tag", "base")

    def make_git(self, path, kernel, files, message=None):
        version, patchlevel = kernel.name.split(".")
        path.mkdir(parents=True)
        files = {**files, "Makefile": f"VERSION = {version}\nPATCHLEVEL = {patchlevel}\nSUBLEVEL = 9\n"}
        for name, text in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(steps.encode(text))
        git = gitcmd.own(path, self.queue)
        git("init", "--quiet", "--template=", "-b", "main")
        git("add", "-A")
        git("commit", "--quiet", "-m", message or f"{kernel.package} {kernel.version}")
        return git

    def write(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(steps.encode(text))

    def read(self, path):
        return steps.decode((self.root / path).read_bytes())

    def edit(self, path, old, new):
        """Replace @old, which must occur once, in a file of the repository or at a full path."""
        file = self.root / path
        text = steps.decode(file.read_bytes())
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {path}"
        file.write_bytes(steps.encode(text.replace(old, new)))

    def snapshot(self):
        """All files that a maintainer keeps: path -> (bytes, mode)."""
        return {str(file.relative_to(self.root)): (file.read_bytes(), file.stat().st_mode & 0o777)
                for file in sorted(self.root.rglob("*"))
                if file.is_file() and file.relative_to(self.root).parts[0] not in ("build", "out")}

    def git(self, kernel):
        return gitcmd.own(kernel.tree, self.queue)

    def make(self, kernel, **options):
        tree.make(self.queue, kernel, **options)
        return self.git(kernel)

    def woven(self, kernel, **options):
        return mails.woven(self.queue, kernel, **options)


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    root = tmp_path_factory.mktemp("template")
    (root / "kernels.toml").write_text(TABLE)
    Toy(root).fill()
    return root


@pytest.fixture
def toy(template, tmp_path):
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return Toy(tmp_path)


@pytest.fixture
def user(toy, tmp_path, monkeypatch):
    """A user's git tree of 5.10, and the user's own configuration."""
    (tmp_path / "gitconfig").write_text("[user]\n\tname = A User\n\temail = user@example.org\n"
                                        "[am]\n\tthreeWay = true\n[mailinfo]\n\tscissors = true\n"
                                        "[apply]\n\twhitespace = error\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.delenv(f"GIT_{name}_NAME", raising=False)
        monkeypatch.delenv(f"GIT_{name}_EMAIL", raising=False)
    monkeypatch.delenv("EMAIL", raising=False)
    toy.make_git(tmp_path / "linux", toy.old, FILES)
    return Git(tmp_path / "linux", FIXED)


def commit(user, path, text):
    (user.directory / path).write_bytes(steps.encode(text))
    user("add", "-A")
    user("commit", "--quiet", "-m", "mine")


def state(git):
    """HEAD, index and files of a git tree, to compare."""
    root = Path(git.directory)
    files = {str(file.relative_to(root)): (file.read_bytes(), file.stat().st_mode)
             for file in root.rglob("*") if file.is_file() and ".git" not in file.parts}
    return (git.commit("HEAD"), git.attempt("symbolic-ref", "-q", "HEAD")[1],
            git("ls-files", "--stage"), git("status", "--porcelain"), files)
