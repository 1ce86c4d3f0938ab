// SPDX-License-Identifier: GPL-2.0-only
/// A shared fence of a reservation object may signal before the exclusive one.
/// Code that waits for the exclusive fence only if there are no shared fences
/// may go on while the exclusive fence is pending.
///
// Confidence: Moderate
// Keywords: dma_resv_get_excl
// Options: --no-includes --include-headers

virtual context
virtual org
virtual report

@depends on context@
expression list;
@@

* if (<+... list->shared_count ...+>) {
  <+...
  dma_resv_get_excl(...)
  ...+>
  }

@depends on context@
expression list, resv, fence;
@@

  fence = dma_resv_get_excl(resv);
  ... when != fence = ...
* if (<+... list->shared_count ...+>) {
  <+...
  dma_fence_wait(fence, ...)
  ...+>
  }

@under depends on org || report@
expression list;
position p;
@@

  if@p (<+... list->shared_count ...+>) {
  <+...
  dma_resv_get_excl(...)
  ...+>
  }

@before depends on org || report@
expression list, resv, fence;
position p;
@@

  fence = dma_resv_get_excl(resv);
  ... when != fence = ...
  if@p (<+... list->shared_count ...+>) {
  <+...
  dma_fence_wait(fence, ...)
  ...+>
  }

@script:python depends on report@
p << under.p;
@@

coccilib.report.print_report(p[0], "exclusive fence skipped if there are shared ones")

@script:python depends on report@
p << before.p;
@@

coccilib.report.print_report(p[0], "exclusive fence skipped if there are shared ones")

@script:python depends on org@
p << under.p;
@@

coccilib.org.print_todo(p[0], "exclusive fence skipped if there are shared ones")

@script:python depends on org@
p << before.p;
@@

coccilib.org.print_todo(p[0], "exclusive fence skipped if there are shared ones")
