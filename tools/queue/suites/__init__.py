# SPDX-License-Identifier: GPL-2.0
"""The tests, how they are judged, and their results; and the commands that need both a queue and a machine.

Imports all the others.
"""
