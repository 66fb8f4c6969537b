//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CWSX
import WebSocketCore

/// A structure of the caller's as this version knows it; nil for NULL.
///
/// One of a later header is larger. It is taken if what this version does not know is zero, which is its default.
func copied<Structure>(
    _ pointer: UnsafePointer<Structure>?, _ name: StaticString
) throws(Failure) -> Structure? {
    guard let pointer else { return nil }
    let known = MemoryLayout<Structure>.size
    let size = UnsafeRawPointer(pointer).load(as: Int.self)
    // 0.1 is the first version, so nothing smaller than its structures can be right.
    guard size >= known, size < 1 << 20 else {
        throw .argument("the size of \(name) is \(size); get the structure from \(name)_init()")
    }
    let unknown = UnsafeRawBufferPointer(start: UnsafeRawPointer(pointer) + known, count: size - known)
    guard unknown.allSatisfy({ $0 == 0 }) else {
        throw .argument("\(name) has a field that version \(Version.text) does not know; install a newer library")
    }
    return pointer.pointee
}

/// Fills a structure of the caller's, as far as this version knows it. Its `size` stays.
func fill<Structure>(
    _ pointer: UnsafeMutablePointer<Structure>?, _ name: StaticString, _ value: () throws(Failure) -> Structure
) throws(Failure) {
    let pointer = try required(pointer, name)
    let raw = UnsafeMutableRawPointer(pointer)
    let size = raw.load(as: Int.self)
    guard size >= MemoryLayout<Structure>.size, size < 1 << 20 else {
        throw .argument("the size of \(name) is \(size); get the structure from \(name)_init()")
    }
    pointer.pointee = try value()
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
