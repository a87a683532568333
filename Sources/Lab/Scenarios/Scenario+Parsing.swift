import Aardvark

/// Reading a scenario file.
extension Scenario {
    /// Reads and checks a scenario file.
    ///
    /// - Parameters:
    ///   - path: The file.
    ///   - known: The names of all profiles that the lab can run.
    /// - Throws: What is wrong first, with the file, the line and the field.
    package init(path: String, profiles known: Set<String>) throws(OperatorError) {
        let bytes = try FileAccess.read(path, what: "scenario file", mostBytes: Self.mostBytes)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw OperatorError(.configuration, "\(path): the scenario file is not UTF-8 text")
        }
        try self.init(text: text, path: path, profiles: known)
    }

    /// Parses and checks the text of a scenario file.
    ///
    /// - Parameters:
    ///   - text: The YAML text.
    ///   - path: The file that it comes from, for its name and for messages.
    ///   - known: The names of all profiles that the lab can run.
    /// - Throws: What is wrong first, with the file, the line and the field.
    package init(text: String, path: String, profiles known: Set<String>) throws(OperatorError) {
        let root = try ConfigurationField.root(of: text, file: path)
        let fields = try root.fields(
            required: ["version", "summary", "profiles"],
            optional: [
                "protocols", "replicas", "repeats", "seed", "clients", "load", "window", "bundle", "workload",
                "durability",
                "phases",
            ]
        )
        let version = try fields.field("version")
        if try version.integer(in: 0...Int.max) != Self.formatVersion {
            throw version.failure("expected format version \(Self.formatVersion), found \(version.quoted)")
        }
        let file = path.split(separator: "/").last ?? ""
        name = String(file.hasSuffix(".yaml") ? file.dropLast(5) : file)
        summary = try fields.field("summary").string()
        profiles = try Self.profiles(fields.field("profiles"), known: known)
        phases = try fields.optional("phases").map(Self.phases) ?? Phases()
        load = try Self.load(fields, attackSeconds: phases.attack)

        if let field = fields.optional("protocols") { protocols = try Self.protocols(field) }
        if let field = fields.optional("replicas") { replicas = try Self.replicas(field) }
        if let field = fields.optional("repeats") { repeats = try field.integer(in: 1...100) }
        if let field = fields.optional("seed") { seed = UInt64(try field.integer(in: 0...Int.max)) }
        if let field = fields.optional("window") { window = try field.integer(in: 1...1_024) }
        if let field = fields.optional("bundle") { bundle = try field.integer(in: 1...1_024) }
        if let field = fields.optional("workload") { workload = try field.string() }
        if let field = fields.optional("durability") {
            durability = try field.choice(of: ClusterFile.Durability.self).rawValue
        }
    }

    private static func replicas(_ field: ConfigurationField) throws(OperatorError) -> Int {
        let count = try field.integer(in: 4...13)
        guard count % 3 == 1 else { throw field.failure("expected 4, 7, 10 or 13 replicas, found \(field.quoted)") }
        return count
    }

    private static func profiles(
        _ field: ConfigurationField,
        known: Set<String>
    ) throws(OperatorError) -> [String]? {
        if let word = try? field.string() {
            guard word == "all" else {
                throw field.failure("expected \"all\" or a list of names, found \(field.quoted)")
            }
            return nil
        }
        return try distinct(field, most: 200) { element throws(OperatorError) in
            let name = try element.string()
            guard known.contains(name) else {
                throw element.failure("there is no profile \(element.quoted); aardvark-lab profiles lists them")
            }
            return name
        }
    }

    private static func protocols(_ field: ConfigurationField) throws(OperatorError) -> [ProtocolVariant] {
        try distinct(field, most: ProtocolVariant.allCases.count) { element throws(OperatorError) in
            try element.choice(of: ProtocolVariant.self)
        }
    }

    /// A list of at least one element, none of them twice.
    private static func distinct<Element: Equatable>(
        _ field: ConfigurationField,
        most: Int,
        _ read: (ConfigurationField) throws(OperatorError) -> Element
    ) throws(OperatorError) -> [Element] {
        var list: [Element] = []
        for element in try field.elements(most: most) {
            let value = try read(element)
            guard !list.contains(value) else { throw element.failure("\(element.quoted) occurs twice") }
            list.append(value)
        }
        guard !list.isEmpty else { throw field.failure("expected at least one element, found none") }
        return list
    }

    private static func phases(_ field: ConfigurationField) throws(OperatorError) -> Phases {
        let fields = try field.fields(required: [], optional: ["warmup", "faultFree", "attack", "after"])
        var phases = Phases()
        if let field = fields.optional("warmup") { phases.warmup = try field.integer(in: 0...600) }
        if let field = fields.optional("faultFree") { phases.faultFree = try field.integer(in: 1...3_600) }
        if let field = fields.optional("attack") { phases.attack = try field.integer(in: 1...3_600) }
        if let field = fields.optional("after") { phases.after = try field.integer(in: 0...3_600) }
        return phases
    }

    private static func load(
        _ fields: ConfigurationField.Group,
        attackSeconds: Int
    ) throws(OperatorError) -> [LoadPart] {
        let mostClients = 1_000
        guard let field = fields.optional("load") else {
            let clients = try fields.optional("clients")?.integer(in: 1...mostClients) ?? 10
            return [LoadPart(clients: clients, seconds: attackSeconds)]
        }
        if let clients = fields.optional("clients") {
            throw clients.failure("expected either clients or load, found both")
        }
        var parts: [LoadPart] = []
        for element in try field.elements(most: 100) {
            let part = try element.fields(required: ["clients", "seconds"], optional: [])
            parts.append(
                LoadPart(
                    clients: try part.field("clients").integer(in: 1...mostClients),
                    seconds: try part.field("seconds").integer(in: 1...3_600)
                )
            )
        }
        let seconds = parts.reduce(0) { $0 + $1.seconds }
        guard seconds == attackSeconds else {
            throw field.failure(
                "expected parts of \(attackSeconds) seconds in all, as long as the attack, found \(seconds)"
            )
        }
        return parts
    }
}
