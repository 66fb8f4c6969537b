//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore
import WebSocketsTestKit

extension WireCase {
    private static let long = String(repeating: "a message that compresses well. ", count: 40)

    /// permessage-deflate (RFC 7692). Autobahn never sends an uncompressed frame or a pong on such a connection.
    static let compressed: [WireCase] = [
        .delivery("an uncompressed text with deflate", on: [.deflate], [.text(long)]) { _ in [.text(long)] },
        .delivery("uncompressed fragments with deflate", on: [.deflate], [.text("abc")]) { _ in
            [
                .text("a", final: false), WebSocketWireFrame(WebSocketWireFrame.continuation, [0x62], final: false),
                WebSocketWireFrame(WebSocketWireFrame.continuation, [0x63]),
            ]
        },
        .delivery(
            "compressed, uncompressed, compressed", on: [.deflate], [.text(long), .text("plain"), .text(long)]
        ) { [$0.compressed(long), .text("plain"), $0.compressed(long)] },
        .delivery("a pong between compressed fragments", on: [.deflate], [.text(long)]) { pair in
            let parts = pair.fragments(of: long, 3)
            return [
                parts[0], WebSocketWireFrame(WebSocketWireFrame.pong, [7]), parts[1],
                WebSocketWireFrame(WebSocketWireFrame.pong, [8]), parts[2],
            ]
        },
        .delivery(
            "a ping between compressed fragments", on: [.deflate], [.text(long)], pongs: [[7]]
        ) { pair in
            let parts = pair.fragments(of: long, 2)
            return [parts[0], WebSocketWireFrame(WebSocketWireFrame.ping, [7]), parts[1]]
        },
        .delivery("an empty compressed message", on: [.deflate], [.binary([]), .text("next")]) { _ in
            [WebSocketWireFrame(WebSocketWireFrame.binary, [0], reserved: .rsv1), .text("next")]
        },
        .delivery("a compressed message whose first frame is empty", on: [.deflate], [.text("")]) { _ in
            [
                WebSocketWireFrame(WebSocketWireFrame.text, final: false, reserved: .rsv1),
                WebSocketWireFrame(WebSocketWireFrame.continuation, [0]),
            ]
        },
        .delivery("a compressed message whose last frame is empty", on: [.deflate], [.binary([])]) { _ in
            [
                WebSocketWireFrame(WebSocketWireFrame.binary, [0], final: false, reserved: .rsv1),
                WebSocketWireFrame(WebSocketWireFrame.continuation),
            ]
        },
        // "abc" in a stored block, and the empty block that RFC 7692 §7.2.1 strips.
        .delivery("a stored block", on: [.deflate], [.text("abc")]) { _ in
            [
                WebSocketWireFrame(
                    WebSocketWireFrame.text, [0x00, 0x03, 0x00, 0xFC, 0xFF, 0x61, 0x62, 0x63, 0x00], reserved: .rsv1)
            ]
        },
        // RFC 7692 §7.2.3.5: two blocks in one message.
        .delivery("two blocks", on: [.deflate], [.text("Hello")]) { _ in
            [
                WebSocketWireFrame(
                    WebSocketWireFrame.text,
                    [0xF2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xCA, 0xC9, 0xC9, 0x07, 0x00],
                    reserved: .rsv1)
            ]
        },
        .corrupt(
            "a block of the reserved type",
            WebSocketWireFrame(WebSocketWireFrame.binary, [0xFF, 0xFF], reserved: .rsv1)),
        .corrupt(
            "a stored block whose lengths disagree, in fragments",
            WebSocketWireFrame(WebSocketWireFrame.binary, [0x00], final: false, reserved: .rsv1),
            WebSocketWireFrame(WebSocketWireFrame.continuation, [0x05, 0x00, 0x00, 0x00])),
        WireCase("compressed text that is not UTF-8", on: [.deflate], .fails(1007, .invalidUTF8)) { pair in
            pair.peer.bytes(of: pair.compressed(WebSocketWireFrame.text, [0x61, 0xFF, 0x62]))
        },
    ]

    /// Sizes, and how many frames and fragments there may be.
    static let pressure: [WireCase] = [
        .delivery("a message at the limit", options: limited, [.binary([UInt8](repeating: 7, count: limit))]) { _ in
            [WebSocketWireFrame(WebSocketWireFrame.binary, [UInt8](repeating: 7, count: limit))]
        },
        tooBig("a message of one byte too much") { pair in
            pair.peer.bytes(of: WebSocketWireFrame(WebSocketWireFrame.binary, [UInt8](repeating: 7, count: limit + 1)))
        },
        tooBig("fragments of one byte too much, and no end") { pair in
            pair.bytes(of: [
                WebSocketWireFrame(WebSocketWireFrame.binary, [UInt8](repeating: 7, count: limit), final: false),
                WebSocketWireFrame(WebSocketWireFrame.continuation, [7], final: false),
            ])
        },
        tooBig("a length of 2^62") { pair in
            var frame = WebSocketWireFrame(WebSocketWireFrame.binary)
            if pair.peer.role == .client { frame.maskKey = [0, 0, 0, 0] }
            return frame.header(announcing: 1 << 62) + [UInt8](repeating: 0, count: 64 << 10)
        },
        WireCase("a length with its highest bit set", .fails(1002, .protocolViolation)) { pair in
            var frame = WebSocketWireFrame(WebSocketWireFrame.binary)
            if pair.peer.role == .client { frame.maskKey = [0, 0, 0, 0] }
            return frame.header(announcing: 1 << 63)
        },
        tooBig("a bomb of 8 MiB", on: [.deflate]) { pair in
            pair.peer.bytes(of: pair.compressed(WebSocketWireFrame.binary, [UInt8](repeating: 0, count: 8 << 20)))
        },
        WireCase(
            "too many empty fragments", options: .with { $0.maximumFragments = 100 }, .fails(1009, .tooManyFragments)
        ) { pair in
            pair.bytes(
                of: [WebSocketWireFrame(WebSocketWireFrame.text, final: false)]
                    + Array(repeating: WebSocketWireFrame(WebSocketWireFrame.continuation, final: false), count: 100))
        },
        // Numbers 57 to 59: libwebsockets keeps one pong to send, and answers pings that came in one read once.
        .delivery(
            "ten pings in one segment", exception: onePong, onClient: .delivers([], pongs: (0..<10).map { [$0] }), [],
            pongs: [[0]]
        ) { _ in
            (0..<10).map { WebSocketWireFrame(WebSocketWireFrame.ping, [$0]) }
        },
        .delivery(
            "pings around a message", exception: onePong,
            onClient: .delivers([.text("between")], pongs: [[1], [2]]), [.text("between")], pongs: [[1]]
        ) { _ in
            [
                WebSocketWireFrame(WebSocketWireFrame.ping, [1]), .text("between"),
                WebSocketWireFrame(WebSocketWireFrame.ping, [2]),
            ]
        },
        .delivery(
            "pings around compressed fragments", on: [.deflate], exception: onePong,
            onClient: .delivers([.text(long)], pongs: [[1], [2]]), [.text(long)], pongs: [[1]]
        ) { pair in
            let parts = pair.fragments(of: long, 2)
            return [
                WebSocketWireFrame(WebSocketWireFrame.ping, [1]), parts[0],
                WebSocketWireFrame(WebSocketWireFrame.ping, [2]), parts[1],
            ]
        },
    ]

    /// Closing (RFC 6455 §5.5.1, §7.4).
    static let closes: [WireCase] = [
        WireCase("an empty close", .closes(answer: nil, delivers: nil)) {
            $0.peer.bytes(of: WebSocketWireFrame(WebSocketWireFrame.close))
        },
        WireCase("messages, a close, and more behind it", .closes(answer: 1013, delivers: "one")) {
            $0.bytes(of: [.text("one"), .close(1013, "later"), .text("ignored")])
        },
        .violation("a close of one byte", WebSocketWireFrame(WebSocketWireFrame.close, [0x03])),
        .violation("a close with the code 1005", .close(1005)),
        .violation("a close with the code 5000", .close(5000)),
        .notUTF8(
            "a close whose reason is not UTF-8", WebSocketWireFrame(WebSocketWireFrame.close, [0x03, 0xE8, 0xE2, 0x82])),
    ]

    private static let onePong = "libwebsockets answers only the first of several pings that arrive in one read"
    private static let limit = 10_000
    private static let limited = WebSocketOptions.with { $0.maximumMessageSize = limit }

    private static func tooBig(
        _ title: String, on compressions: [Compression] = Compression.allCases,
        wire: @escaping @Sendable (Pair) -> [UInt8]
    ) -> WireCase {
        WireCase(title, on: compressions, options: limited, .fails(1009, .messageTooBig), wire: wire)
    }
}
