// swift-tools-version: 6.2

import PackageDescription

/// Settings of every Swift target: Swift 6 language mode, warnings are errors.
let wrapper: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

/// Settings of every target but the wrappers of C libraries: unsafe constructs are errors too.
let strict: [SwiftSetting] = wrapper + [.strictMemorySafety()]

let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "CoreMetrics", package: "swift-metrics")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")

let package = Package(
    name: "aardvark",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "Aardvark", targets: ["Aardvark"]),
        .executable(name: "aardvark", targets: ["aardvark-cli"]),
        .executable(name: "aardvark-lab", targets: ["aardvark-lab"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.5.0"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.90.0"),
        .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.1.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.0.0"),
        .package(url: "https://github.com/swhitty/FlyingFox", from: "0.20.0"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.8.0"),
        .package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.4.0"),
    ],
    // One target a concern. An arrow only points to a target further up this list.
    targets: [
        .systemLibrary(
            name: "CSodium",
            pkgConfig: "libsodium",
            providers: [.apt(["libsodium-dev"]), .brew(["libsodium"])]
        ),
        .systemLibrary(
            name: "CRocksDB",
            pkgConfig: "rocksdb",
            providers: [.apt(["librocksdb-dev"]), .brew(["rocksdb"])]
        ),
        .target(name: "Invariants", swiftSettings: strict),
        .target(name: "Cryptography", dependencies: ["CSodium", "Invariants"], swiftSettings: wrapper),
        .target(name: "Messages", dependencies: ["Cryptography", "Invariants"], swiftSettings: strict),
        .target(name: "Agreement", dependencies: ["Messages", "Cryptography", "Invariants"], swiftSettings: strict),
        .target(name: "StateStore", dependencies: ["Cryptography", "Invariants"], swiftSettings: strict),
        .target(name: "Disk", dependencies: ["CRocksDB", "Invariants"], swiftSettings: wrapper),
        .target(
            name: "DurableStore",
            dependencies: ["Agreement", "Messages", "StateStore", "Cryptography", "Disk", "Invariants"],
            swiftSettings: strict
        ),
        .target(
            name: "Transport",
            dependencies: ["Messages", "Cryptography", "Invariants", nioCore, nioPosix],
            swiftSettings: strict
        ),
        .target(
            name: "Aardvark",
            dependencies: [
                "Agreement", "Messages", "Cryptography", "DurableStore", "Invariants", "StateStore", "Transport",
                nioCore, nioPosix, logging, metrics, lifecycle, .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: strict
        ),
        .target(
            name: "KeyValueService",
            dependencies: ["Aardvark", "Messages", "StateStore"],
            swiftSettings: strict
        ),
        .target(
            name: "Workloads",
            dependencies: [
                "Aardvark", "Cryptography", "Invariants", "KeyValueService", "Messages", "StateStore",
                .product(name: "Histogram", package: "hdrhistogram-swift"),
            ],
            swiftSettings: strict
        ),
        .executableTarget(
            name: "aardvark-cli",
            dependencies: [
                "Aardvark", "DurableStore", "KeyValueService", "Workloads", "StateStore", "Messages", "Cryptography",
                logging, metrics, lifecycle,
                .product(name: "FlyingFox", package: "FlyingFox"),
                .product(name: "FlyingSocks", package: "FlyingFox"),
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            swiftSettings: strict
        ),

        // Attack code: never among the dependencies of `aardvark`.
        .target(
            name: "Adversary",
            dependencies: ["Agreement", "Messages", "Cryptography"],
            swiftSettings: strict
        ),
        .target(
            name: "Simulation",
            dependencies: ["Adversary", "Agreement", "Messages", "StateStore", "Cryptography", "Invariants"],
            swiftSettings: strict
        ),
        .target(
            name: "Lab",
            dependencies: [
                "Aardvark", "Adversary", "Agreement", "Cryptography", "Invariants", "KeyValueService", "Messages",
                "Simulation", "Workloads",
                nioCore, nioPosix, logging, lifecycle,
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            swiftSettings: strict
        ),
        .executableTarget(
            name: "aardvark-lab",
            dependencies: [
                "Lab", "Aardvark", "Adversary", "Simulation", "Agreement", "Messages", "Cryptography", "DurableStore",
                "Invariants", "StateStore", "Workloads",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            swiftSettings: strict
        ),

        .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: strict),
        .testTarget(
            name: "ConfigurationTests",
            dependencies: ["Aardvark", "Cryptography", "Messages", nioCore, nioPosix],
            swiftSettings: strict
        ),
        .testTarget(
            name: "CommandLineTests",
            dependencies: [
                "aardvark-cli", "Aardvark", "Cryptography", "Messages", "StateStore", metrics,
                .product(name: "FlyingFox", package: "FlyingFox"),
            ],
            swiftSettings: strict
        ),
        .testTarget(name: "CryptographyTests", dependencies: ["Cryptography"], swiftSettings: strict),
        .testTarget(
            name: "TransportTests",
            dependencies: ["Transport", "Cryptography", nioCore, nioPosix, nioEmbedded],
            swiftSettings: strict
        ),
        .testTarget(
            name: "MessagesTests",
            dependencies: ["Messages", "Cryptography", "TestSupport"],
            // The tests read the golden files where they lie, because they also rewrite them there.
            exclude: ["Golden"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "AgreementTests",
            dependencies: ["Agreement", "Messages", "Cryptography", "Invariants", "TestSupport"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "WorkloadsTests",
            dependencies: ["Workloads", "KeyValueService", "Messages", "StateStore"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "SimulationTests",
            dependencies: [
                "Simulation", "Adversary", "Agreement", "Messages", "StateStore", "Cryptography", "TestSupport",
                "aardvark-lab",
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "LabTests",
            dependencies: [
                "Lab", "Aardvark", "Adversary", "Cryptography", "Messages", "TestSupport", "aardvark-cli",
                "aardvark-lab",
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "StateStoreTests",
            dependencies: ["StateStore", "DurableStore", "Cryptography", "Messages", "TestSupport"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "DurableStoreTests",
            dependencies: [
                "DurableStore", "Disk", "Agreement", "StateStore", "Cryptography", "Messages", "Invariants",
                "TestSupport",
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "KeyValueServiceTests",
            dependencies: ["KeyValueService", "Aardvark", "Cryptography", "Messages", "StateStore"],
            swiftSettings: strict
        ),
        .testTarget(
            name: "AardvarkTests",
            dependencies: [
                "Aardvark", "Agreement", "Cryptography", "KeyValueService", "Messages", "StateStore", "Transport",
                nioCore, nioPosix, logging, metrics, lifecycle,
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "EndToEndTests",
            dependencies: ["aardvark-cli", "aardvark-lab", "TestSupport"],
            swiftSettings: strict
        ),
    ]
)
