//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// What Swift cannot import from the C libraries, or should not do by itself, a header for each library. Every name starts
// with `wsx_`.

#ifndef CLIBWEBSOCKETS_SHIMS_H
#define CLIBWEBSOCKETS_SHIMS_H

#include "Readiness.h"
#include "SocketHealth.h"
#include "wsx_idn.h"
#include "wsx_lws.h"
#include "wsx_sockets.h"
#include "wsx_system.h"
#include "wsx_tls.h"
#include "wsx_tls_sessions.h"
#include "wsx_uv.h"
#include "wsx_zlib.h"

#endif
