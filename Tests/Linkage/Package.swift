// swift-tools-version: 6.3
import PackageDescription

// Beside the package and not in it, so that it links what a user's program links.
let package = Package(
    name: "linkage",
    dependencies: [.package(name: "swift-libwebsockets", path: "../..")],
    targets: [
        .executableTarget(
            name: "linkage-check", dependencies: [.product(name: "WebSockets", package: "swift-libwebsockets")],
            path: "Check"),
        .executableTarget(
            name: "runtime-check", dependencies: [.product(name: "WebSockets", package: "swift-libwebsockets")],
            path: "Runtime"),
    ],
    swiftLanguageModes: [.v6]
)
