//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// What a connection seldom has or shares with others lies apart from it: ten thousand of them have to fit into memory,
// and those that talk into the processor's cache.

/// A value for which many have one word each.
final class Shared<Value: Sendable>: Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}

/// An optional value that takes one word while it is nil.
@propertyWrapper
package struct Boxed<Value: Sendable>: Sendable {
    private var box: Shared<Value>?

    package init(wrappedValue: Value?) { box = wrappedValue.map(Shared.init) }

    package var wrappedValue: Value? {
        get { box?.value }
        set { box = newValue.map(Shared.init) }
    }
}
