import Dispatch
import Glibc
import Storage
import TestSupport
import Testing

@Suite struct FileTests {
  // The 6.3.1 optimiser crashes on spans of temporaries inside throwing closures, so owners get a name of their own.
  private func drop(_ path: String, in directory: String) throws {
    let file = try OutputFile(path: path)
    try file.write([1, 2, 3].bytes, at: 0)
    #expect(listing(of: directory).isEmpty, "a file without a name")
  }

  private func commit(_ path: String) throws {
    let file = try OutputFile(path: path)
    try file.write([4, 5].bytes, at: 2)
    try file.write([1, 2, 3].bytes, at: 0)
    try file.commit()
  }

  @Test func aFileAppearsOnlyWhenCommitted() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/out"
      try drop(path, in: directory)
      #expect(listing(of: directory).isEmpty, "a dropped writer leaves nothing")
      try commit(path)
      #expect(listing(of: directory) == ["out"])
      #expect(try contents(of: path) == [1, 2, 3, 5])
    }
  }

  private func commitBeside(_ path: String) throws {
    let file = try OutputFile(path: path, replaces: false)
    try file.write([1, 2, 3].bytes, at: 0)
    try write([4, 5], to: path)
    try file.commit()
  }

  @Test func aNameThatWasTakenMeanwhileIsKept() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/out"
      var code: Int32 = 0
      do { try commitBeside(path) } catch let error as FileError { code = error.code }
      #expect(code == EEXIST)
      #expect(listing(of: directory) == ["out"])
      #expect(try contents(of: path) == [4, 5])
    }
  }

  @Test func aMissingDirectoryIsReported() {
    let error = #expect(throws: FileError.self) { _ = try OutputFile(path: "/proc/nowhere/file") }
    #expect(error?.code == ENOENT)
  }

  @Test func whatIsNoFileIsRefused() {
    #expect(throws: FileError("open", "/tmp", code: EISDIR)) { _ = try MappedFile(path: "/tmp") }
    #expect(throws: FileError("open", "/dev/null", code: ENODEV)) { _ = try MappedFile(path: "/dev/null") }
    #expect(throws: FileError("open", "/no/such", code: ENOENT)) { _ = try MappedFile(path: "/no/such") }
  }

  @Test func anEmptyFileMapsAsNoBytes() throws {
    try withTemporaryDirectory { directory in
      try OutputFile(path: directory + "/empty").commit()
      let file = try MappedFile(path: directory + "/empty")
      #expect(file.bytes.byteCount == 0)
    }
  }

  // MARK: Names of files that are not whole

  private func writeNamed(_ path: String, replaces: Bool, during look: () -> Void) throws {
    let file = try OutputFile(path: path, replaces: replaces, mayBeUnnamed: false)
    try file.write([9].bytes, at: 0)
    look()
    try file.commit()
  }

  @Test("where files cannot be without a name they have a short one", arguments: [true, false])
  func named(replaces: Bool) throws {
    try withTemporaryDirectory { directory in
      let name = String(repeating: "ä", count: 127)
      var seen: [String] = []
      try writeNamed("\(directory)/\(name)", replaces: replaces) { seen = listing(of: directory) }
      #expect(seen.count == 1 && seen[0].hasSuffix(".ingot.tmp") && seen[0].utf8.count < 143, "\(seen)")
      #expect(listing(of: directory) == [name])
    }
  }

  private func expectLocked(_ path: String) throws {
    let file = try OutputFile(path: path, mayBeUnnamed: false)
    try file.write([1, 2, 3].bytes, at: 0)
    #expect(OutputFile.removeLeftovers(of: path).isEmpty, "what is being written is locked")
    #expect(listing(of: OutputFile.split(path).directory).count == 1)
  }

  @Test func onlyLeftoversOfTheSameOutputAreRemoved() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/out.ingot"
      try expectLocked(path)
      #expect(listing(of: directory).isEmpty, "a dropped writer leaves nothing")
      let others = [
        ".other.ingot.12-1.ingot.tmp", ".out.ingot.12-1.tmp", ".out.ingot.12.ingot.tmp", ".out.ingot.a-1.ingot.tmp",
        ".out.ingot.ingot.tmp", "out.ingot.12-1.ingot.tmp",
      ]
      for name in others + [".out.ingot.12-1.ingot.tmp"] { try write([1, 2, 3], to: "\(directory)/\(name)") }
      let removed = OutputFile.removeLeftovers(of: path)
      #expect(removed.map(\.name) == [".out.ingot.12-1.ingot.tmp"] && removed.map(\.byteCount) == [3])
      #expect(listing(of: directory) == others.sorted())
    }
  }

  private func replace(_ path: String, by text: String, inPlaceOf old: MappedFile?) throws {
    let bytes = Array(text.utf8)
    let file = try OutputFile(path: path)
    try file.write(bytes.bytes, at: 0)
    try file.commit(inPlaceOf: old)
  }

  private func number(in path: String) throws -> Int {
    Int(String(decoding: try contents(of: path), as: UTF8.self).filter(\.isNumber)) ?? -1
  }

  /// One writes ever higher numbers; the other puts a letter behind the one that it read, which must never undo a higher.
  @Test func aFileThatTookTheNameMeanwhileKeepsIt() throws {
    let path = "\(FilePlace.temporary)/ingot-exchange-\(getpid())"
    try replace(path, by: "0", inPlaceOf: nil)
    defer { unsafe _ = unlink(path) }
    let count = 200
    // On a thread of its own: tasks could all be waiting for this one.
    let written = DispatchSemaphore(value: 0)
    DispatchQueue(label: "writer").async {
      for value in 1...count { #expect(throws: Never.self) { try self.replace(path, by: "\(value)", inPlaceOf: nil) } }
      written.signal()
    }
    var (highest, replaced, kept) = (0, 0, 0)
    while highest < count {
      do {
        let old = try MappedFile(path: path)
        let text = String(decoding: old.bytes.array.filter { $0 < 0x60 }, as: UTF8.self)
        #expect(Int(text)! >= highest, "a number came back")
        highest = max(highest, Int(text)!)
        try replace(path, by: text + "a", inPlaceOf: old)
        replaced += 1
      } catch let error as FileError {
        #expect(error.code == FileError.changed)
        kept += 1
      }
    }
    written.wait()
    #expect(try number(in: path) == count && replaced > 0)
    #expect(listing(of: FilePlace.temporary).filter { $0.contains("ingot-exchange-\(getpid())") }.count == 1)
  }

  private enum FilePlace {
    static let temporary = unsafe getenv("TMPDIR").map { unsafe String(cString: $0) } ?? "/tmp"
  }

  // MARK: Files that change

  @Test func whatWasWrittenToIsNoLongerWhatWasOpened() throws {
    try withTemporaryDirectory { directory in
      let path = directory + "/file"
      try write([1, 2, 3], to: path)
      let file = try MappedFile(path: path)
      try file.requireUnchanged()
      usleep(20_000)  // the clock of the file system
      try write([1, 2, 4], to: path)
      for mayBeReplaced in [true, false] {
        let error = #expect(throws: FileError.self) { try file.requireUnchanged(mayBeReplaced: mayBeReplaced) }
        #expect(error?.code == FileError.changed)
      }
      let again = try MappedFile(path: path)
      try write([9], to: path + "2")
      unsafe #expect(rename(path + "2", path) == 0)
      try again.requireUnchanged(mayBeReplaced: true)
      #expect(throws: FileError.self) { try again.requireUnchanged() }
    }
  }

  @Test func aPointerOfGitIsNotTheFile() throws {
    try withTemporaryDirectory { directory in
      let text = "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 12\n"
      try write(Array(text.utf8), to: directory + "/pointer")
      let error = #expect(throws: FileError.self) { _ = try MappedFile(path: directory + "/pointer") }
      #expect(error?.code == FileError.pointer)
    }
  }
}
