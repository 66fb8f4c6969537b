//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// The blocks of a PEM text (RFC 7468). Unlike OpenSSL, which takes what it cannot read for the end of the file, it reads
/// everything or says what is wrong.
package enum PEMText {
    package struct Block: Sendable, Hashable {
        /// Such as `CERTIFICATE`.
        package let label: String
        /// Its place among all blocks of the text, from 1.
        package let number: Int
        /// Where it begins, from 1.
        package let line: Int
        /// From the BEGIN line to the END line.
        package fileprivate(set) var text: [UInt8]
    }

    /// What is wrong, as a part of a sentence.
    package struct Problem: Error, Hashable { package let text: String }

    private static let begin = Array("-----BEGIN ".utf8)
    private static let end = Array("-----END ".utf8)
    private static let dashes = Array("-----".utf8)
    private static let byteOrderMark: [UInt8] = [0xEF, 0xBB, 0xBF]

    /// Text outside of blocks is comment, but for lines that are nearly the first or the last line of a block: those
    /// belong to one that was damaged.
    package static func blocks(in bytes: [UInt8]) throws(Problem) -> [Block] {
        var blocks: [Block] = []
        var open: Block?
        var number = 0
        for raw in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            var line = raw[...]
            if line.starts(with: byteOrderMark) { line = line.dropFirst(3) }
            while let last = line.last, last <= 0x20 { line.removeLast() }
            if var block = open {
                block.text += line + [UInt8(ascii: "\n")]
                open = block
                guard line.contains(sequence: dashes) else { continue }
                guard line.elementsEqual(end + Array(block.label.utf8) + dashes) else {
                    throw Problem(
                        text:
                            "block \(block.number) (line \(block.line)) is not ended where it should be, in line \(number)"
                    )
                }
                blocks.append(block)
                open = nil
            } else if let label = label(of: line) {
                open = Block(
                    label: label, number: blocks.count + 1, line: number, text: line + [UInt8(ascii: "\n")])
            } else if isNearlyABoundary(line) {
                throw Problem(
                    text:
                        "line \(number), behind block \(blocks.count), is nearly the beginning or the end of a block, and is none"
                )
            }
        }
        if let open { throw Problem(text: "block \(open.number) (line \(open.line)) has no end") }
        return blocks
    }

    /// Of a BEGIN line.
    private static func label(of line: ArraySlice<UInt8>) -> String? {
        guard line.starts(with: begin), line.count > begin.count + dashes.count else { return nil }
        let label = line.dropFirst(begin.count).dropLast(dashes.count)
        guard line.suffix(dashes.count).elementsEqual(dashes), !label.contains(UInt8(ascii: "-")) else { return nil }
        return String(decoding: label, as: UTF8.self)
    }

    private static func isNearlyABoundary(_ line: ArraySlice<UInt8>) -> Bool {
        let text = line.drop { $0 <= 0x20 }
        return text.starts(with: begin) || text.starts(with: end)
    }
}

extension ArraySlice<UInt8> {
    fileprivate func contains(sequence: [UInt8]) -> Bool {
        guard count >= sequence.count else { return false }
        return (startIndex...(endIndex - sequence.count)).contains { self[$0...].starts(with: sequence) }
    }
}
