/// Stops the process when `condition` is false: the program itself is wrong, and going on could break safety.
///
/// Checked in release builds too. What a peer, a client, a file or an operator can cause never reaches an invariant: it is
/// checked first and answered with a value (see the three kinds of error in the README).
///
/// - Parameters:
///   - condition: What must hold here.
///   - message: What is wrong when it does not; evaluated only then.
@inlinable
@inline(__always)
public func invariant(
    _ condition: @autoclosure () -> Bool,
    _ message: @autoclosure () -> String = "",
    file: StaticString = #fileID,
    line: UInt = #line
) {
    if !condition() {
        invariantViolated(message(), file: file, line: line)
    }
}

/// Stops the process: this place cannot be reached unless the program itself is wrong.
///
/// - Parameter message: What is wrong.
@inline(never)
public func invariantViolated(_ message: String, file: StaticString = #fileID, line: UInt = #line) -> Never {
    fatalError("invariant violated at \(file):\(line): \(message)")
}
