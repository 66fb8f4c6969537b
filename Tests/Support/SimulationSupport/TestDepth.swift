//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Glibc

/// How much a test repeats itself. A sanitizer makes code ten times slower and looks for races and for bad memory, not
/// for a rare sequence: the plain run does the whole, `scripts/test --sanitize` asks for less.
package enum TestDepth {
    private static let isReduced = getenv("WSX_TEST_REDUCED") != nil

    package static func choose<Value>(_ whole: Value, reduced: Value) -> Value { isReduced ? reduced : whole }
}
