import Messages
import Testing

@testable import Agreement

/// The five steps of admission, and who is blamed.
struct AdmissionTests {
    private static func name(_ client: UInt32, _ number: UInt64, session: UInt64 = 1) -> WatchedRequest {
        WatchedRequest(client: ClientID(client), session: SessionID(session), number: RequestNumber(number))
    }

    private static func at(milliseconds: UInt64) -> Instant { Instant(nanoseconds: milliseconds * 1_000_000) }

    private var admission = Admission(window: 8, limits: .init())

    private mutating func judge(
        _ request: WatchedRequest,
        from sender: Admission.Sender,
        _ standing: Admission.Standing,
        backupIn view: View? = View(3),
        milliseconds: UInt64 = 0
    ) -> Admission.Verdict {
        admission.judge(
            request,
            from: sender,
            standing: standing,
            backupIn: view,
            now: Self.at(milliseconds: milliseconds)
        )
    }

    @Test mutating func `a new request is checked, one of no use is not`() {
        let own = judge(Self.name(1, 1), from: .client(ClientID(1)), .new)
        let forwarded = judge(Self.name(1, 1), from: .replica(ReplicaID(2)), .new)
        let useless = judge(Self.name(1, 1), from: .client(ClientID(1)), .useless)
        #expect(own == .check && forwarded == .check && useless == .discard(.useless))
    }

    @Test mutating func `a client that claims to be another one frames nobody`() {
        for standing: Admission.Standing in [.new, .verified(isNext: true), .answered, .useless] {
            let verdict = judge(Self.name(1, 1), from: .client(ClientID(2)), standing)
            #expect(verdict == .discard(.foreign), "not even its cached reply is sent")
        }
        #expect(admission.blacklistedClients.isEmpty)
        let victim = judge(Self.name(1, 1), from: .client(ClientID(1)), .new)
        #expect(victim == .check)
    }

    @Test mutating func `a wrong signature closes the client's own channel and nothing else`() {
        let isBlamed = admission.blame(.client(ClientID(1)), for: .signature, isOwnEpoch: true)
        #expect(isBlamed && admission.isBlacklisted(.client(ClientID(1))))
        for standing: Admission.Standing in [.new, .verified(isNext: true), .answered] {
            let direct = judge(Self.name(1, 1), from: .client(ClientID(1)), standing)
            #expect(direct == .discard(.blacklisted))
        }
        let forwarded = judge(Self.name(1, 1), from: .replica(ReplicaID(2)), .new)
        #expect(forwarded == .check, "or one client could make correct primaries look unfair")
        let other = judge(Self.name(2, 1), from: .client(ClientID(2)), .new)
        #expect(other == .check)
        admission.forget(ClientID(1))
        #expect(!admission.isBlacklisted(.client(ClientID(1))), "a new key is a new start")
    }

    @Test mutating func `a forwarder of a wrong signature is blamed in its client's place`() {
        let isBlamed = admission.blame(.replica(ReplicaID(2)), for: .signature, isOwnEpoch: true)
        #expect(isBlamed && admission.isBlacklisted(.replica(ReplicaID(2))))
        #expect(!admission.isBlacklisted(.client(ClientID(1))) && !admission.isBlacklisted(.replica(ReplicaID(3))))
        let forwarded = judge(Self.name(1, 1), from: .replica(ReplicaID(2)), .new)
        let own = judge(Self.name(1, 1), from: .client(ClientID(1)), .new)
        #expect(forwarded == .discard(.blacklisted) && own == .check)
    }

    @Test mutating func `a MAC that fails for me, or another key epoch, blames nobody`() {
        for sender: Admission.Sender in [.client(ClientID(1)), .replica(ReplicaID(2))] {
            let forMAC = admission.blame(sender, for: .macVector, isOwnEpoch: true)
            let forEpoch = admission.blame(sender, for: .signature, isOwnEpoch: false)
            #expect(!forMAC && !forEpoch && !admission.isBlacklisted(sender))
        }
    }

    // MARK: Once in a view

    @Test
    mutating func
        `a verified request is forwarded once in a view, by backups only, and only when it is its client's next`()
    {
        let request = Self.name(1, 4)
        let early = judge(request, from: .client(ClientID(1)), .verified(isNext: false))
        let first = judge(request, from: .client(ClientID(1)), .verified(isNext: true))
        let again = judge(request, from: .client(ClientID(1)), .verified(isNext: true))
        let inNext = judge(request, from: .client(ClientID(1)), .verified(isNext: true), backupIn: View(4))
        let primary = judge(Self.name(2, 1), from: .client(ClientID(2)), .verified(isNext: true), backupIn: nil)
        let forwarded = judge(Self.name(2, 1), from: .replica(ReplicaID(1)), .verified(isNext: true))
        #expect(early == .discard(.actedOnAlready) && first == .act && again == .discard(.actedOnAlready))
        #expect(inNext == .act && primary == .discard(.actedOnAlready) && forwarded == .discard(.actedOnAlready))
        let forwards = [
            admission.mayForward(Self.name(1, 5), in: View(4)), admission.mayForward(Self.name(1, 5), in: View(4)),
            admission.mayForward(Self.name(1, 4), in: View(4)),
            admission.mayForward(Self.name(1, 1, session: 2), in: View(4)),
            admission.mayForward(Self.name(3, 1), in: View(4)),
        ]
        #expect(forwards == [true, false, false, true, true])
    }

    // MARK: Cached replies

    @Test mutating func `a cached reply is sent again once in each of slots that double`() {
        var sent: [UInt64] = []
        for milliseconds: UInt64 in stride(from: 0, through: 60_000, by: 10) {
            let verdict = judge(Self.name(1, 3), from: .client(ClientID(1)), .answered, milliseconds: milliseconds)
            if verdict == .resend { sent.append(milliseconds) }
        }
        #expect(sent == [0, 100, 300, 700, 1_500, 3_100, 6_300, 12_700, 25_500, 38_300, 51_100])
    }

    @Test mutating func `each reply of a window has slots of its own, and a new request starts anew`() {
        for number: UInt64 in 1...8 {
            let verdict = judge(Self.name(1, number), from: .client(ClientID(1)), .answered)
            #expect(verdict == .resend)
        }
        let again = judge(Self.name(1, 2), from: .client(ClientID(1)), .answered, milliseconds: 99)
        let inPlace = judge(Self.name(1, 10), from: .client(ClientID(1)), .answered, milliseconds: 99)
        let other = judge(Self.name(2, 10), from: .client(ClientID(2)), .answered, milliseconds: 99)
        #expect(again == .discard(.resentAlready) && inPlace == .resend && other == .resend)
    }

    @Test mutating func `a flood of repetitions costs few replies, whoever hands them on`() {
        var replies = 0
        for step: UInt64 in 0..<20_000 {
            let sender: Admission.Sender = step % 2 == 0 ? .client(ClientID(1)) : .replica(ReplicaID(1))
            if judge(Self.name(1, 1 + step % 8), from: sender, .answered, milliseconds: step) == .resend {
                replies += 1
            }
        }
        #expect(replies > 8 && replies <= 8 * 9)
    }
}
