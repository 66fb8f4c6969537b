//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import WebSockets

/// A Chromium without a window, steered over its own WebSocket (the DevTools protocol) by our client.
final class Browser {
    private let process: Process
    private let home: URL
    private let socket: WebSocketConnection
    private let page: String
    private var number = 0
    var pid: Int32 { process.processIdentifier }

    /// Starts it with a profile of its own and one empty page.
    init(_ program: String) async throws {
        home = FileManager.default.temporaryDirectory.appending(path: "browser-check-\(UUID().uuidString)")
        process = Process()
        process.executableURL = URL(filePath: program)
        process.arguments = [
            // As root, in a container without a GPU and with a small /dev/shm; and the certificate is made for this run.
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--ignore-certificate-errors",
            "--disable-background-networking", "--no-first-run", "--user-data-dir=\(home.path())",
            "--remote-debugging-port=0", "about:blank",
        ]
        let errors = Pipe()
        process.standardError = errors
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        do {
            var configuration = WebSocketClientConfiguration()
            configuration.options.maximumMessageSize = 16 << 20
            let url = try Self.address(in: errors.fileHandleForReading)
            // What it says later must not fill the pipe.
            errors.fileHandleForReading.readabilityHandler = { _ = $0.availableData }
            socket = try await WebSocketClient.connect(to: url, configuration: configuration)
            page = try await Self.attach(socket)
        } catch {
            process.terminate()
            throw error
        }
    }

    /// The line that tells where DevTools can be reached.
    private static func address(in errors: FileHandle) throws -> String {
        var text = ""
        while true {
            let some = errors.availableData
            guard !some.isEmpty else { throw CheckFailure("Chromium ended at once; it said: \(text)") }
            text += String(decoding: some, as: UTF8.self)
            if let match = text.firstMatch(of: /DevTools listening on (ws:\S+)\n/) { return String(match.output.1) }
        }
    }

    private static func attach(_ socket: WebSocketConnection) async throws -> String {
        let answer = try await command(socket, ["id": 0, "method": "Target.getTargets"])
        guard let targets = answer["targetInfos"] as? [[String: Any]],
            let target = targets.first(where: { $0["type"] as? String == "page" })?["targetId"] as? String
        else { throw CheckFailure("Chromium has no page: \(answer)") }
        let attached = try await command(
            socket,
            [
                "id": 0, "method": "Target.attachToTarget", "params": ["targetId": target, "flatten": true],
            ])
        guard let session = attached["sessionId"] as? String else { throw CheckFailure("no session: \(attached)") }
        return session
    }

    private static func command(_ socket: WebSocketConnection, _ command: [String: Any]) async throws -> [String: Any] {
        try await socket.send(
            .text(String(decoding: try JSONSerialization.data(withJSONObject: command), as: UTF8.self)))
        // Between the answers come events.
        while true {
            guard case .text(let text) = try await socket.receive(),
                let message = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any],
                message["id"] as? Int == command["id"] as? Int
            else { continue }
            guard let result = message["result"] as? [String: Any] else {
                throw CheckFailure("\(command["method"]!) failed: \(text)")
            }
            return result
        }
    }

    private func send(_ method: String, _ parameters: [String: Any] = [:]) async throws -> [String: Any] {
        number += 1
        return try await Self.command(
            socket, ["id": number, "method": method, "params": parameters, "sessionId": page])
    }

    /// Goes to a page and waits until its script has defined `function`.
    func open(_ url: String, until function: String) async throws {
        let answer = try await send("Page.navigate", ["url": url])
        if let text = answer["errorText"] as? String { throw CheckFailure("\(url): \(text)") }
        try await reach("\(url) is there") { try await evaluate("typeof \(function)") as? String == "function" }
    }

    /// The value of an expression of the page's, awaited.
    func evaluate(_ expression: String) async throws -> Any? {
        let answer = try await send(
            "Runtime.evaluate", ["expression": expression, "awaitPromise": true, "returnByValue": true])
        if let exception = answer["exceptionDetails"] { throw CheckFailure("\(expression): \(exception)") }
        return (answer["result"] as? [String: Any])?["value"]
    }

    /// Asks the browser again and again, which is how a page is watched from outside.
    func reach(_ what: String, within seconds: Double = 30, _ condition: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(seconds)
        while try await !condition() {
            guard ContinuousClock.now < deadline else { throw CheckFailure("not within \(seconds) s: \(what)") }
        }
    }

    func end() async {
        _ = try? await socket.close()
        process.terminate()
        process.waitUntilExit()
        try? FileManager.default.removeItem(at: home)
    }
}

struct CheckFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
