import Cryptography
import Messages
import Testing

@testable import Aardvark
@testable import Agreement

/// Signatures checked on threads of their own.
@Suite(.timeLimit(.minutes(1)))
struct SignatureWorkersTests {
    private let cluster: ClusterID
    private let key: SigningKey

    init() throws {
        cluster = try #require(ClusterID(Array(repeating: 9, count: ClusterID.byteCount)))
        key = try #require(SigningKey(seed: Array(repeating: 1, count: 32)))
    }

    /// A check of a request of client 7, that somebody else has signed unless `isGenuine`.
    private func check(_ number: Int, isGenuine: Bool = true) throws -> RequestCheck {
        let signer = isGenuine ? key : try #require(SigningKey(seed: Array(repeating: 2, count: 32)))
        let request = Request(
            client: ClientID(7),
            session: SessionID(1),
            number: RequestNumber(UInt64(number)),
            operations: [[1, 2, 3]],
            authenticator: .signature(signer, cluster: cluster)
        )
        return RequestCheck(Unverified(request), under: key.publicKey)
    }

    /// What comes of some work, when all of it is done.
    private func verdicts(
        _ count: Int,
        threads: Int,
        _ work: (SignatureWorkers) throws -> Void
    ) async throws -> [SignatureWorkers.Verdict] {
        let (news, new) = AsyncStream.makeStream(of: Void.self)
        let workers = SignatureWorkers(threads: threads, cluster: cluster) { new.yield() }
        try work(workers)
        var verdicts: [SignatureWorkers.Verdict] = []
        for await _ in news {
            verdicts += workers.take()
            if verdicts.count >= count { break }
        }
        await workers.stop()
        return verdicts + workers.take()
    }

    @Test(arguments: [1, 2, 5])
    func `each request has its own verdict, and its source`(threads: Int) async throws {
        let forged: Set = [3, 20, 39]
        let found = try await verdicts(40, threads: threads) { workers in
            workers.check(
                try (1...40).map { number in
                    let check = try check(number, isGenuine: !forged.contains(number))
                    return (check, number == 5 ? .forwarded(by: ReplicaID(2)) : .client(ClientID(1)))
                }
            )
        }
        var valid: Set<Int> = []
        var refused = 0
        for verdict in found {
            guard case .request(let request, let check, let source) = verdict else {
                Issue.record("no batch was checked")
                continue
            }
            let number = Int(check.request.claim.number.rawValue)
            if let request {
                #expect(request.value.digest == check.request.claim.digest)
                #expect(valid.insert(number).inserted)
                #expect(source == (number == 5 ? .forwarded(by: ReplicaID(2)) : .client(ClientID(1))))
            } else {
                #expect(forged.contains(number))
                refused += 1
            }
        }
        #expect(valid == Set(1...40).subtracting(forged))
        #expect(refused == forged.count)
    }

    @Test(arguments: [nil, 1, 17, 40] as [Int?])
    func `a batch is valid when all of its requests are, wherever the forged one is`(forged: Int?) async throws {
        let place = BatchPlace(view: View(1), sequence: SequenceNumber(2), digest: .zero, executed: .zero)
        let other = BatchPlace(view: View(1), sequence: SequenceNumber(3), digest: .zero, executed: .zero)
        let found = try await verdicts(2, threads: 3) { workers in
            workers.check(try (1...40).map { try check($0, isGenuine: $0 != forged) }, of: place)
            workers.check([try check(41)], of: other)
        }
        var results: [BatchPlace: Bool] = [:]
        for case .batch(let place, let isValid) in found { results[place] = isValid }
        #expect(found.count == 2)
        #expect(results == [place: forged == nil, other: true])
    }

    @Test func `a request without a signature is not valid`() throws {
        let shared = try #require(PairwiseKey(own: key, peer: key.publicKey, cluster: cluster))
        let request = Request(
            client: ClientID(7),
            session: SessionID(1),
            number: RequestNumber(1),
            operations: [[1]],
            authenticator: .macVector([shared, shared, shared, shared])
        )
        let check = RequestCheck(Unverified(request), under: key.publicKey)
        #expect(check.verifiedBySignature(in: cluster) == nil)
    }

    @Test func `threads are used where processors are left`() {
        #expect(SignatureWorkers.recommended(processors: 1, replicasOnMachine: 1) == 0)
        #expect(SignatureWorkers.recommended(processors: 2, replicasOnMachine: 4) == 0)
        #expect(SignatureWorkers.recommended(processors: 2, replicasOnMachine: 1) == 1)
        #expect(SignatureWorkers.recommended(processors: 16, replicasOnMachine: 4) == 3)
        #expect(SignatureWorkers.recommended(processors: 512, replicasOnMachine: 1) == 16)
    }
}
