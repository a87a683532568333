import Cryptography
import Invariants
import Messages

/// Batches up to the low water mark: a peer that missed a moment executes these, which takes less of everybody's time than a state transfer
/// to a target that moves on with each checkpoint.
struct PastBatches: Sendable {
    /// One as it is sent to a peer that asks for it: that takes less memory than its requests one by one, and as much as is counted.
    private struct Entry: Sendable {
        let digest: Digest
        let encoded: [UInt8]
    }

    /// Without gaps, in order.
    private var batches: [Entry] = []
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
            // A null batch is known by its digest.
            let encoded = batch.digest == .zero ? [] : BatchBody(sequence: next, batch: batch).encoded
            batches.append(Entry(digest: batch.digest, encoded: encoded))
            bytes += encoded.count
            last = next
            next = next.next
        }
        while batches.count - dropped > limits.pastBatches || bytes > limits.pastBytes {
            bytes -= batches[dropped].encoded.count
            batches[dropped] = Entry(digest: .zero, encoded: [])
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
            Committed(SequenceNumber(sequence.next.rawValue + UInt64(offset)), entry.digest)
        }
    }

    /// A batch by its number and its digest.
    func batch(_ sequence: SequenceNumber, _ digest: Digest) -> Batch? {
        guard sequence <= last, sequence.rawValue >= first else { return nil }
        let entry = batches[dropped + Int(sequence.rawValue - first)]
        guard entry.digest == digest, !entry.encoded.isEmpty else { return nil }
        guard let message = try? PeerMessage(decoding: entry.encoded, in: entry.encoded.indices),
            case .batch(let body) = message
        else { invariantViolated("a batch that cannot be read again") }
        return body.batch
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
    /// What was executed when they were asked last, and how often nothing more was executed by the next time, or not all that should have
    /// been.
    private var executed: SequenceNumber?
    private(set) var questionsInVain = 0
    private var questionsShort = 0

    /// Up to which number contents are asked for until peers are asked again.
    private(set) var paced = SequenceNumber.zero
    /// How many of the missed batches are executed from one question to the next, and the low water mark at the last one.
    private var share: UInt64 = 0
    private var low: SequenceNumber?
    /// How often in turn the mark has not moved from one question to the next.
    private var questionsAtRest = 0

    /// After how many questions in vain the state is fetched.
    private static let mostQuestionsInVain = 5
    /// After how many that brought too little: the others are too fast, or answer too little at a time.
    private static let mostQuestionsShort = 64
    /// In how many questions' time it is all made up for: what is missing is a fault that the others can bear, but where they share this
    /// replica's processors or network they cannot bear that it is made up for as fast as it can be.
    private static let questionsForAll: UInt64 = 160
    /// After how many questions the others count as not moving on: they may take several for a checkpoint interval.
    private static let restfulQuestions = 5

    /// Peers are about to be asked again.
    ///
    /// - Returns: false when this leads nowhere.
    mutating func goesOn(executed now: SequenceNumber, isExecuting: Bool, upTo last: SequenceNumber) -> Bool {
        questionsInVain = executed == now && !isExecuting ? questionsInVain + 1 : 0
        if now < min(paced, last) { questionsShort += 1 }
        executed = now
        return questionsInVain < Self.mostQuestionsInVain && questionsShort <= Self.mostQuestionsShort
    }

    /// Peers are asked: so many batches of what is missing, and as many as have been added to it meanwhile, are fetched until they are
    /// asked again; all, when it is little, or when the others have not moved on, as with little load, or when they wait for this replica.
    mutating func pace(after executed: SequenceNumber, upTo last: SequenceNumber, logWindow: UInt64) {
        let behind = last.rawValue - executed.rawValue
        share = max(share, logWindow / 2, behind / Self.questionsForAll)
        let added = last.rawValue - (low ?? last).rawValue
        questionsAtRest = low == last ? questionsAtRest + 1 : 0
        low = last
        let isAll = behind <= 4 * logWindow || questionsAtRest >= Self.restfulQuestions
        paced = SequenceNumber(executed.rawValue + (isAll ? behind : share + added))
    }

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
