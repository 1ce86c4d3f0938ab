// SPDX-License-Identifier: GPL-2.0-only
/// The names of a fence belong to its exporter, which may free them when a grace
/// period of RCU has passed since the fence signaled. Get them with
/// dma_fence_driver_name() and dma_fence_timeline_name() under rcu_read_lock(),
/// and read the result there with rcu_dereference().
///
/// A fence's own operation that returns the name of another fence is called by these
/// helpers and may call the operation of that fence directly. Of trace headers
/// Coccinelle sees only macros: search them for get_driver_name and get_timeline_name.
///
// Confidence: High
// Keywords: get_driver_name, get_timeline_name, dma_fence_driver_name, dma_fence_timeline_name
// Options: --no-includes --include-headers

virtual context
virtual org
virtual report

@driver_op@
identifier ops, fn;
@@

  struct dma_fence_ops ops = { ..., .get_driver_name = fn, ... };

@timeline_op@
identifier ops, fn;
@@

  struct dma_fence_ops ops = { ..., .get_timeline_name = fn, ... };

@driver_forward@
identifier driver_op.fn;
expression ops, f;
position p;
@@

  fn(...) { <... ops->get_driver_name@p(f) ...> }

@timeline_forward@
identifier timeline_op.fn;
expression ops, f;
position p;
@@

  fn(...) { <... ops->get_timeline_name@p(f) ...> }

@helper@
identifier fn = {dma_fence_driver_name, dma_fence_timeline_name};
identifier op = {get_driver_name, get_timeline_name};
expression ops, f;
position p;
@@

  fn(...) { <... ops->op@p(f) ...> }

@direct@
identifier op = {get_driver_name, get_timeline_name};
expression ops, f;
position p != {driver_forward.p, timeline_forward.p, helper.p};
@@

  ops->op@p(f)

@unchecked exists@
identifier ask = {dma_fence_driver_name, dma_fence_timeline_name};
identifier fn != {rcu_dereference, rcu_dereference_check, rcu_dereference_raw};
local idexpression s;
expression f, e;
position p;
@@

  s = ask(f)
  ... when != s = e
  fn@p(..., s, ...)

@unchecked_arg@
identifier ask = {dma_fence_driver_name, dma_fence_timeline_name};
identifier fn;
expression f;
position p;
@@

  fn@p(..., ask(f), ...)

@depends on context@
position direct.p;
identifier op;
expression ops, f;
@@

* ops->op@p(f)

@depends on context@
position unchecked.p;
identifier fn;
@@

* fn@p(...)

@depends on context@
position unchecked_arg.p;
identifier fn;
@@

* fn@p(...)

@script:python depends on report@
p << direct.p;
op << direct.op;
@@

helper = {"get_driver_name": "dma_fence_driver_name", "get_timeline_name": "dma_fence_timeline_name"}[op]
coccilib.report.print_report(p[0], "WARNING: the name may be freed; use %s() under rcu_read_lock()" % helper)

@script:python depends on report@
p << unchecked.p;
ask << unchecked.ask;
@@

coccilib.report.print_report(p[0], "WARNING: result of %s() used without rcu_dereference()" % ask)

@script:python depends on report@
p << unchecked_arg.p;
ask << unchecked_arg.ask;
@@

coccilib.report.print_report(p[0], "WARNING: result of %s() used without rcu_dereference()" % ask)

@script:python depends on org@
p << direct.p;
@@

coccilib.org.print_todo(p[0], "name of a fence asked for without the helper")

@script:python depends on org@
p << unchecked.p;
@@

coccilib.org.print_todo(p[0], "name of a fence used without rcu_dereference()")

@script:python depends on org@
p << unchecked_arg.p;
@@

coccilib.org.print_todo(p[0], "name of a fence used without rcu_dereference()")
