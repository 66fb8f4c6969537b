// swift-tools-version: 6.3
import PackageDescription

let package = Package(
    name: "rpc",
    dependencies: [
        // Outside of this repository: its URL, and a branch or a version.
        .package(name: "swift-libwebsockets", path: "../..")
    ],
    targets: [
        .executableTarget(
            name: "rpc",
            dependencies: [
                .product(name: "WebSockets", package: "swift-libwebsockets"),
                .product(name: "WebSocketsJSON", package: "swift-libwebsockets"),
            ], path: "Sources")
    ],
    swiftLanguageModes: [.v6]
)
