import Cryptography
import Messages

/// A secret key in a file: a comment line, and the key's seed of 32 bytes in hexadecimal.
///
/// The file's mode is 0600 and its directory's 0700; a file that others can read is refused, since its key may be known.
public enum KeyFile {
    /// A key file is at most this long, in bytes.
    static let mostBytes = 4_096

    /// Where an identity's key is by default: in `keys/` beside the cluster file.
    ///
    /// - Parameters:
    ///   - identity: Whose key it is.
    ///   - clusterPath: The cluster file.
    /// - Returns: For example `cluster/keys/replica-0.key`.
    public static func defaultPath(for identity: Identity, clusterPath: String) -> String {
        let parts = clusterPath.split(separator: "/", omittingEmptySubsequences: false).dropLast()
        return (parts.map(String.init) + ["keys", name(for: identity)]).joined(separator: "/")
    }

    /// The name of an identity's key file, for example `client-3.key`.
    public static func name(for identity: Identity) -> String {
        switch identity.role {
        case .replica: "replica-\(identity.number).key"
        case .client: "client-\(identity.number).key"
        case .administrator: "admin-\(identity.number).key"
        }
    }

    /// Writes a key to a file that must not exist yet, with mode 0600.
    ///
    /// - Parameters:
    ///   - key: The key.
    ///   - path: The file to create.
    ///   - owner: Whose key it is, for the comment line.
    /// - Throws: What stood in the way.
    public static func create(_ key: SigningKey, at path: String, owner: String) throws(OperatorError) {
        try FileAccess.create(path, what: "key file", mode: 0o600, contents: render(key, owner: owner))
    }

    /// The text of a key file.
    ///
    /// - Parameters:
    ///   - key: The key.
    ///   - owner: Whose key it is, for the comment line.
    public static func render(_ key: SigningKey, owner: String) -> String {
        "# Secret key of \(owner), public key \(key.publicKey)\n\(Hexadecimal.encode(key.seed))\n"
    }

    /// Reads a key.
    ///
    /// - Parameter path: The file.
    /// - Returns: The key.
    /// - Throws: When the file is missing, unreadable, accessible to other users, or not a key.
    public static func read(_ path: String) throws(OperatorError) -> SigningKey {
        let bytes = try FileAccess.read(path, what: "key file", mostBytes: mostBytes)
        guard let mode = FileAccess.permissions(path), mode & 0o077 == 0 else {
            throw OperatorError(
                .noPermission,
                "\(path): the key file is accessible to other users, so its key may be known; if it is not, run chmod 600 \(path)"
            )
        }
        let lines = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).filter { line in
            !line.hasPrefix("#")
        }
        guard lines.count == 1, let line = lines.first, let seed = Hexadecimal.decode(line.trimmed),
            let key = SigningKey(seed: seed)
        else {
            throw OperatorError(
                .malformedData,
                "\(path): not a key file: expected one line of \(2 * SigningKey.seedByteCount) hexadecimal digits"
            )
        }
        return key
    }
}

extension KeyFile {
    /// Reads the public key out of a file: one with a line `publicKey: HEX`, as `aardvark keygen` prints it, or a secret key's own file.
    ///
    /// - Parameter path: The file.
    /// - Returns: The public key.
    /// - Throws: When the file is missing, unreadable, or holds neither; or holds a secret key and is accessible to other users.
    public static func readPublicKey(_ path: String) throws(OperatorError) -> PublicKey {
        let bytes = try FileAccess.read(path, what: "key file", mostBytes: mostBytes)
        let mark = "publicKey:"
        let lines = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).map(\.trimmed)
        guard let line = lines.first(where: { $0.hasPrefix(mark) }) else { return try read(path).publicKey }
        guard let decoded = Hexadecimal.decode(line.dropFirst(mark.count).trimmed), let key = PublicKey(decoded) else {
            throw OperatorError(
                .malformedData,
                "\(path): expected \(2 * PublicKey.byteCount) hexadecimal digits after \(mark)"
            )
        }
        return key
    }
}

extension ClusterFile {
    /// Reads the key of a client of this cluster. It may be another one than the cluster file names, or that of a client which the file
    /// does not name: the replicas know who the clients are now.
    ///
    /// - Parameters:
    ///   - number: The client's number.
    ///   - keyPath: The key file; nil for the one in `keys/` beside the cluster file.
    /// - Returns: The key.
    /// - Throws: When the key cannot be read, or neither the file nor a key file of that name is there.
    public func clientKey(of number: UInt32, at keyPath: String? = nil) throws(OperatorError) -> SigningKey {
        let identity = Identity(role: .client, number: number)
        let usual = KeyFile.defaultPath(for: identity, clusterPath: path)
        if keyPath == nil, publicKey(of: identity) == nil, !FileAccess.exists(usual) { throw unknown(identity) }
        return try KeyFile.read(keyPath ?? usual)
    }

    /// Reads the key of an identity that this file names.
    ///
    /// - Parameters:
    ///   - identity: Whose key it is.
    ///   - keyPath: The key file; nil for the one in `keys/` beside the cluster file.
    /// - Returns: The key.
    /// - Throws: When the cluster file does not name the identity, the key cannot be read, or it is another identity's.
    public func key(of identity: Identity, at keyPath: String? = nil) throws(OperatorError) -> SigningKey {
        guard publicKey(of: identity) != nil else { throw unknown(identity) }
        let keyPath = keyPath ?? KeyFile.defaultPath(for: identity, clusterPath: path)
        let key = try KeyFile.read(keyPath)
        try check(key, of: identity, from: keyPath)
        return key
    }

    /// Checks that a key is the one that the cluster file names for an identity.
    ///
    /// - Parameters:
    ///   - key: The key.
    ///   - identity: Whose key it should be.
    ///   - source: Where the key comes from, for the message: a file's name.
    /// - Throws: When the cluster file does not name the identity, or names another key.
    public func check(_ key: SigningKey, of identity: Identity, from source: String) throws(OperatorError) {
        guard let expected = publicKey(of: identity) else { throw unknown(identity) }
        guard expected == key.publicKey else {
            throw OperatorError(
                .configuration,
                "\(source): the key does not match the cluster file: its public key is \(key.publicKey), but \(path) has "
                    + "\(expected) for \(Self.name(of: identity))"
            )
        }
    }

    private func unknown(_ identity: Identity) -> OperatorError {
        let there: String
        switch identity.role {
        case .replica: there = "replicas 0 to \(replicas.count - 1)"
        case .client: there = Self.range(of: clients, "client")
        case .administrator: there = Self.range(of: administrators, "administrator")
        }
        return OperatorError(.configuration, "\(path): there is no \(Self.name(of: identity)); the file names \(there)")
    }

    private static func range(of members: [Member], _ noun: String) -> String {
        guard let first = members.first, let last = members.last else { return "no \(noun)" }
        return first.id == last.id ? "\(noun) \(first.id) only" : "\(members.count) \(noun)s, \(first.id) to \(last.id)"
    }

    /// An identity as sentences name it, for example `client 3`.
    static func name(of identity: Identity) -> String {
        switch identity.role {
        case .replica: "replica \(identity.number)"
        case .client: "client \(identity.number)"
        case .administrator: "administrator \(identity.number)"
        }
    }
}

extension Substring {
    /// Without white space at either end.
    var trimmed: Substring {
        var rest = drop(while: \.isWhitespace)
        while rest.last?.isWhitespace == true { rest.removeLast() }
        return rest
    }
}
