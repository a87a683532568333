import Agreement
import Messages
import Testing

@testable import Aardvark

struct HeldAnswersTests {
    private static func answer(_ tag: UInt64, bytes: Int) -> HeldAnswers.Answer {
        let reply = ReadReply(tag: tag, outcome: .result([UInt8](repeating: 1, count: bytes)))
        return HeldAnswers.Answer(reply: reply, client: ClientID(1))
    }

    @Test func `answers come out in their order, once what they rest on is durable`() {
        var held = HeldAnswers(most: 1_000)
        let positions = (1...3).map(LogPosition.init(recovered:))
        for (index, position) in positions.enumerated() {
            #expect(held.mustHold(until: position))
            let isHeld = held.hold(Self.answer(UInt64(index), bytes: 1), until: position)
            #expect(isHeld)
        }
        let first = held.release(upTo: positions[1])
        #expect(first.map(\.reply.tag) == [0, 1])
        #expect(!held.mustHold(until: positions[1]) && held.mustHold(until: positions[2]))
        let second = held.release(upTo: positions[2])
        #expect(second.map(\.reply.tag) == [2])
    }

    @Test func `what waits is bounded, and released answers make room`() {
        var held = HeldAnswers(most: 1_000)
        let position = LogPosition(recovered: 1)
        var taken: UInt64 = 0
        while held.hold(Self.answer(taken, bytes: 36), until: position) { taken += 1 }
        #expect(taken == 10)
        let released = held.release(upTo: position)
        #expect(released.count == 10)
        let isHeld = held.hold(Self.answer(0, bytes: 36), until: LogPosition(recovered: 2))
        #expect(isHeld)
    }
}
