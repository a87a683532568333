import Cryptography
import Messages
import Testing

@testable import Agreement

/// Recording an engine's inputs and stepping through them again.
struct RecordingTests {
    /// How far a recording goes, and what ends it.
    private struct Outcome: Equatable {
        var inputs: UInt64 = 0
        var executed = SequenceNumber.zero
        var view = View(0)
        var deviation: Replay.Deviation?
        var error: RecordingError?
        var unread = 0
    }

    private func replay(_ bytes: [UInt8], pieces: Int = 1 << 20) -> Outcome {
        var outcome = Outcome()
        var reader = RecordingReader()
        var rest = bytes[...]
        func feed() -> Bool {
            guard !rest.isEmpty else { return false }
            reader.feed(rest.prefix(pieces))
            rest = rest.dropFirst(pieces)
            return true
        }
        do throws(RecordingError) {
            var header: RecordedStart?
            while header == nil {
                header = try reader.readHeader()
                if header == nil, !feed() { break }
            }
            guard let header else {
                outcome.unread = reader.unread
                return outcome
            }
            var replay = Replay(of: header)
            while outcome.deviation == nil {
                guard let recorded = try reader.next() else {
                    if feed() { continue }
                    break
                }
                outcome.inputs += 1
                outcome.deviation = replay.step(recorded).deviation
            }
            outcome.executed = replay.replica.executed
            outcome.view = replay.replica.view
        } catch {
            outcome.error = error
        }
        outcome.unread = reader.unread
        return outcome
    }

    private static let everySwitch: [ProtocolSwitches] = {
        var toAll = ProtocolSwitches.unwatched
        toAll.dissemination = .all
        return [.pbft, .aardvark, .unwatched, toAll]
    }()

    /// Batches, checkpoints, and the loss of the primary.
    private func eventfulRun(_ switches: ProtocolSwitches) -> TestCluster {
        let cluster = TestCluster(keys: Keys(switches: switches), isRecorded: true)
        for replica in cluster.replicas {
            for peer in cluster.replicas where peer.id != replica.id { replica.peerConnected(peer.id.rawValue) }
        }
        cluster.openSessions()
        for number in 1...6 { cluster.run(["a\(number)"], ticket: UInt64(number)) }
        cluster.crashed = [0]
        cluster.client(2).submit("b", ticket: 1)
        cluster.deliverAll()
        cluster.advance(by: 20_000_000_000)
        return cluster
    }

    @Test(arguments: everySwitch)
    func `A recorded run with a view change is stepped through again`(switches: ProtocolSwitches) throws {
        let cluster = eventfulRun(switches)
        for replica in cluster.live {
            let recorder = try #require(replica.recorder)
            #expect(replica.view > View(0))
            #expect(replica.stable > .zero)
            let outcome = replay(recorder.bytes)
            #expect(outcome.error == nil)
            #expect(outcome.deviation == nil)
            #expect(outcome.unread == 0)
            #expect(outcome.inputs == UInt64(recorder.starts.count))
            #expect(outcome.executed == replica.executed)
            #expect(outcome.view == replica.view)
            #expect(replay(recorder.bytes, pieces: 97) == outcome, "however the bytes are handed in")
        }
    }

    @Test(arguments: everySwitch)
    func `A run that goes on from the store is stepped through again`(switches: ProtocolSwitches) throws {
        let cluster = eventfulRun(switches)
        for replica in cluster.live { replica.restart() }
        for replica in cluster.live {
            for peer in cluster.live where peer.id != replica.id { replica.peerConnected(peer.id.rawValue) }
        }
        cluster.deliverAll()
        cluster.advance(by: 20_000_000_000)
        cluster.client(2).submit("c", ticket: 2)
        cluster.deliverAll()
        cluster.advance(by: 20_000_000_000)
        for replica in cluster.live {
            let recorder = try #require(replica.recorder)
            var reader = RecordingReader()
            reader.feed(recorder.bytes)
            let start = try #require(try reader.readHeader())
            let recovery = try #require(start.recovery)
            #expect(!recovery.log.isEmpty)
            #expect(!recovery.records.isEmpty)
            #expect(replica.executed > recovery.executed)
            let outcome = replay(recorder.bytes)
            #expect(outcome.error == nil)
            #expect(outcome.deviation == nil)
            #expect(outcome.inputs == UInt64(recorder.starts.count))
            #expect(outcome.executed == replica.executed)
            #expect(outcome.view == replica.view)
        }
    }

    /// A primary that orders two batches: a recording of few bytes.
    private func shortRun() throws -> TestRecorder {
        let cluster = TestCluster(isRecorded: true)
        cluster.openSessions()
        return try #require(cluster[0].recorder)
    }

    @Test func `A recording that ends early is replayed up to there`() throws {
        let recorder = try shortRun()
        let first = try #require(recorder.starts.first)
        for end in recorder.bytes.indices {
            let outcome = replay(Array(recorder.bytes.prefix(end)))
            #expect(outcome.error == nil, "\(end)")
            #expect(outcome.deviation == nil, "\(end)")
            guard end >= first else {
                #expect(outcome.inputs == 0 && outcome.unread == end)
                continue
            }
            let whole = (recorder.starts.dropFirst() + [recorder.bytes.count]).prefix { $0 <= end }
            #expect(outcome.inputs == UInt64(whole.count), "\(end)")
            #expect(outcome.unread == end - (whole.last ?? first), "\(end)")
        }
    }

    @Test func `No changed byte goes unseen`() throws {
        let recorder = try shortRun()
        let first = try #require(recorder.starts.first)
        for place in recorder.bytes.indices {
            var bytes = recorder.bytes
            bytes[place] ^= UInt8(1 + place % 255)
            let outcome = replay(bytes)
            if place < first {
                #expect(outcome.inputs == 0, "\(place)")
                // A header that is said to be longer seems to end early.
                #expect(outcome.error != nil || outcome.unread == bytes.count, "\(place)")
            } else {
                let input = recorder.starts.prefix { $0 <= place }.count
                let start = UInt64(recorder.starts[input - 1])
                #expect(outcome.error == .damagedInput(UInt64(input), offset: start), "\(place)")
                #expect(outcome.inputs == UInt64(input - 1), "\(place)")
            }
        }
    }

    /// The recording with its inputs changed, checksums and all.
    private func rewritten(
        _ bytes: [UInt8],
        _ change: (UInt64, RecordedInput) -> RecordedInput
    ) throws -> [UInt8] {
        var reader = RecordingReader()
        reader.feed(bytes)
        let start = try #require(try reader.readHeader())
        var result = try #require(RecordingWriter.header(of: start))
        while let recorded = try reader.next() { #expect(change(reader.inputs, recorded).append(to: &result)) }
        return result
    }

    @Test func `Rewriting a recording as it is changes nothing`() throws {
        let recorder = try shortRun()
        #expect(try rewritten(recorder.bytes) { $1 } == recorder.bytes)
    }

    @Test func `A run with one other input deviates there`() throws {
        let recorder = try #require(eventfulRun(.unwatched)[1].recorder)
        var seen = 0
        for target in UInt64(1)...UInt64(recorder.starts.count) {
            var isChanged = false
            let bytes = try rewritten(recorder.bytes) { number, recorded in
                guard number == target, recorded.effects > 0 else { return recorded }
                switch recorded.input {
                // A verdict that was the other way round, and results of an execution that nobody asked for.
                case .requestChecked(.some, let source):
                    isChanged = true
                    return recorded.with(.requestChecked(nil, from: source))
                case .executed(let sequence, let results):
                    isChanged = true
                    return recorded.with(.executed(sequence.next, results: results))
                case .checkpointTaken(let sequence, _):
                    isChanged = true
                    return recorded.with(.checkpointTaken(sequence, root: .zero))
                default:
                    return recorded
                }
            }
            guard isChanged else { continue }
            seen += 1
            let outcome = replay(bytes)
            #expect(outcome.error == nil)
            #expect(outcome.deviation != nil)
            #expect(outcome.inputs == target)
        }
        #expect(seen >= 8)
    }

    @Test func `A signature that was not recorded makes the run deviate`() throws {
        let recorder = try #require(eventfulRun(.pbft)[1].recorder)
        var first: UInt64?
        let bytes = try rewritten(recorder.bytes) { number, recorded in
            guard !recorded.signatures.isEmpty, first == nil else { return recorded }
            first = number
            return recorded.with(recorded.input, signatures: [])
        }
        let outcome = replay(bytes)
        #expect(outcome.inputs == first)
        #expect(outcome.deviation == .otherEffects)
    }

    @Test func `An input that no shell gives ends the replay and not the program`() throws {
        let recorder = try shortRun()
        let results = [Array(repeating: [UInt8(1)], count: 3)]
        let impossible: [Input] = [
            .executed(SequenceNumber(1), results: results),
            .checkpointTaken(SequenceNumber(4), root: .zero),
            .stateInstalled(SequenceNumber(4), records: []),
            .peerConnected(ReplicaID(0)),
            .peerConnected(ReplicaID(9)),
            .message(
                .catchUp(CatchUp(view: View(0), standing: .active, executed: .zero, stable: .zero, prepared: .zero)),
                from: ReplicaID(0)
            ),
            .requestChecked(nil, from: .forwarded(by: ReplicaID(60))),
            .forwardRefused(Keys().evidence(of: Keys().request(1, number: 1), by: 0)),
            .forwardRefused(Keys().evidence(of: Keys().request(1, number: 1), by: 5)),
            .forwardRefused(
                Evidence(
                    .conflictingRequests(Keys().request(1, number: 1), Keys().request(1, number: 1, ["y"])),
                    clientKey: Keys.key(of: ClientID(1))
                )
            ),
        ]
        for input in impossible {
            let bytes = try rewritten(recorder.bytes) { $0 == 3 ? $1.with(input) : $1 }
            let outcome = replay(bytes)
            #expect(outcome.deviation == .unasked, "\(input)")
            #expect(outcome.inputs == 3, "\(input)")
        }
    }

    @Test func `What is no recording of this version is refused`() throws {
        let bytes = try shortRun().bytes
        var newer = bytes
        newer[8] = 5
        #expect(replay(newer).error == .otherFormat(5))
        newer[8] = 1
        #expect(replay(newer).error == .otherFormat(1))
        #expect(replay(Array("a file of something else".utf8)).error == .notARecording)
        #expect(replay([]) == Outcome())
        let name = Array("checkpoint_interval".utf8)
        let place = try #require(bytes.indices.first { bytes[$0...].starts(with: name) })
        var renamed = bytes
        renamed[place] = UInt8(ascii: "k")
        let prefix = 8 + 2 + 4
        let length = Int(renamed[10]) | Int(renamed[11]) << 8
        var checksum: [UInt8] = []
        checksum.append(littleEndian: Digest.of(Array(renamed[(prefix + 8)..<(prefix + 8 + length)])).prefix)
        renamed.replaceSubrange(prefix..<(prefix + 8), with: checksum)
        #expect(replay(renamed).error == .otherSettings("kheckpoint_interval"))
    }

    @Test func `The header has every setting`() {
        let limits = Mirror(reflecting: Limits()).children.count
        // Of the limits, those of the watch over the primary and of cached replies are several.
        let thresholds =
            Mirror(reflecting: RobustnessLimits.Monitoring()).children.count
            + Mirror(reflecting: RobustnessLimits.Resending()).children.count - 2
        let settings = limits + thresholds + Mirror(reflecting: ProtocolSwitches.pbft).children.count
        #expect(RecordingSettings.count == settings)
    }

    @Test func `The header says what the replica was told and went on from`() throws {
        var limits = Limits.small
        limits.pipelineDepth = 3
        limits.waitingReads = 17
        limits.clockToleranceNanoseconds = 5
        var switches = ProtocolSwitches.pbft
        switches.dissemination = .all
        let keys = Keys(faults: 2, clients: 5, switches: switches)
        let told = ReplicaConfiguration(
            size: keys.size,
            replica: ReplicaID(6),
            cluster: keys.cluster,
            switches: switches,
            limits: limits,
            clients: keys.genesis
        )
        var reader = RecordingReader()
        let signed = RecordedSignature(of: [1], CheapSigner.replica(ReplicaID(6)).sign([1]))
        let recovery = Recovery(
            executed: SequenceNumber(8),
            records: [SystemRecord(key: [1], value: [2, 3]), SystemRecord(key: [4], value: nil)],
            log: [
                .prepared(View(2), SequenceNumber(9), Digest.of([1])), .prepared(View(2), SequenceNumber(10), .zero),
            ],
            checkpoints: [Recovery.OwnCheckpoint(sequence: SequenceNumber(8), root: Digest.of([2]))]
        )
        let header = RecordingWriter.header(of: RecordedStart(of: told, recovering: recovery, signatures: [signed]))
        let bytes = try #require(header)
        reader.feed(bytes)
        let start = try #require(try reader.readHeader())
        #expect(RecordingWriter.header(of: start) == bytes)
        #expect(start.signatures == [signed])
        #expect(start.recovery?.executed == SequenceNumber(8))
        #expect(start.recovery?.records.count == 2)
        #expect(start.recovery?.log.map(\.sequence) == [SequenceNumber(9), SequenceNumber(10)])
        #expect(start.recovery?.checkpoints.map(\.root) == [Digest.of([2])])
        let read = start.configuration
        #expect(read.size == told.size)
        #expect(read.replica == told.replica)
        #expect(read.cluster == told.cluster)
        #expect(read.switches == told.switches)
        #expect(read.limits == told.limits)
        #expect(read.clients == told.clients)
        #expect(reader.unread == 0)
    }

    @Test func `Every kind of input survives its encoding`() throws {
        let keys = Keys()
        let request = keys.request(1, number: 1, ["op"])
        let checkpoint = keys.checkpoint(SequenceNumber(4), root: .zero, by: ReplicaID(2))
        let read = ReadRequest(tag: 7, wantsResult: true, operation: [1, 2, 3])
        let place = BatchPlace(
            view: View(1),
            sequence: SequenceNumber(9),
            digest: Digest.of([1]),
            executed: SequenceNumber(8)
        )
        let records = [SystemRecord(key: [1], value: [2, 3]), SystemRecord(key: [], value: nil)]
        let vote = Vote(.commit, view: View(1), sequence: SequenceNumber(2), digest: .zero)
        let inputs: [Input] = [
            .message(.vote(vote), from: ReplicaID(3)), .request(Unverified(request)), .read(read, from: ClientID(2)),
            .peerConnected(ReplicaID(1)), .turnEnded, .timePassed,
            .requestChecked(Verified(vouchingFor: request), from: .forwarded(by: ReplicaID(2))),
            .requestChecked(nil, from: .client(ClientID(1))), .batchChecked(place, valid: true),
            .forwardRefused(keys.evidence(of: request, by: 2)),
            .batchChecked(place, valid: false),
            .checkpointVerified(Verified(vouchingFor: checkpoint)),
            .executed(SequenceNumber(3), results: [[[1], []], []]),
            .checkpointTaken(SequenceNumber(4), root: Digest.of([2])),
            .stateInstalled(SequenceNumber(4), records: records),
        ]
        for input in inputs {
            var bytes: [UInt8] = [0xAA]
            input.append(to: &bytes)
            var again: [UInt8] = [0xAA]
            try Input(decoding: bytes, from: 1).append(to: &again)
            #expect(again == bytes, "\(input)")
            #expect(throws: MalformedMessage.self, "\(input)") { try Input(decoding: bytes + [0], from: 1) }
            for end in 1..<bytes.count {
                let cut = Array(bytes.prefix(end))
                #expect(throws: MalformedMessage.self, "\(input)") { try Input(decoding: cut, from: 1) }
            }
        }
    }
}

extension RecordedInput {
    fileprivate func with(_ input: Input, signatures: [RecordedSignature]? = nil) -> RecordedInput {
        RecordedInput(
            now: now,
            input: input,
            signatures: signatures ?? self.signatures,
            effects: effects,
            digest: digest
        )
    }
}
