import Dispatch

/// The time that a load generator measures with; a test hands it one that it turns by hand.
public struct LoadClock: Sendable {
    /// The time since an origin of the clock's own, in nanoseconds; never goes back.
    public let now: @Sendable () -> UInt64

    /// Returns at the given time or soon after it; throws `CancellationError` when the task is cancelled.
    public let sleep: @Sendable (_ until: UInt64) async throws -> Void

    /// Describes a clock.
    ///
    /// - Parameters:
    ///   - now: The time in nanoseconds; never goes back.
    ///   - sleep: Waits until a time in nanoseconds.
    public init(
        now: @escaping @Sendable () -> UInt64,
        sleep: @escaping @Sendable (_ until: UInt64) async throws -> Void
    ) {
        self.now = now
        self.sleep = sleep
    }

    /// The machine's monotonic clock. (Not `ContinuousClock`: its 128-bit durations cost divisions for every
    /// operation.)
    public static let monotonic = LoadClock(
        now: { DispatchTime.now().uptimeNanoseconds },
        sleep: { deadline in
            let now = DispatchTime.now().uptimeNanoseconds
            try await Task.sleep(nanoseconds: deadline > now ? deadline - now : 0)
        }
    )
}
