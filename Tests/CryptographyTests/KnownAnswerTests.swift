import Testing

@testable import Cryptography

/// Reads hexadecimal digits; spaces and line ends between them are for the reader.
func bytes(_ hexadecimal: String) throws -> [UInt8] {
    try #require(Hexadecimal.decode(hexadecimal.filter { !$0.isWhitespace }))
}

/// One entry of RFC 8032 section 7.1.
struct SignatureVector: Sendable {
    let name: String
    let seed: String
    let publicKey: String
    let message: String
    let signature: String
}

private let signatureVectors = [
    SignatureVector(
        name: "TEST 1",
        seed: "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        publicKey: "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        message: "",
        signature: """
            e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155
            5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b
            """
    ),
    SignatureVector(
        name: "TEST 2",
        seed: "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        publicKey: "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        message: "72",
        signature: """
            92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da
            085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00
            """
    ),
    SignatureVector(
        name: "TEST 3",
        seed: "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        publicKey: "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        message: "af82",
        signature: """
            6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac
            18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a
            """
    ),
    SignatureVector(
        name: "TEST SHA(abc)",
        seed: "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        publicKey: "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        message: """
            ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a
            2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f
            """,
        signature: """
            dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589
            09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704
            """
    ),
]

@Test(arguments: signatureVectors)
func `Ed25519 signs and verifies as RFC 8032 says`(vector: SignatureVector) throws {
    let key = try #require(SigningKey(seed: bytes(vector.seed)))
    let message = try bytes(vector.message)
    let expected = try bytes(vector.signature)
    #expect(key.publicKey.description == vector.publicKey)
    #expect(key.sign(message).bytes == expected)
    let signature = try #require(Signature(expected))
    #expect(key.publicKey.isValid(signature, for: message))
    #expect(!key.publicKey.isValid(signature, for: message + [0]))
    for index in expected.indices {
        var changed = expected
        changed[index] ^= 1
        let wrong = try #require(Signature(changed))
        #expect(!key.publicKey.isValid(wrong, for: message))
    }
}

@Test
func `ChaCha20-Poly1305 gives the ciphertext and tag of RFC 8439 section 2.8.2`() throws {
    let plaintext = Array(
        """
        Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
        sunscreen would be it.
        """.utf8
    )
    let keyBytes = try bytes("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f")
    let nonce = try #require(AEAD.Nonce(bytes("07 00 00 00 40 41 42 43 44 45 46 47")))
    let associated = try bytes("50 51 52 53 c0 c1 c2 c3 c4 c5 c6 c7")
    let expected = try bytes(
        """
        d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b
        1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
        3ff4def08e4b7a9de576d26586cec64b6116
        1ae10b594f09e26a7e902ecbd0600691
        """
    )
    #expect(AEAD.seal(plaintext, associated: associated, nonce: nonce, key: keyBytes) == expected)
}

@Test(
    arguments: [
        (0, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8"),
        (256, "39a7eb9fedc19aabc83425c6755dd90e6f9d0c804964a1f4aaeea3b9fb599835"),
    ]
)
func `BLAKE2b-256 gives known digests of 0, 1, 2, ... bytes`(count: Int, expected: String) {
    let input = (0..<count).map(UInt8.init(truncatingIfNeeded:))
    #expect(Digest.of(input).description == expected)
    #expect(Digest.of([9] + input + [9], in: 1..<(count + 1)).description == expected)
}

@Test
func `BLAKE2b-256 gives known digests of abc, without and with a key`() {
    let message = Array("abc".utf8)
    #expect(Digest.of(message).description == "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319")
    let key = SecretBytes(Array(0..<32))
    let expected = "d63a32d3e44738d7907f964316c241adaba0abfeabc32349677578a15a203f7f"
    #expect(Hexadecimal.encode(key.derive(context: message).copied) == expected)
}

@Test
func `SipHash-2-4-128 gives the reference output for 32 bytes`() throws {
    let key = PairwiseKey(secret: SecretBytes(Array(0..<16)))
    let input = try #require(Digest(Array(0..<32)))
    var output: [UInt8] = []
    key.authenticate(input).append(to: &output)
    #expect(Hexadecimal.encode(output) == "7c3956ca5eeafc3e363e9d556546eb68")
}

@Test
func `X25519 agrees as in RFC 7748 section 6_1`() throws {
    let alice = try #require(
        EphemeralSecret(bytes("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"))
    )
    let bob = try #require(
        EphemeralSecret(bytes("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"))
    )
    var alicePublic: [UInt8] = []
    alice.publicKey.append(to: &alicePublic)
    var bobPublic: [UInt8] = []
    bob.publicKey.append(to: &bobPublic)
    #expect(
        Hexadecimal.encode(alicePublic) == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    )
    #expect(Hexadecimal.encode(bobPublic) == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    let shared = try bytes("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    #expect(alice.agree(with: bob.publicKey)?.copied == shared)
    #expect(bob.agree(with: alice.publicKey)?.copied == shared)
}

@Test
func `A key of small order agrees with nobody`() throws {
    let secret = EphemeralSecret.random()
    #expect(secret.agree(with: .zero) == nil)
    var one = [UInt8](repeating: 0, count: 32)
    one[0] = 1
    #expect(try secret.agree(with: #require(Bytes32(one))) == nil)
}

@Test
func `Both ends derive one pairwise key, and another one in another cluster`() throws {
    let first = SigningKey.random()
    let second = SigningKey.random()
    let cluster = try #require(ClusterID(Array(repeating: 1, count: 32)))
    let other = try #require(ClusterID(Array(repeating: 2, count: 32)))
    let digest = Digest.of([1, 2, 3])
    let here = try #require(PairwiseKey(own: first, peer: second.publicKey, cluster: cluster))
    let there = try #require(PairwiseKey(own: second, peer: first.publicKey, cluster: cluster))
    let elsewhere = try #require(PairwiseKey(own: second, peer: first.publicKey, cluster: other))
    #expect(here.authenticate(digest) == there.authenticate(digest))
    #expect(here.authenticate(digest) != elsewhere.authenticate(digest))
    let zero = try #require(PublicKey(Array(repeating: 0, count: 32)))
    #expect(PairwiseKey(own: first, peer: zero, cluster: cluster) == nil)
}

@Test
func `Hexadecimal text reads back, and anything else is refused`() {
    let every = Array(UInt8.min...UInt8.max)
    #expect(Hexadecimal.decode(Hexadecimal.encode(every)) == every)
    #expect(Hexadecimal.decode("aAfF") == [0xaa, 0xff])
    for text in ["a", "0g", " 0", "0x00", "é"] { #expect(Hexadecimal.decode(text) == nil) }
}

extension SecretBytes {
    /// A secret that holds `bytes`.
    convenience init(_ bytes: [UInt8]) {
        unsafe self.init(count: bytes.count) { target in
            for (index, byte) in bytes.enumerated() { unsafe target[index] = byte }
        }
    }

    /// The bytes, to compare.
    var copied: [UInt8] {
        unsafe withBytes { pointer in (0..<count).map { unsafe pointer[$0] } }
    }
}

extension AEAD {
    /// Seals a copy of a plaintext: the ciphertext and then the tag.
    static func seal(_ plaintext: [UInt8], associated: [UInt8], nonce: Nonce, key: [UInt8]) -> [UInt8] {
        var output = plaintext + [UInt8](repeating: 0, count: SealedFrame.tagByteCount)
        unsafe output.withUnsafeMutableBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return }
            unsafe associated.withUnsafeBufferPointer { associatedBuffer in
                unsafe seal(
                    base,
                    count: plaintext.count,
                    tag: base + plaintext.count,
                    associated: associatedBuffer,
                    nonce: nonce,
                    key: SecretBytes(key)
                )
            }
        }
        return output
    }
}
