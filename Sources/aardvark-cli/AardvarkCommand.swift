import Aardvark
import ArgumentParser

/// The command line: makes clusters, runs replicas, and uses the replicated key-value service.
@main
struct AardvarkCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "aardvark",
        abstract: "A replicated key-value service that keeps serving while some of its replicas attack it.",
        discussion: """
            A cluster of 3f + 1 replicas tolerates f that are faulty in any way. To see one at work on this machine:

              aardvark up                          makes a cluster below .aardvark and runs its 4 replicas
              aardvark kv put greeting hello       in another terminal
              aardvark kv get greeting
              aardvark status
              aardvark bench --workload kv-put

            To run one on several machines, make its files once, edit the hosts, and copy the cluster file and one \
            replica's key to each machine:

              aardvark init --replicas 4 --clients 8 --output cluster --host 10.0.0.1 --host 10.0.0.2 \
            --host 10.0.0.3 --host 10.0.0.4
              aardvark replica --cluster cluster/cluster.yaml --id 0

            Commands that need a cluster file take --cluster FILE, or else .aardvark/cluster.yaml.

            Completion of options and commands in your shell:

              aardvark --generate-completion-script bash > ~/.local/share/bash-completion/completions/aardvark
              (or zsh, or fish)

            Errors are one sentence on the standard error output; the exit codes are those of sysexits.h.
            """,
        version: "0.1.0",
        subcommands: [
            InitCommand.self, KeygenCommand.self, UpCommand.self, ReplicaCommand.self, StatusCommand.self,
            KeyValueCommand.self, AdminCommand.self, StoreCommand.self, Bench.self,
        ]
    )

    /// Runs the command that the arguments name. Every error ends here, as one sentence and an exit code.
    static func main() async {
        do {
            var command = try parseAsRoot()
            if var asyncCommand = command as? any AsyncParsableCommand {
                try await asyncCommand.run()
            } else {
                try command.run()
            }
        } catch let error as OperatorError {
            Console.fail(error)
        } catch let error as ClientError {
            Console.fail(OperatorError(.unavailable, "\(error)"))
        } catch {
            exit(withError: error)
        }
    }
}
