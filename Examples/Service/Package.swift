// swift-tools-version: 6.3
import PackageDescription

let package = Package(
    name: "service",
    dependencies: [
        // Outside of this repository: its URL, and a branch or a version.
        .package(name: "swift-libwebsockets", path: "../.."),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .executableTarget(
            name: "service",
            dependencies: [
                .product(name: "WebSockets", package: "swift-libwebsockets"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ], path: "Sources")
    ],
    swiftLanguageModes: [.v6]
)
