import Cryptography
import NIOCore
import NIOEmbedded
import Testing

@testable import Transport

struct PartsTests {
    @Test func `Waits double up to the longest, and jitter shortens them by half at most`() {
        var backOff = BackOff(shortest: .milliseconds(50), longest: .milliseconds(300))
        let longest = (0..<5).map { _ in backOff.next(jitter: 1) }
        #expect(longest == [50, 100, 200, 300, 300].map { .milliseconds($0) })
        #expect(backOff.next(jitter: 0) == .milliseconds(150))
        for _ in 0..<100 {
            #expect((.milliseconds(150) ... .milliseconds(300)).contains(backOff.next()))
        }
    }

    @Test func `The budget of handshakes allows a burst, and then one for each interval`() {
        var budget = HandshakeBudget()
        let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
        for _ in 0..<HandshakeBudget.burst {
            #expect(budget.allows(.client(1), at: start))
            budget.charge(.client(1), at: start)
        }
        #expect(!budget.allows(.client(1), at: start))
        #expect(budget.allows(.client(2), at: start))
        let later = start + HandshakeBudget.interval
        #expect(!budget.allows(.client(1), at: later - .nanoseconds(1)))
        #expect(budget.allows(.client(1), at: later))
        budget.charge(.client(1), at: later)
        #expect(!budget.allows(.client(1), at: later))
        let muchLater = start + .hours(1)
        for _ in 0..<HandshakeBudget.burst {
            #expect(budget.allows(.client(1), at: muchLater))
            budget.charge(.client(1), at: muchLater)
        }
        #expect(!budget.allows(.client(1), at: muchLater))
    }

    @Test func `A flood of connections is accepted at a bounded rate, and nobody who waits is forgotten`() throws {
        let reads = CountingReads()
        let channel = EmbeddedChannel(handlers: [reads, AcceptGate()])
        // As a listening socket does it: each read that gets through accepts one, and asks for the next.
        func accept(_ most: Int) throws -> Int {
            var accepted = 0
            while accepted < most {
                let before = reads.count
                channel.read()
                guard reads.count > before else { break }
                accepted += 1
                channel.pipeline.syncOperations.fireChannelRead(NIOAny(ByteBuffer()))
            }
            return accepted
        }
        #expect(try accept(1_000) == Int(AcceptGate.burst))
        // A read that was put off gets through by itself when a rest has paid for it.
        let before = reads.count
        channel.embeddedEventLoop.advanceTime(by: AcceptGate.interval)
        #expect(reads.count == before + 1)
        channel.pipeline.syncOperations.fireChannelRead(NIOAny(ByteBuffer()))
        #expect(try accept(10) == 0)
        channel.embeddedEventLoop.advanceTime(by: .seconds(10))
        channel.pipeline.syncOperations.fireChannelRead(NIOAny(ByteBuffer()))
        #expect(try accept(1_000) == Int(AcceptGate.burst) - 1)
    }

    @Test func `A queue of frames gives back what was put in, in order`() {
        var queue = FrameQueue()
        var next: UInt64 = 0
        var expected: UInt64 = 0
        // More in than out, then more out than in: over the bounds at which the queue tidies up.
        for round in 0..<4000 {
            for _ in 0..<(round < 2000 ? 3 : 1) {
                queue.append(bytes(of: next))
                next += 1
            }
            for _ in 0..<(round < 2000 ? 1 : 3) where expected < next {
                #expect(queue.popFirst() == bytes(of: expected))
                expected += 1
            }
        }
        #expect(queue.popFirst() == nil)
        #expect(expected == next)
        #expect(queue.byteCount == 0)
    }

    private func bytes(of number: UInt64) -> [UInt8] {
        (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
    }

    @Test func `A plaintext splits into its messages, and the rest of a broken one into none`() {
        let text = plaintext([[1], [2, 3], Array(repeating: 4, count: 70_000)])
        let messages = MessageRanges(text).map { Array(text[$0]) }
        #expect(messages == [[1], [2, 3], Array(repeating: 4, count: 70_000)])
        #expect(MessageRanges.count(in: text) == 3)
        for length in [0, 1, 4, 6, 9, text.count - 1] {
            #expect(MessageRanges.count(in: Array(text[..<length])) == nil)
        }
        #expect(MessageRanges.count(in: Array(text[..<5])) == 1)
        #expect(MessageRanges.count(in: [0xff, 0xff, 0xff, 0xff, 1, 2]) == nil)
    }

    @Test func `Bounds that make no sense are raised to those that do`() {
        let limits = TransportLimits(inboundBytes: -5, outboundBytes: 0)
        #expect(limits.inboundBytes == 1)
        #expect(limits.outboundBytes == SealedFrame.maximumPlaintextByteCount + SealedFrame.overheadByteCount)
        #expect(TransportLimits(inboundBytes: .max).mostInboundBytes == .max)
        #expect(TransportLimits(silenceTimeout: .zero).silenceTimeout == .seconds(1))
        #expect(TransportLimits(silenceTimeout: .seconds(1 << 40)).silenceTimeout == .seconds(3_600))
    }

    @Test func `Every reason has a text for the log`() {
        let closings: [LinkCloseReason] = [
            .local("x"), .stopped, .replaced, .remote, .broken("x"), .outboundOverflow, .inboundOverflow,
            .badFrame(.tooLong), .malformedFrame, .keysUsedUp,
        ]
        let refusals: [ConnectionRefusal] = [
            .handshake(.wrongCluster), .timedOut, .closedEarly, .tooManyHandshakes, .unreachable("x"), .stopped,
        ]
        #expect(Set(closings.map(\.description)).count == closings.count - 1)
        #expect(Set(refusals.map(\.description)).count == refusals.count)
    }
}

/// Counts the reads that get as far as the socket.
private final class CountingReads: ChannelOutboundHandler {
    typealias OutboundIn = Never

    private(set) var count = 0

    func read(context: ChannelHandlerContext) {
        count += 1
    }
}
