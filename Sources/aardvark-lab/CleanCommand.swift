import ArgumentParser
import Lab

/// `aardvark-lab clean`: removes what a run left behind that was killed together with its guard.
struct CleanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "clean",
        abstract: "Remove emulated machines that an earlier run left behind.",
        discussion: """
            A run removes its network namespaces and control groups by itself, also when it is interrupted or killed. Should something \
            be left, this removes it: only what is named aardvark-lab-N..., where no process N runs any more.
            """
    )

    func run() throws {
        let runs = try EmulationLeftovers.remove()
        if runs.isEmpty { print("nothing is left") }
        for run in runs {
            print(
                run.isAlive
                    ? "left alone: process \(run.process) is still running"
                    : "removed: the machines of process \(run.process)"
            )
        }
    }
}
