// swift-tools-version: 6.3
import PackageDescription

let package = Package(
    name: "uplink",
    dependencies: [
        // Outside of this repository: its URL, and a branch or a version.
        .package(name: "swift-libwebsockets", path: "../..")
    ],
    targets: [
        .executableTarget(
            name: "uplink",
            dependencies: [
                .product(name: "WebSockets", package: "swift-libwebsockets")
            ], path: "Sources")
    ],
    swiftLanguageModes: [.v6]
)
