import Foundation

/// The programs that were built with the tests.
public enum BuiltProgram {
    /// Why a test cannot go on.
    public struct Missing: Error, CustomStringConvertible {
        /// Which program was looked for, and from where.
        public let description: String
    }

    /// Finds a program in the directory of the built products, which is above the test bundle wherever that is run from.
    ///
    /// - Throws: ``Missing`` where there is none.
    public static func url(_ name: String) throws(Missing) -> URL {
        let starts = CommandLine.arguments.filter { $0.contains("/") } + [Bundle.main.executablePath].compactMap(\.self)
        for start in starts {
            var directory = URL(filePath: start).deletingLastPathComponent()
            while directory.path.count > 1 {
                let candidate = directory.appending(path: name)
                if FileManager.default.isExecutableFile(atPath: candidate.path), !isDirectory(candidate) {
                    return candidate
                }
                directory.deleteLastPathComponent()
            }
        }
        throw Missing(description: "\(name) is not beside the tests: \(starts)")
    }

    private static func isDirectory(_ url: URL) -> Bool {
        (try? url.resourceValues(forKeys: [.isDirectoryKey]).isDirectory) ?? false
    }
}
