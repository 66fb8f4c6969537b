//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import WebSockets

/// A chat: what a member of `/rooms/NAME` says goes to all other members.
///
///     swift run chat 8080
///     wsx connect ws://127.0.0.1:8080/rooms/swift        in two terminals
@main
struct Chat {
    static func main() async throws {
        let port = CommandLine.arguments.dropFirst().first.flatMap { Int($0) } ?? 8080
        let server = try WebSocketServer(configuration: .init(port: port))
        // A member that does not read for long misses messages, and holds up no other.
        let rooms = WebSocketTopics(limits: .init(slowPeer: .drop))

        var routes = WebSocketRoutes()
        try routes.webSocket("/rooms/:room") { member in
            let room = member.routeParameters["room"] ?? ""
            rooms.subscribe(member, to: room)
            rooms.publish("a member has come", to: room, except: member)
            // A connection that ends is unsubscribed.
            for try await message in member.messages { rooms.publish(message, to: room, except: member) }
            rooms.publish("a member has gone", to: room)
        }
        print("listening on \(server.address)")
        try await server.run(routes: routes)
    }
}
