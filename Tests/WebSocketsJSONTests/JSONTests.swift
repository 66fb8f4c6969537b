//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import LoopbackSupport
import Testing
import WebSockets
import WebSocketsJSON

@Suite(.timeLimit(.minutes(5)))
struct JSONTests {
    struct Order: Codable, Sendable, Equatable {
        var id: Int
        var price: Double
        var note: String?
    }

    @Test(arguments: [Order(id: 1, price: 17.25, note: nil), Order(id: -2, price: 0, note: "é漢🙂\"\\\n")])
    func valuesComeBack(_ order: Order) async throws {
        try await withLoopback(handler: echo) { loopback in
            try await WebSocketClient.withConnection(to: loopback.url, configuration: loopback.client) { socket in
                try await socket.send(json: order)
                let received = try await socket.receive(json: Order.self)
                #expect(received == order)
                try await socket.send(try WebSocketMessage(json: order).bytes)
                #expect(try await socket.receive(json: Order.self) == order, "binary JSON is JSON too")
            }
        }
    }

    @Test func aMessageThatIsSomethingElseIsAnErrorThatDoesNotQuoteIt() async throws {
        let canary = "hunter2"
        try await withLoopback(handler: echo) { loopback in
            try await WebSocketClient.withConnection(to: loopback.url, configuration: loopback.client) { socket in
                let bad = [
                    "\(canary)", #"{"id": "\#(canary)", "price": 1}"#, #"{"price": 1}"#, #"{"id": null, "price": 1}"#,
                    #"{"id": 1, "price": 1, "note": {"\#(canary)": 1}}"#, "",
                ]
                for text in bad {
                    try await socket.send(text)
                    let error = try await failure(text) { try await socket.receive(json: Order.self) }
                    #expect(error.code == .invalidPayload)
                    #expect(error.isSentence, "\(error.message)")
                    #expect(!error.message.contains(canary), "\(error.message)")
                }
                try await socket.send(json: Order(id: 3, price: 1))
                #expect(try await socket.receive(json: Order.self).id == 3, "the connection stays usable")
                let error = try await failure { try await socket.send(json: Double.infinity) }
                #expect(error.code == .invalidPayload)
            }
        }
    }

    @Test func messagesAreValues() async throws {
        try await withLoopback(handler: { socket in
            for number in 0..<5 { try await socket.send(json: Order(id: number, price: 1)) }
        }) { loopback in
            let socket = try await loopback.connect()
            var ids: [Int] = []
            for try await order in socket.messages(json: Order.self) { ids.append(order.id) }
            #expect(ids == [0, 1, 2, 3, 4])
        }
    }

    /// Replies come in the other order, between messages that nobody asked for.
    @Test func repliesFindTheirRequests() async throws {
        let count = 10
        try await withLoopback(handler: { socket in
            var orders: [Order] = []
            for _ in 0..<count { orders.append(try await socket.receive(json: Order.self)) }
            for order in orders.reversed() {
                try await socket.send("news about \(order.id)")
                try await socket.send(json: order)
            }
        }) { loopback in
            let socket = try await loopback.connect()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for id in 0..<count {
                    group.addTask {
                        let reply = try await socket.request(json: Order(id: id, price: 0)) { (reply: Order) in
                            reply.id == id
                        }
                        #expect(reply.id == id)
                    }
                }
                try await group.waitForAll()
            }
            var news: [String] = []
            for try await message in socket.messages { news.append(try #require(message.text)) }
            #expect(Set(news) == Set((0..<count).map { "news about \($0)" }))
        }
    }

    /// What logs in Foundation's way gets the sentence, whether the error's type is known or not.
    @Test func foundationsDescriptionIsTheSentence() async throws {
        let error = try await failure { try await WebSocketClient.connect(to: "ftp://h") }
        #expect(error.localizedDescription == error.description && error.description.contains("use ws://"))
        #expect((error as any Error).localizedDescription == error.description)
        #expect(error.errorDescription == error.description)
    }
}
