# SPDX-License-Identifier: GPL-2.0
"""Debian's desktop programs for a guest: unmodified binaries, with the libraries and data that they open."""

import re
import shutil
from dataclasses import dataclass

from base import config, steps
from lab import debian, elf

# What packages depend on, and none of the programs loads: codecs, remote desktops, init, Unicode's and countries' tables. It
# is a third of the download. A library that is left out by mistake has a name in the message.
UNUSED = re.compile(r"""
    lib(av(codec|filter|format|util)|sw(resample|scale)|postproc|codec2|flite|opus|x26|svtav1|aom|vpx|dav1d|rav1e|jxl)\S*
    | lib(gstreamer|freerdp|winpr|neatvnc|srt1|spa-|pipewire|pulse|openmpt|mysofa|samplerate|webrtc|mp3lame|placebo)\S*
    | lib(icu|lapack|blas|gfortran|fftw3|hwy|absl|ssl3|gnutls|mbedcrypto|krb5|p11-kit|unistring|hogweed|nettle|gmp)\S*
    | lib(systemd-shared|gtk-4-common|rsvg2|asound2|db5|pocketsphinx|sphinxbase|cups2)\S*
    | systemd\S* | procps | iso-codes | shared-mime-info | dbus\S* | fonts-\S+ | adwaita-\S+ | openssl-\S+
""", re.VERBOSE)
PLACES = ("weston", "pulseaudio")       # where programs look for libraries of their own
WESTON = ("libEGL_mesa.so.0", "libweston-14/headless-backend.so", "libweston-14/gl-renderer.so", "weston/kiosk-shell.so")
WESTON_DATA = ("usr/share/glvnd/egl_vendor.d/50_mesa.json",
               # weston looks whether the directory is there; without a seat it reads nothing in it.
               "usr/share/X11/xkb/rules/evdev")


@dataclass(frozen=True)
class Desktop:
    """The programs for one sort of guest."""

    name: str           # of its directory in build/
    apt: debian.Apt
    libraries: str      # the directory for them
    packages: tuple
    programs: tuple
    plugins: tuple      # in @libraries: opened by name, so that nothing asks for them
    data: tuple
    suite: str = debian.DESKTOP_SUITE
    all: bool = False   # of the packages are downloaded, the UNUSED ones, too

    def root(self):
        """A directory with what the guest needs and nothing else; paths in it are those in the guest."""
        path = config.BUILD / self.name
        if not path.exists():
            packages = path.with_name(f"{self.name}-packages")
            with steps.step(f"getting {' '.join(self.packages)} from {self.suite}"):
                closure = self.apt.closure(self.packages, self.suite)
                self.apt.fetch(closure if self.all else wanted(closure), self.suite, packages)
                part = path.with_name(f"{self.name}.part")
                shutil.rmtree(part, ignore_errors=True)
                for target, source in self.chosen(packages).items():
                    (part / target).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(source, part / target)
                part.rename(path)
                shutil.rmtree(packages)
        return path

    def chosen(self, packages):
        """{path in the guest: path here} of what is needed of the unpacked @packages."""
        binaries = {name: packages / name for name in (*self.programs, *(f"{self.libraries}/{name}" for name in self.plugins))}
        return {**binaries, **elf.libraries(packages, binaries.values(), PLACES, self.libraries),
                **{name: packages / name for name in self.data}}

    def files(self):
        """{path in the guest: path here}"""
        base = self.root()
        return {str(path.relative_to(base)): path for path in sorted(base.rglob("*")) if path.is_file()}


def wanted(closure):
    """Those of the packages in @closure that are downloaded."""
    return [name for name in closure if not UNUSED.fullmatch(name)]


# For the suite `clients`.
CLIENTS = Desktop(
    "desktop", debian.APT, elf.LIBRARIES,
    ("vulkan-tools", "mesa-vulkan-drivers", "libegl-mesa0", "weston", "libgtk-4-bin", "gtk-4-tests"),
    ("usr/bin/vulkaninfo", "usr/bin/weston", "usr/bin/weston-simple-egl", "usr/bin/weston-screenshooter",
     "usr/bin/gtk4-rendernode-tool", "usr/libexec/installed-tests/gtk-4.0/gdk/dmabuf-support"),
    ("libvulkan_lvp.so", *WESTON), ("usr/share/vulkan/icd.d/lvp_icd.json", *WESTON_DATA))
# Runs beside them with their drivers. It is of a newer Debian, so the guest has it in a directory of its own.
FFMPEG = Desktop("ffmpeg", debian.APT, elf.LIBRARIES, ("ffmpeg",), ("usr/bin/ffmpeg",), (), (), debian.FFMPEG_SUITE, all=True)
# For the first domain of Xen on arm64: a compositor.
COMPOSITOR = Desktop("desktop-arm64", debian.APT_ARM64, elf.LIBRARIES_ARM64, ("libegl-mesa0", "weston"),
                     ("usr/bin/weston", "usr/bin/weston-screenshooter"), WESTON, WESTON_DATA)
