//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CWSX
import WebSocketCore

/// A structure of the interface, which zeroes are a value of.
protocol CStructure {
    init()
    /// How large it was in the first version. Nothing smaller can be right.
    static var firstSize: Int { get }
}

extension CStructure {
    static var firstSize: Int { MemoryLayout<Self>.size }
}

extension wsx_error: CStructure { static var firstSize: Int { WSXC_FIRST_ERROR } }
extension wsx_callbacks: CStructure { static var firstSize: Int { WSXC_FIRST_CALLBACKS } }
extension wsx_pool_config: CStructure { static var firstSize: Int { WSXC_FIRST_POOL_CONFIG } }
extension wsx_server_config: CStructure { static var firstSize: Int { WSXC_FIRST_SERVER_CONFIG } }
extension wsx_client_config: CStructure {}
extension wsx_session_config: CStructure {}
extension wsx_loop_config: CStructure {}
extension wsx_connection_info: CStructure {}
extension wsx_handshake: CStructure {}
extension wsx_topics_config: CStructure {}
extension wsx_topics_statistics: CStructure {}
extension wsx_pool_statistics: CStructure {}
extension wsx_session_statistics: CStructure {}
extension wsx_server_statistics: CStructure {}

/// A structure of the caller's as this version knows it; nil for NULL.
///
/// One of an earlier header is smaller: what it lacks is zero, the default. One of a later header is larger. It is taken if
/// what this version does not know is zero.
func copied<Structure: CStructure>(
    _ pointer: UnsafePointer<Structure>?, _ name: StaticString
) throws(Failure) -> Structure? {
    guard let pointer else { return nil }
    let known = MemoryLayout<Structure>.size
    let raw = UnsafeRawPointer(pointer)
    let size = raw.load(as: Int.self)
    guard size >= Structure.firstSize, size < 1 << 20 else {
        throw .argument("the size of \(name) is \(size); get the structure from \(name)_init()")
    }
    if size > known {
        guard UnsafeRawBufferPointer(start: raw + known, count: size - known).allSatisfy({ $0 == 0 }) else {
            throw .argument("\(name) has a field that version \(Version.text) does not know; install a newer library")
        }
    }
    var copy = Structure()
    let common = UnsafeRawBufferPointer(start: raw, count: min(size, known))
    withUnsafeMutableBytes(of: &copy) { $0.copyMemory(from: common) }
    return copy
}

/// Fills a structure of the caller's, as far as both know it. Its `size` stays.
func fill<Structure: CStructure>(
    _ pointer: UnsafeMutablePointer<Structure>?, _ name: StaticString, _ value: () throws(Failure) -> Structure
) throws(Failure) {
    let pointer = try required(pointer, name)
    let raw = UnsafeMutableRawPointer(pointer)
    let size = raw.load(as: Int.self)
    guard size >= Structure.firstSize, size < 1 << 20 else {
        throw .argument("the size of \(name) is \(size); get the structure from \(name)_init()")
    }
    put(try value(), into: raw, size)
}

/// Writes a structure where the caller has room for this many bytes of it. Its `size` stays.
func put<Structure: CStructure>(_ value: Structure, into raw: UnsafeMutableRawPointer, _ size: Int) {
    withUnsafeBytes(of: value) { raw.copyMemory(from: $0.baseAddress!, byteCount: min(size, $0.count)) }
    raw.storeBytes(of: size, as: Int.self)
}

/// Text from C; nil for NULL.
func text(_ pointer: UnsafePointer<CChar>?, _ name: StaticString) throws(Failure) -> String? {
    guard let pointer else { return nil }
    guard let text = String(validatingCString: pointer) else { throw .argument("\(name) is not UTF-8") }
    return text
}

/// Texts from C, up to a NULL.
func texts(
    _ list: UnsafePointer<UnsafePointer<CChar>?>?, _ name: StaticString
) throws(Failure) -> [String] {
    guard var next = list else { return [] }
    var result: [String] = []
    while let string = try text(next.pointee, name) {
        result.append(string)
        next += 1
    }
    return result
}

/// An array of C's.
func list<Element>(
    _ first: UnsafePointer<Element>?, _ count: Int, _ name: StaticString
) throws(Failure) -> [Element] {
    guard count != 0 else { return [] }
    guard let first, (0..<1 << 20).contains(count) else { throw .argument("\(name) is NULL, or its count is wrong") }
    return Array(UnsafeBufferPointer(start: first, count: count))
}

/// A message's bytes from C.
func bytes(_ data: UnsafeRawPointer?, _ length: Int) throws(Failure) -> UnsafeRawBufferPointer {
    guard length >= 0, data != nil || length == 0 else { throw .argument("data is NULL") }
    return UnsafeRawBufferPointer(start: data, count: length)
}

extension WebSocketMessage.Kind {
    init(_ kind: wsx_kind) throws(Failure) {
        switch Int(kind) {
        case WSX_TEXT: self = .text
        case WSX_BINARY: self = .binary
        default: throw .argument("kind is \(kind); use WSX_TEXT or WSX_BINARY")
        }
    }

    var number: wsx_kind { wsx_kind(self == .text ? WSX_TEXT : WSX_BINARY) }
}

extension WebSocketMessage {
    /// A copy of what the caller has.
    init(_ kind: Kind, copying bytes: UnsafeRawBufferPointer) throws(Failure) {
        switch kind {
        case .binary: self = .binary(Array(bytes))
        case .text:
            guard let text = String(validating: bytes, as: UTF8.self) else { throw .notText }
            self = .text(text)
        }
    }

    func withData(_ body: (UnsafeRawBufferPointer) -> Void) {
        switch self {
        case .text(var text): text.withUTF8 { body(UnsafeRawBufferPointer($0)) }
        case .binary(let bytes): bytes.withUnsafeBytes { body($0) }
        }
    }
}

extension Failure {
    static var notText: Self {
        Self(WebSocketError(.invalidUTF8, "the bytes are not UTF-8; send them as binary"))
    }
}

extension Duration {
    /// A time from C in milliseconds; nil for the default.
    static func setting(_ milliseconds: Int64, _ name: StaticString) throws(Failure) -> Duration? {
        guard milliseconds >= 0 else { throw .argument("\(name) is \(milliseconds); it must not be negative") }
        return milliseconds == 0 ? nil : .milliseconds(milliseconds)
    }

    /// A limit from C; with `WSX_NEVER`, a century.
    static func limit(_ milliseconds: Int64) -> Duration {
        .milliseconds(milliseconds < 0 ? 100 * 365 * 86_400_000 : milliseconds)
    }

    var wholeMilliseconds: Int64 { Int64(self / .milliseconds(1)) }
}

/// Memory that C reads a message from until it frees it.
final class MessageMemory: @unchecked Sendable {
    // Sendable, because nothing writes to the memory after this initialiser.
    let data: UnsafeMutableRawPointer

    init(_ bytes: UnsafeRawBufferPointer) {
        data = .allocate(byteCount: bytes.count + 1, alignment: 16)
        if let base = bytes.baseAddress { data.copyMemory(from: base, byteCount: bytes.count) }
        data.storeBytes(of: 0, toByteOffset: bytes.count, as: UInt8.self)
    }

    deinit { data.deallocate() }
}

extension wsx_message {
    /// A message that C is to free.
    init(_ message: WebSocketMessage) {
        self.init()
        var memory: MessageMemory?
        message.withData { memory = MessageMemory($0) }
        id = Handles.messages.insert(memory!)
        data = UnsafePointer(memory!.data.assumingMemoryBound(to: CChar.self))
        length = message.byteCount
        kind = message.kind.number
    }
}
