/*===----------------------------------------------------------------------===
 * This source file is part of the swift-libwebsockets open source project.
 * SPDX-License-Identifier: Apache-2.0
 *===----------------------------------------------------------------------===*/

/* What LeakSanitizer asks a program for. Swift keeps the side table of an object with weak references in the object's
 * reference count, as bits that are no pointer, so that the leak check takes each for lost if a process ends while a loop
 * still runs. Nothing is overlooked: a side table is lost only together with an object, which is reported itself. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);

const char *__lsan_default_suppressions(void) { return "leak:formWeakReference\n"; }
/* Otherwise it writes to the standard error, where the tests expect nothing. */
const char *__lsan_default_options(void) { return "print_suppressions=0"; }
