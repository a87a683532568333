import Invariants

/// The open tentative sections of a store, with the value before each write in them.
package struct TentativeSections {
    /// A write that can be taken back.
    package struct Write {
        package let key: StoreKey
        /// The value before it, or nil when there was none.
        package let before: [UInt8]?
    }

    private struct Section {
        let mark: TentativeMark
        var writes: [Write] = []
    }

    /// Oldest first.
    private var sections: [Section] = []
    private var opened: UInt64 = 0

    package init() {}

    /// Whether one is open.
    package var areOpen: Bool { !sections.isEmpty }

    /// Opens a section.
    package mutating func begin() -> TentativeMark {
        opened += 1
        let mark = TentativeMark(number: opened)
        sections.append(Section(mark: mark))
        return mark
    }

    /// Closes the oldest open section; its writes stay.
    package mutating func commit(_ mark: TentativeMark) {
        invariant(sections.first?.mark == mark, "committed section is not the oldest open one")
        sections.removeFirst()
    }

    /// Notes a write in the last open section, if there is one.
    package mutating func record(_ key: StoreKey, before: [UInt8]?) {
        guard !sections.isEmpty else { return }
        sections[sections.count - 1].writes.append(Write(key: key, before: before))
    }

    /// Closes a section and all later ones.
    ///
    /// - Returns: Their writes, which are to be taken back in this order: the last one first.
    package mutating func takeWrites(since mark: TentativeMark) -> [Write] {
        guard let first = sections.firstIndex(where: { $0.mark == mark }) else {
            invariantViolated("section to roll back is not open")
        }
        let writes = sections[first...].flatMap(\.writes)
        sections.removeSubrange(first...)
        return writes.reversed()
    }

    /// Closes all sections; their marks are void.
    package mutating func removeAll() {
        sections = []
    }
}
