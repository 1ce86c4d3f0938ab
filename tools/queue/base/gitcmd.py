# SPDX-License-Identifier: GPL-2.0
"""git, called so that the user's configuration, locale and environment change nothing.

For the queue's own trees (under build/) git ignores all configuration, and the identity is the queue's.
For a user's tree (make am) git keeps its configuration; only the locale is fixed.
"""

import re
from pathlib import Path

from base.steps import attempt, decode, encode, run

# Variables by which an outer git (a hook, `git rebase --exec make ...`) would redirect ours.
OUTER = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX",
         "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_REFLOG_ACTION",
         "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS",
         "GIT_LITERAL_PATHSPECS", "GIT_GLOB_PATHSPECS", "GIT_NOGLOB_PATHSPECS",
         "GIT_ICASE_PATHSPECS", "GIT_INDEX_VERSION", "GIT_DEFAULT_HASH", "GIT_QUARANTINE_PATH")
FIXED = {**{name: None for name in OUTER}, "LC_ALL": "C", "LANGUAGE": None, "GIT_EDITOR": "true",
         "GIT_SEQUENCE_EDITOR": "true", "GIT_TERMINAL_PROMPT": "0", "GIT_PAGER": "cat"}


class Git:
    """git in one directory. Calling it gives stdout or raises Failure."""

    def __init__(self, directory, env, options=()):
        self.directory = directory
        self.env = env
        self.options = options

    def configured(self, *settings):
        """The same git with more @settings, NAME=VALUE."""
        return Git(self.directory, self.env, (*self.options, *(word for setting in settings for word in ("-c", setting))))

    def command(self, *args):
        return ["git", *self.options, *args]

    def __call__(self, *args, input=None, env=None, what=""):
        return run(self.command(*args), cwd=self.directory, env={**self.env, **(env or {})},
                   input=input, what=what or f"in {self.directory}: git {args[0]}")

    def attempt(self, *args, input=None, env=None):
        """(exit status, stdout, stderr)"""
        return attempt(self.command(*args), cwd=self.directory,
                       env={**self.env, **(env or {})}, input=input)

    def at(self, directory):
        """The same git in another directory."""
        return Git(directory, self.env, self.options)

    def line(self, *args):
        return self(*args).rstrip("\n")

    def commit(self, revision):
        """The id of the commit that @revision names, or "" if there is none."""
        status, stdout, _ = self.attempt("rev-parse", "--verify", "--quiet", revision + "^{commit}")
        return stdout.strip() if status == 0 else ""

    def blobs(self, ids):
        """The texts of the blobs with these @ids, by id."""
        data, texts = encode(self("cat-file", "--batch", input="".join(f"{blob}\n" for blob in ids))), {}
        for blob in ids:
            head, _, data = data.partition(b"\n")
            size = int(head.split()[2])
            texts[blob], data = decode(data[:size]), data[size + 1:]
        return texts

    def git_path(self, name):
        return self.line("rev-parse", "--path-format=absolute", "--git-path", name)


def own(directory, queue):
    """git in one of the queue's own trees: only the tree's configuration, the queue's identity and date."""
    name, email = re.fullmatch(r"(.*) <(.*)>", queue.identity).groups()
    env = {**FIXED, "TZ": "UTC", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
           "GIT_ATTR_NOSYSTEM": "1",
           "GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email, "GIT_AUTHOR_DATE": None,
           "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": email, "GIT_COMMITTER_DATE": None}
    # Ignoring the user's configuration also drops safe.directory, which containers rely on.
    return Git(directory, env, ("-c", "safe.directory=*", "-c", "core.hooksPath=/dev/null",
                                "-c", "gc.auto=0", "-c", "core.quotePath=false",
                                "-c", "advice.detachedHead=false", "-c", "commit.gpgSign=false",
                                "-c", "core.autocrlf=false", "-c", "core.fileMode=true",
                                # A message line that begins with '#' is a line of the message.
                                "-c", "commit.cleanup=whitespace"))


def users(directory):
    """git in a user's tree."""
    return Git(directory, FIXED)


def in_progress(git):
    """The git operation that is in progress, or ""."""
    own = Path(git.git_path("."))       # has all of these, also for a worktree
    for name, what in (("rebase-apply/applying", "git am"), ("rebase-apply", "git rebase"),
                       ("rebase-merge", "git rebase"), ("MERGE_HEAD", "git merge"),
                       ("CHERRY_PICK_HEAD", "git cherry-pick"), ("REVERT_HEAD", "git revert")):
        if (own / name).exists():
            return what
    return ""
