import Aardvark
import Cryptography
import Foundation
import Testing

/// A directory that is deleted when the last reference goes.
private final class TemporaryDirectory {
    let path: String

    init() throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("aardvark-\(UUID())").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }
}

private func permissions(_ path: String) throws -> Int {
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    return try #require(attributes[.posixPermissions] as? NSNumber).intValue & 0o777
}

@Suite struct `Key files` {
    private let directory: TemporaryDirectory

    init() throws {
        directory = try TemporaryDirectory()
    }

    private func refusal(_ path: String) throws -> OperatorError {
        let error = #expect(throws: OperatorError.self) { try KeyFile.read(path) }
        return try #require(error)
    }

    @Test func `a key that is written can be read again, by its owner alone`() throws {
        let path = "\(directory.path)/a.key"
        let key = SigningKey.random()
        try KeyFile.create(key, at: path, owner: "client 3")
        #expect(try KeyFile.read(path).publicKey == key.publicKey)
        #expect(try permissions(path) == 0o600)
    }

    @Test func `a key file is never overwritten`() throws {
        let path = "\(directory.path)/a.key"
        let key = SigningKey.random()
        try KeyFile.create(key, at: path, owner: "client 3")
        let error = #expect(throws: OperatorError.self) {
            try KeyFile.create(SigningKey.random(), at: path, owner: "client 3")
        }
        #expect(error?.kind == .cannotCreate)
        #expect(try KeyFile.read(path).publicKey == key.publicKey)
    }

    @Test(arguments: [0o640, 0o604, 0o660, 0o601])
    func `a key file that others can reach is refused`(mode: Int) throws {
        let path = "\(directory.path)/a.key"
        try KeyFile.create(SigningKey.random(), at: path, owner: "client 3")
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        let error = try refusal(path)
        #expect(error.kind == .noPermission)
        #expect(error.sentence.contains("accessible to other users"))
    }

    @Test func `missing and malformed key files are refused with the file's name`() throws {
        let missing = try refusal("\(directory.path)/none.key")
        #expect(missing.kind == .noInput)
        #expect(
            missing.sentence
                == "\(directory.path)/none.key: the key file cannot be opened: there is no such file or directory"
        )
        #expect(try refusal(directory.path).sentence.contains("it is a directory"))
        let path = "\(directory.path)/a.key"
        let digits = String(repeating: "ab", count: 32)
        for contents in [
            "", "# only a comment\n", "abc\n", "\(digits)00\n", "\(digits)\n\(digits)\n",
            String(repeating: "a", count: 5_000),
        ] {
            #expect(
                FileManager.default.createFile(
                    atPath: path,
                    contents: Data(contents.utf8),
                    attributes: [.posixPermissions: 0o600]
                )
            )
            let error = try refusal(path)
            #expect(error.kind == .malformedData)
            #expect(error.sentence.hasPrefix(path))
        }
    }

    @Test func `a whole cluster is written with private keys, and nothing is overwritten`() async throws {
        let path = "\(directory.path)/deep/cluster.yaml"
        let cluster = try await ClusterFile.create(ClusterFile.Plan(), path: path)
        try cluster.write()
        let file = try ClusterFile(path: path)
        #expect(file == cluster.file)
        for (identity, key) in cluster.keys {
            #expect(try file.key(of: identity).publicKey == key.publicKey)
            #expect(try permissions(KeyFile.defaultPath(for: identity, clusterPath: path)) == 0o600)
        }
        #expect(try permissions("\(directory.path)/deep/keys") == 0o700)
        let error = #expect(throws: OperatorError.self) { try cluster.write() }
        #expect(error?.kind == .cannotCreate)
    }

    @Test func `a key of another identity is refused, and so is an identity that the file does not name`() async throws
    {
        let path = "\(directory.path)/cluster.yaml"
        try await ClusterFile.create(ClusterFile.Plan(), path: path).write()
        let file = try ClusterFile(path: path)
        let wrong = #expect(throws: OperatorError.self) {
            try file.key(of: Identity(role: .replica, number: 0), at: "\(directory.path)/keys/client-0.key")
        }
        #expect(wrong?.sentence.contains("the key does not match the cluster file") == true)
        let unknown = #expect(throws: OperatorError.self) { try file.key(of: Identity(role: .client, number: 8)) }
        #expect(unknown?.sentence == "\(path): there is no client 8; the file names 8 clients, 0 to 7")
    }

    @Test func `a client's key may be another than the cluster file's, and one of a client that it does not name`()
        async throws
    {
        let path = "\(directory.path)/cluster.yaml"
        let created = try await ClusterFile.create(ClusterFile.Plan(), path: path)
        try created.write()
        let file = created.file
        #expect(try file.clientKey(of: 3).publicKey == file.publicKey(of: .client(3)))
        let other = "\(directory.path)/keys/client-4.key"
        #expect(try file.clientKey(of: 3, at: other).publicKey == file.publicKey(of: .client(4)))
        #expect(try file.clientKey(of: 8, at: other).publicKey == file.publicKey(of: .client(4)))
        let unknown = #expect(throws: OperatorError.self) { try file.clientKey(of: 8) }
        #expect(unknown?.sentence == "\(path): there is no client 8; the file names 8 clients, 0 to 7")
        let key = SigningKey.random()
        try KeyFile.create(key, at: "\(directory.path)/keys/client-8.key", owner: "client 8")
        #expect(try file.clientKey(of: 8).publicKey == key.publicKey)
    }

    @Test func `a public key is read from its own file or a secret key's, and a secret key is never taken for one`()
        throws
    {
        let path = "\(directory.path)/some.key"
        let key = SigningKey.random()
        try KeyFile.create(key, at: path, owner: "somebody")
        #expect(try KeyFile.readPublicKey(path) == key.publicKey)
        func read(_ text: String) throws -> PublicKey {
            let path = "\(directory.path)/some.pub"
            try Data(text.utf8).write(to: URL(filePath: path))
            return try KeyFile.readPublicKey(path)
        }
        #expect(try read("publicKey: \(key.publicKey)\n") == key.publicKey)
        #expect(try read("# a comment\n  publicKey:\(key.publicKey)  \n") == key.publicKey)
        for text in [
            "publicKey:", "publicKey: \(key.publicKey)00", "publicKey: xyz", "nonsense", "", "\(key.publicKey)",
        ] {
            // The last one looks like a seed, in a file that others can read.
            let error = #expect(throws: OperatorError.self) { try read(text) }
            #expect(error?.kind == .malformedData || error?.kind == .noPermission, "\(text)")
        }
    }

    @Test func `the default key file is beside the cluster file`() {
        let identity = Identity(role: .client, number: 3)
        #expect(KeyFile.defaultPath(for: identity, clusterPath: "a/b/cluster.yaml") == "a/b/keys/client-3.key")
        #expect(KeyFile.defaultPath(for: identity, clusterPath: "cluster.yaml") == "keys/client-3.key")
        #expect(KeyFile.defaultPath(for: identity, clusterPath: "/cluster.yaml") == "/keys/client-3.key")
    }
}
