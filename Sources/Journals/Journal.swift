package import JSON
package import Storage

/// What a run has finished so far, so that the same command can go on with it (`Formats/journal.md`).
package final class Journal {
  package let path: String
  /// What was finished before, in order.
  package let entries: [JSONValue]
  /// Bytes at its end that were not written whole, and are gone.
  package let lostByteCount: Int
  private let file: GrowingFile

  private static let done: JSONValue = ["done": true]

  /// Where the journal of a run lies that writes `output`.
  package static func path(beside output: String) -> String { output + ".journal" }

  /// Opens the journal of a run, or begins one.
  ///
  /// - Parameter head: which run it is: models, data, options, versions.
  package init(path: String, head: JSONValue) throws(JournalError) {
    do throws(FileError) {
      if SystemCall.statusOfLink(path) == nil {
        // Whole from its first moment.
        let output = try OutputFile(path: path, replaces: false)
        let line = HashedLines.line(head)
        try output.write(line.bytes, at: 0)
        try output.commit()
      }
      file = try GrowingFile(path: path)
    } catch {
      throw error.operation == "lock" ? .busy(path: path) : .file(error)
    }
    let mapped: MappedFile
    do throws(FileError) { mapped = try MappedFile(path: path) } catch { throw .file(error) }
    let found = HashedLines.read(mapped.bytes)
    guard let first = found.documents.first else { throw .foreign(path: path) }
    if let difference = head.difference(to: first) {
      throw .other(
        difference.path, now: difference.own.text(indented: false), then: difference.other.text(indented: false),
        path: path)
    }
    lostByteCount = mapped.byteCount - found.byteCount
    self.path = path
    entries = found.documents.dropFirst().filter { $0 != Self.done }
    if lostByteCount > 0 {
      do throws(FileError) { try file.end(at: found.byteCount) } catch { throw .file(error) }
    }
  }

  /// Whether the journal of a run tells that all is finished, and that its outputs may have been written.
  package static func isDone(_ path: String) -> Bool {
    guard let file = try? MappedFile(path: path) else { return false }
    let line = HashedLines.line(done)
    guard file.byteCount >= line.count else { return false }
    let bytes = file.bytes
    return bytes.extracting(file.byteCount - line.count..<file.byteCount).array == line
  }

  /// Adds what was finished; it is on the disk when the call returns.
  package func append(_ entry: JSONValue) throws(JournalError) {
    let line = HashedLines.line(entry)
    do throws(FileError) { try file.append(line.bytes) } catch { throw .file(error) }
  }

  /// Says that nothing is left but to write the outputs.
  package func finish() throws(JournalError) { try append(Self.done) }

  package func remove() throws(JournalError) {
    do throws(FileError) { try file.remove() } catch { throw .file(error) }
  }
}

/// Why a run cannot be gone on with.
package enum JournalError: Error, Sendable, Equatable {
  case file(FileError)
  /// Another process has it.
  case busy(path: String)
  /// What has its name is no journal.
  case foreign(path: String)
  /// It is of another run: the first thing that differs, as it is now and as it was.
  case other(String, now: String, then: String, path: String)
}
