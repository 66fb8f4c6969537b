//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What can be fuzzed. Each takes any bytes at all; what it may answer is a result or a documented error.
package enum FuzzTarget: String, CaseIterable, Sendable {
    /// `WebSocketURL`, and that its description keeps secrets.
    case url
    /// A server's reading of a request head, whole and in two parts.
    case request
    /// A server's whole answer to a client's handshake, and a proxy's to CONNECT, whole and in pieces.
    case handshake
    /// What happens to an accepted socket of a server, in any order.
    case upgrade
    /// `Sec-WebSocket-Extensions`, offers and answers, and token lists.
    case extensions
    /// `Origin` against `Host`.
    case origin
    /// A close frame's payload, and the search for it in what was read.
    case close
    /// Text that is escaped for logs, and the UTF-8 validator.
    case text
    /// Frames and pieces of them in any order that libwebsockets lets through.
    case assembler
    /// A peer's bytes as frames, whole and in pieces.
    case parser
    /// What a trusted proxy, or a client in front of it, may write of the client.
    case forwarded
    /// Everything a client may send to our server, from its first byte, over a socket.
    case server
    /// TLS records of any kind behind the handshake, to our server.
    case records
    /// Frames of any kind, compressed ones too, to our server.
    case frames
    /// Everything a server may send to our client, from the 101 on, over a socket.
    case client
    /// Redis' side of a connection, whole and in pieces.
    case resp
    /// What comes through a topic's channel, and what its history has kept.
    case envelope
    /// Redis' answer about a topic's history.
    case history
    /// Calls of the C interface in any order, with handles of any kind.
    case abi

    /// Ends the servers that targets with sockets share, if there are any. Nothing can be run any more.
    package static func tearDown() {
        SocketFuzzer.stop()
        RecordFuzzer.stop()
        ABIFuzzer.stop()
    }

    /// Runs the target once.
    ///
    /// - Returns: What is wrong with the answer; `nil` when nothing is. A trap is the other way to fail.
    package func run(_ bytes: UnsafeRawBufferPointer) -> String? {
        switch self {
        case .url: fuzzURL(bytes)
        case .request: fuzzRequest(bytes)
        case .handshake: fuzzHandshake(bytes)
        case .upgrade: fuzzUpgrade(bytes)
        case .extensions: fuzzExtensions(bytes)
        case .origin: fuzzOrigin(bytes)
        case .close: fuzzClose(bytes)
        case .text: fuzzText(bytes)
        case .assembler: fuzzAssembler(bytes)
        case .parser: fuzzParser(bytes)
        case .forwarded: fuzzForwarded(bytes)
        case .server: SocketFuzzer.shared.server(bytes)
        case .records: RecordFuzzer.shared.records(bytes)
        case .frames: SocketFuzzer.shared.frames(bytes)
        case .client: SocketFuzzer.shared.client(bytes)
        case .resp: fuzzRESP(bytes)
        case .envelope: fuzzEnvelope(bytes)
        case .history: fuzzHistory(bytes)
        case .abi: ABIFuzzer.shared.run(bytes)
        }
    }
}
