// swift-tools-version: 6.3
import PackageDescription

// All examples at once, for continuous integration. Each folder is a package of its own, to be copied.
let ours = "swift-libwebsockets"
let package = Package(
    name: "examples",
    dependencies: [
        .package(name: "swift-libwebsockets", path: ".."),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    ],
    targets: [
        .executableTarget(
            name: "chat", dependencies: [.product(name: "WebSockets", package: ours)], path: "Chat/Sources"),
        .executableTarget(
            name: "rpc",
            dependencies: [
                .product(name: "WebSockets", package: ours), .product(name: "WebSocketsJSON", package: ours),
            ], path: "RPC/Sources"),
        .executableTarget(
            name: "feed", dependencies: [.product(name: "WebSockets", package: ours)], path: "Feed/Sources"),
        .executableTarget(
            name: "uplink", dependencies: [.product(name: "WebSockets", package: ours)], path: "Uplink/Sources"),
        .executableTarget(
            name: "service",
            dependencies: [
                .product(name: "WebSockets", package: ours),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ], path: "Service/Sources"),
    ],
    swiftLanguageModes: [.v6]
)
