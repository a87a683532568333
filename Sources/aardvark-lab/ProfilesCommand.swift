import Adversary
import ArgumentParser
import Lab

/// `aardvark-lab profiles`: what can go wrong, by name.
struct ProfilesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "profiles",
        abstract: "List the attack profiles."
    )

    func run() {
        print("The simulator runs all but the last, which are about connections.")
        print("attack runs all that do not say that they are for the simulator only, and these as follows:")
        for profile in Profiles.all {
            for course in AttackProfiles.courses[profile.name] ?? [] {
                let machines = AttackProfiles.needsMachines(course) ? " [with --emulate]" : ""
                print("  \(course.name): \(course.summary)\(machines)")
            }
        }
        print("")
        let all = Profiles.all + Profiles.beyondTheModel + AttackProfiles.onConnections
        let width = all.reduce(0) { max($0, $1.name.count) }
        for profile in all {
            let fill = String(repeating: " ", count: width - profile.name.count)
            let machines = AttackProfiles.needsMachines(profile) ? " [with --emulate]" : ""
            let reason =
                AttackProfiles.reasonForSimulatorOnly(profile).map { " [simulator only: it \($0)]" } ?? machines
            let culprit = profile.culprit.rawValue
            let gap = String(repeating: " ", count: max(12 - culprit.count, 1))
            print("\(profile.name)\(fill)  \(culprit)\(gap)\(profile.summary)\(reason)")
        }
    }
}
