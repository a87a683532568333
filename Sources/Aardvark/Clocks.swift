import Agreement
import Foundation
import Messages
import NIOCore

extension ClockReading {
    /// What this machine's clocks say now.
    static func now() -> ClockReading {
        let seconds = max(Date().timeIntervalSince1970, 0)
        return ClockReading(
            monotonic: .now(),
            // A double holds the time since 1970 to a quarter of a microsecond, which is finer than clocks agree.
            wall: Timestamp(nanoseconds: UInt64(seconds * 1e9))
        )
    }
}

extension Instant {
    /// What this machine's monotonic clock says now.
    package static func now() -> Instant {
        Instant(nanoseconds: NIODeadline.now().uptimeNanoseconds)
    }
}

/// What this process has used.
enum ProcessTime {
    /// Processor time of all threads so far, in microseconds.
    static var cpuMicroseconds: UInt64 {
        UInt64(max(clock(), 0)) * 1_000_000 / UInt64(CLOCKS_PER_SEC)
    }
}

/// Lets one log line a second through, since what an attacker can cause must not fill the disk.
struct LogLimiter {
    private var next = Instant(nanoseconds: 0)
    private var suppressed = 0

    /// Whether a line may be written now.
    ///
    /// - Returns: How many were held back since the last one; nil when this one is too.
    mutating func admit(_ now: Instant) -> Int? {
        guard now >= next else {
            suppressed += 1
            return nil
        }
        next = now.advanced(byNanoseconds: 1_000_000_000)
        defer { suppressed = 0 }
        return suppressed
    }
}
