//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// A line that is being typed, and the lines before it. Keys go in as the bytes that a terminal sends for them.
struct LineEditor {
    enum Outcome: Equatable {
        /// Nothing to show.
        case unchanged
        case changed
        case line(String)
        /// Ctrl-D on an empty line.
        case end
    }

    private(set) var text: [Character] = []
    /// Before which character the next one goes.
    private(set) var cursor = 0
    private var history: [String] = []
    /// Which line of the history is shown; its count for the new one.
    private var shown = 0
    private var draft: [Character] = []
    /// A character or an escape sequence that has not come whole.
    private var pending: [UInt8] = []

    private static let historyLimit = 1_000

    mutating func take(_ byte: UInt8) -> Outcome {
        if pending.first == 0x1B { return continueEscape(byte) }
        if !pending.isEmpty || byte >= 0x80 { return continueCharacter(byte) }
        switch byte {
        case 0x1B:
            pending = [byte]
            return .unchanged
        case 0x0A, 0x0D: return finish()
        case 0x7F, 0x08: return delete(from: cursor - 1, to: cursor)
        case 0x04:
            return text.isEmpty ? .end : delete(from: cursor, to: cursor + 1)
        case 0x01: return move(to: 0)
        case 0x05: return move(to: text.count)
        case 0x02: return move(to: cursor - 1)
        case 0x06: return move(to: cursor + 1)
        case 0x0B: return delete(from: cursor, to: text.count)
        case 0x0C: return .changed
        case 0x0E: return show(shown + 1)
        case 0x10: return show(shown - 1)
        case 0x15: return delete(from: 0, to: cursor)
        case 0x17:
            let word = text[..<cursor].reversed().drop { $0 == " " }.drop { $0 != " " }
            return delete(from: word.count, to: cursor)
        case 0x09, 0x20...0x7E: return insert(Character(Unicode.Scalar(byte)))
        default: return .unchanged
        }
    }

    private mutating func continueCharacter(_ byte: UInt8) -> Outcome {
        pending.append(byte)
        guard let scalar = String(validating: pending, as: UTF8.self) else {
            // No character is longer; what is none is dropped.
            if pending.count >= 4 { pending = [] }
            return .unchanged
        }
        pending = []
        return scalar.reduce(.unchanged) { _, character in insert(character) }
    }

    /// `ESC [ … letter`, `ESC O letter`; of others the first key is dropped.
    private mutating func continueEscape(_ byte: UInt8) -> Outcome {
        pending.append(byte)
        if pending.count == 2, byte == UInt8(ascii: "[") || byte == UInt8(ascii: "O") { return .unchanged }
        if pending.count > 2, !(0x40...0x7E).contains(byte), pending.count < 16 { return .unchanged }
        let sequence = String(decoding: pending.dropFirst(2), as: UTF8.self)
        pending = []
        switch sequence {
        case "A": return show(shown - 1)
        case "B": return show(shown + 1)
        case "C": return move(to: cursor + 1)
        case "D": return move(to: cursor - 1)
        case "H", "1~": return move(to: 0)
        case "F", "4~": return move(to: text.count)
        case "3~": return delete(from: cursor, to: cursor + 1)
        default: return .unchanged
        }
    }

    private mutating func insert(_ character: Character) -> Outcome {
        text.insert(character, at: cursor)
        cursor += 1
        return .changed
    }

    private mutating func move(to position: Int) -> Outcome {
        cursor = min(max(0, position), text.count)
        return .changed
    }

    private mutating func delete(from start: Int, to end: Int) -> Outcome {
        guard start >= 0, end <= text.count, start < end else { return .unchanged }
        text.removeSubrange(start..<end)
        cursor = start
        return .changed
    }

    private mutating func show(_ index: Int) -> Outcome {
        guard (0...history.count).contains(index) else { return .unchanged }
        if shown == history.count { draft = text }
        shown = index
        text = index == history.count ? draft : Array(history[index])
        cursor = text.count
        return .changed
    }

    private mutating func finish() -> Outcome {
        let line = String(text)
        if !line.isEmpty, history.last != line { history.append(line) }
        if history.count > Self.historyLimit { history.removeFirst() }
        shown = history.count
        (text, cursor, draft) = ([], 0, [])
        return .line(line)
    }

    /// What a row of this many columns shows: the mark, and as much of the text as fits around the cursor. The second part
    /// is how many columns the cursor stands left of the end.
    func row(columns: Int) -> (text: String, back: Int) {
        let room = max(8, columns - 3)
        var start = cursor
        var used = 0
        while start > 0, used + Self.width(text[start - 1]) <= room {
            start -= 1
            used += Self.width(text[start])
        }
        var end = cursor
        var back = 0
        while end < text.count, used + back + Self.width(text[end]) <= room {
            back += Self.width(text[end])
            end += 1
        }
        return ("> " + String(text[start..<end]).replacing("\t", with: " "), back)
    }

    /// The columns that a terminal gives a character: two for East Asian wide ones and emoji (UAX #11), roughly.
    private static func width(_ character: Character) -> Int {
        let isWide = character.unicodeScalars.contains { scalar in
            switch scalar.value {
            case 0x1100...0x115F, 0x2E80...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60,
                0xFFE0...0xFFE6, 0x20000...0x3FFFD:
                true
            default: scalar.properties.isEmojiPresentation
            }
        }
        return isWide ? 2 : 1
    }
}
