import Cryptography
import Messages
import Yams

extension ClusterFile {
    /// Reads and checks a cluster file.
    ///
    /// - Parameter path: The file.
    /// - Throws: What is wrong first, with the file, the line and the field.
    public init(path: String) throws(OperatorError) {
        let bytes = try FileAccess.read(path, what: "cluster file", mostBytes: Self.mostBytes)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw OperatorError(.configuration, "\(path): the cluster file is not UTF-8 text")
        }
        try self.init(text: text, path: path)
    }

    /// Parses and checks the text of a cluster file.
    ///
    /// - Parameters:
    ///   - text: The YAML text.
    ///   - path: The file that it comes from, for messages and to find the keys beside it.
    /// - Throws: What is wrong first, with the file, the line and the field.
    public init(text: String, path: String) throws(OperatorError) {
        guard text.utf8.count <= Self.mostBytes else {
            throw OperatorError(.configuration, "\(path): the cluster file is larger than \(Self.mostBytes) bytes")
        }
        let root = try ConfigurationField.root(of: text, file: path)
        let fields = try root.fields(
            required: ["version", "cluster", "protocol", "durability", "replicas", "clients"],
            optional: [
                "administrators", "dissemination", "regular-view-changes", "isolated-queues", "signed-requests",
                "tuning",
            ]
        )
        let version = try fields.field("version")
        if try version.integer(in: 0...Int.max) != Self.formatVersion {
            throw version.failure("expected format version \(Self.formatVersion), found \(version.quoted)")
        }
        self.path = path
        clusterID = try Self.clusterID(fields.field("cluster"))
        protocolName = try fields.field("protocol").choice(of: ProtocolName.self)
        durability = try fields.field("durability").choice(of: Durability.self)
        dissemination =
            try fields.optional("dissemination")?.choice(of: Dissemination.self) ?? .primary
        regularViewChanges =
            try fields.optional("regular-view-changes")?.choice(of: Switch.self) ?? protocolName.regularViewChanges
        isolatedQueues =
            try fields.optional("isolated-queues")?.choice(of: Switch.self) ?? protocolName.isolatedQueues
        signedRequests =
            try fields.optional("signed-requests")?.choice(of: Switch.self) ?? protocolName.signedRequests
        tuning = try fields.optional("tuning").map(Self.tuning) ?? Tuning()

        var seen = Seen()
        replicas = try Self.replicas(fields.field("replicas"), &seen)
        clients = try Self.members(fields.field("clients"), &seen)
        administrators =
            if let field = fields.optional("administrators") { try Self.members(field, &seen) } else { [] }
    }

    private static func clusterID(_ field: ConfigurationField) throws(OperatorError) -> ClusterID {
        guard let identifier = ClusterID(try field.hexadecimal(bytes: ClusterID.byteCount)) else {
            throw field.failure("expected \(2 * ClusterID.byteCount) hexadecimal digits, found \(field.quoted)")
        }
        return identifier
    }

    private static func tuning(_ field: ConfigurationField) throws(OperatorError) -> Tuning {
        let fields = try field.fields(required: [], optional: tuningFields.map(\.name))
        var tuning = Tuning()
        for setting in tuningFields {
            guard let value = fields.optional(setting.name) else { continue }
            tuning[keyPath: setting.path] = try value.integer(in: setting.range)
        }
        let interval = tuning.checkpointInterval
        guard tuning.window.isMultiple(of: interval), tuning.window > interval else {
            throw (fields.optional("window") ?? fields.optional("checkpointInterval") ?? field).failure(
                "expected a window of at least two times the checkpoint interval and a multiple of it, "
                    + "found window \(tuning.window) and checkpointInterval \(interval)"
            )
        }
        guard tuning.pipelineDepth <= tuning.window else {
            throw (fields.optional("pipelineDepth") ?? field).failure(
                "expected at most the window of \(tuning.window), found \(tuning.pipelineDepth)"
            )
        }
        return tuning
    }

    private static func replicas(_ field: ConfigurationField, _ seen: inout Seen) throws(OperatorError) -> [Replica] {
        let elements = try field.elements(most: 3 * ClusterSize.mostFaults + 1)
        guard let size = ClusterSize(replicas: elements.count) else {
            throw field.failure(
                "expected 3f + 1 replicas with f from 1 to \(ClusterSize.mostFaults) (4, 7, 10, ...), "
                    + "found \(elements.count)"
            )
        }
        var replicas: [Replica] = []
        for (index, element) in elements.enumerated() {
            replicas.append(try replica(element, number: index, size: size, &seen))
        }
        return replicas
    }

    private static func replica(
        _ element: ConfigurationField,
        number: Int,
        size: ClusterSize,
        _ seen: inout Seen
    ) throws(OperatorError) -> Replica {
        let fields = try element.fields(required: ["id", "publicKey", "clients", "peers"], optional: ["host"])
        let id = try fields.field("id")
        guard try id.integer(in: 0...(size.replicas - 1)) == number else {
            throw id.failure("expected \(number), since replicas are listed in order from 0, found \(id.quoted)")
        }
        let host = try fields.optional("host").map(Self.host) ?? Endpoint.defaultHost
        let publicKey = try publicKey(fields.field("publicKey"), &seen)
        let clientEndpoint = try endpoint(fields.field("clients"), host: host, &seen)

        let peersField = try fields.field("peers")
        let others = (0..<size.replicas).filter { $0 != number }
        let peers = try peersField.fields(required: others.map(String.init), optional: [])
        var peerEndpoints: [Endpoint?] = Array(repeating: nil, count: size.replicas)
        for peer in others {
            peerEndpoints[peer] = try endpoint(peers.field(String(peer)), host: host, &seen)
        }
        return Replica(
            id: ReplicaID(UInt8(number)),
            publicKey: publicKey,
            clientEndpoint: clientEndpoint,
            peerEndpoints: peerEndpoints
        )
    }

    private static func members(_ field: ConfigurationField, _ seen: inout Seen) throws(OperatorError) -> [Member] {
        let elements = try field.elements(most: mostMembers)
        var members: [Member] = []
        members.reserveCapacity(elements.count)
        for element in elements {
            let fields = try element.fields(required: ["id", "publicKey"], optional: [])
            let id = try fields.field("id")
            let number = UInt32(try id.integer(in: 0...Int(ClientID.mostNumber)))
            if let last = members.last, last.id >= number {
                throw id.failure("expected a number above \(last.id), since numbers rise, found \(number)")
            }
            members.append(Member(id: number, publicKey: try publicKey(fields.field("publicKey"), &seen)))
        }
        return members
    }

    private static func publicKey(
        _ field: ConfigurationField,
        _ seen: inout Seen
    ) throws(OperatorError) -> PublicKey {
        guard let key = PublicKey(try field.hexadecimal(bytes: PublicKey.byteCount)) else {
            throw field.failure("expected \(2 * PublicKey.byteCount) hexadecimal digits, found \(field.quoted)")
        }
        if let other = seen.keys.updateValue(field.path, forKey: key) {
            throw field.failure("\(other) has the same key; each identity needs a key of its own")
        }
        return key
    }

    private static func host(_ field: ConfigurationField) throws(OperatorError) -> String {
        let host = try field.string()
        guard !host.isEmpty, host.utf8.count <= 255, host.utf8.allSatisfy(isHostCharacter) else {
            throw field.failure("expected a host name or an IP address, found \(field.quoted)")
        }
        return host
    }

    private static func isHostCharacter(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "_"),
            UInt8(ascii: ":"), UInt8(ascii: "%"):
            true
        default: false
        }
    }

    /// An endpoint is a port, or `host:port`, or `[IPv6 address]:port`.
    private static func endpoint(
        _ field: ConfigurationField,
        host: String,
        _ seen: inout Seen
    ) throws(OperatorError) -> Endpoint {
        let text = try field.string()
        let colon = text.lastIndex(of: ":")
        let portText = colon.map { text[text.index(after: $0)...] } ?? text[...]
        guard let port = ConfigurationField.decimal(portText), (1...65_535).contains(port) else {
            throw field.failure("expected a port from 1 to 65535, or host:port, found \(field.quoted)")
        }
        var ownHost = colon.map { String(text[..<$0]) } ?? host
        if ownHost.hasPrefix("["), ownHost.hasSuffix("]") {
            ownHost = String(ownHost.dropFirst().dropLast())
        } else if colon != nil, ownHost.contains(":") {
            throw field.failure("expected brackets round an IPv6 address, as in [::1]:7400, found \(field.quoted)")
        }
        guard !ownHost.isEmpty, ownHost.utf8.count <= 255, ownHost.utf8.allSatisfy(isHostCharacter) else {
            throw field.failure("expected a port, or host:port, found \(field.quoted)")
        }
        let endpoint = Endpoint(host: ownHost, port: port)
        if let other = seen.endpoints.updateValue(field.path, forKey: endpoint) {
            throw field.failure("\(other) has the same endpoint \(endpoint); each needs one of its own")
        }
        return endpoint
    }

    /// What the file named so far and may not name again, with the field that named it.
    private struct Seen {
        var keys: [PublicKey: String] = [:]
        var endpoints: [Endpoint: String] = [:]
    }
}
