import ArgumentParser

/// The laboratory: breaks clusters on purpose and says what came of it. Attack code is in this program only, never in `aardvark`.
@main
struct LabCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "aardvark-lab",
        abstract: "Tries to break the replication protocol, and says whether it held.",
        subcommands: [SimulateCommand.self, ProfilesCommand.self]
    )
}
