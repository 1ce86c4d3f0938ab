# SPDX-License-Identifier: GPL-2.0
"""What is tested, how it is judged, and what came of it; and the commands that need both a queue and a machine.

Imports all the others.
"""
