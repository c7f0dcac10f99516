import Glibc
package import JSON
import Journals
import Kernels
import Models
import Pack
import Safetensors
import Storage

/// A pass that can be gone on with: a directory beside its output that holds what was finished (`Formats/calibration.md`,
/// section 8).
///
/// `log` says what is finished, `states` is the output as far as it is written, and `hidden-L` what goes into the layer behind L.
package final class CalibrationJournal {
  private let directory: String
  private let log: Journal
  private let document: CalibrationDocument
  private let part: CalibrationPart.Facts?
  /// What is written of the hidden states behind a layer.
  private var hidden: OutputFile?
  private var hiddenHash = HashState()
  private var hiddenByteCount = 0
  private var problem: SafetensorsError?

  /// Where the journal of an output lies.
  package static func path(beside output: String) -> String { Journal.path(beside: output) }

  private static func log(_ directory: String) -> String { "\(directory)/log" }

  /// Whether the pass that has this journal has given its output the name, and only the journal is left. Before that a file of
  /// the name is a stranger's.
  package static func hasOutput(_ directory: String) -> Bool {
    Journal.isDone(log(directory)) && SystemCall.statusOfLink("\(directory)/states") == nil
  }

  /// Bytes that it takes beside the output: the hidden states behind two layers.
  package static func byteCount(rows: Int, hidden: Int) -> Int { 8 * rows * hidden }

  /// Opens the journal of a pass, or begins one.
  ///
  /// - Parameters:
  ///   - directory: as of ``path(beside:)``.
  ///   - part: nil for a pass over all rows.
  ///   - run: what else the output depends on.
  package init(
    _ directory: String, _ document: CalibrationDocument, part: CalibrationPart.Facts?, run: JSONValue
  ) throws(StateError) {
    self.directory = directory
    self.document = document
    self.part = part
    guard SystemCall.makeDirectory(directory) == 0 || errno == EEXIST else {
      throw .file(SafetensorsError(FileError("create", directory)))
    }
    do throws(JournalError) {
      log = try Journal(
        path: Self.log(directory),
        head: [
          "schema": "ingot.calibration-journal/1", "part": part?.json ?? .null,
          "run": ["document": document.json, "source": run],
        ])
    } catch { throw .journal(error) }
  }

  /// Where to go on.
  package struct Start {
    /// The first layer that is not finished.
    package let layer: Int
    /// By tile, (T, H): what goes into it.
    package let hidden: [[Float]]
    /// Of the layers with experts before it.
    let hashes: [UInt64]
  }

  private struct Entry {
    let layer: Int
    let states: UInt64?
    let hidden: UInt64?

    init(layer: Int, states: UInt64?, hidden: UInt64?) {
      (self.layer, self.states, self.hidden) = (layer, states, hidden)
    }

    var json: JSONValue {
      let text = { (hash: UInt64?) -> JSONValue in hash.map { JSONValue(XXH3.text($0)) } ?? .null }
      return ["layer": JSONValue(layer), "states": text(states), "hidden": text(hidden)]
    }

    init?(_ value: JSONValue) {
      guard let object = value.object, let layer = object["layer"]?.int else { return nil }
      self.layer = layer
      states = object["states"]?.string.flatMap(XXH3.parse)
      hidden = object["hidden"]?.string.flatMap(XXH3.parse)
    }
  }

  /// What is finished, if all of it is as it was written; nil where the pass has to begin with the first layer.
  ///
  /// - Parameter tiles: rows of each tile.
  package func start(tiles: [Int]) -> Start? {
    // A pass that began anew begins its entries anew, too.
    var entries: [Entry] = []
    for value in log.entries {
      guard let entry = Entry(value) else { return nil }
      if entry.layer == 0 { entries = [] }
      guard entry.layer == entries.count else { return nil }
      entries.append(entry)
    }
    guard let last = entries.last, last.layer < document.sizes.layers,
      let states = try? MappedFile(path: "\(directory)/states")
    else { return nil }
    var hashes: [UInt64] = []
    for entry in entries where document.layers.contains(entry.layer) {
      guard let hash = entry.states,
        CalibrationWriter.hash(ofLayer: entry.layer, in: states, document, part: part) == hash
      else { return nil }
      hashes.append(hash)
    }
    // Behind the last layer nothing goes on.
    if last.layer + 1 == document.sizes.layers { return Start(layer: last.layer + 1, hidden: [], hashes: hashes) }
    guard let file = try? MappedFile(path: hiddenPath(last.layer)), let hash = last.hidden,
      file.byteCount == 4 * document.sizes.hidden * tiles.reduce(0, +), XXH3.hash(file.bytes) == hash
    else { return nil }
    var hidden: [[Float]] = []
    var place = 0
    for rows in tiles {
      let bytes = file.bytes
      hidden.append((0..<rows * document.sizes.hidden).map { bytes.float(at: 4 * (place + $0)) })
      place += rows * document.sizes.hidden
    }
    return Start(layer: last.layer + 1, hidden: hidden, hashes: hashes)
  }

  /// The writer of the output.
  ///
  /// - Parameters:
  ///   - start: what is there already.
  ///   - replaces: whether a file that has the name may be replaced.
  package func writer(
    _ copies: NoisyCopies, to output: String, replaces: Bool, _ start: Start?
  ) throws(StateError) -> CalibrationWriter {
    let file: OutputFile
    do throws(FileError) {
      file = try OutputFile(goingOnWith: "\(directory)/states", as: output, replaces: replaces)
    } catch { throw .file(SafetensorsError(error)) }
    do throws(SafetensorsError) {
      return try CalibrationWriter(document, copies, part: part, to: file, finished: start?.hashes ?? [])
    } catch { throw .file(error) }
  }

  /// What a pass tells, so that it can be gone on with.
  ///
  /// - Parameter layerHash: of the layer with experts that ended last.
  package func checkpoints(_ writer: CalibrationWriter, layerHash: @escaping () -> UInt64?) -> StatePass.Checkpoints {
    StatePass.Checkpoints(
      hidden: { layer, states in
        guard self.problem == nil else { return }
        do throws(SafetensorsError) { try self.add(layer, states) } catch { self.problem = error }
      },
      ended: { layer in
        guard self.problem == nil else { return false }
        do throws(SafetensorsError) {
          try self.end(layer, self.document.layers.contains(layer) ? layerHash() : nil, writer)
        } catch { self.problem = error }
        return self.problem == nil
      })
  }

  /// Why the pass was stopped, if the journal did it.
  package func requireSound() throws(StateError) {
    if let problem { throw .file(problem) }
  }

  private func hiddenPath(_ layer: Int) -> String { "\(directory)/hidden-\(layer)" }

  private func add(_ layer: Int, _ states: [Float]) throws(SafetensorsError) {
    do throws(FileError) {
      if hidden == nil {
        hidden = try OutputFile(path: hiddenPath(layer))
        hiddenHash = HashState()
        hiddenByteCount = 0
      }
      let bytes = states.littleEndian
      try hidden?.write(bytes.bytes, at: hiddenByteCount)
      hiddenHash.add(bytes.bytes)
      hiddenByteCount += bytes.count
    } catch { throw SafetensorsError(error) }
  }

  private func end(_ layer: Int, _ states: UInt64?, _ writer: CalibrationWriter) throws(SafetensorsError) {
    do throws(FileError) {
      try writer.sync()
      if let file = hidden.take() { try file.commit() }
    } catch { throw SafetensorsError(error) }
    let entry = Entry(layer: layer, states: states, hidden: hiddenHash.hash)
    do throws(JournalError) { try log.append(entry.json) } catch {
      guard case .file(let error) = error else { preconditionFailure("an open journal") }
      throw SafetensorsError(error)
    }
    if layer > 0 { _ = SystemCall.unlink(hiddenPath(layer - 1)) }
  }

  /// Says that all layers are there.
  ///
  /// - Parameter lastHash: of the last layer, where it has experts.
  package func finish(_ writer: CalibrationWriter, lastHash: UInt64?) throws(StateError) {
    do throws(SafetensorsError) { try end(document.sizes.layers - 1, lastHash, writer) } catch { throw .file(error) }
    do throws(JournalError) { try log.finish() } catch { throw .journal(error) }
  }

  /// Takes the journal away in one step, so that nobody finds a half of it.
  package func remove(beside output: String) throws(StateError) {
    do throws(FileError) { try FileTree.removeAtOnce(directory, beside: output) } catch {
      throw .file(SafetensorsError(error))
    }
  }
}
