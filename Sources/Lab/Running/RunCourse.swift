/// How a run goes on: its parts, and how many clients send in each second.
struct RunCourse {
    /// For how many seconds the attack may wait for its moment.
    static let mostPostponed = 90

    /// The parts as they have become.
    private(set) var phases: Scenario.Phases
    private let load: [Scenario.LoadPart]
    private var postponed = 0

    /// Plans a run.
    init(_ phases: Scenario.Phases, load: [Scenario.LoadPart]) {
        self.phases = phases
        self.load = load
    }

    /// The first second of the attack.
    var attackStart: Int { phases.warmup + phases.faultFree }
    /// The first second after it.
    var attackEnd: Int { attackStart + phases.attack }
    /// How many correct clients there are.
    var mostClients: Int { load.map(\.clients).max() ?? 0 }
    /// From when on how many clients send.
    var loadSteps: [AttackResults.LoadStep] { Scenario.steps(of: load, attackStart: attackStart) }

    /// Whether the attack is on in a second.
    func isAttacked(in second: Int) -> Bool { second >= attackStart && second < attackEnd }

    /// How many clients send in a second.
    func clients(in second: Int) -> Int {
        loadSteps.last { $0.startSeconds <= Double(second) }?.clients ?? 0
    }

    /// Lets the fault-free part last a second longer.
    ///
    /// - Returns: Whether it may.
    mutating func postpone() -> Bool {
        guard postponed < Self.mostPostponed else { return false }
        postponed += 1
        phases.faultFree += 1
        return true
    }
}
