//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

#define _GNU_SOURCE

#include "wsx_idn.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum wsx_idn_status wsx_idn_lookup(const char *file, const char *name, char *ascii, size_t room, const char **why) {
    // Never closed: the next name comes soon, and dlopen only counts then.
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return WSX_IDN_NO_LIBRARY;
    // Without idn2.h, which only libidn2-dev has: these have been the same since 2.0.
    int (*lookup)(const uint8_t *, uint8_t **, int) = (int (*)(const uint8_t *, uint8_t **, int))dlsym(library, "idn2_lookup_u8");
    const char *(*text)(int) = (const char *(*)(int))dlsym(library, "idn2_strerror");
    if (!lookup || !text)
        return WSX_IDN_NO_LIBRARY;
    enum { NFC_INPUT = 1, NONTRANSITIONAL = 8, TOO_BIG = -205 };
    uint8_t *result = NULL;
    int status = lookup((const uint8_t *)name, &result, NFC_INPUT | NONTRANSITIONAL);
    if (status == 0 && strlen((const char *)result) >= room)
        status = TOO_BIG;
    if (status == 0)
        strcpy(ascii, (const char *)result);
    else
        *why = text(status);
    // libidn2 takes it from malloc.
    free(result);
    return status == 0 ? WSX_IDN_OK : WSX_IDN_REFUSED;
}
