//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// A list that allocates from its second element on. Most events have no consequence, or one.
package struct SmallList<Element>: Sequence {
    private var first: Element?
    private var rest: [Element] = []

    package init() {}

    package mutating func append(_ element: Element) {
        if first == nil { first = element } else { rest.append(element) }
    }

    package struct Iterator: IteratorProtocol {
        fileprivate var first: Element?
        fileprivate var rest: ArraySlice<Element>

        package mutating func next() -> Element? { first.take() ?? rest.popFirst() }
    }

    package func makeIterator() -> Iterator { Iterator(first: first, rest: rest[...]) }
}

extension SmallList: Sendable where Element: Sendable {}
