// SPDX-License-Identifier: GPL-2.0-only
/// A fence may be looked at under rcu_read_lock() without a reference, so its
/// release leaves the memory to dma_fence_free(), kfree_rcu() or call_rcu().
///
/// Looks for kfree() in the release itself. Not seen are kvfree() and
/// kmem_cache_free(), and what is freed in a function that the release calls.
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
