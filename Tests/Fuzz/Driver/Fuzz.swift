//===----------------------------------------------------------------------===//
// This source file is part of the swift-libwebsockets open source project.
// SPDX-License-Identifier: Apache-2.0
//===----------------------------------------------------------------------===//

import FuzzTargets
import Glibc

#if FUZZING
import CLibFuzzer
#endif

/// Fuzzes the target that `WSX_FUZZ_TARGET` names, with libFuzzer's arguments; `scripts/fuzz` builds and calls it. Built
/// without libFuzzer it runs the target once for each file it is given.
@main enum Fuzz {
    static let target: FuzzTarget = {
        let name = getenv("WSX_FUZZ_TARGET").map { String(cString: $0) } ?? ""
        guard let target = FuzzTarget(rawValue: name) else {
            print(
                "WSX_FUZZ_TARGET is '\(name)', but must be one of",
                FuzzTarget.allCases.map(\.rawValue).joined(separator: " "))
            exit(64)
        }
        return target
    }()

    static func run(_ bytes: UnsafeRawBufferPointer) {
        if let problem = target.run(bytes) { fatalError("\(target): \(problem)") }
    }

    static func main() {
        _ = target
        #if FUZZING
        var count = CommandLine.argc
        var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
        exit(
            LLVMFuzzerRunDriver(&count, &arguments) { bytes, count in
                Fuzz.run(UnsafeRawBufferPointer(start: bytes, count: count))
                return 0
            })
        #else
        for path in CommandLine.arguments.dropFirst() {
            guard let file = fopen(path, "r") else {
                perror(path)
                exit(66)
            }
            defer { fclose(file) }
            var bytes: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 4_096)
            while case let count = fread(&chunk, 1, chunk.count, file), count > 0 { bytes += chunk[..<count] }
            bytes.withUnsafeBytes { run($0) }
            print("\(path): fine")
        }
        #endif
    }
}
