// swift-tools-version: 6.3
import PackageDescription

// Programs that scripts run, beside the package and not in it: they see what a user sees, and no user resolves or builds
// them. The fuzzer is one of the package's own, because it calls what is no product.
let package = Package(
    name: "trust",
    dependencies: [
        .package(name: "swift-libwebsockets", path: "../.."),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0", traits: []),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    ],
    targets: [
        // A real browser against our server.
        .executableTarget(
            name: "browser-check",
            dependencies: [
                .product(name: "WebSockets", package: "swift-libwebsockets"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
            ], path: "Browser"),
        // Faults that take networks and crowds.
        .executableTarget(
            name: "system-faults",
            dependencies: [
                .product(name: "WebSockets", package: "swift-libwebsockets"),
                .product(name: "WebSocketsTestKit", package: "swift-libwebsockets"),
            ], path: "SystemFaults"),
    ],
    swiftLanguageModes: [.v6]
)

for target in package.targets {
    target.swiftSettings = [
        .enableUpcomingFeature("ExistentialAny"), .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"), .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
    ]
}
