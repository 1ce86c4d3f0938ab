// SPDX-License-Identifier: GPL-2.0-only
/// A reader may look at a fence under rcu_read_lock() without a reference, so the
/// fence's release must free the memory with dma_fence_free(), kfree_rcu() or
/// call_rcu().
///
/// The rule finds kfree() in the release itself. It does not find kvfree() and
/// kmem_cache_free(), nor a kfree() in a function that the release calls.
///
// Confidence: High
// Keywords: dma_fence_ops
// Options: --no-includes --include-headers

virtual context
virtual org
virtual report

@ops@
identifier instance, put;
@@

  struct dma_fence_ops instance = { ..., .release = put, ..., };

@depends on context@
identifier ops.put, fence, outer, outer_of;
type T;
@@

  put(struct dma_fence *fence)
  {
  <...
(
* kfree(fence);
|
  T outer = outer_of(fence, ...);
  ... when != outer = ...
* kfree(outer);
)
  ...>
  }

@freed depends on org || report@
identifier ops.put, fence, outer, outer_of;
type T;
position p;
@@

  put(struct dma_fence *fence)
  {
  <...
(
  kfree@p(fence);
|
  T outer = outer_of(fence, ...);
  ... when != outer = ...
  kfree@p(outer);
)
  ...>
  }

@script:python depends on report@
p << freed.p;
@@

coccilib.report.print_report(p[0], "fence freed without a grace period")

@script:python depends on org@
p << freed.p;
@@

coccilib.org.print_todo(p[0], "fence freed without a grace period")
