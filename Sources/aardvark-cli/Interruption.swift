import Foundation
import Synchronization
import UnixSignals

/// Ctrl-C while something goes on that can end early: the first one asks for that, the second one ends the process.
final class Interruption: Sendable {
    private static let exitCode: Int32 = 128 + SIGINT

    private let requested = Atomic(false)

    private init() {}

    /// Takes Ctrl-C from here on, until the process ends.
    static func watch() async -> Interruption {
        let interruption = Interruption()
        let signals = await UnixSignalsSequence(trapping: .sigint)
        Task {
            for await _ in signals {
                if interruption.requested.exchange(true, ordering: .relaxed) { exit(exitCode) }
            }
        }
        return interruption
    }

    /// Whether Ctrl-C was pressed.
    var isRequested: Bool { requested.load(ordering: .relaxed) }
}
