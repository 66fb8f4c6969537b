// swift-tools-version: 6.3
import PackageDescription

// Beside the package and not in it, so that nobody who uses the library resolves a web framework.
let package = Package(
    name: "adapters",
    dependencies: [
        .package(name: "swift-libwebsockets", path: "../.."),
        .package(url: "https://github.com/swhitty/FlyingFox", exact: "0.27.1"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0", traits: []),
    ],
    targets: [
        .target(
            name: "FlyingFoxUpgrades",
            dependencies: [
                .product(name: "FlyingFox", package: "FlyingFox"),
                .product(name: "FlyingSocks", package: "FlyingFox"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "WebSockets", package: "swift-libwebsockets"),
            ]),
        .testTarget(
            name: "FlyingFoxUpgradesTests",
            dependencies: [
                "FlyingFoxUpgrades",
                .product(name: "FlyingFox", package: "FlyingFox"),
                .product(name: "FlyingSocks", package: "FlyingFox"),
                .product(name: "WebSockets", package: "swift-libwebsockets"),
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
