import Agreement
import Cryptography
import Messages
import Synchronization

/// Records what a test replica is told.
final class TestRecorder {
    final class NotingSigner: Signer {
        private let signer: CheapSigner
        private let signed = Mutex<[RecordedSignature]>([])

        init(_ signer: CheapSigner) {
            self.signer = signer
        }

        func sign(_ message: [UInt8]) -> Signature {
            let signature = signer.sign(message)
            signed.withLock { $0.append(RecordedSignature(of: message, signature)) }
            return signature
        }

        func take() -> [RecordedSignature] {
            signed.withLock { signed in
                defer { signed = [] }
                return signed
            }
        }
    }

    let signer: NotingSigner
    private var writer = RecordingWriter()
    private(set) var bytes: [UInt8]
    /// Where each input begins.
    private(set) var starts: [Int] = []

    /// Begins the recording of an engine that was just made with the signer.
    init(of configuration: ReplicaConfiguration, recovering recovery: Recovery? = nil, signer: NotingSigner) {
        self.signer = signer
        let start = RecordedStart(of: configuration, recovering: recovery, signatures: signer.take())
        bytes = RecordingWriter.header(of: start) ?? []
    }

    func add(_ input: Input, now: ClockReading, effects: ArraySlice<Effect>) {
        starts.append(bytes.count)
        _ = writer.append(input, now: now, signatures: signer.take(), effects: effects, to: &bytes)
    }
}
