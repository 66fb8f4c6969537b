//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

public import CWSX
import Logging
import Synchronization
import WebSocketCore

/// Where the library logs: to the program's function, or, as long as it has given none, to standard error.
enum Log {
    fileprivate struct Sink: @unchecked Sendable {
        // Sendable: what C gave is not changed, and C says itself that any thread may call it.
        var level = Logger.Level.warning
        var function: (@convention(c) (UnsafeMutableRawPointer?, Int32, UnsafePointer<CChar>?) -> Void)?
        var user: UnsafeMutableRawPointer?
        var isDefault = true
    }
    fileprivate static let sink = Mutex(Sink())

    static let logger = Logger(label: "swift-libwebsockets", factory: { _ in Handler(least: .trace) })
    /// For what the program hears of in another way.
    static let severe = Logger(label: "swift-libwebsockets", factory: { _ in Handler(least: .error) })

    private struct Handler: LogHandler {
        /// What is told at all.
        let least: Logger.Level
        var metadata: Logger.Metadata = [:]
        // Asked each time: the program may change it at any time.
        private var own: Logger.Level?

        init(least: Logger.Level) { self.least = least }

        var logLevel: Logger.Level {
            get { max(least, own ?? Log.sink.withLock { $0.level }) }
            set { own = newValue }
        }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let sink = Log.sink.withLock { $0 }
            guard event.level >= sink.level else { return }
            var line = "\(event.message)"
            let facts = metadata.merging(event.metadata ?? [:]) { $1 }
            if !facts.isEmpty {
                let words = facts.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
                line += " (\(words.joined(separator: ", ")))"
            }
            if let function = sink.function {
                function(sink.user, event.level.number, line.escapedForLog)
            } else if sink.isDefault {
                // In one piece, so that threads do not mix.
                let whole = "wsx: \(line.escapedForLog)\n"
                whole.withCString { wsxc_write_error($0) }
            }
        }
    }
}

extension Logger.Level {
    fileprivate var number: Int32 {
        switch self {
        case .critical, .error: Int32(WSX_LOG_ERROR)
        case .warning: Int32(WSX_LOG_WARNING)
        case .notice, .info: Int32(WSX_LOG_INFO)
        case .debug, .trace: Int32(WSX_LOG_DEBUG)
        }
    }

    fileprivate init(_ number: Int32) throws(Failure) {
        switch Int(number) {
        case WSX_LOG_ERROR: self = .error
        case WSX_LOG_WARNING: self = .warning
        case WSX_LOG_INFO: self = .info
        case WSX_LOG_DEBUG: self = .debug
        default: throw .argument("level is \(number); use one of WSX_LOG_…")
        }
    }
}

/// See `wsx.h`, which documents the interface.
@c @implementation
public func wsx_set_log(
    _ level: Int32, _ log: (@convention(c) (UnsafeMutableRawPointer?, Int32, UnsafePointer<CChar>?) -> Void)?,
    _ user: UnsafeMutableRawPointer?, _ error: UnsafeMutablePointer<wsx_error>?
) -> wsx_status {
    attempt(error) { () throws(Failure) in
        let new = Log.Sink(level: try Logger.Level(level), function: log, user: user, isDefault: false)
        Log.sink.withLock { $0 = new }
    }
}
