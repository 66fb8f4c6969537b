//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibWebSocketsShims
import COpenSSL
import WebSocketCore

/// Reads PEM through OpenSSL: a source is read whole, or refused with the number of the block that is wrong.
enum PEM {
    static func certificates(_ source: WebSocketPEMSource, field: String) throws(WebSocketError) -> [OpaquePointer] {
        let bytes = try contents(source, field: field)
        let blocks: [PEMText.Block]
        do throws(PEMText.Problem) {
            blocks = try PEMText.blocks(in: bytes)
        } catch {
            throw refusal(source, field, error.text)
        }
        var result: [OpaquePointer] = unsafe []
        for block in blocks where labels.contains(block.label) {
            guard let certificate = unsafe certificate(block.text) else {
                let why = unsafe ERR_reason_error_string(ERR_peek_error()).map { unsafe String(cString: $0) }
                ERR_clear_error()
                unsafe result.forEach { unsafe X509_free($0) }
                throw refusal(
                    source, field,
                    "block \(block.number) (line \(block.line)) is no certificate that OpenSSL can read: \(why ?? "unknown error")"
                )
            }
            unsafe result.append(certificate)
        }
        guard unsafe !result.isEmpty else {
            throw WebSocketError(
                .invalidConfiguration,
                "\(field)\(name(source)) holds no certificate in PEM form; convert it with openssl x509")
        }
        return unsafe result
    }

    /// The labels of certificates, the last of which come with what OpenSSL trusts them for.
    private static let labels: Set<String> = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"]

    private static func certificate(_ block: [UInt8]) -> OpaquePointer? {
        unsafe block.withUnsafeBytes { bytes in
            // It reads the bytes in place.
            guard let bio = unsafe wsx_bio_from_memory(bytes.baseAddress, CInt(bytes.count)) else { return nil }
            defer { unsafe BIO_free(bio) }
            ERR_clear_error()
            return unsafe PEM_read_bio_X509_AUX(bio, nil, nil, nil)
        }
    }

    private static func refusal(_ source: WebSocketPEMSource, _ field: String, _ what: String) -> WebSocketError {
        WebSocketError(
            .invalidConfiguration,
            "\(field)\(name(source)): \(what); it is read whole or not at all, so mend the block or remove it")
    }

    private static func name(_ source: WebSocketPEMSource) -> String {
        if case .file(let path) = source { ": the file “\(path.escapedForLog)”" } else { "" }
    }

    /// A key that is not that of the first certificate.
    static func stranger(
        _ privateKey: WebSocketPEMSource, _ certificateChain: WebSocketPEMSource, field: String, whose: String
    ) -> WebSocketError {
        WebSocketError(
            .invalidConfiguration,
            "\(field).privateKey does not belong to the first certificate of \(field).certificateChain\(name(privateKey))\(name(certificateChain)); put the \(whose)'s own first, and its key beside it"
        )
    }

    static func privateKey(
        _ source: WebSocketPEMSource, passphrase: String? = nil, field: String
    ) throws(WebSocketError) -> OpaquePointer {
        // What an encrypted key says in its first lines, in both of the forms that there are.
        let bytes = try contents(source, field: "\(field).privateKey")
        let isEncrypted = bytes.contains(sequence: Array("ENCRYPTED".utf8))
        guard !isEncrypted || passphrase != nil else {
            throw WebSocketError(
                .invalidConfiguration,
                "\(field).privateKey is encrypted\(name(source)); give its passphrase, or use an unencrypted one")
        }
        if let passphrase {
            guard passphrase.utf8.count < 1_024, !passphrase.utf8.contains(0) else {
                throw WebSocketError(
                    .invalidConfiguration,
                    "\(field).passphrase is longer than 1,023 bytes or holds a zero byte; encrypt the key with another")
            }
        }
        var text = Array((passphrase ?? "").utf8.map { CChar(bitPattern: $0) }) + [0]
        let key = unsafe bytes.withUnsafeBytes { bytes -> OpaquePointer? in
            guard let bio = unsafe wsx_bio_from_memory(bytes.baseAddress, CInt(bytes.count)) else { return nil }
            defer { unsafe BIO_free(bio) }
            // Without a passphrase of its own OpenSSL would ask for one on the terminal.
            return unsafe text.withUnsafeMutableBytes { unsafe PEM_read_bio_PrivateKey(bio, nil, nil, $0.baseAddress) }
        }
        ERR_clear_error()
        guard let key = unsafe key else {
            throw WebSocketError(
                .invalidConfiguration,
                isEncrypted
                    ? "\(field).passphrase is not the one that \(field).privateKey is encrypted with\(name(source))"
                    : "\(field).privateKey holds no private key in PEM form\(name(source)); convert it with openssl pkey"
            )
        }
        return unsafe key
    }

    private static func contents(_ source: WebSocketPEMSource, field: String) throws(WebSocketError) -> [UInt8] {
        switch source {
        case .bytes(let bytes): return bytes
        case .file(let path):
            do throws(SystemError) {
                return try FileBytes.read(path)
            } catch {
                throw unreadable(path, error, field: field)
            }
        }
    }

    /// A limit of the process is no fault of the file's.
    static func unreadable(_ path: String, _ error: SystemError, field: String) -> WebSocketError {
        WebSocketError(
            error.isShortage ? .resourceExhausted : .invalidConfiguration,
            "\(field): the file “\(path.escapedForLog)” cannot be read: \(error.text); check the path, who may read it, and what is open",
            systemError: error.code)
    }

    /// What can be read from a BIO, to its end.
    static func contents(of bio: OpaquePointer) -> [UInt8] {
        var result: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4_096)
        while result.count < 4 << 20 {
            let count = unsafe BIO_read(bio, &chunk, CInt(chunk.count))
            guard count > 0 else { break }
            result += chunk[..<Int(count)]
        }
        return result
    }
}

extension [UInt8] {
    fileprivate func contains(sequence: [UInt8]) -> Bool {
        indices.contains { self[$0...].starts(with: sequence) }
    }
}
