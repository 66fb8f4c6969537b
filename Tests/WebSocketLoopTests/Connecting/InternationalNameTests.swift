//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import HTTPTypes
import TestSupport
import Testing
import WebSocketCore
import WebSocketLoop
import WebSocketsTestKit

/// “non-ASCII => IDNA host + percent-quoted path/query” of websockets.
@Suite(.timeLimit(.minutes(5))) struct InternationalNameTests {
    @Test(arguments: [
        ("bücher.example", "xn--bcher-kva.example"), ("EXÄMPLE.com", "xn--exmple-cua.com"),
        // Not “strasse”: IDNA 2008.
        ("straße.de", "xn--strae-oqa.de"), ("日本語。jp", "xn--wgv71a119e.jp"), ("u\u{308}.x", "xn--tda.x"),
        ("１２７.0.0.1", "127.0.0.1"),
    ])
    func aNameIsWrittenAsTheDNSKnowsIt(_ name: String, _ expected: String) throws {
        #expect(try WebSocketURL(international: "ws://\(name)/").host == expected)
    }

    @Test(arguments: [
        "a\u{202E}b.com", "☃.net", "ü\u{200D}.com", String(repeating: "ü", count: 70), "-ü.x", "ü%41.com",
        // They become “a/b”, “a/c” and nothing.
        "a／b.com", "℀.com", "\u{AD}", "ü b", "ü,b",
    ])
    func aNameThatIsNoneIsRefused(_ name: String) {
        let error = #expect(throws: WebSocketError.self) { try WebSocketURL(international: "ws://\(name)/") }
        #expect(error?.code == .invalidURL)
        #expect(error?.message.contains("host") == true || error?.message.contains("space") == true)
    }

    @Test func whereTheLibraryIsMissingTheErrorSaysSo() throws {
        let problem = #expect(throws: URLProblem.self) {
            try InternationalName.ascii("bücher.example", library: "libidn2.so.missing")
        }
        #expect(problem?.text.contains("libidn2-0") == true)
        let zero = #expect(throws: URLProblem.self) { try InternationalName.ascii("a\0ü") }
        #expect(zero?.text.contains("zero") == true)
    }

    @Test func itsASCIIFormGoesToTheServer() async throws {
        try await withLoops { group in
            let listener = try WebSocketBytePeerListener()
            var way = ClientRequest.Way()
            way.connectTo = .host("127.0.0.1", port: listener.port)
            way.maximumRedirects = 1
            let request = try ClientRequest(
                url: WebSocketURL(international: "ws://bücher.example/grüße an?ü"),
                fields: [.authorization: "Basic x"], subprotocols: [], options: .quiet, openTimeout: .seconds(60),
                tls: WebSocketTLSClientConfiguration(), way: way)
            async let connecting = group.loops[0].connect(request)
            let first = try await listener.accept()
            let head = try await first.readHead()
            #expect(head.startLine == "GET /gr%C3%BC%C3%9Fe%20an?%C3%BC HTTP/1.1")
            #expect(head["Host"] == "xn--bcher-kva.example")
            // The same origin, written in another way: credentials stay.
            let answer = "HTTP/1.1 302 Found\r\nLocation: ws://BÜCHER.example/zürich\r\nContent-Length: 0\r\n\r\n"
            try await first.write(Array(answer.utf8))
            let peer = try await listener.accept()
            let second = try await peer.acceptHandshake()
            #expect(second.startLine == "GET /z%C3%BCrich HTTP/1.1")
            #expect(second["Host"] == "xn--bcher-kva.example" && second["Authorization"] == "Basic x")
            let client = try await connecting
            first.close()
            peer.close()
            await client.end()
        }
    }
}
