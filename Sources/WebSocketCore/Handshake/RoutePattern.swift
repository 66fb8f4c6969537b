//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// A path with parameters, such as `/rooms/:room/users/:user` or `/files/*path`.
package struct RoutePattern: Sendable, Hashable, CustomStringConvertible {
    private enum Segment: Hashable {
        case literal([UInt8])
        case parameter(String)
        /// The rest of the path, slashes included.
        case rest(String)
    }

    package let description: String
    private let segments: [Segment]

    /// - Throws: `invalidConfiguration` with what is wrong.
    package init(_ text: String) throws(WebSocketError) {
        func refuse(_ why: String) -> WebSocketError {
            WebSocketError(.invalidConfiguration, "the route “\(text.escapedForLog)” cannot be used: \(why)")
        }
        guard text.hasPrefix("/") else { throw refuse("it must begin with a slash") }
        var segments: [Segment] = []
        var names: Set<String> = []
        let pieces = text.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        for (index, piece) in pieces.enumerated() {
            guard let first = piece.first, first == ":" || first == "*" else {
                guard piece.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && !"%?#".utf8.contains($0) }) else {
                    throw refuse("write its fixed parts without percent signs and in ASCII")
                }
                segments.append(.literal(Array(piece.utf8)))
                continue
            }
            let name = String(piece.dropFirst())
            guard !name.isEmpty, names.insert(name).inserted else {
                throw refuse("each parameter needs a name of its own")
            }
            if first == "*" {
                guard index == pieces.count - 1 else { throw refuse("*\(name) takes the rest and must come last") }
                segments.append(.rest(name))
            } else {
                segments.append(.parameter(name))
            }
        }
        self.segments = segments
        description = text
    }

    /// The parameters when the path matches, decoded (RFC 3986 §2.1). A parameter is never empty; an encoded slash
    /// belongs to it and separates nothing.
    package func match(_ path: some StringProtocol) -> [String: String]? {
        guard path.hasPrefix("/") else { return nil }
        let pieces = path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        guard pieces.count >= segments.count else { return nil }
        var parameters: [String: String] = [:]
        for (index, segment) in segments.enumerated() {
            switch segment {
            case .literal(let bytes):
                guard String(pieces[index]).percentDecoded == bytes else { return nil }
            case .parameter(let name):
                guard let bytes = String(pieces[index]).percentDecoded, !bytes.isEmpty,
                    let value = String(validating: bytes, as: UTF8.self)
                else { return nil }
                parameters[name] = value
            case .rest(let name):
                guard let bytes = pieces[index...].joined(separator: "/").percentDecoded,
                    let value = String(validating: bytes, as: UTF8.self)
                else { return nil }
                parameters[name] = value
                return parameters
            }
        }
        return pieces.count == segments.count ? parameters : nil
    }
}
