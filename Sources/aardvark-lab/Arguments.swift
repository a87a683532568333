import Adversary
import Agreement
import ArgumentParser

/// Seeds on the command line: `7`, `1..1000`, or `random:1000` for so many from any place on.
struct SeedRange: ExpressibleByArgument, CustomStringConvertible {
    let range: ClosedRange<UInt64>

    init(_ range: ClosedRange<UInt64>) {
        self.range = range
    }

    init?(argument: String) {
        if let seed = UInt64(argument) {
            range = seed...seed
            return
        }
        if argument.hasPrefix("random:") {
            guard let count = UInt64(argument.dropFirst("random:".count)), (1...1 << 40).contains(count) else {
                return nil
            }
            let first = UInt64.random(in: 1...1 << 40)
            range = first...first + count - 1
            return
        }
        guard let dots = argument.firstRange(of: ".."), let first = UInt64(argument[..<dots.lowerBound]),
            let last = UInt64(argument[dots.upperBound...]), first <= last, last < .max
        else { return nil }
        range = first...last
    }

    var description: String { range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound)..\(range.upperBound)" }
    var defaultValueDescription: String { description }
}

/// Profiles on the command line: `all`, or names with commas between them.
struct ProfileList: ExpressibleByArgument, CustomStringConvertible {
    static let all = ProfileList(profiles: Profiles.all, description: "all")

    let profiles: [Profile]
    let description: String

    private init(profiles: [Profile], description: String) {
        self.profiles = profiles
        self.description = description
    }

    init?(argument: String) {
        if argument == "all" {
            self = .all
            return
        }
        var profiles: [Profile] = []
        for name in argument.split(separator: ",") {
            guard let profile = Profiles.named(String(name)) else { return nil }
            profiles.append(profile)
        }
        guard !profiles.isEmpty else { return nil }
        self.profiles = profiles
        description = argument
    }

    var defaultValueDescription: String { description }

    func profile(of seed: UInt64) -> Profile {
        profiles[Int(seed % UInt64(profiles.count))]
    }
}

/// Places of faults on the command line: `none`, or numbers with commas between them.
struct FaultPlaces: ExpressibleByArgument, CustomStringConvertible {
    let places: [Int]

    init(places: [Int]) {
        self.places = places
    }

    init?(argument: String) {
        if argument == "none" {
            places = []
            return
        }
        var places: [Int] = []
        for word in argument.split(separator: ",") {
            guard let place = Int(word), place >= 0 else { return nil }
            places.append(place)
        }
        self.places = places
    }

    var description: String { places.isEmpty ? "none" : places.map(String.init).joined(separator: ",") }
}

/// A protocol by name.
enum ProtocolName: String, ExpressibleByArgument, CaseIterable {
    case pbft
    case aardvark

    var switches: ProtocolSwitches {
        switch self {
        case .pbft: .pbft
        case .aardvark: .aardvark
        }
    }
}
