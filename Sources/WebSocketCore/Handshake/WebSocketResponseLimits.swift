//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// How much of a server's answer to the opening handshake is read. What is larger is `handshakeInvalid`, with the limit in
/// its text; a refusal's body is cut.
public struct WebSocketResponseLimits: Sendable, Hashable {
    /// Bytes of the status line, and of each header line, its name included; a line that is folded counts as one. Default
    /// 16,384; 64...1,048,576.
    public var lineBytes = 16_384
    /// Header lines of one head. Default 256; 8...10,000.
    public var headerLines = 256
    /// Bytes of one head, interim ones (1xx) too. The sizes and extensions of a body's chunks have as much for themselves.
    /// Default 65,536; 512...1,048,576.
    public var headBytes = 65_536
    /// Interim answers (1xx, RFC 9110 §15.2) before the final one. Default 32; 0...10,000.
    public var interimAnswers = 32
    /// Bytes of all interim answers together. Default 65,536; 0...1,048,576.
    public var interimBytes = 65_536
    /// Bytes of a refusal's body that the error keeps (``WebSocketError/Response/body``), if they come within half a second.
    /// Default 65,536; 0...1,048,576.
    public var bodyBytes = 65_536

    /// The defaults.
    public init() {}

    package func validate() throws(WebSocketError) {
        func check(_ value: Int, _ range: ClosedRange<Int>, _ name: String) throws(WebSocketError) {
            guard !range.contains(value) else { return }
            throw WebSocketError(
                .invalidConfiguration,
                "responseLimits.\(name) is \(value); it must be in \(range.lowerBound)...\(range.upperBound)")
        }
        try check(lineBytes, 64...1_048_576, "lineBytes")
        try check(headerLines, 8...10_000, "headerLines")
        try check(headBytes, 512...1_048_576, "headBytes")
        try check(interimAnswers, 0...10_000, "interimAnswers")
        try check(interimBytes, 0...1_048_576, "interimBytes")
        try check(bodyBytes, 0...1_048_576, "bodyBytes")
    }
}
