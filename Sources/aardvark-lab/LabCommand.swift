import Aardvark
import ArgumentParser
import Foundation

/// The laboratory: breaks clusters on purpose and says what came of it. Attack code is in this program only, never in `aardvark`.
@main
struct LabCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "aardvark-lab",
        abstract: "Tries to break the replication protocol, and says whether it held.",
        subcommands: [
            AttackCommand.self, PaperCommand.self, ByzantineCommand.self, ByzantineClientCommand.self, LoadCommand.self,
            SimulateCommand.self, ReplayCommand.self, ProfilesCommand.self, CheckpointCommand.self,
            ReportCommand.self, CleanCommand.self,
        ]
    )

    /// Runs the command that the arguments name. What the operator has to put right is one sentence and an exit code.
    static func main() async {
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch let error as LabError {
            Console.note("aardvark-lab: error: \(error.sentence)")
            Foundation.exit(error.exitCode)
        } catch let error as OperatorError {
            Console.note("aardvark-lab: error: \(error.sentence)")
            Foundation.exit(error.exitCode)
        } catch {
            exit(withError: error)
        }
    }
}
