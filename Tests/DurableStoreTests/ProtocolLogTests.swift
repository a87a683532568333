import Messages
import StateStore
import Testing

@testable import Agreement
@testable import DurableStore

/// The protocol log: what is durable, what a restart finds, what is forgotten.
struct ProtocolLogTests {
    @Test(arguments: [Durability.powerLoss, .processCrash])
    func `records are found again in their order`(durability: Durability) throws {
        let workplace = try Workplace()
        let records = try [
            Records.prePrepared(1), Records.prePrepared(2), Records.prepared(1), Records.viewChange(1),
            Records.newView(1), Records.prePrepared(2, view: 1), Records.prepared(2, view: 1),
        ]
        let reports = Reports()
        var store = try workplace.open(durability: durability) { reports.add($0) }
        #expect(store.takeRecovered().isEmpty)
        store.log.add(records)
        #expect(reports.durable.last == 7)
        // As if the process had been killed.
        store.abandon()
        store = try workplace.open(durability: durability)
        #expect(store.takeRecovered().map(\.encoded) == records.map(\.encoded))
        try store.close()
    }

    @Test func `a stable checkpoint makes what is up to it needless, and a later record the earlier of its kind`()
        throws
    {
        let workplace = try Workplace()
        var store = try workplace.open()
        let position = store.log.add(
            try [
                Records.viewChange(1), Records.newView(1), Records.prePrepared(4), Records.prePrepared(6),
                Records.prepared(4), Records.stable(2), Records.prePrepared(5), Records.viewChange(2),
            ]
        )
        store.log.add(try [Records.stable(4), Records.prepared(6)], after: position)
        try store.close()
        store = try workplace.open()
        let expected = try [
            Records.newView(1), Records.prePrepared(6), Records.prePrepared(5), Records.viewChange(2),
            Records.stable(4),
            Records.prepared(6),
        ]
        #expect(store.takeRecovered().map(\.encoded) == expected.map(\.encoded))
        // The engine counts on from what it was given; on disk the order stays.
        store.log.add([Records.prePrepared(7)], after: UInt64(expected.count))
        try store.close()
        store = try workplace.open()
        #expect(store.takeRecovered().map(\.encoded) == (expected + [Records.prePrepared(7)]).map(\.encoded))
        try store.close()
    }

    @Test func `everything that waits becomes durable together, and is reported in order`() throws {
        let workplace = try Workplace()
        let reports = Reports()
        let store = try workplace.open { reports.add($0) }
        for sequence in UInt64(1)...500 {
            store.log.append(Records.prePrepared(sequence), at: LogPosition(rawValue: sequence))
            if sequence % 3 == 0 { store.log.commit() }
        }
        _ = store.state.checkpoint(1)
        store.log.coverCheckpoint(1)
        store.log.finish()
        #expect(reports.durable.last == 500)
        #expect(reports.durable == reports.durable.sorted())
        #expect(Set(reports.durable).count == reports.durable.count)
        #expect(reports.checkpoints == [1])
        #expect(reports.failures.isEmpty)
        try store.close()
        let again = try workplace.open()
        #expect(again.takeRecovered().count == 500)
        #expect(again.state.lastCheckpoint == 1)
        try again.close()
    }
}
