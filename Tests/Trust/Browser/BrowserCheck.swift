//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

// What `scripts/trust/browser` runs: a real browser against our server.
//   browser-check CHROMIUM WSX CERTIFICATE KEY
import Foundation
import WebSockets

@main
struct BrowserCheck {
    static func main() async {
        let arguments = CommandLine.arguments
        guard arguments.count == 5 else {
            print("usage: browser-check CHROMIUM WSX CERTIFICATE KEY")
            exit(64)
        }
        do {
            let browser = try await Browser(arguments[1])
            let pid = browser.pid
            Task.detached {
                try await Task.sleep(for: .seconds(200))
                print("browser-check: not done after 200 s")
                kill(pid, SIGTERM)
                exit(1)
            }
            do {
                try await checkServer(browser, tls: nil)
                try await checkServer(browser, tls: .files(certificate: arguments[3], key: arguments[4]))
                try await checkDemo(browser, wsx: arguments[2])
            } catch {
                await browser.end()
                throw error
            }
            await browser.end()
        } catch {
            print("browser-check: \(error)")
            exit(1)
        }
    }

    private static func checkServer(_ browser: Browser, tls: WebSocketTLSServerConfiguration?) async throws {
        let server = try CheckServer(tls: tls)
        let scheme = tls != nil ? "wss" : "ws"
        try await browser.open(server.url, until: "run")
        let lines = try await browser.evaluate("run()") as? [String] ?? []
        for line in lines { print("\(scheme) \(line)") }
        guard !lines.isEmpty, lines.allSatisfy({ $0.hasPrefix("ok ") }) else {
            throw CheckFailure("the page found faults over \(scheme)")
        }
        try await browser.reach("the server has seen \(server.missing.sorted())") { server.missing.isEmpty }
        print("\(scheme) ok seenByTheServer")
        guard try await browser.evaluate("wait()") as? String == "here" else {
            throw CheckFailure("no last connection")
        }
        try await server.shutDown()
        guard try await browser.evaluate("end()") as? Int == 1001 else {
            throw CheckFailure("a shutdown does not close with 1001 over \(scheme)")
        }
        print("\(scheme) ok shutdown")
    }

    /// The page of `wsx demo --web`: it has to measure, compare and plot, and to notice the server's end.
    private static func checkDemo(_ browser: Browser, wsx: String) async throws {
        let demo = Process()
        demo.executableURL = URL(filePath: wsx)
        demo.arguments = ["demo", "--web", "--quiet"]
        let output = Pipe()
        demo.standardOutput = output
        try demo.run()
        defer { if demo.isRunning { demo.terminate() } }
        let line = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
        guard let url = line.firstMatch(of: /open (https:\S+)/)?.output.1 else {
            throw CheckFailure("wsx demo --web said: \(line)")
        }
        try await browser.open(String(url), until: "plot")
        try await browser.reach("the demo's page has three points") {
            try await browser.evaluate("points.rate.length >= 3 && points.median.length >= 3 && compared > 500")
                as? Bool
                ?? false
        }
        let compared = try await browser.evaluate("compared") as? Int ?? 0
        guard try await browser.evaluate("wrong") as? Int == 0,
            try await browser.evaluate("document.getElementById('state').textContent") as? String == "connected",
            // Something is drawn, in the colour of the plots.
            try await browser.evaluate(
                """
                ["latencies", "rates"].every(id => { const canvas = document.getElementById(id);
                    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
                        .some(value => value > 0); })
                """) as? Bool == true
        else { throw CheckFailure("the demo's page does not show what it should") }
        print("demo ok measures: \(compared) messages compared")
        demo.interrupt()
        try await browser.reach("the demo's page notices the end") {
            try await browser.evaluate("document.getElementById('state').textContent") as? String == "closed with 1001"
        }
        demo.waitUntilExit()
        print("demo ok end")
    }
}
