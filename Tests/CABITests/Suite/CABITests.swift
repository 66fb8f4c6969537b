//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import CABIPrograms
import Glibc
import Testing
import WebSocketsC

/// The programs in C, each in a process of its own, with the library as it was built for the tests: its Swift is under
/// the sanitizers here. `scripts/trust/c-abi` runs them as real programs with the installed library.
@Suite struct CABITests {
    @Test func misuseIsAnErrorCode() async {
        let report = Report()
        await #expect(processExitsWith: .success) { [path = report.path as String] in
            Report.begin(path)
            exit(cabi_misuse(0, nil))
        }
        report.expectNothing()
    }

    @Test func callbacksMayCallBackInAndFree() async {
        let report = Report()
        await #expect(processExitsWith: .success) { [path = report.path as String] in
            Report.begin(path)
            exit(cabi_callbacks(0, nil))
        }
        report.expectNothing()
    }

    @Test func aQueueRunsCallbacksOnTheCallersThread() async {
        let report = Report()
        await #expect(processExitsWith: .success) { [path = report.path as String] in
            Report.begin(path)
            exit(cabi_queue(0, nil))
        }
        report.expectNothing()
    }

    @Test func threadsShareHandles() async {
        let report = Report()
        await #expect(processExitsWith: .success) { [path = report.path as String] in
            Report.begin(path)
            exit(cabi_threads(0, nil))
        }
        report.expectNothing()
    }

    @Test func aServerDecidesAdoptsAndBroadcasts() async {
        let report = Report()
        await #expect(processExitsWith: .success) { [path = report.path as String] in
            Report.begin(path)
            exit(cabi_server(0, nil))
        }
        report.expectNothing()
    }

    @Test func aServerKnowsWhoseConnectionItHas() async {
        let report = Report()
        await #expect(processExitsWith: .success) { [path = report.path as String] in
            Report.begin(path)
            exit(cabi_identity(0, nil))
        }
        report.expectNothing()
    }

    @Test func aProgramPausesAndLosesNothing() async {
        let report = Report()
        await #expect(processExitsWith: .success) { [path = report.path as String] in
            Report.begin(path)
            exit(cabi_flow(0, nil))
        }
        report.expectNothing()
    }

    @Test func aProgramWithOneThreadWaitsForNothingButPoll() async {
        let report = Report()
        await #expect(processExitsWith: .success) { [path = report.path as String] in
            Report.begin(path)
            exit(cabi_evented(0, nil))
        }
        report.expectNothing()
    }

    @Test func aServerHasTopicsCertificatesAndSocketsThatItWasGiven() async {
        let report = Report()
        await #expect(processExitsWith: .success) { [path = report.path as String] in
            Report.begin(path)
            exit(cabi_serving(0, nil))
        }
        report.expectNothing()
    }

    @Test func theLibraryIsAGoodGuest() async {
        let report = Report()
        await #expect(processExitsWith: .success) { [path = report.path as String] in
            Report.begin(path)
            exit(cabi_guest(0, nil))
        }
        report.expectNothing()
    }

    @Test func aProgramOfYesterdayRunsWithTodaysLibrary() async {
        let report = Report()
        await #expect(processExitsWith: .success) { [path = report.path as String] in
            Report.begin(path)
            exit(cabi_yesterday(0, nil))
        }
        report.expectNothing()
    }

    @Test func aSessionComesBack() async {
        let report = Report()
        await #expect(processExitsWith: .success) { [path = report.path as String] in
            Report.begin(path)
            exit(cabi_session(0, nil))
        }
        report.expectNothing()
    }

    @Test func aLoopLivesOnTheProgramsOwnContext() async {
        await #expect(processExitsWith: .success) { exit(cabi_attached(0, nil)) }
    }

    /// X3: fork, and fork with exec.
    @Test func aChildOfForkIsRefused() async {
        await #expect(processExitsWith: .success) { exit(cabi_forking(0, nil)) }
    }

    @Test func aProcessMayEndInTheMiddle() async {
        let report = Report()
        await #expect(processExitsWith: .success) { [path = report.path as String] in
            Report.begin(path)
            exit(cabi_leaving(0, nil))
        }
        report.expectNothing()
    }
}

/// What a program writes to its standard error, which Swift Testing does not show.
private struct Report {
    let path: String

    init() {
        var template = Array("/tmp/wsx-cabi-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        precondition(descriptor >= 0, "no file: \(errno)")
        close(descriptor)
        path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }

    /// In the program's process.
    static func begin(_ path: String) {
        let descriptor = open(path, O_WRONLY | O_APPEND)
        precondition(descriptor >= 0, "no report: \(errno)")
        dup2(descriptor, STDERR_FILENO)
        close(descriptor)
    }

    /// A `CHECK` names its file and line; anything else there, say a sanitizer's word, is shown with it. Only the
    /// watchdog may speak: several programs under a sanitizer share two processors, and it says who had to wait.
    func expectNothing(_ location: SourceLocation = #_sourceLocation) {
        var text: [UInt8] = []
        if let file = fopen(path, "r") {
            var chunk = [UInt8](repeating: 0, count: 4_096)
            while case let count = fread(&chunk, 1, chunk.count, file), count > 0 { text += chunk[..<count] }
            fclose(file)
        }
        unlink(path)
        let lines = String(decoding: text, as: UTF8.self).split(separator: "\n")
        let complaints = lines.filter {
            !$0.contains("the loop; move blocking work to the global executor")
                // A session that gives up says so, which is what some programs are after.
                && !$0.contains("kind=gaveUp")
        }
        #expect(complaints.isEmpty, "\(complaints.joined(separator: "\n"))", sourceLocation: location)
    }
}
