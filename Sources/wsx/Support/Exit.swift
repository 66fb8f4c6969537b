//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import Glibc
import WebSockets

/// One meaning per exit code; the numbers are those of `sysexits.h` and of `timeout`.
enum Exit {
    static let ok: CInt = 0
    static let usage: CInt = 64
    static let cannotConnect: CInt = 69
    static let internalError: CInt = 70
    static let outputFailed: CInt = 74
    static let messagesLost: CInt = 75
    static let protocolError: CInt = 76
    static let timeout: CInt = 124

    static let table = """
        Exit codes:
          0    all went well
          64   usage: an option, a URL or a file that cannot be used
          69   cannot connect or listen; doctor: something is missing
          70   internal error; demo: a byte came back wrong
          74   standard output cannot be written: a full disk
          75   connect --reconnect: messages may be missing, or lines were perhaps not sent
          76   handshake or protocol failure, or an abnormal end
          124  a deadline passed
          130  interrupted (143: by SIGTERM) before the connection was open, before the messages
               asked for with -1 or --max-messages had come, or twice
        """

    static func code(for error: WebSocketError) -> CInt {
        switch error.code {
        case .invalidURL, .invalidConfiguration, .invalidCloseCode, .closeReasonTooLong: usage
        case .nameNotFound, .connectFailed, .proxyFailed, .tlsFailed, .listenFailed, .reconnectFailed, .notConnected,
            .beforeConnectFailed, .brokerUnavailable, .brokerRefused:
            cannotConnect
        case .timedOut, .acquireTimedOut: timeout
        // The pool gave up; why it did is the answer.
        case .poolUnavailable: error.poolCause.map { Self.code(for: $0) } ?? cannotConnect
        case .connectionClosed where error.closeInfo?.cause.isTimeout == true: timeout
        case .handshakeRejected, .redirectRefused, .handshakeInvalid, .messageTooBig, .tooManyFragments, .invalidUTF8,
            .protocolViolation,
            .connectionClosed:
            protocolError
        default: internalError
        }
    }

    /// Reports the error in one line, if there is one to report, and ends the process.
    static func end(with error: any Error) -> Never {
        switch error {
        case let failure as CommandFailure:
            if let message = failure.message { Terminal.report(message) }
            exit(failure.code)
        case let error as WebSocketError:
            Terminal.report(CommandText.message(of: error))
            exit(code(for: error))
        default: break
        }
        // `--help`, `--version` and the like arrive as errors too.
        guard Wsx.exitCode(for: error) != .success else { Wsx.exit(withError: error) }
        let isUsage = Wsx.exitCode(for: error).rawValue == usage
        let text = Wsx.message(for: error).split(whereSeparator: \.isNewline).first.map(String.init) ?? "\(error)"
        let message = CommandText.commandComplaint(CommandLine.arguments.dropFirst().first) ?? text
        Terminal.report(isUsage ? "\(message); see wsx --help" : message)
        exit(isUsage ? usage : internalError)
    }
}

/// An end that has its own code and is perhaps already reported.
struct CommandFailure: Error {
    let code: CInt
    var message: String?
}
