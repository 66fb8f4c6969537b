//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import ArgumentParser
import Glibc
import WebSocketLoop
import WebSockets

/// The versions as text, for `--version` and the demo.
enum WebSocketLibrariesText {
    static var version: String {
        WebSocketLibraries.versions.map { "\($0.name) \($0.loaded)" }.joined(separator: " · ")
    }

    /// `version`, and what is known against libwebsockets.
    static var versionAndVulnerabilities: String {
        ([version]
            + WebSocketLibraries.knownVulnerabilities.map {
                "\($0.identifier), \($0.summary): not here, because \($0.reason)"
            }).joined(separator: "\n")
    }
}

struct Doctor: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check what is installed, and say what to install.",
        discussion: """
            \(Exit.table)
            """)

    @OptionGroup var display: DisplayOptions

    private struct Check {
        let name: String
        let value: String
        /// What is wrong, if anything is.
        var problem: String?
        /// The command that puts it right.
        var remedy: String?
    }

    func run() async throws {
        var checks = WebSocketLibraries.versions.map(Self.check)
        checks.append(try await Self.checkBackend())
        checks.append(Self.checkCertificates())
        checks.append(Self.checkDescriptors())
        checks.append(Self.checkVersion())
        let isWell = checks.allSatisfy { $0.problem == nil }
        if display.json {
            await Output.standard.write(json: json(checks, isWell: isWell))
        } else {
            for check in checks {
                let mark = check.problem == nil ? "ok     " : "problem"
                let name = check.name + String(repeating: " ", count: max(0, 18 - check.name.count))
                await Output.standard.write(line: "\(mark)  \(name)\(check.value)")
                if let problem = check.problem { await Output.standard.write(line: "         \(problem)") }
                if let remedy = check.remedy { await Output.standard.write(line: "         run: \(remedy)") }
            }
        }
        if !isWell { throw CommandFailure(code: Exit.cannotConnect) }
    }

    private func json(_ checks: [Check], isWell: Bool) -> JSON {
        [
            "ok": .boolean(isWell),
            "checks": .array(
                checks.map { check in
                    [
                        "name": .string(check.name), "ok": .boolean(check.problem == nil),
                        "value": .string(check.value), "problem": .optional(check.problem),
                        "remedy": .optional(check.remedy),
                    ]
                }),
        ]
    }

    private static func check(_ library: WebSocketLibraries.Version) -> Check {
        var check = Check(name: library.name, value: "\(library.loaded) loaded, \(library.headers) headers")
        // Patch releases of the others stay compatible; libwebsockets' structures do not even promise that.
        let isSame =
            library.name == "libwebsockets"
            ? library.headers == library.loaded
            : library.headers.split(separator: ".").first == library.loaded.split(separator: ".").first
        if !isSame {
            check.problem = "compiled against one version and running with another; rebuild against the loaded one"
            check.remedy = "sudo apt-get install --reinstall libwebsockets-dev && swift package clean && swift build"
        }
        return check
    }

    /// Never a problem: a version that the suite did not run with is worth knowing, and so is what is known against it.
    private static func checkVersion() -> Check {
        let tested = WebSocketLibraries.testedVersions.joined(separator: " and ")
        var value =
            WebSocketLibraries.isTested
            ? "this libwebsockets is one that the suite runs with (\(tested))"
            : "the suite runs with libwebsockets \(tested), not with this one"
        let known = WebSocketLibraries.vulnerabilitiesOfLoaded.map(\.identifier)
        if !known.isEmpty { value += "; does not reach us: \(known.joined(separator: ", ")) (wsx --version says why)" }
        return Check(name: "tested", value: value)
    }

    private static func checkBackend() async throws -> Check {
        let group = try WebSocketEventLoopGroup(count: 1)
        let backend = group.loops[0].backend
        await group.shutDown()
        var check = Check(name: "event loop", value: backend == .libuv ? "libuv plugin" : "poll()")
        if backend != .libuv {
            check.problem = "libwebsockets' libuv plugin is missing; every wake costs more with every idle connection"
            check.remedy = "sudo apt-get install libwebsockets-evlib-uv"
        }
        return check
    }

    private static func checkCertificates() -> Check {
        let certificates = WebSocketLibraries.systemCertificates
        var check = Check(name: "CA certificates", value: certificates.file)
        if certificates.exist {
            if access(certificates.file, R_OK) != 0 {
                check = Check(name: check.name, value: certificates.directory)
            }
        } else {
            check.problem = "neither it nor \(certificates.directory) holds any; wss:// needs a CA of your own then"
            check.remedy = "sudo apt-get install ca-certificates"
        }
        return check
    }

    /// The least that a server or a pool of some size gets by with.
    private static let fewDescriptors: rlim_t = 1_024

    private static func checkDescriptors() -> Check {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        func text(_ value: rlim_t) -> String { value == rlim_t.max ? "unlimited" : "\(value)" }
        var check = Check(
            name: "descriptors",
            value: "\(text(limit.rlim_cur)), can be raised to \(text(limit.rlim_max))")
        if limit.rlim_cur < fewDescriptors {
            check.problem = "that is few; each connection takes one"
            // Above the hard limit only the administrator, or systemd's LimitNOFILE, can go.
            if limit.rlim_max > limit.rlim_cur { check.remedy = "ulimit -n \(min(limit.rlim_max, 16_384))" }
        }
        return check
    }
}
