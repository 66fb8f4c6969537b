//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// The text of `/etc/hosts` (hosts(5)).
package enum HostsFile {
    /// The addresses of a name, each once, in the file's order.
    package static func addresses(of name: String, in text: some Sequence<UInt8>) -> [String] {
        let name = canonical(name)
        var result: [String] = []
        for line in Array(text).split(separator: UInt8(ascii: "\n")) {
            let words = line.prefix { $0 != UInt8(ascii: "#") }
                .split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: "\r") }
            guard let first = words.first else { continue }
            guard words.dropFirst().contains(where: { canonical(String(decoding: $0, as: UTF8.self)) == name }) else {
                continue
            }
            let address = String(decoding: first, as: UTF8.self)
            if IPAddress.isAddress(address), !result.contains(address) { result.append(address) }
        }
        return result
    }

    /// Whether the name is this machine's by definition, without DNS (RFC 6761 §6.3).
    package static func isLocalhost(_ name: String) -> Bool {
        let name = canonical(name)
        return name == "localhost" || name.hasSuffix(".localhost")
    }

    private static func canonical(_ name: String) -> String {
        let name = name.lowercased()
        return name.hasSuffix(".") ? String(name.dropLast()) : name
    }
}
