# SPDX-License-Identifier: GPL-2.0
"""What it takes to run a kernel: Debian's packages, sources, builds, guests, Xen. Knows neither the series nor verdicts.

Imports base.
"""
