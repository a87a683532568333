/// How long to wait before each new attempt: doubling, and partly random, so that those who were cut off together do
/// not come back together.
public struct BackOff: Sendable {
    /// The longest wait.
    public let longest: Duration

    private var current: Duration

    /// Waits that begin with `shortest` and double up to `longest`, each shortened at random by up to a half.
    public init(shortest: Duration = .milliseconds(50), longest: Duration = .seconds(1)) {
        self.longest = max(shortest, longest)
        current = shortest
    }

    /// How long to wait this time.
    ///
    /// - Parameter jitter: What part of the wait is kept: from 0, which keeps half of it, to 1.
    mutating func next(jitter: Double = .random(in: 0...1)) -> Duration {
        let wait = current * (0.5 + jitter / 2)
        current = min(current * 2, longest)
        return wait
    }
}
