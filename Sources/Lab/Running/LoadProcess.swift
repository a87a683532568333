import Aardvark
import Foundation
import Synchronization

/// The process of the correct clients: ``LoadMachine``, seen from the lab.
final class LoadProcess {
    private let process: LabProcess
    private let log: String
    private let inbox = Inbox()

    /// Starts it.
    ///
    /// - Parameters:
    ///   - words: `aardvark-lab load` with its options, and what goes before it.
    ///   - path: Where a new file takes its messages.
    /// - Throws: Where it does not start.
    init(_ words: [String], log path: String) throws(OperatorError) {
        let output = Pipe()
        log = path
        process = try LabProcess(words, log: path, output: output)
        let inbox = inbox
        Thread.detachNewThread {
            var rest: [UInt8] = []
            // Not read(upToCount:), which waits until there is as much or nobody writes any more.
            while case let bytes = output.fileHandleForReading.availableData, !bytes.isEmpty {
                rest += bytes
                while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                    inbox.put(try? JSONDecoder().decode(LoadReport.self, from: Data(rest[..<end])))
                    rest.removeSubrange(...end)
                }
            }
            inbox.end()
        }
    }

    /// What it has used so far.
    var usage: ProcessUsage? { process.usage }

    /// Tells it what to do next. When it has ended, its reports say so.
    func send(_ order: LoadOrder) { process.write(order.line) }

    /// What was reported since the last time.
    ///
    /// - Throws: Where there will be nothing more.
    func newReports() throws(OperatorError) -> [LoadReport] {
        let (reports, isOver) = inbox.take()
        for report in reports {
            if case .failed(let sentence) = report { throw OperatorError(.unavailable, sentence) }
        }
        guard !reports.isEmpty || !isOver else {
            throw OperatorError(.unavailable, "the load generator ended before its time; see \(log)")
        }
        return reports
    }

    /// Waits for reports.
    ///
    /// - Throws: Where none will come any more; `CancellationError` when the task is cancelled.
    func reports() async throws -> [LoadReport] {
        while true {
            let reports = try newReports()
            guard reports.isEmpty else { return reports }
            await inbox.wait()
            try Task.checkCancellation()
        }
    }

    /// Ends it, and waits for its end.
    func stop() { process.stop() }

    /// Reports that nobody has looked at yet.
    private final class Inbox: Sendable {
        private let state = Mutex((reports: [LoadReport](), isOver: false))
        private let news: AsyncStream<Void>
        private let bell: AsyncStream<Void>.Continuation

        init() {
            (news, bell) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        }

        /// Puts one in; nil is a line that is none, after which none is believed.
        func put(_ report: LoadReport?) {
            state.withLock { state in
                guard !state.isOver else { return }
                if let report { state.reports.append(report) } else { state.isOver = true }
            }
            bell.yield()
        }

        func end() {
            state.withLock { $0.isOver = true }
            bell.yield()
        }

        func take() -> (reports: [LoadReport], isOver: Bool) {
            state.withLock { state in
                defer { state.reports = [] }
                return (state.reports, state.isOver)
            }
        }

        /// Returns when something has changed since the last time, or when the task is cancelled.
        func wait() async {
            for await _ in news { return }
        }
    }
}
