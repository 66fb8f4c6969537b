// swift-tools-version: 6.3
import PackageDescription

// Beside the package and not in it, so that nobody who uses the library resolves or builds it.
let package = Package(
    name: "benchmarks",
    dependencies: [.package(name: "swift-libwebsockets", path: "../..")],
    targets: [
        .executableTarget(
            name: "bench-client", dependencies: [.product(name: "WebSockets", package: "swift-libwebsockets")]),
        .executableTarget(
            name: "bench-pool", dependencies: [.product(name: "WebSockets", package: "swift-libwebsockets")]),
        .executableTarget(
            name: "bench-server", dependencies: [.product(name: "WebSockets", package: "swift-libwebsockets")]),
        .executableTarget(
            name: "bench-topics",
            dependencies: [
                .product(name: "WebSockets", package: "swift-libwebsockets"),
                .product(name: "WebSocketsRedis", package: "swift-libwebsockets"),
            ]),
    ],
    swiftLanguageModes: [.v6]
)

for target in package.targets {
    target.swiftSettings = [
        .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"), .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    ]
}
