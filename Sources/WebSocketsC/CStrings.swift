//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CWSX
import HTTPTypes
import WebSocketLoop

/// Memory that C reads strings from, as long as this lives.
final class CStrings: @unchecked Sendable {
    // Sendable: one thread fills it, and from then on C only reads what it points to.
    private var blocks: [UnsafeMutableRawPointer] = []

    private func memory<Value>(for type: Value.Type, _ count: Int) -> UnsafeMutablePointer<Value> {
        let block = UnsafeMutableRawPointer.allocate(
            byteCount: max(1, count) * MemoryLayout<Value>.stride, alignment: MemoryLayout<Value>.alignment)
        blocks.append(block)
        return block.bindMemory(to: type, capacity: max(1, count))
    }

    func string(_ text: String) -> UnsafePointer<CChar> {
        let count = text.utf8.count
        let copy = memory(for: CChar.self, count + 1)
        for (index, byte) in text.utf8.enumerated() { copy[index] = CChar(bitPattern: byte) }
        copy[count] = 0
        return UnsafePointer(copy)
    }

    /// The strings, and `NULL`.
    func list(_ texts: [String]) -> UnsafePointer<UnsafePointer<CChar>?> {
        let pointers = memory(for: UnsafePointer<CChar>?.self, texts.count + 1)
        for (index, text) in texts.enumerated() { (pointers + index).initialize(to: string(text)) }
        (pointers + texts.count).initialize(to: nil)
        return UnsafePointer(pointers)
    }

    /// Names and values in turn.
    func list(_ fields: HTTPFields) -> UnsafePointer<UnsafePointer<CChar>?> {
        list(fields.flatMap { [$0.name.rawName, $0.value] })
    }

    func certificate(_ certificate: WebSocketTLSCertificate?) -> UnsafePointer<wsx_certificate>? {
        guard let certificate else { return nil }
        let der = certificate.derBytes
        let bytes = memory(for: UInt8.self, der.count)
        for (index, byte) in der.enumerated() { bytes[index] = byte }
        var view = wsx_certificate()
        view.size = MemoryLayout<wsx_certificate>.size
        view.subject = string(certificate.subject)
        view.issuer = string(certificate.issuer)
        view.names = list(certificate.dnsNames + certificate.ipAddresses + certificate.uris)
        view.fingerprint = string(certificate.fingerprint.map { $0.hexadecimal }.joined())
        view.public_key_pin = string(certificate.publicKeyPin)
        view.der = UnsafeRawPointer(bytes)
        view.der_length = der.count
        view.valid_from = Int64(certificate.validFrom)
        view.valid_until = Int64(certificate.validUntil)
        let result = memory(for: wsx_certificate.self, 1)
        result.initialize(to: view)
        return UnsafePointer(result)
    }

    // What lies there is trivial.
    deinit { for block in blocks { block.deallocate() } }
}

extension UInt8 {
    fileprivate var hexadecimal: String { (self < 16 ? "0" : "") + String(self, radix: 16) }
}
