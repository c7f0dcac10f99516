import Kernels
package import Storage

/// An export that is being written: nothing has its name before ``commit(rootHash:)``, and nothing is left without it.
package final class ExportWriter {
  private let exporter: Exporter
  private var directory: OutputDirectory?
  private var files: [PendingFile] = []
  /// Digests of pieces, by file.
  private var digests: [[BLAKE3.Digest]]
  /// Pieces that are not whole yet, by file and place.
  private var begun: [[Int: BLAKE3]]

  /// Makes all files and takes room for them.
  ///
  /// - Throws: ``ExportError/output(_:)``.
  package init(_ exporter: Exporter, to path: String, replaces: Bool) throws(ExportError) {
    let plan = exporter.plan
    self.exporter = exporter
    digests = plan.files.map { file in
      [BLAKE3.Digest](repeating: .unknown, count: file.seal?.hashesPieces == true ? file.pieces.count : 0)
    }
    begun = plan.files.map { _ in [:] }
    guard plan.isDirectory else {
      do throws(FileError) {
        files = [try PendingFile(OutputFile(path: path, replaces: replaces), plan.files[0])]
      } catch { throw .output(error) }
      return
    }
    let directory: OutputDirectory
    do throws(FileError) { directory = try OutputDirectory(path: path, replaces: replaces) } catch {
      throw .output(error)
    }
    do throws(FileError) {
      for planned in plan.files { files.append(try PendingFile(directory.file(named: planned.name), planned)) }
    } catch { throw .output(directory.named(error)) }
    self.directory = consume directory
  }

  /// Where threads write.
  var places: [ScatteredOutput] { files.map(\.place) }

  /// Exports a chunk that was made elsewhere.
  ///
  /// - Parameters:
  ///   - index: of the chunk in the pack. They come in order, all of them.
  ///   - content: as it would lie in the pack.
  package func take(_ index: Int, _ content: SharedBytes) throws(ExportError) {
    guard let job = exporter.job(ofChunk: index) else { return }
    let places = places
    try named { () throws(ExportError) in
      add(try exporter.make(job, of: content, at: 0..<content.byteCount, places))
    }
  }

  /// Hashes what was made of a chunk. They come in order.
  func add(_ made: Exporter.Made) {
    guard let buffer = made.bytes else { return }
    for (cell, range) in made.cells {
      var state = begun[cell.file].removeValue(forKey: cell.piece) ?? BLAKE3(exporter.kernels)
      state.add(buffer.bytes.extracting(range))
      if cell.isLast {
        digests[cell.file][cell.piece] = state.digest
      } else {
        begun[cell.file][cell.piece] = state
      }
    }
  }

  /// Writes what is known at the end, and gives everything its name.
  package func commit(rootHash: UInt64) throws(ExportError) {
    try named { () throws(ExportError) in
      do throws(FileError) {
        for (index, (file, planned)) in zip(files, exporter.plan.files).enumerated() {
          if let seal = planned.seal {
            let found = PlannedFile.Findings(digests: digests[index], rootHash: rootHash)
            for (offset, bytes) in seal.make(found) { try file.write(bytes, at: offset) }
          }
          try file.commit()
        }
      } catch { throw .output(error) }
    }
    guard let directory = directory.take() else { return }
    do throws(FileError) { try directory.commit() } catch { throw .output(error) }
  }

  /// Names files by the names that they were going to have.
  func named<Result>(_ body: () throws(ExportError) -> Result) throws(ExportError) -> Result {
    do throws(ExportError) { return try body() } catch {
      guard case .output(let failure) = error, let directory = directory.take() else { throw error }
      throw .output(directory.named(failure))
    }
  }
}

/// A file that is being written.
private final class PendingFile {
  private var output: OutputFile?
  /// Where threads write.
  let place: ScatteredOutput

  /// Takes room for all bytes, and writes those that are known.
  init(_ made: consuming OutputFile, _ planned: PlannedFile) throws(FileError) {
    try made.reserve(planned.byteCount)
    try made.end(at: planned.byteCount)
    for (offset, bytes) in planned.known { try made.write(bytes.bytes, at: offset) }
    place = ScatteredOutput(made)
    output = consume made
  }

  func write(_ bytes: [UInt8], at offset: Int) throws(FileError) { try place.write(bytes.bytes, at: offset) }

  func commit() throws(FileError) {
    guard let file = output.take() else { return }
    try file.commit()
  }
}
