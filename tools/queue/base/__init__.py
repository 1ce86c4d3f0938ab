# SPDX-License-Identifier: GPL-2.0
"""What both sides use, and what needs nothing but Python and git: places, kernels, running programs.

Imports none of the other packages.
"""
