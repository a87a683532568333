import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Why a listener could not start; the description is a sentence for the operator.
public struct ListenerError: Error, Hashable, Sendable, CustomStringConvertible {
    /// What is wrong.
    public enum Problem: Hashable, Sendable {
        /// Another process, or another listener of this one, has the port.
        case inUse

        /// This machine does not have the address, or the name has none.
        case noSuchAddress

        /// The operating system does not permit it, as for ports below 1024.
        case notPermitted

        /// Something else, as the operating system puts it.
        case other(String)
    }

    /// The address or name that was to be bound.
    public let host: String

    /// The port that was to be bound.
    public let port: Int

    /// What is wrong.
    public let problem: Problem

    /// Interprets what a bind failed with.
    init(host: String, port: Int, error: any Error) {
        self.host = host
        self.port = port
        problem =
            switch error {
            case let error as IOError: Self.problem(of: error)
            case is SocketAddressError: .noSuchAddress
            default: .other(String(describing: error))
            }
    }

    private static func problem(of error: IOError) -> Problem {
        switch error.errnoCode {
        case EADDRINUSE: .inUse
        case EADDRNOTAVAIL: .noSuchAddress
        case EACCES, EPERM: .notPermitted
        default: .other(error.description)
        }
    }

    /// For example `port 4001 on 127.0.0.1 is already in use`.
    public var description: String {
        switch problem {
        case .inUse: "port \(port) on \(host) is already in use"
        case .noSuchAddress: "this machine has no address \(host) to listen on"
        case .notPermitted: "listening on port \(port) of \(host) is not permitted"
        case .other(let text): "cannot listen on port \(port) of \(host): \(text)"
        }
    }
}
