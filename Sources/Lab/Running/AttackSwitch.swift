import Foundation
import Synchronization
import UnixSignals

/// What a process of the lab that attacks is told by it, and tells it: SIGUSR1 begins the attack, SIGUSR2 ends it; how often it did
/// something stands in a file then.
final class AttackSwitch: Sendable {
    /// Whether the attack is on.
    let isOn = Atomic(false)
    private let actions = Atomic<UInt64>(0)
    private let path: String

    /// Reports to a file.
    init(reportingTo path: String) {
        self.path = path
    }

    /// The behaviours did something so many times more.
    func count(_ actions: UInt64) {
        if actions > 0 { self.actions.add(actions, ordering: .relaxed) }
    }

    /// Writes how often the behaviours did something. Clients do so too when they are ready to attack.
    func report() throws {
        try Data("\(actions.load(ordering: .relaxed))\n".utf8).write(to: URL(filePath: path), options: .atomic)
    }

    /// What a process reported to a file; nil when it did not.
    static func actions(reportedTo path: String) -> UInt64? {
        (try? String(contentsOfFile: path, encoding: .utf8)).flatMap { UInt64($0.dropLast()) }
    }

    /// The signals that an attacking process gets, from now on.
    static var signals: UnixSignalsSequence {
        get async { await UnixSignalsSequence(trapping: .sigusr1, .sigusr2, .sigint, .sighup) }
    }

    /// Begins and ends the attack as signals say.
    func follow(_ signals: UnixSignalsSequence) async {
        for await signal in signals {
            switch signal {
            case .sigusr1:
                isOn.store(true, ordering: .relaxed)
            case .sigusr2:
                isOn.store(false, ordering: .relaxed)
                // Without a report the lab says that the attack never took place.
                try? report()
            default: break
            }
        }
    }

    /// Ends this process as soon as nobody holds the other end of its standard input.
    static func endWithParent() {
        // A thread that waits in read(2): a dispatch source on a pipe that is hung up crashes libdispatch on Linux.
        Thread.detachNewThread {
            while let bytes = try? FileHandle.standardInput.read(upToCount: 4_096), !bytes.isEmpty {}
            Foundation.exit(0)
        }
    }
}
