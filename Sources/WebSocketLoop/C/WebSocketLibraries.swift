//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CLibUV
import CLibWebSockets
import CLibWebSocketsShims
import COpenSSL
import CZlib
import Glibc

/// The C libraries underneath.
public enum WebSocketLibraries {
    /// One library: what this program was compiled against and what is loaded.
    public struct Version: Sendable, Hashable {
        /// Such as `OpenSSL`.
        public let name: String
        /// The version of the headers.
        public let headers: String
        /// The version of the loaded library.
        public let loaded: String
    }

    /// libwebsockets, OpenSSL, zlib and libuv.
    public static var versions: [Version] {
        func text(_ pointer: UnsafePointer<CChar>?) -> String {
            unsafe pointer.map { unsafe String(cString: $0) } ?? "unknown"
        }
        /// "OpenSSL 3.0.22 25 Aug 2026" → "3.0.22", and "4.1.6-" and a commit, if there is one → "4.1.6"
        func number(_ text: String) -> String {
            text.split { $0 == " " || $0 == "-" }.first { $0.first?.isNumber == true }.map(String.init) ?? text
        }
        return unsafe [
            Version(
                name: "libwebsockets", headers: number(LibWebSockets.buildVersion),
                loaded: number(LibWebSockets.runtimeVersion)),
            Version(
                name: "OpenSSL", headers: number(text(wsx_openssl_build_version())),
                loaded: number(text(OpenSSL_version(OPENSSL_VERSION)))),
            Version(name: "zlib", headers: text(wsx_zlib_build_version()), loaded: text(zlibVersion())),
            Version(name: "libuv", headers: text(wsx_uv_build_version()), loaded: text(uv_version_string())),
        ]
    }

    /// Where OpenSSL looks for the system's CAs, and whether anything is there.
    package static var systemCertificates: (file: String, directory: String, exist: Bool) {
        func path(_ variable: UnsafePointer<CChar>, _ builtIn: UnsafePointer<CChar>) -> String {
            unsafe String(cString: getenv(variable) ?? UnsafeMutablePointer(mutating: builtIn))
        }
        let file = unsafe path(X509_get_default_cert_file_env(), X509_get_default_cert_file())
        let directory = unsafe path(X509_get_default_cert_dir_env(), X509_get_default_cert_dir())
        return unsafe (file, directory, access(file, R_OK) == 0 || hasEntry(directory))
    }

    private static func hasEntry(_ directory: String) -> Bool {
        guard let handle = unsafe opendir(directory) else { return false }
        defer { unsafe closedir(handle) }
        while let entry = unsafe readdir(handle) {
            // Neither "." nor "..".
            if unsafe entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { return true }
        }
        return false
    }
}
