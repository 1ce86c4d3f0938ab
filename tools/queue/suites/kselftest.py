# SPDX-License-Identifier: GPL-2.0
"""The user-space tests of the woven tree: builds them statically for each guest that runs them, and reads their TAP.

The parser of kunit.py was tried for the TAP, too. Its results need 38 lines of code around them, while parse() has 49
lines in all. It requires a version line, stops at the plan without reporting results after it, supports neither
"Bail out!" nor a missing plan nor exit statuses, loses the reason of "1..0 # SKIP" and of a failed test, and turns the
skipped rest of a program into crashes. And reading a program's output would require the kernel's source.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from base import steps
from lab import build, debian, guest
from suites.results import FAIL, PASS, SKIP

# Programs of one file each, which exit with status 0 if they find no fault.
SAMPLES = ("samples/dma-buf/sync_file_bridge.c", "samples/dma-buf-release/release_watch.c", "samples/vfio-mdev/gfx_plane_dump.c")
DIRECTORIES = ("tools/testing/selftests/drivers/dma-buf", "tools/testing/selftests/drivers/vfio-mdev", *SAMPLES)
XEN = ("tools/testing/selftests/drivers/xen", "samples/xen/gntdev_map_refs.c")      # for the first domain of Xen
MODULES = ("mbochs.ko", "drm_kms_helper.ko", "vkms.ko")     # modules that programs load from their own directory
LOADED = {"release_watch": "release_notifier", "gfx_plane_dump": "mbochs"}      # modules that have to be loaded for a program
DEMO = "dmabuf_demo"            # a demonstration, not a test: for `make run`
ABSENT = "dmabuf_absent"        # for kernels with the toggles off
STRESS = "_stress"              # suffix of the programs of the suite `stress`
SECONDS, STRESS_SECONDS = 240, 300
KSFT_SKIP = 4
WIDTHS = {"": "-m64", "compat.": "-m32"}        # prefix of the tests' names, and flag of the compiler
NATIVE = {"": "-m64"}


@dataclass(frozen=True)
class Program:
    name: str           # "compat.NAME" for the 32-bit one
    path: Path
    source: str         # in the tree; tells what is the queue's own
    tests: bool = True

    @property
    def stress(self):
        return self.name.endswith(STRESS)


def programs(image, log, directories=DIRECTORIES, widths=None):
    """Build all programs in @directories of @image's tree, or samples there, against its own headers; returns Programs.

    @widths: of the form of WIDTHS, which is the default for a guest on x86-64.
    """
    if image.arch == "arm64":
        cross, env = debian.cross_compiler()
        compiler = {**env, "CC": f"{cross}gcc --sysroot={debian.arm64()}"}
        widths = {"": ""}
    else:
        compiler, widths = {}, widths or WIDTHS
    kbuild = build.Kbuild(image.tree, image.obj, arch=image.arch, log=log)
    headers = image.obj / "headers"
    kbuild.make("headers_install", f"INSTALL_HDR_PATH={headers}", what="installing the kernel's headers")
    found = []
    # A directory is missing if its patch was left out.
    for directory in [directory for directory in directories if (image.tree / directory).exists()]:
        for prefix, width in widths.items():
            out = image.obj / f"kselftest{width}" / Path(directory).stem
            out.mkdir(parents=True, exist_ok=True)
            env = {**compiler, "CFLAGS": f"-O2 -g -Wall -static {width} -isystem {headers / 'include'}",
                   "LDFLAGS": f"-static {width}", "LC_ALL": "C"}
            if directory.endswith(".c"):
                found.append(sample(prefix, image.tree, directory, out, env, log))
                continue
            # make has a default for CC, which only its command line overrides.
            make = ["make", "-C", image.tree / directory, f"OUTPUT={out}", *([f"CC={env.pop('CC')}"] if compiler else [])]
            steps.run([*make, "all"], env=env, log=log, what=f"building {directory}")
            tests = listed(make, env, "TEST_GEN_PROGS")
            others = listed(make, env, "TEST_GEN_PROGS_EXTENDED TEST_GEN_FILES")
            found += [Program(prefix + name, out / name, f"{directory}/{name}.c",
                              name in tests and name != DEMO) for name in [*tests, *others]]
    return found


def sample(prefix, tree, source, out, env, log):
    """Build the sample @source of @tree in @out: its own Makefile is for a kernel with its option; returns a Program."""
    program = out / Path(source).stem
    steps.run([*env.get("CC", "gcc").split(), *env["CFLAGS"].split(), "-Werror", "-o", program, tree / source], env=env, log=log,
              what=f"building {source}")
    return Program(prefix + program.name, program, source)


def examples(image, own):
    """(name, verdict, reason) of each C program in the queue's @own documents: it has to compile.

    Programs are compiled for user space, with the headers that programs() has installed.
    """
    found = []
    for path in sorted(path for path in own if path.endswith(".rst")):
        text = (image.tree / path).read_text(encoding="utf-8")
        for program in re.findall(r"^\.\. code-block:: c\n\n((?:(?:  .*)?\n)+)", text, re.MULTILINE):
            if "#include" not in program:
                continue
            status, _, errors = steps.attempt(
                ["gcc", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-isystem", str(image.obj / "headers" / "include"),
                 "-x", "c", "-"], input=program)
            found.append((f"documentation.{Path(path).stem}", FAIL if status else PASS, errors.strip().partition("\n")[0]))
    return found


def listed(make, env, variables):
    """Names in a Makefile's @variables, as make itself knows them."""
    text = " ".join(f"$({name})" for name in variables.split())
    output = steps.run([*make, "-s", f"--eval=queue-list: ; @echo : {text}", "queue-list"], env=env,
                       what="asking make for the programs")
    line = next(line for line in output.splitlines() if line.startswith(":"))
    return [Path(word).name for word in line[1:].split()]


def files(chosen, image):
    modules = [path for path in image.modules if path.name in MODULES or path.stem in LOADED.values()] if chosen else []
    return {**{f"test/kselftest/{program.name}": program.path for program in chosen},
            **{f"test/kselftest/{path.name}": path for path in modules}}


def item(program, seconds=None):
    seconds = seconds or (STRESS_SECONDS if program.stress else SECONDS)
    # The kernel does the same for both widths: the second one only tests the calls.
    env = "DMABUF_STRESS_SECONDS=8 " if program.stress and program.name.startswith("compat.") else ""
    command = f"{env}/test/kselftest/{program.name}"
    if module := LOADED.get(program.name.rpartition(".")[2]):
        # It may be loaded already, or built in; otherwise it has to be possible to unload it.
        command = (f"{{ [ -d /sys/module/{module} ] || insmod /test/kselftest/{module}.ko; }} && {command} && "
                   f"{{ ! grep -q '^{module} ' /proc/modules || rmmod {module}; }}")
    return guest.Item(f"kselftest.{program.name}", seconds, f"cd /tmp && {command}")


@dataclass
class Tap:
    """The tests of one program, (name, verdict, reason) each, and what is wrong with its output."""

    tests: list = field(default_factory=list)
    errors: list = field(default_factory=list)


def parse(text, status):
    """Parse the output of a kselftest. A program without TAP is judged only by its exit status."""
    tap, plan, running, before = Tap(), None, "", []
    for line in text.splitlines():
        if match := re.match(r"1\.\.(\d+)(?:\s+# SKIP\s*(.*))?", line):
            plan = int(match[1])
            if plan == 0:
                tap.tests.append(("", SKIP, match[2] or ""))
                return tap
        elif match := re.match(r"#\s+RUN\s+(\S+)", line):
            running, before = match[1], []
        elif match := re.match(r"(not )?ok (\d+)\s*(?:- )?(.*)", line):
            name, _, directive = match[3].partition("#")
            if int(match[2]) != len(tap.tests) + 1:
                tap.errors.append(f"test {match[2]} where {len(tap.tests) + 1} is due")
            # The harness of older kernels does not print the name of a test that it skips.
            name = name.strip() or running or match[2]
            # udmabuf: "drivers/dma-buf/udmabuf: [PASS,test-1]"
            name = re.sub(r".*\[\w+,(.+)\]", r"\1", name)
            directive = directive.strip()
            word, _, more = directive.partition(" ")
            if match[1]:
                tap.tests.append((name, FAIL, next(iter(before), directive)))
            elif word.upper() == "SKIP":
                tap.tests.append((name, SKIP, more.strip()))
            else:
                tap.tests.append((name, PASS, ""))
            before = []
        elif line.startswith("Bail out!"):
            tap.errors.append(line)
        elif match := re.match(r"# (\S+\.c:\d+:.*)", line):
            before.append(match[1])     # the harness names the place of a failed expectation
    if plan is None and not tap.tests:
        verdict = {0: PASS, KSFT_SKIP: SKIP}.get(status, FAIL)
        lines = text.strip().splitlines()
        reason = "" if verdict == PASS else f"exit status {status}" + (f": {lines[-1]}" if lines else "")
        tap.tests.append(("", verdict, reason))
        return tap
    if plan is None:
        tap.errors.append("no plan")
    elif status == KSFT_SKIP and len(tap.tests) < plan:
        # The program found out that the rest cannot run here.
        last = text.strip().splitlines()[-1]
        tap.tests.append((f"{len(tap.tests) + 1}-{plan}", SKIP, last.lstrip("# ")))
    elif plan != len(tap.tests):
        tap.errors.append(f"{len(tap.tests)} tests of {plan} were run")
    if status not in (0, KSFT_SKIP) and not any(verdict == FAIL for _, verdict, _ in tap.tests):
        tap.errors.append(f"exit status {status}, though no test failed")
    return tap


def test_id(program, name):
    """`fixture.test`, as the harness names it; the program's name if there is no fixture."""
    name = name.removeprefix("global.")
    if "." not in name:
        return f"{program}.{name}".rstrip(".")
    return "compat." + name if program.startswith("compat.") else name
