# SPDX-License-Identifier: GPL-2.0
"""Builds guest/window.c, a Wayland client for the first domain of Xen on arm64."""

import shutil
from pathlib import Path

from base import config, steps
from lab import debian, desktop

SOURCE = config.HERE / "guest" / "window.c"
PROTOCOLS = Path("/usr/share/wayland-protocols")
USED = ("stable/xdg-shell/xdg-shell.xml", "unstable/linux-dmabuf/linux-dmabuf-unstable-v1.xml")
# The C library of that Debian, since the sysroot has only a static one.
LIBRARIES = ("libwayland-client.so.0", "libc.so.6")


def program():
    """The program; it runs with the libraries of desktop.COMPOSITOR."""
    base = desktop.COMPOSITOR.root()
    out = config.BUILD / "window"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    sources = [SOURCE]
    for name in USED:
        stem = Path(name).stem
        sources.append(out / f"{stem}.c")
        for what, path in (("client-header", out / f"{stem}-client-protocol.h"), ("private-code", sources[-1])):
            steps.run(["wayland-scanner", what, PROTOCOLS / name, path], what=f"reading {name}")
    # The headers are the same for each processor, but beside them are those of this machine's C library.
    for path in Path("/usr/include").glob("wayland-*.h"):
        shutil.copy(path, out)
    cross, env = debian.cross_compiler()
    steps.run([f"{cross}gcc", f"--sysroot={debian.arm64()}", "-O2", "-Wall", f"-I{out}", "-o", out / "window", *sources,
               "-nodefaultlibs", *(base / desktop.COMPOSITOR.libraries / name for name in LIBRARIES), "-lgcc",
               "-Wl,--allow-shlib-undefined"], env=env,
              log=config.BUILD / "log" / "window.log", what=f"building {SOURCE.name}")
    return out / "window"
