//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// The first message of a TLS client (RFC 8446 §4.1.2), looked at while it still lies in the socket. Only its lengths are
/// read: what is wrong with it is for TLS to say, with an alert.
package enum ClientHello {
    package enum Progress: Equatable, Sendable {
        case incomplete
        /// It is there, or so wrong that there is nothing to wait for.
        case complete
        /// The client speaks another protocol.
        case notTLS
        case tooLarge
    }

    /// Of all its records, with their headers. Browsers send up to 2 KB.
    package static let maximumBytes = 16 << 10

    private static let handshakeRecord: UInt8 = 22
    private static let recordHeaderBytes = 5
    private static let messageHeaderBytes = 4

    /// - Parameter bytes: What the client has sent so far; nothing behind `maximumBytes` is looked at.
    package static func look(_ bytes: UnsafeRawBufferPointer) -> Progress {
        let bytes = UnsafeRawBufferPointer(rebasing: bytes.prefix(maximumBytes))
        guard let first = bytes.first else { return .incomplete }
        guard first == handshakeRecord else { return .notTLS }
        let unfinished: Progress = bytes.count == maximumBytes ? .tooLarge : .incomplete
        var header: [UInt8] = []
        /// Of the message, with its own header.
        var seen = 0
        var offset = 0
        while offset < bytes.count {
            guard offset + recordHeaderBytes <= bytes.count else { return unfinished }
            let length = Int(bytes[offset + 3]) << 8 | Int(bytes[offset + 4])
            // Of another type, or empty: no message goes on like that.
            guard bytes[offset] == handshakeRecord, length > 0 else { return .complete }
            offset += recordHeaderBytes
            let end = min(offset + length, bytes.count)
            for index in offset..<end where header.count < messageHeaderBytes { header.append(bytes[index]) }
            seen += end - offset
            if header.count == messageHeaderBytes {
                let message = messageHeaderBytes + Int(header[1]) << 16 + Int(header[2]) << 8 + Int(header[3])
                guard message <= maximumBytes else { return .tooLarge }
                if seen >= message { return .complete }
            }
            offset += length
        }
        return unfinished
    }
}
