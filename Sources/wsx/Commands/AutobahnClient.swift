//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import WebSockets

/// The client's side of Autobahn's fuzzing server.
struct AutobahnClient: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run every case of an Autobahn fuzzing server against this client.", shouldDisplay: false)

    @Argument(help: "The fuzzing server's URL.")
    var url: String

    @Option(name: .long, help: "The name under which the reports are filed.")
    var agent: String

    func run() async throws {
        var configuration = WebSocketClientConfiguration()
        configuration.options.compression = .deflate()
        configuration.options.maximumMessageSize = 64 << 20
        // Case 9 sends megabytes in frames of 64 bytes.
        configuration.options.maximumFragments = 1 << 20
        configuration.options.keepAlive = nil
        let base = url.hasSuffix("/") ? String(url.dropLast()) : url
        let agent = percentEncoded(agent)

        let cases = try await WebSocketClient.withConnection(
            to: base + "/getCaseCount", configuration: configuration, on: .loop
        ) { socket in
            guard case .text(let text) = try await socket.receive(), let count = Int(text) else {
                throw CommandFailure(code: Exit.protocolError, message: "the server sent no case count")
            }
            return count
        }
        for number in 1...max(1, cases) where number <= cases {
            if Terminal.isErrorTerminal { Terminal.progress("case \(number) of \(cases)") }
            do {
                try await WebSocketClient.withConnection(
                    to: "\(base)/runCase?case=\(number)&agent=\(agent)", configuration: configuration, on: .loop
                ) { socket in
                    for try await message in socket.messages { try await socket.send(message) }
                }
            } catch let error as WebSocketError where error.closeInfo != nil || error.code == .connectionClosed {
                // Most cases end abnormally on purpose; the server judges.
            }
        }
        if Terminal.isErrorTerminal { Terminal.progress("") }
        try await WebSocketClient.withConnection(
            to: "\(base)/updateReports?agent=\(agent)", configuration: configuration, on: .loop
        ) { socket in
            for try await _ in socket.messages {}
        }
        await Output.standard.write(line: "\(cases) cases run")
    }

    private func percentEncoded(_ text: String) -> String {
        text.utf8.map { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                String(UnicodeScalar(byte))
            default: "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }.joined()
    }
}
