import Glibc
import Storage
import TestSupport
import Testing

/// Files that are written in several sittings.
@Suite struct GoingOnTests {
  @Test("an output that was begun before is ended under its name", arguments: [true, false])
  func output(replaces: Bool) throws {
    try withTemporaryDirectory { directory in
      let (working, path) = (directory + "/working", directory + "/out")
      for (place, text) in [(0, "first "), (6, "second")] {
        let file = try OutputFile(goingOnWith: working, as: path, replaces: replaces)
        try file.write(Array(text.utf8).bytes, at: place)
        if place == 0 { try file.sync() } else { try file.commit() }
      }
      #expect(listing(of: directory) == ["out"])
      #expect(try contents(of: path) == Array("first second".utf8))
      let file = try OutputFile(goingOnWith: working, as: path, replaces: replaces)
      try file.write(Array("third".utf8).bytes, at: 0)
      if replaces {
        try file.commit()
        #expect(try contents(of: path) == Array("third".utf8))
      } else {
        do throws(FileError) {
          try file.commit()
          Issue.record("it took the name of another file")
        } catch { #expect(error.operation == "rename") }
        #expect(try contents(of: path) == Array("first second".utf8))
        #expect(listing(of: directory) == ["out", "working"])
      }
    }
  }

  @Test func whatGrowsIsOnlyOneProcesses() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/log"
      try write(Array("one".utf8), to: path)
      do {
        let file = try GrowingFile(path: path)
        try file.append(Array(", two".utf8).bytes)
        try file.end(at: 3)
        try file.append(Array(", three".utf8).bytes)
        #expect { _ = try GrowingFile(path: path) } throws: { ($0 as? FileError)?.operation == "lock" }
      }
      #expect(try contents(of: path) == Array("one, three".utf8))
      try GrowingFile(path: path).remove()
      #expect(listing(of: directory).isEmpty)
      #expect(throws: FileError.self) { _ = try GrowingFile(path: path) }
      #expect(throws: FileError.self) { _ = try GrowingFile(path: directory) }
    }
  }
}
