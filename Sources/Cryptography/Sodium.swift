internal import CSodium
import Invariants

/// The one place where libsodium is started. Every wrapper calls `Sodium.ready` before its first call into the library.
enum Sodium {
    private static let started: Bool = sodium_init() >= 0

    /// Makes sure that libsodium is initialised, which also selects the fastest implementations for this processor.
    @inline(__always)
    static func ready() {
        invariant(started, "libsodium could not be initialised")
    }
}

/// Fills an array with random bytes of the operating system.
///
/// Only for keys, nonces and identifiers made at start: nothing deterministic may call this.
///
/// - Parameter count: The number of bytes, at least 0.
/// - Returns: `count` unpredictable bytes.
public func randomBytes(_ count: Int) -> [UInt8] {
    Sodium.ready()
    return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
        if let base = buffer.baseAddress {
            randombytes_buf(base, count)
        }
        filled = count
    }
}

extension [UInt8] {
    /// Calls `body` with the bytes as libsodium wants them: a pointer that is never nil, and a length.
    @inline(__always)
    func withSodium<Result>(_ body: (UnsafePointer<UInt8>, Int) -> Result) -> Result {
        withUnsafeBufferPointer { buffer in
            if let base = buffer.baseAddress {
                return body(base, buffer.count)
            }
            return withUnsafePointer(to: 0 as UInt8) { body($0, 0) }
        }
    }
}
