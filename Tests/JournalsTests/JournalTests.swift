import Glibc
import JSON
import Journals
import Storage
import TestSupport
import Testing

/// Journals and the lines they are made of.
@Suite struct JournalTests {
  private static let head: JSONValue = ["run": ["model": "a", "seed": 0]]
  private static let entries: [JSONValue] = [["layer": 0], ["layer": 1, "text": "two\nlines"], ["layer": 2]]

  private func path(_ directory: String) -> String { Journal.path(beside: directory + "/out") }

  private func bytes(of path: String) throws -> [UInt8] { try contents(of: path) }

  @Test func whatWasFinishedIsThereAgain() throws {
    try withTemporaryDirectory { directory in
      do {
        let journal = try Journal(path: path(directory), head: Self.head)
        #expect(journal.entries.isEmpty && journal.lostByteCount == 0)
        for entry in Self.entries { try journal.append(entry) }
      }
      #expect(!Journal.isDone(path(directory)))
      do {
        let journal = try Journal(path: path(directory), head: Self.head)
        #expect(journal.entries == Self.entries)
        try journal.finish()
      }
      #expect(Journal.isDone(path(directory)))
      let journal = try Journal(path: path(directory), head: Self.head)
      #expect(journal.entries == Self.entries)
      try journal.remove()
      #expect(listing(of: directory).isEmpty)
    }
  }

  @Test("a journal that ends anywhere is gone on with behind its last whole line")
  func cutShort() throws {
    try withTemporaryDirectory { directory in
      do {
        let journal = try Journal(path: path(directory), head: Self.head)
        for entry in Self.entries { try journal.append(entry) }
      }
      let whole = try bytes(of: path(directory))
      let headCount = HashedLines.line(Self.head).count
      for count in headCount...whole.count {
        try write(Array(whole[..<count]), to: path(directory))
        let lineEnds = whole[..<count].enumerated().filter { $0.element == UInt8(ascii: "\n") }.map { $0.offset + 1 }
        do {
          let journal = try Journal(path: path(directory), head: Self.head)
          #expect(journal.entries == Array(Self.entries.prefix(lineEnds.count - 1)))
          #expect(journal.lostByteCount == count - lineEnds[lineEnds.count - 1])
          try journal.append(["layer": 9])
        }
        let journal = try Journal(path: path(directory), head: Self.head)
        #expect(journal.entries.last == ["layer": 9] && journal.entries.count == lineEnds.count)
      }
    }
  }

  @Test("a byte that was changed takes away its line and those behind it")
  func changed() throws {
    try withTemporaryDirectory { directory in
      do {
        let journal = try Journal(path: path(directory), head: Self.head)
        for entry in Self.entries { try journal.append(entry) }
      }
      let whole = try bytes(of: path(directory))
      let headCount = HashedLines.line(Self.head).count
      for index in headCount..<whole.count {
        var changed = whole
        changed[index] ^= 1
        try write(changed, to: path(directory))
        let before = whole[..<index].count { $0 == UInt8(ascii: "\n") } - 1
        let journal = try Journal(path: path(directory), head: Self.head)
        #expect(journal.entries == Array(Self.entries.prefix(before)), "byte \(index)")
      }
    }
  }

  @Test func anotherRunIsRefusedByTheFirstKeyThatDiffers() throws {
    try withTemporaryDirectory { directory in
      _ = try Journal(path: path(directory), head: Self.head)
      let before = try bytes(of: path(directory))
      #expect(
        throws: JournalError.other("run.seed", now: "1", then: "0", path: path(directory))
      ) { _ = try Journal(path: path(directory), head: ["run": ["model": "a", "seed": 1]]) }
      #expect(
        throws: JournalError.other("run.more", now: "2", then: "null", path: path(directory))
      ) { _ = try Journal(path: path(directory), head: ["run": ["model": "a", "seed": 0, "more": 2]]) }
      #expect(try bytes(of: path(directory)) == before)
    }
  }

  @Test(
    "what is no journal is refused and stays", arguments: ["", "words\n", "{\"run\": 1}\n", "0123456789abcdef {}\n"])
  func foreign(text: String) throws {
    try withTemporaryDirectory { directory in
      try write(Array(text.utf8), to: path(directory))
      #expect(throws: JournalError.foreign(path: path(directory))) {
        _ = try Journal(path: path(directory), head: Self.head)
      }
      #expect(try bytes(of: path(directory)) == Array(text.utf8))
    }
  }

  @Test func twoAtATimeAreRefused() throws {
    try withTemporaryDirectory { directory in
      let journal = try Journal(path: path(directory), head: Self.head)
      #expect(throws: JournalError.busy(path: path(directory))) {
        _ = try Journal(path: path(directory), head: Self.head)
      }
      try journal.append(["layer": 0])
    }
  }
}
