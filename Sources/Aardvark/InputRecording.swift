import Agreement
import Cryptography
import Dispatch
import Foundation
import Logging
import Synchronization

/// A file that takes the inputs of one replica's engine, so that `aardvark-lab replay` can step through the same run.
///
/// It is written on a thread of its own, from a bounded backlog. When the disk is full, fails or cannot keep up, the recording ends with
/// a line in the log and the replica goes on; what the file has by then can be replayed. It holds what clients asked for, and no keys.
public final class InputRecording: Sendable {
    private struct State {
        var backlog = 0
        var isOpen = true
    }

    /// How many bytes may wait for the disk.
    private static let mostBacklog = 64 << 20

    private let path: String
    private let handle: FileHandle
    private let logger: Logger
    private let queue = DispatchQueue(label: "aardvark.recording")
    private let state = Mutex(State())

    /// Creates the file, which only the user may read.
    ///
    /// - Parameters:
    ///   - path: The file, which must not exist yet.
    ///   - logger: Told when the recording ends before the replica does.
    /// - Throws: When the file exists or cannot be created.
    public init(path: String, logger: Logger) throws(OperatorError) {
        handle = try FileAccess.create(path, what: "recording", mode: 0o600)
        self.path = path
        self.logger = logger
    }

    /// Hands bytes to the thread that writes them.
    ///
    /// - Returns: false when the recording has ended, so that nothing more need be handed in.
    func write(_ bytes: [UInt8]) -> Bool {
        let isLate = state.withLock { state -> Bool? in
            guard state.isOpen else { return nil }
            if state.backlog > Self.mostBacklog { return true }
            state.backlog += bytes.count
            return false
        }
        guard let isLate else { return false }
        guard !isLate else {
            end(because: "the disk does not keep up")
            return false
        }
        queue.async { self.put(bytes) }
        return true
    }

    private func put(_ bytes: [UInt8]) {
        defer { state.withLock { $0.backlog -= bytes.count } }
        // After a failure nothing more is written: a gap would make the rest worthless.
        guard state.withLock({ $0.isOpen }) else { return }
        do {
            try handle.write(contentsOf: bytes)
        } catch {
            end(because: FileAccess.reason(of: error))
        }
    }

    /// Ends the recording, and says why in the log.
    func end(because reason: String) {
        guard state.withLock({ $0.isOpen.exchange(with: false) }) else { return }
        logger.error("the recording ends here", metadata: ["file": "\(path)", "reason": "\(reason)"])
    }

    /// Waits until everything is written that was handed in, and closes the file.
    func finish() {
        queue.sync {
            state.withLock { $0.isOpen = false }
            try? handle.close()
        }
    }
}

extension Bool {
    /// Sets a new value and gives the old one.
    fileprivate mutating func exchange(with value: Bool) -> Bool {
        defer { self = value }
        return self
    }
}

/// Turns what happens at one replica into the bytes of its recording. On the replica's one thread.
final class InputRecorder {
    /// How many bytes are kept at the most before the end of a turn.
    private static let mostBytes = 1 << 20

    private let signer: RecordingSigner
    private let recording: InputRecording
    private var writer = RecordingWriter()
    private var bytes: [UInt8]
    private var isOpen = true
    private var isBegun = false

    /// Begins the recording of an engine that was just made. Nothing is written before the first turn.
    ///
    /// - Parameters:
    ///   - configuration: What the engine was told.
    ///   - recovery: What it goes on from; nil for the initial state.
    ///   - signer: What it signs with.
    ///   - recording: The file.
    init(
        of configuration: ReplicaConfiguration,
        recovering recovery: Recovery?,
        signer: RecordingSigner,
        into recording: InputRecording
    ) {
        self.recording = recording
        self.signer = signer
        let start = RecordedStart(of: configuration, recovering: recovery, signatures: signer.take())
        bytes = RecordingWriter.header(of: start) ?? []
        if bytes.isEmpty {
            isOpen = false
            recording.end(because: "the replica's protocol log is too long to be recorded")
        }
    }

    /// Adds an input and what it brought forth.
    func add(_ input: Input, now: ClockReading, effects: ArraySlice<Effect>) {
        let signatures = signer.take()
        guard isOpen else { return }
        isBegun = true
        guard writer.append(input, now: now, signatures: signatures, effects: effects, to: &bytes) else {
            write()
            isOpen = false
            return recording.end(because: "an input is too long to be recorded")
        }
        if bytes.count >= Self.mostBytes { write() }
    }

    /// Hands what there is to the file: at the end of a turn.
    func write() {
        guard isOpen, isBegun, !bytes.isEmpty else { return }
        isOpen = recording.write(bytes)
        bytes.removeAll(keepingCapacity: isOpen && bytes.count <= 2 * Self.mostBytes)
    }

    /// Writes the rest and closes the file. Without any input there is nothing to close yet: the replica could not listen, and may be
    /// run again.
    func finish() {
        guard isBegun else { return }
        write()
        recording.finish()
        isOpen = false
    }
}

/// A signer that keeps what it signs.
final class RecordingSigner: Signer {
    private let signer: any Signer
    private let signed = Mutex<[RecordedSignature]>([])

    init(_ signer: any Signer) {
        self.signer = signer
    }

    func sign(_ message: [UInt8]) -> Signature {
        let signature = signer.sign(message)
        signed.withLock { $0.append(RecordedSignature(of: message, signature)) }
        return signature
    }

    /// Takes out what was signed since the last time.
    func take() -> [RecordedSignature] {
        signed.withLock { signed in
            defer { signed.removeAll() }
            return signed
        }
    }
}
