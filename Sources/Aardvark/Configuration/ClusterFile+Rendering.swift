import Cryptography
import Messages

extension ClusterFile {
    /// The text of the cluster file, with comments that explain each part. Parsing it gives this value again.
    public func render() -> String {
        var text = """
            # The cluster file of an Aardvark cluster. Every replica and every client has the same copy.
            # Nothing in it is secret: the secret keys are in files of their own, keys/*.key, one for each identity.

            # The version of this file's format.
            version: \(Self.formatVersion)

            # 32 random bytes that name this cluster. Members of other clusters are refused.
            cluster: \(clusterID)

            # The protocol: \(ConfigurationField.words(of: ProtocolName.self)). All replicas must run the same one.
            protocol: \(protocolName.rawValue)

            # What a replica's state survives: power-loss (nothing is said before it is on the disk), process-crash (nothing is
            # said before the operating system has it) or none (in memory; a replica that restarts starts empty).
            durability: \(durability.rawValue)

            # To whom clients send their requests: primary (to all after a time-out) or all (proposals then name them by digests).
            dissemination: \(dissemination.rawValue)

            # Whether primaries are watched, and replaced when they are slow, unfair or silent; without this line: on with aardvark,
            # off with pbft. All replicas must agree.
            regular-view-changes: \(regularViewChanges.rawValue)

            # Whether what each peer and each client sends waits in a queue of its own, with a share of the processor's time, and peers
            # that flood are cut off: on (part of aardvark) or off (first come, first served).
            isolated-queues: \(isolatedQueues.rawValue)

            # Whether clients sign their requests: on (part of aardvark) or off (a MAC for each replica, as in pbft). Everybody must agree.
            signed-requests: \(signedRequests.rawValue)

            # The protocol's settings. A line with a # in front shows the default.

            """
        text += renderedTuning
        text += """

            # The replicas, 3f + 1 of them, in order. Each listens on one endpoint for clients and on one for each peer, so that
            # a peer that floods it can be cut off alone. An endpoint is a port on the replica's host (\(Endpoint.defaultHost)
            # unless the replica has a line "host: ADDRESS"), or host:port to give it a network interface of its own.
            replicas:

            """
        for replica in replicas { text += Self.rendered(replica) }
        text += """

            # The clients that are known from the start. To change this list later changes nothing: "aardvark admin client" adds
            # and removes clients and changes their keys in a running cluster, and the replicas keep who they are.
            clients:

            """
        text += Self.rendered(clients)
        text += """

            # The administrators, who may look into replicas and say who the clients are.
            administrators:

            """
        text += Self.rendered(administrators)
        return text
    }

    private var renderedTuning: String {
        let defaults = Tuning()
        let isChanged = tuning != defaults
        var text = isChanged ? "tuning:\n" : "# tuning:\n"
        for setting in Self.tuningFields {
            let value = tuning[keyPath: setting.path]
            let mark = value == defaults[keyPath: setting.path] ? "# " : ""
            text += "\(mark)  \(setting.name): \(value)  # \(setting.comment)\n"
        }
        return text
    }

    private static func rendered(_ replica: Replica) -> String {
        let host = replica.clientEndpoint.host
        var text = "  - id: \(replica.id.rawValue)\n    publicKey: \(replica.publicKey)\n"
        if host != Endpoint.defaultHost { text += "    host: \"\(host)\"\n" }
        text += "    clients: \(rendered(replica.clientEndpoint, host: host))\n    peers:\n"
        for (peer, endpoint) in replica.peerEndpoints.enumerated() {
            if let endpoint { text += "      \(peer): \(rendered(endpoint, host: host))\n" }
        }
        return text
    }

    private static func rendered(_ endpoint: Endpoint, host: String) -> String {
        endpoint.host == host ? "\(endpoint.port)" : "\"\(endpoint)\""
    }

    private static func rendered(_ members: [Member]) -> String {
        members.isEmpty
            ? "  []\n" : members.map { "  - id: \($0.id)\n    publicKey: \($0.publicKey)\n" }.joined()
    }
}
