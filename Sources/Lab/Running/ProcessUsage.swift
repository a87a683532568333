import Foundation

/// What a process has used since it began, as the operating system counts it.
struct ProcessUsage: Hashable {
    /// Processor time of all its threads, in microseconds.
    let cpuMicroseconds: UInt64
    /// Bytes that arrived on the interfaces of its network namespace, the loopback interface aside: with all headers, and whoever sent
    /// them.
    let bytesReceived: UInt64
    /// Bytes that left through them.
    let bytesSent: UInt64

    /// Reads what a process has used.
    ///
    /// - Returns: nil when it has ended, or the system does not tell it (Linux does: proc(5)).
    init?(of process: Int32) {
        guard let stat = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8),
            let devices = try? String(contentsOfFile: "/proc/\(process)/net/dev", encoding: .utf8)
        else { return nil }
        self.init(stat: stat, devices: devices, ticksPerSecond: UInt64(max(1, sysconf(Int32(_SC_CLK_TCK)))))
    }

    /// Reads the contents of `/proc/N/stat` and `/proc/N/net/dev`.
    init?(stat: String, devices: String, ticksPerSecond: UInt64) {
        // The second field is the program's name in parentheses, which may contain anything; utime and stime are fields 14 and 15.
        guard let name = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[name...].split(separator: " ").dropFirst().map { UInt64($0) }
        guard fields.count > 12, let user = fields[11], let system = fields[12] else { return nil }
        cpuMicroseconds = (user + system) * (1_000_000 / ticksPerSecond)
        var (received, sent): (UInt64, UInt64) = (0, 0)
        for line in devices.split(separator: "\n") {
            let parts = line.split(separator: ":")
            guard parts.count == 2, parts[0].drop(while: { $0 == " " }) != "lo" else { continue }
            let numbers = parts[1].split(separator: " ").map { UInt64($0) }
            guard numbers.count > 8, let into = numbers[0], let out = numbers[8] else { continue }
            received += into
            sent += out
        }
        bytesReceived = received
        bytesSent = sent
    }
}

/// What the processes of a run have used since they began; nil where it is not known.
struct LabUsage {
    /// Each replica, in their order.
    let replicas: [ProcessUsage?]
    /// The correct clients, all in one process.
    let clients: ProcessUsage?
    /// The attacking clients, a process each; nil where there are none.
    let attackers: [ProcessUsage?]?

    /// Processor time of all attacking clients, in microseconds.
    var attackersMicroseconds: UInt64? {
        guard let attackers, !attackers.contains(nil) else { return nil }
        return attackers.compactMap { $0?.cpuMicroseconds }.reduce(0, +)
    }
}
