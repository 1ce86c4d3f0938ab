// SPDX-License-Identifier: GPL-2.0-only
/// A vma holds one reference on the file it refers to. An mmap handler that lets
/// the vma refer to another file calls vma_set_file(), which takes the new
/// reference and drops the old one. Code that does so by hand is often right on
/// one path and has a double put on another.
///
// Confidence: High
// Keywords: vm_file
// Options: --no-includes --include-headers

virtual context
virtual org
virtual report

// Not handlers: shmem_zero_setup() gives a vma its first file; vma_set_file() is the helper.
@swap@
identifier fn != {shmem_zero_setup, vma_set_file};
identifier vma;
expression file;
position p;
@@

  fn(..., struct vm_area_struct *vma, ...) { <... vma->vm_file@p = file ...> }

@depends on context@
identifier swap.vma;
expression swap.file;
position swap.p;
@@

* vma->vm_file@p = file

@script:python depends on report@
p << swap.p;
@@

coccilib.report.print_report(p[0], "WARNING: file of a vma swapped by hand; use vma_set_file()")

@script:python depends on org@
p << swap.p;
@@

coccilib.org.print_todo(p[0], "file of a vma swapped by hand")
