import Cryptography

/// The dearest step of a signed request, for comparison with what a machine reaches.
public enum SignatureCheck {
    /// How long one signature check takes on one core: the mean over a fifth of a second.
    public static func microseconds() -> Double {
        let key = SigningKey.random()
        // As long as what a client signs for an empty operation, or nearly so.
        let message = [UInt8](repeating: 7, count: 128)
        let signature = key.sign(message)
        let clock = LoadClock.monotonic
        let start = clock.now()
        var checks = 0
        var valid = 0
        while clock.now() < start + 200_000_000 {
            checks += 1
            if key.publicKey.isValid(signature, for: message) { valid += 1 }
        }
        // A compiler that could drop the checks would have to know their outcome.
        return valid == checks ? Double(clock.now() - start) / 1e3 / Double(max(checks, 1)) : 0
    }
}
