import Messages

/// A request that leaves a client with an interceptor.
package struct ClientDeparture: Sendable {
    /// The request.
    package let request: Request
    /// To whom it goes.
    package let replica: ReplicaID

    /// Sends a request to a replica.
    package init(_ request: Request, to replica: ReplicaID) {
        self.request = request
        self.replica = replica
    }
}

/// Stands between one client's engine and its links, on the client's event loop: sees each request before it leaves, and decides what
/// leaves in its place. Clients of a service have none; laboratories make clients faulty with it.
package protocol ClientInterceptor: AnyObject {
    /// How often ``timePassed(in:)`` is called, in nanoseconds; nil for never.
    var period: UInt64? { get }

    /// A request of the engine is about to leave for one replica.
    ///
    /// - Parameter view: The view as far as the client knows.
    /// - Returns: What leaves in its place.
    func outgoing(_ request: Request, to replica: ReplicaID, in view: View) -> [ClientDeparture]

    /// The period has passed again.
    ///
    /// - Parameter view: The view as far as the client knows.
    /// - Returns: What leaves now.
    func timePassed(in view: View) -> [ClientDeparture]
}
