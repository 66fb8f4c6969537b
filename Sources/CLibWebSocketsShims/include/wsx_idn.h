//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// libidn2, which is loaded when it is needed.

#ifndef WSX_IDN_H
#define WSX_IDN_H

#include <stddef.h>

/// What came of a look-up of a name's ASCII form.
enum wsx_idn_status {
    WSX_IDN_OK,
    WSX_IDN_NO_LIBRARY,
    WSX_IDN_REFUSED,
};

/// Writes a name that is not ASCII as it stands in the DNS (RFC 5891, UTS 46 without transitional processing), with the
/// library `file`, which is loaded when it is needed and not linked. `why` gets libidn2's own, static text.
enum wsx_idn_status wsx_idn_lookup(const char *file, const char *name, char *ascii, size_t room, const char **why);

#endif
