//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import COpenSSL

/// What one side of TLS 1.2 encrypts with AES-128-GCM (RFC 5246 §6.3, RFC 5288), for records that OpenSSL would not write.
struct TLS12Keys {
    private let key: [UInt8]
    private let salt: [UInt8]

    init(_ ssl: OpaquePointer) {
        func bytes(_ count: Int, _ body: (UnsafeMutablePointer<UInt8>?, Int) -> Int) -> [UInt8] {
            [UInt8](unsafeUninitializedCapacity: count) { $1 = body($0.baseAddress, count) }
        }
        let session = SSL_get_session(ssl)
        let secret = bytes(48) { SSL_SESSION_get_master_key(session, $0, $1) }
        let server = bytes(32) { SSL_get_server_random(ssl, $0, $1) }
        let client = bytes(32) { SSL_get_client_random(ssl, $0, $1) }
        func hmac(_ data: [UInt8]) -> [UInt8] {
            bytes(32) { output, count in
                HMAC(EVP_sha256(), secret, CInt(secret.count), data, data.count, output, nil)
                return count
            }
        }
        // RFC 5246 §5.
        let seed = Array("key expansion".utf8) + server + client
        let first = hmac(seed)
        let block = hmac(first + seed) + hmac(hmac(first) + seed)
        let isServer = SSL_is_server(ssl) == 1
        key = Array(block[isServer ? 16..<32 : 0..<16])
        salt = Array(block[isServer ? 36..<40 : 32..<36])
    }

    /// - Parameter number: How many records this side has encrypted before.
    func record(_ type: UInt8, _ payload: [UInt8], number: UInt64) -> [UInt8] {
        func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.bigEndian, Array.init) }
        let header: [UInt8] = [type, 3, 3]
        let context = EVP_CIPHER_CTX_new()
        defer { EVP_CIPHER_CTX_free(context) }
        EVP_EncryptInit_ex(context, EVP_aes_128_gcm(), nil, key, salt + bigEndian(number))
        var count: CInt = 0
        let authenticated = bigEndian(number) + header + bigEndian(UInt16(payload.count))
        EVP_EncryptUpdate(context, nil, &count, authenticated, CInt(authenticated.count))
        var text = [UInt8](repeating: 0, count: payload.count)
        EVP_EncryptUpdate(context, &text, &count, payload, CInt(payload.count))
        EVP_EncryptFinal_ex(context, nil, &count)
        var tag = [UInt8](repeating: 0, count: 16)
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, 16, &tag)
        let body = bigEndian(number) + text + tag
        return header + bigEndian(UInt16(body.count)) + body
    }
}
