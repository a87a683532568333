import Cryptography
import Messages

/// The settings of a replica by name, as the header of a recording holds them. A setting that is added to ``ProtocolSwitches`` or
/// ``Limits`` gets a line here.
enum RecordingSettings {
    private struct Setting: Sendable {
        let name: String
        let get: @Sendable (ProtocolSwitches, Limits) -> UInt64
        /// Sets the value; false when it is none that the setting may have.
        let set: @Sendable (UInt64, inout ProtocolSwitches, inout Limits) -> Bool

        init(_ name: String, count path: any WritableKeyPath<Limits, Int> & Sendable) {
            self.name = name
            get = { UInt64(clamping: $1[keyPath: path]) }
            set = { value, _, limits in
                guard let count = Int(exactly: value) else { return false }
                limits[keyPath: path] = count
                return true
            }
        }

        init(_ name: String, time path: any WritableKeyPath<Limits, UInt64> & Sendable) {
            self.name = name
            get = { $1[keyPath: path] }
            set = { value, _, limits in
                limits[keyPath: path] = value
                return true
            }
        }

        init<Value: Equatable & Sendable>(
            _ name: String,
            switch path: any WritableKeyPath<ProtocolSwitches, Value> & Sendable,
            values: [Value]
        ) {
            self.name = name
            get = { switches, _ in UInt64(values.firstIndex(of: switches[keyPath: path]) ?? values.count) }
            set = { value, switches, _ in
                guard let place = Int(exactly: value), values.indices.contains(place) else { return false }
                switches[keyPath: path] = values[place]
                return true
            }
        }
    }

    private static let all: [Setting] = [
        Setting("request_authentication", switch: \.requestAuthentication, values: [.macVector, .signature]),
        Setting("dissemination", switch: \.dissemination, values: [.primary, .all]),
        Setting("tentative_execution", switch: \.tentativeExecution, values: [false, true]),
        Setting("checkpoint_interval", count: \.checkpointInterval),
        Setting("log_window", count: \.logWindow),
        Setting("pipeline_depth", count: \.pipelineDepth),
        Setting("batch_requests", count: \.batchRequests),
        Setting("batch_bytes", count: \.batchBytes),
        Setting("client_window", count: \.clientWindow),
        Setting("identities", count: \.identities),
        Setting("client_pending_bytes", count: \.clientPendingBytes),
        Setting("stall_nanoseconds", time: \.stallNanoseconds),
        Setting("longest_stall_nanoseconds", time: \.longestStallNanoseconds),
        Setting("catch_up_nanoseconds", time: \.catchUpNanoseconds),
        Setting("catch_up_batches", count: \.catchUpBatches),
        Setting("answer_bytes", count: \.answerBytes),
        Setting("request_fetch_nanoseconds", time: \.requestFetchNanoseconds),
        Setting("digests_per_number", count: \.digestsPerNumber),
        Setting("view_change_nanoseconds", time: \.viewChangeNanoseconds),
        Setting("early_messages", count: \.earlyMessages),
        Setting("early_bytes", count: \.earlyBytes),
        Setting("waiting_reads", count: \.waitingReads),
        Setting("waiting_read_bytes", count: \.waitingReadBytes),
        Setting("clock_tolerance_nanoseconds", time: \.clockToleranceNanoseconds),
    ]

    /// How many settings there are.
    static var count: Int { all.count }

    static func append(_ switches: ProtocolSwitches, _ limits: Limits, to bytes: inout [UInt8]) {
        bytes.append(UInt8(all.count))
        for setting in all {
            bytes.append(lengthPrefixed: Array(setting.name.utf8))
            bytes.append(littleEndian: setting.get(switches, limits))
        }
    }

    /// Reads the settings, each of which must be there.
    ///
    /// - Throws: ``RecordingError/otherSettings(_:)`` for a setting that is missing or not known here.
    static func read(_ reader: inout ByteReader) throws(RecordingError) -> (ProtocolSwitches, Limits) {
        var switches = ProtocolSwitches.pbft
        var limits = Limits()
        var missing = Set(all.map(\.name))
        for (name, value) in try readPairs(&reader) {
            guard let setting = all.first(where: { $0.name == name }) else { throw .otherSettings(name) }
            guard missing.remove(name) != nil, setting.set(value, &switches, &limits) else { throw .damagedHeader }
        }
        if let name = missing.min() { throw .otherSettings(name) }
        return (switches, limits)
    }

    private static func readPairs(_ reader: inout ByteReader) throws(RecordingError) -> [(String, UInt64)] {
        var pairs: [(String, UInt64)] = []
        do throws(MalformedMessage) {
            for _ in 0..<(try reader.readUInt8()) {
                let name = String(decoding: try reader.readBytes(limit: 64, .text), as: UTF8.self)
                pairs.append((name, try reader.readUInt64()))
            }
        } catch {
            throw .damagedHeader
        }
        return pairs
    }
}
