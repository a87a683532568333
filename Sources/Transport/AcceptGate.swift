import NIOCore

/// Bounds how fast a listener accepts connections, whoever opens them: each costs a system call, memory and a channel before anything is
/// known of the other end. Beyond the bound they wait in the operating system's queue, which is bounded too.
///
/// A token bucket: ``burst`` connections after a rest, then one for each ``interval``, to within the few that are accepted at a time.
final class AcceptGate: ChannelDuplexHandler {
    typealias InboundIn = any Channel
    typealias InboundOut = any Channel
    typealias OutboundIn = Never

    /// How many connections are accepted at once after a rest.
    static let burst: Int64 = 256

    /// How long a rest pays for one more: at about 50 microseconds each, accepting takes little more than 1 % of a processor, of which this
    /// process may have a small share only. A thousand clients that all come back at once are here within 3 s.
    static let interval = TimeAmount.milliseconds(4)

    /// When the whole burst is there again.
    private var wholeAt = NIODeadline.uptimeNanoseconds(0)
    private var pause: Scheduled<Void>?

    func read(context: ChannelHandlerContext) {
        guard pause == nil else { return }
        let earliest = wholeAt - TimeAmount.nanoseconds(Self.interval.nanoseconds * (Self.burst - 1))
        guard earliest > context.eventLoop.now else { return context.read() }
        pause = context.eventLoop.assumeIsolated().scheduleTask(deadline: earliest) {
            self.pause = nil
            context.read()
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        wholeAt = max(wholeAt, context.eventLoop.now) + Self.interval
        context.fireChannelRead(data)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        pause?.cancel()
        pause = nil
    }
}
