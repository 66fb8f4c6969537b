// swift-tools-version: 6.3
import PackageDescription

let package = Package(
    name: "swift-libwebsockets",
    products: [
        .library(name: "WebSockets", targets: ["WebSockets"]),
        .library(name: "WebSocketsRedis", targets: ["WebSocketsRedis"]),
        .library(name: "WebSocketsTestKit", targets: ["WebSocketsTestKit"]),
        .library(name: "WebSocketsJSON", targets: ["WebSocketsJSON"]),
        // For C and C++ programs; `scripts/install-c` builds and installs it with its header.
        .library(name: "wsxc", type: .dynamic, targets: ["WebSocketsC"]),
    ],
    traits: [
        .trait(name: "ServiceLifecycle", description: "Pools and servers are services of swift-service-lifecycle."),
        .trait(name: "Metrics", description: "Pools report to swift-metrics."),
        .trait(name: "Tracing", description: "Pools report acquires and connects to swift-distributed-tracing."),
        .trait(name: "Configuration", description: "Sessions and clients are configured from swift-configuration."),
        .default(enabledTraits: ["ServiceLifecycle", "Metrics", "Tracing"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0", traits: []),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: []),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2", traits: []),
        .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
    ],
    targets: [
        .systemLibrary(
            name: "CLibWebSockets", path: "Modulemaps/CLibWebSockets", pkgConfig: "libwebsockets",
            providers: [.apt(["libwebsockets-dev"])]),
        .systemLibrary(
            name: "COpenSSL", path: "Modulemaps/COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(
            name: "CZlib", path: "Modulemaps/CZlib", pkgConfig: "zlib", providers: [.apt(["libwebsockets-dev"])]),
        .systemLibrary(
            name: "CLibUV", path: "Modulemaps/CLibUV", pkgConfig: "libuv", providers: [.apt(["libwebsockets-dev"])]),
        .target(name: "CLibWebSocketsShims", dependencies: ["CLibWebSockets", "COpenSSL", "CZlib", "CLibUV"]),
        .target(
            name: "WebSocketConcurrency",
            dependencies: [.product(name: "DequeModule", package: "swift-collections")],
            swiftSettings: [.strictMemorySafety()]),
        .target(
            name: "WebSocketCore",
            dependencies: [
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
            ]),
        .target(
            name: "WebSocketPool",
            dependencies: ["WebSocketConcurrency", .product(name: "DequeModule", package: "swift-collections")]),
        .target(
            name: "WebSocketLoop",
            dependencies: [
                "CLibWebSockets", "COpenSSL", "CZlib", "CLibUV", "CLibWebSocketsShims", "WebSocketConcurrency",
                "WebSocketCore",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
            ],
            // SE-0458: every use of what C gives us says `unsafe`.
            swiftSettings: [.strictMemorySafety()]),
        .target(
            name: "WebSockets",
            dependencies: [
                "WebSocketConcurrency", "WebSocketCore", "WebSocketLoop", "WebSocketPool",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(
                    name: "ServiceLifecycle", package: "swift-service-lifecycle",
                    condition: .when(traits: ["ServiceLifecycle"])),
                // CoreMetrics, because Metrics links FoundationEssentials.
                .product(name: "CoreMetrics", package: "swift-metrics", condition: .when(traits: ["Metrics"])),
                .product(
                    name: "Tracing", package: "swift-distributed-tracing", condition: .when(traits: ["Tracing"])),
                .product(
                    name: "Configuration", package: "swift-configuration",
                    condition: .when(traits: ["Configuration"])),
            ]),
        // RESP3, as Redis and Valkey speak it. Pure: no C, no sockets, nothing of WebSockets.
        .target(name: "RedisWire"),
        // Topics of several processes over Redis or Valkey. Apart, so that who has one process pays nothing for it.
        .target(
            name: "WebSocketsRedis",
            dependencies: [
                "RedisWire", "WebSocketConcurrency", "WebSocketCore", "WebSocketLoop", "WebSockets",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
            ]),
        // What users test their services with, and we ours. It shares no code with what it tests but the public API.
        .target(name: "WebSocketsTestKit", dependencies: ["CZlib", "WebSockets"]),
        // Codable values as JSON. Apart, because it is the only one that needs Foundation.
        .target(name: "WebSocketsJSON", dependencies: ["WebSocketCore", "WebSockets"]),
        // The C ABI: `wsx.h`, written by hand, and its implementation.
        .target(name: "CWSX"),
        .target(
            name: "WebSocketsC",
            dependencies: [
                "CWSX", "WebSockets", "WebSocketConcurrency", "WebSocketCore", "WebSocketLoop", "WebSocketPool",
                .product(name: "DequeModule", package: "swift-collections"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        .executableTarget(
            name: "wsx",
            dependencies: [
                "WebSockets", "WebSocketCore", "WebSocketLoop", "WebSocketsRedis",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Histogram", package: "hdrhistogram-swift"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        .testTarget(
            name: "WebSocketCoreTests",
            dependencies: [
                "SimulationSupport", "WebSocketCore", .product(name: "HTTPTypes", package: "swift-http-types"),
            ]),
        .testTarget(name: "WebSocketConcurrencyTests", dependencies: ["SimulationSupport", "WebSocketConcurrency"]),
        .testTarget(
            name: "WebSocketsRedisTests",
            dependencies: [
                "LoopbackSupport", "SimulationSupport", "TestSupport", "RedisWire", "WebSocketCore", "WebSocketLoop",
                "WebSockets", "WebSocketsRedis", "WebSocketsTestKit",
            ]),
        .testTarget(name: "RedisWireTests", dependencies: ["RedisWire"]),
        .testTarget(
            name: "WebSocketPoolTests",
            dependencies: [
                "SimulationSupport", "WebSocketConcurrency", "WebSocketPool",
                .product(name: "DequeModule", package: "swift-collections"),
            ]),
        // Simulated time for the tests of pools and sessions, and how deep a test goes. Links no C, as the pool does not.
        .target(name: "SimulationSupport", dependencies: ["WebSocketCore"], path: "Tests/Support/SimulationSupport"),
        // What tests need and users do not; the rest of it is WebSocketsTestKit.
        .target(name: "TestSupport", dependencies: ["WebSocketsTestKit"], path: "Tests/Support/TestSupport"),
        .testTarget(
            name: "WebSocketsTestKitTests",
            dependencies: ["LoopbackSupport", "TestSupport", "WebSockets", "WebSocketsTestKit"]),
        .testTarget(
            name: "WebSocketLoopTests",
            dependencies: [
                "WebSocketLoop", "WebSocketCore", "TestSupport", "WebSocketsTestKit", "COpenSSL",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        // What the tests of WebSockets and of its interoperability share.
        .target(
            name: "LoopbackSupport",
            dependencies: ["COpenSSL", "TestSupport", "WebSocketCore", "WebSockets"],
            path: "Tests/Support/LoopbackSupport"),
        // A program of somebody else's with libwebsockets, for loops that are attached to it.
        .target(name: "HostContext", dependencies: ["CLibWebSockets"], path: "Tests/Support/HostContext"),
        .testTarget(
            name: "WebSocketsTests",
            dependencies: [
                "CLibUV", "HostContext", "LoopbackSupport", "SimulationSupport", "TestSupport", "WebSocketCore",
                "WebSockets",
                "WebSocketsTestKit",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(
                    name: "ServiceLifecycleTestKit", package: "swift-service-lifecycle",
                    condition: .when(traits: ["ServiceLifecycle"])),
                .product(name: "MetricsTestKit", package: "swift-metrics", condition: .when(traits: ["Metrics"])),
                .product(
                    name: "InMemoryTracing", package: "swift-distributed-tracing",
                    condition: .when(traits: ["Tracing"])),
                .product(
                    name: "Configuration", package: "swift-configuration",
                    condition: .when(traits: ["Configuration"])),
            ]),
        .testTarget(
            name: "InteropTests",
            dependencies: [
                "LoopbackSupport", "SimulationSupport", "TestSupport", "WebSockets", "WebSocketsTestKit",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ]),
        // What was reported of WebSocket libraries in the field, as tests.
        .testTarget(
            name: "FieldTests",
            dependencies: [
                "LoopbackSupport", "TestSupport", "WebSocketCore", "WebSocketLoop", "WebSockets",
                "WebSocketsTestKit",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "MetricsTestKit", package: "swift-metrics", condition: .when(traits: ["Metrics"])),
            ]),
        // What `scripts/fuzz` runs under libFuzzer, and `FuzzTests` with the committed corpus.
        // Not in a nested package: the targets call package declarations, and a product for them would be everyone's.
        .target(
            name: "FuzzTargets",
            dependencies: [
                "COpenSSL", "CWSX", "RedisWire", "WebSocketCore", "WebSocketLoop", "WebSockets", "WebSocketsC",
                "WebSocketsRedis", "WebSocketsTestKit",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
            ],
            path: "Tests/Fuzz/Targets"),
        .systemLibrary(name: "CLibFuzzer", path: "Tests/Fuzz/CLibFuzzer"),
        .executableTarget(name: "fuzz", dependencies: ["CLibFuzzer", "FuzzTargets"], path: "Tests/Fuzz/Driver"),
        .testTarget(
            name: "FaultTests",
            dependencies: [
                "LoopbackSupport", "WebSockets", "WebSocketsTestKit",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
            ]),
        .testTarget(name: "FuzzTests", dependencies: ["FuzzTargets", "TestSupport"]),
        .testTarget(
            name: "WebSocketsJSONTests", dependencies: ["LoopbackSupport", "WebSockets", "WebSocketsJSON"]),
        // The C library's tests are programs in C, which the suite runs in processes of their own.
        .target(
            name: "CABIPrograms", dependencies: ["CLibWebSockets", "CWSX"], path: "Tests/CABITests/Programs",
            cSettings: [.define("CABI_LIBRARY"), .define("_GNU_SOURCE")]),
        .testTarget(name: "CABITests", dependencies: ["CABIPrograms", "WebSocketsC"], path: "Tests/CABITests/Suite"),
        .testTarget(
            name: "ReadmeTests", dependencies: ["LoopbackSupport", "TestSupport", "WebSockets", "WebSocketsTestKit"]),
        .testTarget(
            name: "CommandLineTests",
            dependencies: [
                "wsx", "COpenSSL", "LoopbackSupport", "WebSocketCore", "WebSocketLoop", "WebSockets",
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Subprocess", package: "swift-subprocess"),
                .product(name: "SystemPackage", package: "swift-system"),
            ]),
    ]
)

for target in package.targets where [.regular, .executable, .test].contains(target.type) {
    guard !["CLibWebSocketsShims", "CWSX", "CABIPrograms", "HostContext"].contains(target.name) else { continue }
    target.swiftSettings =
        (target.swiftSettings ?? []) + [
            // SE-0335: existential types are spelled `any`.
            .enableUpcomingFeature("ExistentialAny"),
            // SE-0444: members come only from modules that the file imports.
            .enableUpcomingFeature("MemberImportVisibility"),
            // SE-0409: imports are internal unless they say otherwise.
            .enableUpcomingFeature("InternalImportsByDefault"),
            // SE-0461: async functions run on their caller's executor, which keeps loop code on its loop.
            .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
        ]
}
