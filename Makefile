# SPDX-License-Identifier: GPL-2.0
# Each target runs the command of tools/queue/cli.py with the same name.

PYTHON ?= /usr/bin/python3
QUEUE = $(PYTHON) -B tools/queue/cli.py

# Variables are passed on only if they are set. cli.py has the defaults (KERNEL: the oldest; KERNELS and SUITES: all).
kernel = $(if $(KERNEL),--kernel '$(KERNEL)')
kernels = $(if $(KERNELS),--kernels '$(KERNELS)')
suites = $(if $(SUITES),--suites '$(SUITES)')
source = $(if $(SOURCE),--source '$(SOURCE)')
from = $(if $(FROM),--from '$(FROM)')
demo = $(if $(DEMO),--demo '$(DEMO)')
features = $(if $(FEATURES),--features '$(FEATURES)')
merge = $(if $(filter-out 0 n no,$(MERGE)),--merge)
nearest = $(if $(filter-out 0 n no,$(NEAREST)),--nearest)
topic = $(if $(TOPIC),--topic '$(TOPIC)')
sign = $(if $(SIGN),--sign '$(SIGN)')
force = $(if $(filter-out 0 n no,$(FORCE)),--force)

.PHONY: help
help:
	@$(QUEUE) help

.PHONY: run check check-full upkeep deps source series am mail tree topics base pin refresh lint bench bench-xen bench-check verify table
run:
	@$(QUEUE) run $(kernel) $(demo) $(source) $(features)
check:
	@$(QUEUE) check $(kernels) $(suites) $(source) $(features)
check-full:
	@$(QUEUE) check-full $(kernels) $(suites) $(source) $(force)
upkeep:
	@$(QUEUE) upkeep $(kernels) $(source)
deps:
	@$(QUEUE) deps
source:
	@$(QUEUE) source $(kernel) $(source) $(from)
series:
	@$(QUEUE) series $(kernel) $(features)
am:
	@$(QUEUE) am --kdir '$(KDIR)' $(features) $(merge) $(nearest)
mail:
	@$(QUEUE) mail $(topic) $(sign)
tree:
	@$(QUEUE) tree $(kernel) $(source) $(force) $(features)
base:
	@$(QUEUE) base $(kernel) $(from)
topics:
	@$(QUEUE) topics $(features)
pin:
	@$(QUEUE) pin $(kernels)
refresh:
	@$(QUEUE) refresh $(kernel)
lint:
	@$(QUEUE) lint $(kernels) $(source)
bench:
	@$(QUEUE) bench $(kernels)
bench-xen:
	@$(QUEUE) bench-xen $(kernel)
bench-check:
	@$(QUEUE) bench-check $(kernels)
verify:
	@$(QUEUE) verify
table:
	@$(QUEUE) table
