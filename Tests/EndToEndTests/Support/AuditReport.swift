/// The part of `aardvark bench --workload audit --json` that tests look at.
struct AuditReport: Decodable {
    struct Audit: Decodable {
        let acknowledged: Int
        let lost: Int
        let doubled: Int
        let invented: Int
        let contradictions: Int
    }

    let audit: Audit
}
