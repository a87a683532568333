import Cryptography
import Messages

/// Batches up to the low water mark: a peer that missed a moment executes these, which takes less of everybody's time than a state transfer
/// to a target that moves on with each checkpoint.
struct PastBatches: Sendable {
    /// Without gaps, in order.
    private var batches: [(batch: Batch, bytes: Int)] = []
    /// How many of the first ones are no longer kept.
    private var dropped = 0
    /// The last one.
    private(set) var last = SequenceNumber.zero
    private var bytes = 0

    private var first: UInt64 { last.rawValue - UInt64(batches.count - dropped) + 1 }

    /// Takes the committed batches that the log is about to forget. One that is not here ends what came before it.
    mutating func take(from log: borrowing MessageLog, upTo sequence: SequenceNumber, limits: Limits) {
        guard limits.pastBatches > 0 else { return }
        var next = log.low.next
        while next <= sequence, log.contains(next), let batch = log[next].committed {
            if next != last.next { forget() }
            let size = batch.encodedByteCount
            batches.append((batch, size))
            bytes += size
            last = next
            next = next.next
        }
        while batches.count - dropped > limits.pastBatches || bytes > limits.pastBytes {
            bytes -= batches[dropped].bytes
            batches[dropped] = (.null, 0)
            dropped += 1
        }
        // Moved together rarely, so that it costs little for each.
        if dropped > batches.count / 2 {
            batches.removeFirst(dropped)
            dropped = 0
        }
    }

    private mutating func forget() {
        batches.removeAll(keepingCapacity: true)
        dropped = 0
        bytes = 0
    }

    /// What was executed after a number, if the batch after it is here.
    func committed(after sequence: SequenceNumber, atMost count: Int) -> [Committed] {
        guard sequence < last, sequence.next.rawValue >= first else { return [] }
        let index = dropped + Int(sequence.next.rawValue - first)
        return batches[index...].prefix(count).enumerated().map { offset, entry in
            Committed(SequenceNumber(sequence.next.rawValue + UInt64(offset)), entry.batch.digest)
        }
    }

    /// A batch by its number and its digest.
    func batch(_ sequence: SequenceNumber, _ digest: Digest) -> Batch? {
        guard sequence <= last, sequence.rawValue >= first else { return nil }
        let batch = batches[dropped + Int(sequence.rawValue - first)].batch
        return batch.digest == digest ? batch : nil
    }

    /// Adds what is held to a footprint.
    func add(to footprint: inout Footprint, _ limits: Limits) {
        footprint.add("past batches", batches.count - dropped, atMost: limits.pastBatches)
        footprint.add("bytes of past batches", bytes, atMost: limits.pastBytes)
    }
}

/// What a replica has found out of the batches from the last one that it executed to the low water mark.
struct MissedBatches: Sendable {
    private struct Slot {
        var said = VoteTally()
        var batch: Batch?
    }

    private var slots: [SequenceNumber: Slot] = [:]
    /// Up to which number the content was asked for.
    private var asked = SequenceNumber.zero
    /// Whether a peer that was asked for a content did not send it in time: from then on all are asked.
    var asksAll = false
    /// When peers are asked for more; nil for now.
    var nextQuestion: Instant?
    /// What was executed when they were asked last, and how often nothing more was executed by the next time.
    var executed: SequenceNumber?
    var questionsInVain = 0
    var questions = 0

    /// After how many questions in vain the state is fetched.
    static let mostQuestionsInVain = 5
    /// After how many questions altogether: the others are too fast, or answer too little at a time.
    static let mostQuestions = 64

    /// Keeps a committed batch that the log is about to forget.
    mutating func keep(_ batch: Batch, at sequence: SequenceNumber) {
        slots[sequence, default: Slot()].batch = batch
    }

    /// Notes what a peer says is committed.
    ///
    /// - Returns: nil when it has said so before; otherwise whether it contradicts nothing that it said before.
    mutating func note(_ committed: Committed, from peer: ReplicaID) -> Bool? {
        if slots[committed.sequence, default: Slot()].said.add(committed.digest, from: peer) { return true }
        return slots[committed.sequence]?.said.votes(for: committed.digest).contains(peer) == true ? nil : false
    }

    /// The digest that f + 1 peers, one of them correct, say is committed, or whose content was kept.
    func digest(_ sequence: SequenceNumber, weakQuorum: Int) -> Digest? {
        guard let slot = slots[sequence] else { return nil }
        return slot.batch?.digest ?? slot.said.digest(with: weakQuorum)
    }

    /// The content, when it is here.
    func batch(_ sequence: SequenceNumber, weakQuorum: Int) -> Batch? {
        guard let slot = slots[sequence] else { return nil }
        return slot.batch ?? (slot.said.digest(with: weakQuorum) == .zero ? .null : nil)
    }

    /// Whether every digest after a number and up to another is known.
    func isKnown(after executed: SequenceNumber, upTo last: SequenceNumber, weakQuorum: Int) -> Bool {
        // What was asked for is known.
        var next = max(executed, asked)
        while next < last {
            next = next.next
            if digest(next, weakQuorum: weakQuorum) == nil { return false }
        }
        return true
    }

    /// The content of a batch came.
    ///
    /// - Returns: false when it is not wanted.
    mutating func take(_ body: BatchBody, weakQuorum: Int) -> Bool {
        guard let slot = slots[body.sequence], slot.batch == nil,
            slot.said.digest(with: weakQuorum) == body.batch.digest
        else { return false }
        slots[body.sequence]?.batch = body.batch
        return true
    }

    /// What to ask for next, and whom: those who say that they have it.
    mutating func questions(
        after executed: SequenceNumber,
        upTo last: SequenceNumber,
        weakQuorum: Int
    ) -> [(sequence: SequenceNumber, digest: Digest, holders: VoteSet)] {
        asked = max(asked, executed)
        var questions: [(sequence: SequenceNumber, digest: Digest, holders: VoteSet)] = []
        while asked < last, let digest = digest(asked.next, weakQuorum: weakQuorum) {
            asked = asked.next
            guard batch(asked, weakQuorum: weakQuorum) == nil, let slot = slots[asked] else { continue }
            questions.append((asked, digest, slot.said.votes(for: digest)))
        }
        return questions
    }

    /// What was asked for and has not come.
    func missing(weakQuorum: Int) -> [(sequence: SequenceNumber, digest: Digest)] {
        slots.keys.filter { $0 <= asked }.sorted().compactMap { sequence in
            guard batch(sequence, weakQuorum: weakQuorum) == nil else { return nil }
            return digest(sequence, weakQuorum: weakQuorum).map { (sequence, $0) }
        }
    }

    /// A batch was executed.
    mutating func forget(_ sequence: SequenceNumber) {
        if !slots.isEmpty { slots[sequence] = nil }
    }

    /// Adds what is held to a footprint.
    func add(to footprint: inout Footprint, _ limits: Limits, replicas: Int) {
        footprint.add("missed batches that are known", slots.count, atMost: limits.pastBatches)
        let bodies = slots.values.count { $0.batch != nil }
        footprint.add("missed batches that are here", bodies, atMost: limits.logWindow)
        let votes = slots.values.map(\.said.digests).max() ?? 0
        footprint.add("digests said of a missed batch", votes, atMost: replicas)
    }
}
