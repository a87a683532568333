import Aardvark
import Foundation
import Synchronization

/// A process that removes what a run made as soon as its standard input closes: when it is told to, or when the process that started it
/// is gone, whether it ended, crashed or was killed.
final class EmulationRemover: Sendable {
    /// Ends processes and removes namespaces and control groups whose names begin with the first argument, which ends with a digit; so
    /// a `-` or nothing has to follow. It is deaf to Ctrl-C, since it has to outlive its parent.
    private static let script = """
        trap '' INT TERM HUP
        cat > /dev/null
        prefix=$1
        case $prefix in aardvark-lab-[0-9]*) ;; *) exit 64 ;; esac
        ip netns list | cut -d ' ' -f 1 | while read -r name; do
            case $name in "$prefix"-*)
                ip netns pids "$name" | xargs -r kill -9
                ip netns delete "$name" ;;
            esac
        done
        for group in /sys/fs/cgroup/"$prefix"/* /sys/fs/cgroup/cpu/"$prefix"/* /sys/fs/cgroup/"$prefix" /sys/fs/cgroup/cpu/"$prefix"
        do
            [ -d "$group" ] || continue
            xargs -r kill -9 < "$group/cgroup.procs"
            tries=0
            until rmdir "$group" || [ $tries -ge 50 ]; do tries=$((tries + 1)); sleep 0.1; done
        done
        """

    private let state: Mutex<(process: Process, input: FileHandle)?>

    /// Starts the process.
    ///
    /// - Parameter prefix: What the names of everything begin with.
    /// - Throws: Where it does not start.
    init(prefix: String) throws(OperatorError) {
        let pipe = Pipe()
        let process = Process()
        process.executableURL = URL(filePath: "/bin/sh")
        process.arguments = ["-c", Self.script, "sh", prefix]
        process.standardInput = pipe
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        do {
            try process.run()
        } catch {
            throw OperatorError(.unavailable, "/bin/sh cannot be started")
        }
        state = Mutex((process, pipe.fileHandleForWriting))
    }

    /// Removes everything, and waits until it is done. Nothing happens the second time.
    func remove() {
        state.withLock { state in
            guard let (process, input) = state else { return }
            state = nil
            try? input.close()
            process.waitUntilExit()
        }
    }
}

/// Removing what earlier runs left behind.
package enum EmulationLeftovers {
    /// What was found of one run.
    package struct Run: Hashable, Sendable {
        /// The number of the process that made it.
        package let process: Int32
        /// Whether that process is there still, so that it was left alone.
        package let isAlive: Bool
    }

    /// Removes what processes made that are no more. What does not carry the lab's name is never touched.
    ///
    /// - Returns: What was found, by process.
    /// - Throws: Where this user may not remove it.
    package static func remove() throws(OperatorError) -> [Run] {
        let own = ProcessInfo.processInfo.processIdentifier
        let runs = found().filter { $0 != own }.map { process in
            Run(process: process, isAlive: FileManager.default.fileExists(atPath: "/proc/\(process)"))
        }
        let stale = runs.filter { !$0.isAlive }
        guard stale.isEmpty || geteuid() == 0 else {
            throw OperatorError(.noPermission, "what an earlier run left behind can be removed by root only")
        }
        for run in stale {
            try EmulationRemover(prefix: EmulationNames(process: run.process).prefix).remove()
        }
        return runs
    }

    /// The processes of which there is something, in order.
    static func found() -> [Int32] {
        let places = ["/run/netns", "/var/run/netns", "/sys/fs/cgroup", "/sys/fs/cgroup/cpu"]
        let names = places.flatMap { (try? FileManager.default.contentsOfDirectory(atPath: $0)) ?? [] }
        return Set(names.compactMap(EmulationNames.process)).sorted()
    }
}
