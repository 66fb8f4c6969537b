//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

/// What a ``WebSocketFaultProxy`` does to the bytes of one direction. The names are toxiproxy's. All of them combine; none is on
/// by default, and a change takes effect at once, for connections that are open too.
public struct WebSocketToxics: Sendable, Hashable {
    /// How much later each byte arrives. Default zero.
    public var latency: Duration = .zero
    /// By how much `latency` varies in either direction, drawn evenly for each read. Bytes are never reordered.
    /// Default zero.
    public var jitter: Duration = .zero
    /// Bytes per second that pass. Default `nil`: as many as come.
    public var bandwidth: Int?
    /// How much later the end of the stream arrives. Default zero.
    public var slowClose: Duration = .zero
    /// Nothing passes any more. Default `nil`. Bytes already under way in the proxy wait with the others.
    public var timeout: Timeout?
    /// How long after the first byte of this direction both ends are reset (RST). Default `nil`: never.
    public var resetPeer: Duration?
    /// Cuts what passes into small pieces. Default `nil`: it is passed on as it was read.
    public var slicer: Slicer?
    /// What happens once this many bytes of a connection have passed. Default `nil`: nothing.
    public var limitData: Limit?
    /// One bit is flipped in one of this many bytes, drawn from the proxy's seed. Default `nil`: none. TCP's checksum is
    /// right again behind the proxy, so that only TLS or the receiver can notice.
    public var corrupt: Int?

    /// No toxics.
    public init() {}

    /// How a direction falls silent.
    public enum Timeout: Sendable, Hashable {
        /// TCP stays up and neither side is told: what a broken path looks like.
        case silent
        /// Both ends are closed this long after the first byte that did not pass.
        case closing(after: Duration)
    }

    /// Pieces instead of what was read.
    public struct Slicer: Sendable, Hashable {
        /// The mean size of a piece in bytes, at least 1.
        public var size: Int
        /// By how many bytes sizes vary in either direction.
        public var variation: Int
        /// The pause between two pieces. Without one the receiver's system may join them again.
        public var delay: Duration

        /// Pieces of `size` bytes; without `variation` all are of the same size, without `delay` none waits.
        public init(size: Int, variation: Int = 0, delay: Duration = .zero) {
            self.size = size
            self.variation = variation
            self.delay = delay
        }
    }

    /// The end of what passes.
    public struct Limit: Sendable, Hashable {
        /// Bytes of each connection that still pass, counted from its beginning.
        public var bytes: Int
        /// What happens behind them.
        public var then: Consequence

        /// What happens behind the last byte.
        public enum Consequence: Sendable, Hashable {
            /// Both ends are closed.
            case close
            /// Both ends are reset.
            case reset
            /// Nothing passes any more; TCP stays up.
            case silence
        }

        /// This many bytes, then the end.
        public init(bytes: Int, then: Consequence = .close) {
            self.bytes = bytes
            self.then = then
        }
    }
}
