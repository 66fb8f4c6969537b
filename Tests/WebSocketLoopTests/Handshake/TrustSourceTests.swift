//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import Foundation
import Glibc
import Testing
import WebSocketCore

@testable import WebSocketLoop

/// What certificates are read from: files that change, and the system's.
@Suite struct TrustSourceTests {
    private func withDirectory(_ body: (String) throws -> Void) throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "wsx-trust-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        try body(directory.path())
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        try Data(bytes).write(to: URL(filePath: path))
    }

    private func refusal(_ body: () throws -> Void) throws -> WebSocketError {
        do { try body() } catch let error as WebSocketError { return error }
        Issue.record("no error was thrown")
        throw WebSocketError(.cancelled, "no error was thrown")
    }

    @Test func theSystemsAuthoritiesAreReadAgainWhenTheyHaveChanged() throws {
        try withDirectory { directory in
            let file = "\(directory)/cert.pem"
            let system = SystemTrust(file: file, directories: ["\(directory)/certs"])
            let configuration = WebSocketTLSClientConfiguration()
            func make() throws -> ClientTLSContext {
                try ClientTLSContext.make(configuration, host: "localhost", system: system)
            }
            // That there are none is not remembered.
            for _ in 0..<2 {
                let error = try refusal { _ = try make() }
                #expect(error.code == .invalidConfiguration)
                #expect(error.message.contains(file) && error.message.contains("ca-certificates"), "\(error)")
            }
            try write(try ThrowawayCertificate().authority, to: file)
            let first = try make()
            #expect(try make() === first)
            try write(try ThrowawayCertificate().authority + ThrowawayCertificate().authority, to: file)
            let second = try make()
            #expect(second !== first)
            #expect(try make() === second)
            // Authorities that come and go one by one.
            try FileManager.default.createDirectory(atPath: "\(directory)/certs", withIntermediateDirectories: true)
            let third = try make()
            #expect(third !== second)
            try FileManager.default.removeItem(atPath: file)
            #expect(try refusal { _ = try make() }.code == .invalidConfiguration)
            try write(try ThrowawayCertificate().authority, to: "\(directory)/certs/0123abcd.0")
            #expect(try make() !== third)
        }
    }

    @Test func whoVerifiesNothingNeedsNoAuthorities() throws {
        var configuration = WebSocketTLSClientConfiguration()
        configuration.verification = .insecureNoVerification
        _ = try ClientTLSContext.make(
            configuration, host: "localhost", system: SystemTrust(file: "/nonexistent", directories: []))
    }

    @Test func filesAreReadAgainWhenTheyHaveChanged() throws {
        try withDirectory { directory in
            let path = "\(directory)/ca.pem"
            var configuration = WebSocketTLSClientConfiguration()
            configuration.trust = .certificates(.file(path))
            func make() throws -> ClientTLSContext {
                try ClientTLSContext.make(configuration, host: "localhost")
            }
            let (one, two) = (try ThrowawayCertificate().authority, try ThrowawayCertificate().authority)
            try write(one, to: path)
            let first = try make()
            #expect(try make() === first)
            // Missing, empty, half: nothing of it is kept, and the file that comes is read.
            try FileManager.default.removeItem(atPath: path)
            #expect(try refusal { _ = try make() }.systemError == ENOENT)
            for broken in [[], Array(two[..<(two.count / 2)])] {
                try write(broken, to: path)
                let error = try refusal { _ = try make() }
                #expect(error.code == .invalidConfiguration && error.message.contains(path), "\(error)")
            }
            try write(two, to: path)
            #expect(try make() !== first)
        }
    }

    /// In place, with the same length and the times of before, as `rsync` and `cp -p` do.
    @Test func aFileThatKeepsItsTimeIsAnotherOne() throws {
        try withDirectory { directory in
            let path = "\(directory)/file"
            try write(Array("one".utf8), to: path)
            let before = FileVersion(path: path)
            #expect(FileVersion(path: path) == before)
            let time = try FileManager.default.attributesOfItem(atPath: path)[.modificationDate] as? Date
            // The system's clock for files has steps of some milliseconds.
            let deadline = ContinuousClock.now + .seconds(60)
            repeat {
                let descriptor = open(path, O_WRONLY)
                #expect(Glibc.write(descriptor, "two", 3) == 3)
                close(descriptor)
                try FileManager.default.setAttributes([.modificationDate: time!], ofItemAtPath: path)
            } while FileVersion(path: path) == before && ContinuousClock.now < deadline
            #expect(FileVersion(path: path) != before)
        }
    }

    /// Limits of the process are not the file's fault.
    @Test(arguments: [
        (EMFILE, WebSocketError.Code.resourceExhausted), (ENFILE, .resourceExhausted), (ENOMEM, .resourceExhausted),
        (ENOENT, .invalidConfiguration), (EACCES, .invalidConfiguration), (EFBIG, .invalidConfiguration),
    ]) func aShortageIsNoMistake(_ code: CInt, _ expected: WebSocketError.Code) {
        let error = PEM.unreadable("/x.pem", SystemError(code), field: "tls.trust")
        #expect(error.code == expected && error.systemError == code)
        #expect(error.message.contains("/x.pem"))
        #expect(error.wouldComeAgain == (expected == .invalidConfiguration))
    }

    @Test func whatCannotBeReadIsNamed() throws {
        try withDirectory { directory in
            for (path, code) in [(directory, EISDIR), ("\(directory)/none", ENOENT), ("a\0b", EINVAL)] {
                let error = try refusal {
                    do throws(SystemError) { _ = try FileBytes.read(path) } catch {
                        throw PEM.unreadable(path, error, field: "tls.trust")
                    }
                }
                #expect(error.systemError == code)
            }
            try write([UInt8](repeating: 10, count: FileBytes.maximum + 1), to: "\(directory)/large")
            #expect(throws: SystemError.self) { _ = try FileBytes.read("\(directory)/large") }
        }
    }

    @Test func theNameIsWithoutTheRootsDot() throws {
        var configuration = TestCertificate.client
        let plain = try ClientTLSContext.make(configuration, host: "localhost")
        #expect(try ClientTLSContext.make(configuration, host: "localhost.") === plain)
        configuration.serverName = "localhost."
        let named = try ClientTLSContext.make(configuration, host: "other")
        configuration.serverName = "."
        #expect(
            try refusal { _ = try ClientTLSContext.make(configuration, host: "other") }.code == .invalidConfiguration)
        #expect(named !== plain)
    }
}
