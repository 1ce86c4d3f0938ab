# SPDX-License-Identifier: GPL-2.0
"""Debian's desktop programs for a guest: unmodified binaries, with the libraries and data that they open."""

import re
import shutil

from base import config, steps
from lab import debian, elf

SUITE = "trixie"        # Mesa 25.0.7 asks the kernel, 26.1 shows the extensions whatever it answers
PACKAGES = ("vulkan-tools", "mesa-vulkan-drivers", "libegl-mesa0", "weston", "libgtk-4-bin", "gtk-4-tests")
# What those depend on, and none of PROGRAMS loads: codecs, remote desktops, init, Unicode's and countries' tables. It is
# a third of the download. A library that is left out by mistake has a name in the message.
UNUSED = re.compile(r"""
    lib(av(codec|filter|format|util)|sw(resample|scale)|postproc|codec2|flite|opus|x26|svtav1|aom|vpx|dav1d|rav1e|jxl)\S*
    | lib(gstreamer|freerdp|winpr|neatvnc|srt1|spa-|pipewire|pulse|openmpt|mysofa|samplerate|webrtc|mp3lame|placebo)\S*
    | lib(icu|lapack|blas|gfortran|fftw3|hwy|absl|ssl3|gnutls|mbedcrypto|krb5|p11-kit|unistring|hogweed|nettle|gmp)\S*
    | lib(systemd-shared|gtk-4-common|rsvg2|asound2|db5|pocketsphinx|sphinxbase|cups2)\S*
    | systemd\S* | procps | iso-codes | shared-mime-info | dbus\S* | fonts-\S+ | adwaita-\S+ | openssl-\S+
""", re.VERBOSE)
PROGRAMS = ("usr/bin/vulkaninfo", "usr/bin/weston", "usr/bin/weston-simple-egl", "usr/bin/weston-screenshooter",
            "usr/bin/gtk4-rendernode-tool", "usr/libexec/installed-tests/gtk-4.0/gdk/dmabuf-support")
# Opened by name, so that nothing asks for them.
PLUGINS = tuple(f"{elf.LIBRARIES}/{name}" for name in (
    "libvulkan_lvp.so", "libEGL_mesa.so.0", "libweston-14/headless-backend.so", "libweston-14/gl-renderer.so",
    "weston/kiosk-shell.so"))
PLACES = ("weston",)    # where programs look for libraries of their own
DATA = ("usr/share/vulkan/icd.d/lvp_icd.json", "usr/share/glvnd/egl_vendor.d/50_mesa.json",
        # weston looks whether the directory is there; without a seat it reads nothing in it.
        "usr/share/X11/xkb/rules/evdev")


def wanted(closure):
    """Those of the packages in @closure that are downloaded."""
    return [name for name in closure if not UNUSED.fullmatch(name)]


def root():
    """A directory with what the guest needs and nothing else; paths in it are those in the guest."""
    path = config.BUILD / "desktop"
    if not path.exists():
        packages = path.with_name("desktop-packages")
        with steps.step(f"getting {' '.join(PACKAGES)} from {SUITE}"):
            debian.fetch(wanted(debian.closure(PACKAGES, SUITE)), SUITE, packages)
            part = path.with_name("desktop.part")
            shutil.rmtree(part, ignore_errors=True)
            for target, source in chosen(packages).items():
                (part / target).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, part / target)
            part.rename(path)
            shutil.rmtree(packages)
    return path


def chosen(packages):
    """{path in the guest: path here} of what is needed of the unpacked @packages."""
    binaries = {name: packages / name for name in (*PROGRAMS, *PLUGINS)}
    return {**binaries, **elf.libraries(packages, binaries.values(), PLACES), **{name: packages / name for name in DATA}}


def files():
    """{path in the guest: path here}"""
    base = root()
    return {str(path.relative_to(base)): path for path in sorted(base.rglob("*")) if path.is_file()}
