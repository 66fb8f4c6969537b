//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What a connection does once it is open. Clients and servers share it.
public struct WebSocketOptions: Sendable, Hashable {
    /// The largest message accepted, in bytes after decompression. Default 1 MiB. A larger one closes
    /// the connection with 1009 and fails `receive` with `messageTooBig`.
    public var maximumMessageSize = 1 << 20
    /// The most frames one message may come in. Default 4,096; more closes with 1009 and
    /// fails `receive` with `tooManyFragments`.
    public var maximumFragments = 4_096
    /// When reading pauses because no task receives.
    public var inboundBuffer = InboundBuffer()
    /// When `send` suspends because the peer does not read.
    public var outboundBuffer = OutboundBuffer()
    /// Pings that find out whether the peer is still there. `nil` sends none. Default 20 s / 20 s.
    public var keepAlive: KeepAlive? = KeepAlive()
    /// How long `close` waits for the peer's close frame, from when ours is written, before the connection is cut with the
    /// cause ``WebSocketCloseInfo/Cause/closeTimeout``. Default 10 s.
    public var closeTimeout: Duration = .seconds(10)
    /// How long `close` gives the peer to take what was sent before the close frame. Then the connection is cut with the
    /// cause ``WebSocketCloseInfo/Cause/flushTimeout``. A close takes no longer than this and `closeTimeout` together.
    /// Default 30 s.
    public var flushTimeout: Duration = .seconds(30)
    /// permessage-deflate (RFC 7692).
    public var compression: WebSocketCompression = .disabled

    /// The defaults, or others. What is not here is set as a property.
    public init(
        maximumMessageSize: Int = 1 << 20, keepAlive: KeepAlive? = KeepAlive(), closeTimeout: Duration = .seconds(10),
        compression: WebSocketCompression = .disabled
    ) {
        self.maximumMessageSize = maximumMessageSize
        self.keepAlive = keepAlive
        self.closeTimeout = closeTimeout
        self.compression = compression
    }

    /// Inbound marks. While reading is paused the peer feels TCP's backpressure, its pings wait, and
    /// its close frame and end of file are not seen.
    public struct InboundBuffer: Sendable, Hashable {
        /// Waiting messages at which reading pauses, checked once per turn of the loop. Default 16.
        public var highMessages = 16
        /// Waiting messages at which a paused connection reads again. Default: a quarter of ``highMessages``.
        @inlinable public var lowMessages: Int {
            get { low ?? highMessages / 4 }
            set { low = newValue }
        }
        @usableFromInline var low: Int?
        /// Waiting bytes at which reading pauses at once. Default 4 MiB.
        public var highBytes = 4 << 20

        /// Marks in messages and in bytes of payload. Without `lowMessages` it is a quarter of `highMessages`.
        public init(highMessages: Int = 16, lowMessages: Int? = nil, highBytes: Int = 4 << 20) {
            self.highMessages = highMessages
            low = lowMessages
            self.highBytes = highBytes
        }

        /// The same marks, said or not.
        public static func == (left: Self, right: Self) -> Bool {
            (left.highMessages, left.lowMessages, left.highBytes)
                == (right.highMessages, right.lowMessages, right.highBytes)
        }

        /// By the marks.
        public func hash(into hasher: inout Hasher) {
            for mark in [highMessages, lowMessages, highBytes] { hasher.combine(mark) }
        }
    }

    /// Outbound marks, in bytes on the wire that the operating system has not taken. One message is
    /// always taken whole, so the buffer holds at most `highBytes` and one message.
    public struct OutboundBuffer: Sendable, Hashable {
        /// At or above this, `send` suspends before it takes a message. Default 64 KiB.
        public var highBytes = 64 << 10
        /// Suspended senders go on at or below this. Default: a quarter of ``highBytes``, which is 16 KiB.
        @inlinable public var lowBytes: Int {
            get { low ?? highBytes / 4 }
            set { low = newValue }
        }
        @usableFromInline var low: Int?

        /// Marks in bytes as they go onto the wire. Without `lowBytes` it is a quarter of `highBytes`.
        public init(highBytes: Int = 64 << 10, lowBytes: Int? = nil) {
            self.highBytes = highBytes
            low = lowBytes
        }

        /// The same marks, said or not.
        public static func == (left: Self, right: Self) -> Bool {
            (left.highBytes, left.lowBytes) == (right.highBytes, right.lowBytes)
        }

        /// By the marks.
        public func hash(into hasher: inout Hasher) {
            hasher.combine(highBytes)
            hasher.combine(lowBytes)
        }
    }

    /// Pings that find out whether the peer is still there.
    ///
    /// Whatever arrives is a sign of life, not the pong alone, which cannot come inside a long frame. A ping's time begins
    /// when the operating system has taken it, and goes on only while the peer takes nothing of what is before it. While
    /// reading is paused, an acknowledgement by the peer's system has to do. A loop that was held reads its sockets before
    /// it judges. So a peer that has gone is found within `interval` and twice `timeout`, most often within `interval` and
    /// `timeout`.
    public struct KeepAlive: Sendable, Hashable {
        /// From one pong to the next ping. Default 20 s.
        public var interval: Duration
        /// From a ping to the end of patience with a peer that gives no sign of life; then the connection fails with
        /// cause `pingTimeout` and 1011 is sent. `nil` measures latency but never fails. Default 20 s.
        public var timeout: Duration?

        /// A ping each `interval`; `timeout` nil means that an unanswered ping ends nothing.
        public init(interval: Duration = .seconds(20), timeout: Duration? = .seconds(20)) {
            self.interval = interval
            self.timeout = timeout
        }
    }

    package func validate() throws(WebSocketError) {
        func check(_ condition: Bool, _ text: @autoclosure () -> String) throws(WebSocketError) {
            if !condition { throw WebSocketError(.invalidConfiguration, text()) }
        }
        try check(maximumMessageSize > 0, "maximumMessageSize is \(maximumMessageSize); it must be positive")
        try check(maximumFragments > 0, "maximumFragments is \(maximumFragments); it must be positive")
        let inbound = inboundBuffer
        try check(
            inbound.highMessages > 0 && inbound.lowMessages >= 0 && inbound.lowMessages < inbound.highMessages
                && inbound.highBytes > 0,
            "inboundBuffer has highMessages \(inbound.highMessages), lowMessages \(inbound.lowMessages) and highBytes \(inbound.highBytes); it needs 0 ≤ lowMessages < highMessages and highBytes > 0"
        )
        try check(
            outboundBuffer.highBytes > 0 && outboundBuffer.lowBytes >= 0
                && outboundBuffer.lowBytes < outboundBuffer.highBytes,
            "outboundBuffer has highBytes \(outboundBuffer.highBytes) and lowBytes \(outboundBuffer.lowBytes); it needs 0 ≤ lowBytes < highBytes"
        )
        try check(closeTimeout > .zero, "closeTimeout is \(closeTimeout); it must be positive")
        try check(flushTimeout > .zero, "flushTimeout is \(flushTimeout); it must be positive")
        if let keepAlive {
            try check(keepAlive.interval > .zero, "keepAlive.interval is \(keepAlive.interval); it must be positive")
            if let timeout = keepAlive.timeout {
                try check(timeout > .zero, "keepAlive.timeout is \(timeout); it must be positive")
            }
        }
        try compression.validate()
    }
}
