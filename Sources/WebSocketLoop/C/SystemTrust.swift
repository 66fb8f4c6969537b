//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// Whichever C module first includes the system's headers is the one that Swift attributes them to.
import CLibUV
import CLibWebSocketsShims
import COpenSSL
import Glibc
import WebSocketCore

/// What tells a file from what it was before.
package struct FileVersion: Hashable, Sendable {
    private let numbers: [Int]

    /// All missing files are one version.
    package init(path: String) { numbers = Self.numbers(path) }

    init(_ source: WebSocketPEMSource) {
        numbers = if case .file(let path) = source { Self.numbers(path) } else { [] }
    }

    private static func numbers(_ path: String) -> [Int] {
        var status = stat()
        guard unsafe stat(path, &status) == 0 else { return [] }
        return [
            Int(status.st_dev), Int(status.st_ino), Int(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec,
            // A tool that keeps the time of the contents does not keep this one.
            status.st_ctim.tv_sec, status.st_ctim.tv_nsec,
        ]
    }
}

/// Where the system's certificate authorities are: a bundle, and directories of files that are named after the hashes of
/// their names.
package struct SystemTrust: Hashable, Sendable {
    package var file: String
    package var directories: [String]

    package init(file: String, directories: [String]) {
        self.file = file
        self.directories = directories
    }

    /// As OpenSSL has it, with the environment's `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    package static var standard: SystemTrust {
        func text(_ variable: UnsafePointer<CChar>?, _ otherwise: UnsafePointer<CChar>?) -> String {
            unsafe String(
                cString: variable.flatMap { unsafe getenv($0) }.map { unsafe UnsafePointer($0) } ?? otherwise!)
        }
        let file = unsafe text(X509_get_default_cert_file_env(), X509_get_default_cert_file())
        let directories = unsafe text(X509_get_default_cert_dir_env(), X509_get_default_cert_dir())
        return SystemTrust(file: file, directories: directories.split(separator: ":").map(String.init))
    }

    /// Changes when authorities are added or removed.
    var versions: [FileVersion] { ([file] + directories).map { FileVersion(path: $0) } }

    /// A store of the authorities. The directories' are read when they are needed.
    ///
    /// - Throws: `invalidConfiguration` when there are none: nothing could be verified.
    func load() throws(WebSocketError) -> OpaquePointer {
        guard let store = unsafe X509_STORE_new() else {
            throw WebSocketError(.resourceExhausted, "OpenSSL could not allocate memory; give the process more")
        }
        unsafe X509_STORE_load_file(store, file)
        for directory in directories { unsafe X509_STORE_load_path(store, directory) }
        ERR_clear_error()
        if unsafe OPENSSL_sk_num(X509_STORE_get0_objects(store)) > 0 || directories.contains(where: Self.hasAuthorities)
        {
            return unsafe store
        }
        unsafe X509_STORE_free(store)
        if let shortage = Sockets.shortage {
            throw WebSocketError(
                .resourceExhausted, "the system's certificate authorities cannot be read: \(shortage.text)",
                systemError: shortage.code)
        }
        let places = ([file] + directories).joined(separator: "” and “").escapedForLog
        throw WebSocketError(
            .invalidConfiguration,
            "tls.trust is the system's certificate authorities, and there are none in “\(places)”; install the package ca-certificates, or set tls.trust"
        )
    }

    /// Whether a directory has a file whose name is a hash, such as `5ed36f99.0`.
    private static func hasAuthorities(_ path: String) -> Bool {
        guard let directory = unsafe opendir(path) else { return false }
        defer { unsafe closedir(directory) }
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { unsafe Array($0.prefix { $0 != 0 }) }
            if name.count >= 10, name[8] == UInt8(ascii: "."), name[..<8].allSatisfy({ $0.hexValue != nil }) {
                return true
            }
        }
        return false
    }
}
