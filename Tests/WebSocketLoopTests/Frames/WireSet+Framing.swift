//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSocketCore
import WebSocketsTestKit

extension WireCase {
    /// Reserved bits and opcodes (RFC 6455 §5.2).
    static let reserved: [WireCase] = [
        .violation("RSV2 on a text", WebSocketWireFrame(WebSocketWireFrame.text, [0x61], reserved: .rsv2)),
        .violation("RSV3 on a text", WebSocketWireFrame(WebSocketWireFrame.text, [0x61], reserved: .rsv3)),
        .violation("RSV1 on a pong", WebSocketWireFrame(WebSocketWireFrame.pong, [0x61], reserved: .rsv1)),
        .violation("RSV3 on a pong", WebSocketWireFrame(WebSocketWireFrame.pong, [0x61], reserved: .rsv3)),
        .violation(
            "RSV1 on a continuation", WebSocketWireFrame(WebSocketWireFrame.text, [0x61], final: false),
            WebSocketWireFrame(WebSocketWireFrame.continuation, [0x61], reserved: .rsv1)),
        .violation(
            "RSV3 on a continuation", WebSocketWireFrame(WebSocketWireFrame.text, [0x61], final: false),
            WebSocketWireFrame(WebSocketWireFrame.continuation, [0x61], reserved: .rsv3)),
        .violation("opcode 3", WebSocketWireFrame(0x3, [0x61])),
        .violation("opcode 4", WebSocketWireFrame(0x4)),
        .violation("opcode 7", WebSocketWireFrame(0x7)),
        .violation("opcode 11", WebSocketWireFrame(0xB)),
        .violation("opcode 15", WebSocketWireFrame(0xF, [0x61])),
        .violation(
            "RSV1 without deflate", on: [.plain], WebSocketWireFrame(WebSocketWireFrame.text, [0x61], reserved: .rsv1)),
        .violation(
            "RSV1 on a ping without deflate", on: [.plain], WebSocketWireFrame(WebSocketWireFrame.ping, reserved: .rsv1)
        ),
        .violation(
            "RSV2 on a ping without deflate", on: [.plain], WebSocketWireFrame(WebSocketWireFrame.ping, reserved: .rsv2)
        ),
    ]

    /// Fragments and control frames (RFC 6455 §5.4, §5.5).
    static let fragments: [WireCase] = [
        .violation("a fragmented ping", WebSocketWireFrame(WebSocketWireFrame.ping, [1], final: false)),
        .violation("a fragmented close", WebSocketWireFrame(WebSocketWireFrame.close, [0x03, 0xE8], final: false)),
        .violation(
            "a ping of 126 bytes", WebSocketWireFrame(WebSocketWireFrame.ping, [UInt8](repeating: 1, count: 126))),
        .violation("a continuation of nothing", WebSocketWireFrame(WebSocketWireFrame.continuation, [0x61])),
        .violation("a new message within a fragmented one", .text("a", final: false), .text("b")),
        // Numbers 20 to 22: what libwebsockets' parser, which servers have, does not look at, and does not show.
        .delivery(
            "a mask the wrong way round", exception: "libwebsockets takes masked and unmasked frames from both roles",
            onClient: .fails(1002, .protocolViolation), [.text("mask")]
        ) { pair in
            // A server must not mask, a client must.
            [
                WebSocketWireFrame(
                    WebSocketWireFrame.text, Array("mask".utf8),
                    maskKey: pair.peer.role == .server ? [1, 2, 3, 4] : [0, 0, 0, 0])
            ]
        },
        WireCase(
            "lengths that are longer than need be", exception: "libwebsockets takes any form of a length",
            onClient: .fails(1002, .protocolViolation), .delivers([.text("long"), .text("long")], pongs: [])
        ) { pair in
            var frame = WebSocketWireFrame.text("long")
            if pair.peer.role == .client { frame.maskKey = [0, 0, 0, 0] }
            return frame.header(form: .sixteenBits) + frame.payload + frame.header(form: .sixtyFourBits) + frame.payload
        },
        .delivery(
            "RSV1 on a ping with deflate", on: [.deflate],
            exception: "with an extension active libwebsockets answers pings without a look at their reserved bits",
            onClient: .fails(1002, .protocolViolation), [], pongs: [[9]]
        ) { _ in [WebSocketWireFrame(WebSocketWireFrame.ping, [9], reserved: .rsv1)] },
        .violation(
            "a continuation after the end", .text("a", final: false),
            WebSocketWireFrame(WebSocketWireFrame.continuation, [0x62]),
            WebSocketWireFrame(WebSocketWireFrame.continuation, [0x63])),
        .delivery("empty fragments around a message", [.text("ab")]) { _ in
            [
                WebSocketWireFrame(WebSocketWireFrame.text, final: false),
                .init(WebSocketWireFrame.continuation, final: false),
                .init(WebSocketWireFrame.continuation, [0x61], final: false),
                .init(WebSocketWireFrame.continuation, [0x62], final: false),
                .init(WebSocketWireFrame.continuation),
            ]
        },
        .delivery("pings and pongs in every gap of a message", [.binary([1, 2, 3])]) { _ in
            let pong = WebSocketWireFrame(WebSocketWireFrame.pong, [5, 6, 7])
            return [
                pong, WebSocketWireFrame(WebSocketWireFrame.binary, [1], final: false), pong,
                .init(WebSocketWireFrame.continuation, [2], final: false), pong, pong,
                .init(WebSocketWireFrame.continuation, [3]), pong,
            ]
        },
        .delivery("an unsolicited empty pong", []) { _ in [WebSocketWireFrame(WebSocketWireFrame.pong)] },
        .delivery("an unsolicited pong of 125 bytes", []) { _ in
            [WebSocketWireFrame(WebSocketWireFrame.pong, [UInt8](repeating: 0x55, count: 125))]
        },
        .delivery("a ping of 125 bytes", [], pongs: [[UInt8](repeating: 0xA5, count: 125)]) { _ in
            [WebSocketWireFrame(WebSocketWireFrame.ping, [UInt8](repeating: 0xA5, count: 125))]
        },
    ]

    /// Text (RFC 6455 §8.1).
    static let utf8: [WireCase] = [
        .notUTF8("an overlong form", WebSocketWireFrame(WebSocketWireFrame.text, [0xC0, 0xAF])),
        .notUTF8("a surrogate", WebSocketWireFrame(WebSocketWireFrame.text, [0xED, 0xA0, 0x80])),
        .notUTF8("a code point above U+10FFFF", WebSocketWireFrame(WebSocketWireFrame.text, [0xF4, 0x90, 0x80, 0x80])),
        .notUTF8(
            "a character cut at the message's end", WebSocketWireFrame(WebSocketWireFrame.text, [0x61, 0xE2, 0x82])),
        .notUTF8(
            "a character broken across fragments",
            WebSocketWireFrame(WebSocketWireFrame.text, [0xE2, 0x82], final: false),
            WebSocketWireFrame(WebSocketWireFrame.continuation, [0x61])),
        .notUTF8(
            "a character cut at the last fragment's end",
            WebSocketWireFrame(WebSocketWireFrame.text, [0xE2], final: false),
            WebSocketWireFrame(WebSocketWireFrame.continuation, [0x82])),
        .delivery("a character over three fragments", [.text("€")]) { _ in
            [
                WebSocketWireFrame(WebSocketWireFrame.text, [0xE2], final: false),
                .init(WebSocketWireFrame.continuation, [0x82], final: false),
                .init(WebSocketWireFrame.continuation, [0xAC]),
            ]
        },
        .delivery("noncharacters, a BOM and NUL", [.text("\u{FEFF}\u{FFFF}\u{10FFFF}\0")]) { _ in
            [.text("\u{FEFF}\u{FFFF}\u{10FFFF}\0")]
        },
    ]
}
