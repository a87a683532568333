import Cryptography
import StateStore
import TestSupport
import Testing

struct CopyTests {
    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func `a copy has the state of its checkpoint and goes on by itself`(seed: UInt64) throws {
        var random = SplitMix64(seed: seed &* 131)
        var twin = Twin(checkpointsKept: 3)
        var models: [UInt64: Model] = [:]
        for number in UInt64(1)...12 {
            twin.change(random.below(200), keys: 300, &random)
            _ = twin.store.checkpoint(number)
            models[number] = twin.model
        }
        twin.change(40, keys: 300, &random)
        if seed % 2 == 0 {
            twin.store.beginCheckpoint(13)
            _ = twin.store.advanceCheckpoint(keys: 30)
            twin.change(40, keys: 300, &random)
        }
        if seed % 3 == 0 {
            _ = twin.store.beginTentative()
            twin.change(40, keys: 300, &random)
        }
        #expect(twin.store.copy(ofCheckpoint: 9) == nil)
        for number in UInt64(10)...12 {
            let copied = try #require(twin.store.copy(ofCheckpoint: number))
            var copy = Twin(copying: copied, try #require(models[number]))
            copy.expectAgreement(atCheckpoint: number)
            for kept in 10...number {
                #expect(copied.walk(checkpoint: kept).entries == models[kept]?.walked)
            }
            copy.expectSoundness(after: number, &random)
        }
        // The original has not noticed.
        #expect(twin.store.entries() == twin.model.entries(.all, in: .service))
        #expect(twin.store.walk(checkpoint: 12).entries == models[12]?.walked)
    }

    @Test func `a copy hashes nothing that it has in common with the original`() throws {
        var random = SplitMix64(seed: 23)
        var twin = Twin()
        twin.fill(0..<5000, &random)
        _ = twin.store.checkpoint(1)
        twin.change(10, keys: 5000, &random)
        let hashed = twin.store.hashedNodes
        let copy = try #require(twin.store.copy(ofCheckpoint: 1))
        #expect(copy.hashedNodes == hashed)
        #expect(copy.checkpoint(2) == twin.store.root(ofCheckpoint: 1))
        #expect(copy.hashedNodes == hashed)
    }
}

extension Twin {
    init(copying store: InMemoryStateStore, _ model: Model) {
        self.store = store
        self.model = model
    }
}
