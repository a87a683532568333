import Foundation

/// The commit that is checked out where a program lies.
enum CheckedOutCommit {
    /// Asks git.
    ///
    /// - Parameter directory: A directory of the work tree.
    /// - Returns: The commit, with `+changes` behind it where the work tree has some; nil when there is no work tree, or no git.
    static func of(_ directory: String) -> String? {
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [
            "git", "-C", directory, "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes",
        ]
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil, let told = try? output.fileHandleForReading.readToEnd() else { return nil }
        process.waitUntilExit()
        let line = String(decoding: told, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        return process.terminationStatus == 0 && !line.isEmpty ? line : nil
    }
}
