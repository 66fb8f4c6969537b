//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

extension [UInt8] {
    /// `count` bytes, each made from its place.
    ///
    /// A `map` over a range, not optimised, asks the runtime at every step for the metadata of a type, behind a lock:
    /// threads that did so side by side under the thread sanitizer took minutes for a few megabytes.
    package init(count: Int, _ byte: (Int) -> UInt8) {
        self.init(repeating: 0, count: count)
        withUnsafeMutableBufferPointer { bytes in
            var place = 0
            while place < count {
                bytes[place] = byte(place)
                place += 1
            }
        }
    }
}
