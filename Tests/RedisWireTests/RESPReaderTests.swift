//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import RedisWire
import Testing

@Suite struct RESPReaderTests {
    /// Reads a stream in pieces of these sizes; the last size goes on.
    private func read(
        _ stream: [UInt8], pieces: [Int] = [.max], limits: RESPLimits = RESPLimits()
    ) throws(RESPViolation) -> [RESPValue] {
        var reader = RESPReader(limits: limits)
        var values: [RESPValue] = []
        var rest = stream[...]
        var index = 0
        repeat {
            let piece = Array(rest.prefix(pieces[min(index, pieces.count - 1)]))
            rest = rest.dropFirst(piece.count)
            index += 1
            piece.withUnsafeBytes { reader.feed($0) }
            while let value = try reader.next() { values.append(value) }
        } while !rest.isEmpty
        return values
    }

    private func read(_ text: String, limits: RESPLimits = RESPLimits()) throws(RESPViolation) -> [RESPValue] {
        try read(Array(text.utf8), limits: limits)
    }

    private func bulk(_ text: String) -> RESPValue { .bulk(Array(text.utf8)) }

    @Test func everyTypeIsRead() throws {
        #expect(try read("+OK\r\n") == [.simple("OK")])
        #expect(try read("-ERR no\r\n") == [.error(RESPError("ERR no"))])
        #expect(try read("!7\r\nERR\r\nno\r\n") == [.error(RESPError("ERR\r\nno"))])
        #expect(try read(":42\r\n:-9223372036854775808\r\n:+7\r\n") == [.integer(42), .integer(.min), .integer(7)])
        #expect(try read("$5\r\nhe\r\no\r\n$0\r\n\r\n") == [bulk("he\r\no"), .bulk([])])
        #expect(try read("$-1\r\n*-1\r\n_\r\n") == [.null, .null, .null])
        #expect(try read("#t\r\n#f\r\n") == [.boolean(true), .boolean(false)])
        #expect(
            try read(",1.5\r\n,-2e3\r\n,inf\r\n,-inf\r\n,10\r\n")
                == [.double(1.5), .double(-2_000), .double(.infinity), .double(-.infinity), .double(10)])
        #expect(
            try read("(3492890328409238509324850943850943825024385\r\n") == [
                .bigNumber("3492890328409238509324850943850943825024385")
            ])
        #expect(try read("=15\r\ntxt:Some string\r\n") == [.verbatim(format: "txt", Array("Some string".utf8))])
        #expect(try read("*2\r\n:1\r\n*1\r\n+a\r\n") == [.array([.integer(1), .array([.simple("a")])])])
        #expect(try read("*0\r\n%0\r\n~0\r\n") == [.array([]), .map([]), .set([])])
        #expect(try read("%1\r\n+k\r\n:1\r\n") == [.map([.init(key: .simple("k"), value: .integer(1))])])
        #expect(try read("~2\r\n:1\r\n:1\r\n") == [.set([.integer(1), .integer(1)])])
        #expect(try read(">2\r\n+message\r\n:1\r\n") == [.push([.simple("message"), .integer(1)])])
    }

    @Test func notANumberIsRead() throws {
        guard case .double(let number)? = try read(",nan\r\n").first else { return #expect(Bool(false)) }
        #expect(number.isNaN)
    }

    @Test func attributesAreLeftOutWhereverTheyStand() throws {
        #expect(try read("|1\r\n+ttl\r\n:5\r\n+OK\r\n") == [.simple("OK")])
        #expect(
            try read("*2\r\n:1\r\n|1\r\n+a\r\n*1\r\n:9\r\n:2\r\n|0\r\n:3\r\n")
                == [.array([.integer(1), .integer(2)]), .integer(3)])
    }

    @Test func aPushMayComeBetweenReplies() throws {
        #expect(
            try read("+OK\r\n>1\r\n+x\r\n:1\r\n") == [.simple("OK"), .push([.simple("x")]), .integer(1)])
    }

    @Test(arguments: [
        "x", "hello\r\n", "+a\nb\r\n", "+a\rb\r\n", ":\r\n", ":1.5\r\n", ":9223372036854775808\r\n", ":--1\r\n",
        "$-2\r\n", "$+1\r\n", "$ 1\r\n", "$1\r\nabc\r\n", "#x\r\n", "#tt\r\n", "_x\r\n", ",\r\n", ",0x10\r\n",
        ",infinity\r\n", "(\r\n", "(1.5\r\n", "(-\r\n", "=3\r\ntxt\r\n", "=4\r\ntxtx\r\n", "=-1\r\n", "!-1\r\n",
        "%-1\r\n", "~-1\r\n", ">-1\r\n", "|-1\r\n", "*1\r\n>1\r\n:1\r\n", "$?\r\n", "*?\r\n", "%?\r\n", ";4\r\n",
        ".\r\n",
        "$99999999999999999999\r\n",
    ])
    func whatIsMalformedIsRefused(stream: String) {
        #expect(throws: RESPViolation.self) { try read(stream) }
        #expect(throws: RESPViolation.self) { try read(Array(stream.utf8), pieces: [1]) }
    }

    @Test func valuesInFrontOfAViolationAreRead() throws {
        var reader = RESPReader()
        Array("+OK\r\nx".utf8).withUnsafeBytes { reader.feed($0) }
        #expect(try reader.next() == .simple("OK"))
        #expect(throws: RESPViolation.unknownType(120)) { try reader.next() }
        Array("+OK\r\n".utf8).withUnsafeBytes { reader.feed($0) }
        #expect(throws: RESPViolation.unknownType(120)) { try reader.next() }
        #expect(reader.keptBytes == 0)
    }

    @Test func limitsHold() throws {
        var limits = RESPLimits()
        limits.bulkBytes = 10
        limits.lineBytes = 10
        limits.valueBytes = 25
        limits.elements = 4
        limits.depth = 2
        #expect(try read("$10\r\n0123456789\r\n", limits: limits).count == 1)
        #expect(throws: RESPViolation.bulkTooLong(11)) { try read("$11\r\n", limits: limits) }
        #expect(throws: RESPViolation.lineTooLong) { try read("+01234567890", limits: limits) }
        #expect(try read("+0123456789\r\n", limits: limits).count == 1)
        #expect(throws: RESPViolation.valueTooLarge) {
            try read("*3\r\n$10\r\n0123456789\r\n$10\r\n0123456789\r\n$6\r\n", limits: limits)
        }
        #expect(throws: RESPViolation.tooManyElements) { try read("*5\r\n", limits: limits) }
        #expect(throws: RESPViolation.tooManyElements) { try read("%3\r\n", limits: limits) }
        #expect(throws: RESPViolation.tooManyElements) { try read("*2\r\n*3\r\n", limits: limits) }
        #expect(throws: RESPViolation.tooDeep) { try read("*1\r\n*1\r\n*1\r\n", limits: limits) }
        #expect(throws: RESPViolation.tooManyElements) { try read("*9223372036854775807\r\n") }
        // They are those of one value.
        #expect(try read("*4\r\n:1\r\n:1\r\n:1\r\n:1\r\n*4\r\n:1\r\n:1\r\n:1\r\n:1\r\n", limits: limits).count == 2)
    }

    @Test func nothingIsAllocatedForWhatIsOnlyAnnounced() throws {
        var reader = RESPReader()
        Array("*1000000\r\n$67108864\r\n".utf8).withUnsafeBytes { reader.feed($0) }
        #expect(try reader.next() == nil)
        #expect(reader.keptBytes == 0)
    }

    @Test func everyCutGivesTheSame() throws {
        let stream = Array(
            """
            |1\r\n+a\r\n:1\r\n>3\r\n$7\r\nmessage\r\n$3\r\nnew\r\n$2\r\n\r\n\r\n%2\r\n+k\r\n*2\r\n:1\r\n_\r\n+l\r\n#t\r\n\
            =7\r\ntxt:abc\r\n!5\r\nERR x\r\n,2.5\r\n(99\r\n$-1\r\n~1\r\n+z\r\n*0\r\n
            """.utf8)
        let whole = try read(stream)
        #expect(whole.count == 9)
        for first in 0...stream.count {
            for second in 0...(stream.count - first) {
                #expect(try read(stream, pieces: [first, second, .max]) == whole)
            }
        }
        #expect(try read(stream, pieces: [1]) == whole)
    }

    @Test func randomValuesComeBack() throws {
        var random = Random(state: 7)
        for _ in 0..<2_000 {
            let values = (0..<Int.random(in: 1...4, using: &random)).map { _ in random.value(depth: 4) }
            var stream: [UInt8] = []
            for value in values { encode(value, into: &stream, &random) }
            let size = Int.random(in: 1...max(1, stream.count), using: &random)
            #expect(try read(stream, pieces: [size]) == values)
        }
    }

    /// Whatever comes, the reader answers values or one violation and keeps no more than what it was given.
    @Test func damagedStreamsEndInAViolationOrWait() {
        var random = Random(state: 11)
        for _ in 0..<5_000 {
            var stream: [UInt8] = []
            for _ in 0..<3 { encode(random.value(depth: 3), into: &stream, &random) }
            for _ in 0..<Int.random(in: 1...3, using: &random) where !stream.isEmpty {
                stream[Int.random(in: 0..<stream.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            let whole = Result { () throws(RESPViolation) in try read(stream) }
            let bytewise = Result { () throws(RESPViolation) in try read(stream, pieces: [1]) }
            switch (whole, bytewise) {
            case (.success(let left), .success(let right)): #expect("\(left)" == "\(right)")
            case (.failure(let left), .failure(let right)): #expect(left == right)
            case (.success, .failure), (.failure, .success): #expect(Bool(false), "\(stream)")
            }
        }
    }

    @Test func commandsAreArraysOfStrings() throws {
        var writer = RESPWriter()
        writer.command("PUBLISH", "wsx:c:{ä}", "")
        writer.begin(3)
        writer.add("X")
        writer.add([0, 13, 10, 255])
        writer.add(-12)
        #expect(
            try read(writer.bytes) == [
                .array([bulk("PUBLISH"), bulk("wsx:c:{ä}"), .bulk([])]),
                .array([bulk("X"), .bulk([0, 13, 10, 255]), bulk("-12")]),
            ])
        #expect(!writer.take().isEmpty)
        #expect(writer.isEmpty)
    }

    @Test func mapsAreAskedByName() throws {
        let three = try #require(try read("%2\r\n$4\r\nrole\r\n+master\r\n$5\r\nproto\r\n:3\r\n").first)
        let two = try #require(try read("*4\r\n$4\r\nrole\r\n+master\r\n$5\r\nproto\r\n$1\r\n3\r\n").first)
        for value in [three, two] {
            #expect(value["role"]?.text == "master")
            #expect(value["proto"]?.number == 3)
            #expect(value["id"] == nil)
        }
        #expect(RESPError("WRONGPASS invalid").code == "WRONGPASS")
    }
}

// MARK: - Random values

private struct Random: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    mutating func bytes() -> [UInt8] {
        let count = Int.random(in: 0...20, using: &self)
        return (0..<count).map { _ in UInt8.random(in: 0...255, using: &self) }
    }

    mutating func line() -> String {
        String(decoding: bytes().map { $0 % 64 + 32 }, as: UTF8.self)
    }

    mutating func value(depth: Int) -> RESPValue {
        switch Int.random(in: 0..<(depth > 0 ? 12 : 9), using: &self) {
        case 0: return .null
        case 1: return .simple(line())
        case 2: return .error(RESPError("ERR " + line()))
        case 3: return .integer(Int64.random(in: .min ... .max, using: &self))
        case 4: return .double(Double(Int.random(in: -1_000...1_000, using: &self)) / 8)
        case 5: return .boolean(Bool.random(using: &self))
        case 6: return .bigNumber("-12345678901234567890123")
        case 7: return .bulk(bytes())
        case 8: return .verbatim(format: "mkd", bytes())
        case 9: return .array(values(depth: depth - 1))
        case 10: return .set(values(depth: depth - 1))
        default: return .map(values(depth: depth - 1).map { .init(key: .simple(line()), value: $0) })
        }
    }

    mutating func values(depth: Int) -> [RESPValue] {
        let count = Int.random(in: 0...3, using: &self)
        return (0..<count).map { _ in value(depth: depth) }
    }
}

/// As a server would write it, now and then with an attribute in front.
private func encode(_ value: RESPValue, into stream: inout [UInt8], _ random: inout Random) {
    if Int.random(in: 0..<10, using: &random) == 0 { stream += "|1\r\n+hint\r\n:1\r\n".utf8 }
    func string(_ type: String, _ bytes: [UInt8]) { stream += "\(type)\(bytes.count)\r\n".utf8 + bytes + "\r\n".utf8 }
    func aggregate(_ type: String, _ elements: [RESPValue]) {
        stream += "\(type)\(elements.count)\r\n".utf8
        for element in elements { encode(element, into: &stream, &random) }
    }
    switch value {
    case .null: stream += (Bool.random(using: &random) ? "_\r\n" : "$-1\r\n").utf8
    case .simple(let text): stream += "+\(text)\r\n".utf8
    case .error(let error):
        if Bool.random(using: &random) {
            stream += "-\(error.text)\r\n".utf8
        } else {
            string("!", Array(error.text.utf8))
        }
    case .integer(let number): stream += ":\(number)\r\n".utf8
    case .double(let number): stream += ",\(number)\r\n".utf8
    case .boolean(let flag): stream += "#\(flag ? "t" : "f")\r\n".utf8
    case .bigNumber(let digits): stream += "(\(digits)\r\n".utf8
    case .bulk(let bytes): string("$", bytes)
    case .verbatim(let format, let bytes): string("=", Array("\(format):".utf8) + bytes)
    case .array(let elements): aggregate("*", elements)
    case .set(let elements): aggregate("~", elements)
    case .push(let elements): aggregate(">", elements)
    case .map(let pairs):
        stream += "%\(pairs.count)\r\n".utf8
        for pair in pairs {
            encode(pair.key, into: &stream, &random)
            encode(pair.value, into: &stream, &random)
        }
    }
}
