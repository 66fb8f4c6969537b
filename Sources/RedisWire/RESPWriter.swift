//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// Writes commands, which are arrays of strings, one behind the other.
package struct RESPWriter: Sendable {
    /// What is to be sent.
    package private(set) var bytes: [UInt8] = []

    package init() {}

    package var isEmpty: Bool { bytes.isEmpty }

    /// Hands out what is to be sent.
    package mutating func take() -> [UInt8] {
        var taken: [UInt8] = []
        swap(&taken, &bytes)
        return taken
    }

    /// Begins a command; as many `add`s follow.
    package mutating func begin(_ count: Int) {
        bytes.append(UInt8(ascii: "*"))
        end(count)
    }

    package mutating func add(_ text: String) {
        var text = text
        text.withUTF8 { string in
            bytes.append(UInt8(ascii: "$"))
            end(string.count)
            bytes.append(contentsOf: string)
        }
        end()
    }

    package mutating func add(_ string: some Collection<UInt8>) {
        bytes.append(UInt8(ascii: "$"))
        end(string.count)
        bytes.append(contentsOf: string)
        end()
    }

    package mutating func add(_ number: Int) { add(String(number)) }

    /// A whole command of texts.
    package mutating func command(_ words: String...) { command(words) }

    /// A whole command of texts.
    package mutating func command(_ words: [String]) {
        begin(words.count)
        for word in words { add(word) }
    }

    private mutating func end(_ number: Int) {
        bytes.append(contentsOf: String(number).utf8)
        end()
    }

    private mutating func end() {
        bytes.append(13)
        bytes.append(10)
    }
}
