import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// The options of every connection's socket.
enum SocketOptions {
    /// Small writes go out at once, and the operating system notices when the other end is gone without a word: its machine has
    /// stopped, or the network between is cut.
    static func forConnections(_ limits: TransportLimits) -> [(
        option: ChannelOptions.Types.SocketOption, value: SocketOptionValue
    )] {
        let seconds = SocketOptionValue(limits.silenceTimeout.components.seconds)
        return [
            (.tcpOption(.tcp_nodelay), 1),
            (.socketOption(.so_keepalive), 1),
            (.tcpOption(.secondsBeforeProbes), seconds),
            (.tcpOption(.secondsBetweenProbes), 1),
            (.tcpOption(.probesUnanswered), seconds),
            (.tcpOption(.patience), seconds * NIOBSDSocket.Option.patienceUnitsPerSecond),
        ]
    }
}

extension NIOBSDSocket.Option {
    /// Seconds without traffic before the other end is probed.
    static let secondsBeforeProbes: Self = {
        #if canImport(Darwin)
            Self(rawValue: TCP_KEEPALIVE)
        #else
            Self(rawValue: TCP_KEEPIDLE)
        #endif
    }()

    /// Seconds between two probes.
    static let secondsBetweenProbes = Self(rawValue: TCP_KEEPINTVL)

    /// Probes without an answer before the connection counts as broken.
    static let probesUnanswered = Self(rawValue: TCP_KEEPCNT)

    /// How long what was sent may go without acknowledgement before the connection counts as broken.
    static let patience: Self = {
        #if canImport(Darwin)
            Self(rawValue: TCP_RXT_CONNDROPTIME)
        #else
            Self(rawValue: TCP_USER_TIMEOUT)
        #endif
    }()

    /// The unit of ``patience``: Linux counts milliseconds.
    static var patienceUnitsPerSecond: SocketOptionValue {
        #if canImport(Darwin)
            1
        #else
            1_000
        #endif
    }
}
