import Foundation
import TestSupport
import Testing

/// Disks that do not let a replica use its store.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct StoreRefusalTests {
    @Test(.enabled(if: geteuid() == 0, "only root may mount"))
    func `A store on a disk that may only be read is refused with one sentence`() async throws {
        try await Workspace.with { workspace in
            _ = try await LocalCluster.create(in: workspace, durability: "power-loss")
            let replica = ["replica", "--cluster", LocalCluster.file, "--id", "0"]
            let first = try workspace.start("replica", "--cluster", LocalCluster.file, "--id", "0", "--create")
            try await wait(for: "the store") {
                FileManager.default.fileExists(atPath: workspace.path("cluster/data/replica-0"))
            }
            first.send(SIGTERM)
            #expect(try await first.ending() == .exit(0), "\(first.errors)")
            // In a name space of its own, so that the mount ends with the process.
            let mount = "mount --bind cluster/data cluster/data && mount -o remount,ro,bind cluster/data cluster/data"
            let command = ([try BuiltProgram.url("aardvark").path] + replica).joined(separator: " ")
            let process = try ChildProcess(
                URL(filePath: "/usr/bin/unshare"),
                ["--mount", "/bin/sh", "-c", "\(mount) && exec \(command)"],
                in: workspace.directory
            )
            #expect(try await process.ending() == .exit(77))
            #expect(
                process.errors
                    == "aardvark: error: cluster/data/replica-0: the store may not be used: Read-only file system\n"
            )
        }
    }
}
