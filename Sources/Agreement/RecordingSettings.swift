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

        init(_ name: String, number path: any WritableKeyPath<Limits, UInt64> & Sendable) {
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
        Setting("regular_view_changes", switch: \.regularViewChanges, values: [false, true]),
        Setting("checkpoint_interval", count: \.checkpointInterval),
        Setting("log_window", count: \.logWindow),
        Setting("pipeline_depth", count: \.pipelineDepth),
        Setting("batch_requests", count: \.batchRequests),
        Setting("batch_bytes", count: \.batchBytes),
        Setting("long_request_bytes", count: \.longRequestBytes),
        Setting("long_request_bytes_per_second", count: \.longRequestBytesPerSecond),
        Setting("client_window", count: \.clientWindow),
        Setting("identities", count: \.identities),
        Setting("client_pending_bytes", count: \.clientPendingBytes),
        Setting("stall_nanoseconds", number: \.stallNanoseconds),
        Setting("longest_stall_nanoseconds", number: \.longestStallNanoseconds),
        Setting("catch_up_nanoseconds", number: \.catchUpNanoseconds),
        Setting("catch_up_batches", count: \.catchUpBatches),
        Setting("past_batches", count: \.pastBatches),
        Setting("past_bytes", count: \.pastBytes),
        Setting("past_batches_per_answer", count: \.pastBatchesPerAnswer),
        Setting("answer_bytes", count: \.answerBytes),
        Setting("request_fetch_nanoseconds", number: \.requestFetchNanoseconds),
        Setting("digests_per_number", count: \.digestsPerNumber),
        Setting("view_change_nanoseconds", number: \.viewChangeNanoseconds),
        Setting("early_messages", count: \.earlyMessages),
        Setting("early_bytes", count: \.earlyBytes),
        Setting("waiting_reads", count: \.waitingReads),
        Setting("waiting_read_bytes", count: \.waitingReadBytes),
        Setting("clock_tolerance_nanoseconds", number: \.clockToleranceNanoseconds),
        Setting("resending_shortest_slot_nanoseconds", number: \.resending.shortestSlotNanoseconds),
        Setting("resending_longest_slot_nanoseconds", number: \.resending.longestSlotNanoseconds),
        Setting("monitoring_heartbeat_nanoseconds", number: \.monitoring.heartbeatNanoseconds),
        Setting("monitoring_pause_nanoseconds", number: \.monitoring.pauseNanoseconds),
        Setting("monitoring_pause_interval_nanoseconds", number: \.monitoring.pauseIntervalNanoseconds),
        Setting("monitoring_progress_heartbeats", number: \.monitoring.progressHeartbeats),
        Setting("monitoring_idle_heartbeats", number: \.monitoring.idleHeartbeats),
        Setting("monitoring_forward_nanoseconds", number: \.monitoring.forwardNanoseconds),
        Setting("monitoring_ping_nanoseconds", number: \.monitoring.pingNanoseconds),
        Setting("monitoring_most_doublings", count: \.monitoring.mostDoublings),
        Setting("monitoring_batches_per_halving", count: \.monitoring.batchesPerHalving),
        Setting("monitoring_grace_nanoseconds", number: \.monitoring.graceNanoseconds),
        Setting("monitoring_most_grace_factor", number: \.monitoring.mostGraceFactor),
        Setting("monitoring_view_grace_periods", number: \.monitoring.viewGracePeriods),
        Setting("monitoring_measuring_nanoseconds", number: \.monitoring.measuringNanoseconds),
        Setting("monitoring_early_nanoseconds", number: \.monitoring.earlyNanoseconds),
        Setting("monitoring_early_percent", number: \.monitoring.earlyPercent),
        Setting("monitoring_slow_nanoseconds", number: \.monitoring.slowNanoseconds),
        Setting("monitoring_slow_percent", number: \.monitoring.slowPercent),
        Setting("monitoring_idle_nanoseconds", number: \.monitoring.idleNanoseconds),
        Setting("monitoring_requirement_percent", number: \.monitoring.requirementPercent),
        Setting("monitoring_raise_percent", number: \.monitoring.raisePercent),
        Setting("monitoring_request_work", number: \.monitoring.requestWork),
        Setting("monitoring_operation_work", number: \.monitoring.operationWork),
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
