package import JSON
import Journals
package import Models
import Pack
import Safetensors
import Storage
import Tensors

/// A part of a file of states: all layers of some of its rows (`Formats/calibration.md`, section 7).
package struct CalibrationPart {
  /// What a part says of itself.
  package struct Facts: Sendable, Equatable {
    /// From 0.
    package let index: Int
    package let count: Int
    /// Among those of the whole.
    package let rows: Range<Int>
    /// What decides how sums round: the kernels.
    package let computation: JSONValue

    package init(index: Int, count: Int, rows: Range<Int>, computation: JSONValue) {
      self.index = index
      self.count = count
      self.rows = rows
      self.computation = computation
    }

    package var json: JSONValue {
      [
        "version": JSONValue(CalibrationLayout.version), "index": JSONValue(index), "of": JSONValue(count),
        "rows": [JSONValue(rows.lowerBound), JSONValue(rows.upperBound)], "computation": computation,
      ]
    }

    var text: String { json.text(indented: false) }

    init?(_ text: String) {
      guard let object = (try? JSONParser.parse(text))?.object,
        object["version"]?.int == CalibrationLayout.version, let index = object["index"]?.int,
        let count = object["of"]?.int, (1...PartCount.limit).contains(count), (0..<count).contains(index),
        let ends = object["rows"]?.array?.compactMap(\.int), ends.count == 2, ends[0] >= 0, ends[0] <= ends[1],
        let computation = object["computation"]
      else { return nil }
      self.init(index: index, count: count, rows: ends[0]..<ends[1], computation: computation)
    }
  }

  package let facts: Facts
  package let document: CalibrationDocument
  let data: CalibrationRows
  private let file: SafetensorsFile
  private let hashes: [UInt64]

  /// Whether a file says that it is a part.
  package static func isPart(_ path: String) -> Bool { CalibrationFile.has(CalibrationLayout.Key.part, path) }

  /// Opens a part; checks all but the states.
  package init(path: String) throws(StateError) {
    do throws(SafetensorsError) { file = try SafetensorsFile(path: path) } catch { throw .file(error) }
    guard let text = file.metadata[CalibrationLayout.Key.part] else { throw .noPart(path: path) }
    if let version = (try? JSONParser.parse(text))?.object?["version"]?.int, version != CalibrationLayout.version {
      throw .version("\(version)", path: path)
    }
    guard let facts = Facts(text) else {
      throw .broken("`\(CalibrationLayout.Key.part)` of its metadata does not say which part it is", path: path)
    }
    self.facts = facts
    document = try CalibrationFile.document(file)
    guard facts.rows.upperBound <= document.rows else {
      throw .broken("it has rows behind those of the whole", path: path)
    }
    hashes = try CalibrationFile.layerHashes(file, document, rows: facts.rows.count)
    let owner = file
    var data = CalibrationRows()
    // Of the layout.
    data.tokens = owner.bytes(of: owner["tokens"]!).array
    data.places = owner.bytes(of: owner["places"]!).array
    data.classes = owner.bytes(of: owner["classes"]!).array
    guard file.metadata[CalibrationLayout.Key.data].flatMap(XXH3.parse) == data.hash else {
      throw .broken("tokens, places or classes are not those that were written: their hash differs", path: path)
    }
    self.data = data
  }

  package var path: String { file.path }

  /// States, experts and weights of a layer, when their hash is right.
  private func entries(_ layer: Int) throws(StateError) -> [TensorEntry] {
    let owner = file
    let entries = ["states", "experts", "weights"].map { owner[CalibrationLayout.name(layer, $0)]! }  // of the layout
    guard
      CalibrationLayout.hash(of: entries.map { XXH3.hash(owner.bytes(of: $0)) })
        == hashes[layer - document.sizes.firstDense]
    else { throw .broken("layer \(layer) is not as it was written: its hash differs", path: path) }
    return entries
  }

  /// Refuses states that are not as they were written; reads all of them.
  package func requireSound() throws(StateError) {
    for layer in document.layers {
      for entry in try entries(layer) { file.file.release(entry.byteRange) }
    }
  }

  /// Gives the states of a layer to a writer, when their hash is right.
  func copy(_ layer: Int, to writer: CalibrationWriter) throws(StateError) {
    let owner = file
    let own = try entries(layer)
    let (states, experts, weights) = (own[0], own[1], own[2])
    do throws(SafetensorsError) {
      try writer.add(
        layer, first: facts.rows.lowerBound, owner.bytes(of: states), experts: owner.bytes(of: experts),
        weights: owner.bytes(of: weights))
    } catch { throw .file(error) }
    owner.file.release(states.byteRange)
  }

  /// Makes the file of states that one pass over all rows would have made.
  ///
  /// - Parameters:
  ///   - paths: all parts, in any order.
  ///   - replaces: whether a file that has the name may be replaced.
  ///   - progress: called with a share of the layers.
  /// - Returns: the document of the file.
  package static func merge(
    _ paths: [String], to output: String, replaces: Bool, progress: (Double) -> Void
  ) throws(StateError) -> CalibrationDocument {
    var parts: [CalibrationPart] = []
    for path in paths { parts.append(try CalibrationPart(path: path)) }
    guard let first = parts.first else { preconditionFailure("no parts") }
    for part in parts.dropFirst() { try part.requireSameRun(as: first) }
    parts.sort { $0.facts.index < $1.facts.index }
    for (part, next) in zip(parts, parts.dropFirst()) where part.facts.index == next.facts.index {
      throw .otherPart("part \(part.facts.index) is given twice, as `\(part.path)`, too", path: next.path)
    }
    let missing = Set(0..<first.facts.count).subtracting(parts.map(\.facts.index)).sorted()
    guard missing.isEmpty else { throw .missingParts(missing, of: first.facts.count) }
    var data = CalibrationRows()
    var end = 0
    for part in parts {
      guard part.facts.rows.lowerBound == end else {
        throw .broken("its rows do not begin where those of part \(part.facts.index - 1) end", path: part.path)
      }
      end = part.facts.rows.upperBound
      data.tokens += part.data.tokens
      data.places += part.data.places
      data.classes += part.data.classes
    }
    let document = first.document
    guard end == document.rows, data.hash == document.dataHash else {
      throw .broken("the parts together are not the rows that their document names", path: first.path)
    }
    let file: OutputFile
    do throws(FileError) { file = try OutputFile(path: output, replaces: replaces) } catch {
      throw .file(SafetensorsError(error))
    }
    let writer: CalibrationWriter
    do throws(SafetensorsError) { writer = try CalibrationWriter(document, data, part: nil, to: file) } catch {
      throw .file(error)
    }
    for layer in document.layers {
      for part in parts { try part.copy(layer, to: writer) }
      writer.finishLayer()
      progress(Double(layer + 1 - document.sizes.firstDense) / Double(document.layers.count))
    }
    do throws(SafetensorsError) { try writer.finish() } catch { throw .file(error) }
    return document
  }

  private func requireSameRun(as first: CalibrationPart) throws(StateError) {
    if facts.count != first.facts.count {
      throw .otherPart(
        "it is a part of \(facts.count), `\(first.path)` one of \(first.facts.count)", path: path)
    }
    try requireSame(first.document.json, document.json, "in `\(first.path)`")
    try requireSame(first.facts.computation, facts.computation, "in `\(first.path)`")
  }

  /// Refuses a part that is another than the one that is to be made.
  package func requireSame(_ wanted: Facts, _ wantedDocument: CalibrationDocument) throws(StateError) {
    try requireSame(wanted.json, facts.json, "in this command")
    try requireSame(wantedDocument.json, document.json, "in this command")
  }

  private func requireSame(_ wanted: JSONValue, _ own: JSONValue, _ place: String) throws(StateError) {
    guard let difference = wanted.difference(to: own) else { return }
    throw .otherPart(
      "`\(difference.path)` is \(difference.other.text(indented: false)), \(place) it is "
        + difference.own.text(indented: false), path: path)
  }
}

extension NoisyCopies {
  /// The rows of a part: whole tiles, one after the other, as nearly the same number of rows in each part as that allows.
  ///
  /// - Parameter index: from 0, below `count`.
  package func rows(ofPart index: Int, of count: Int, _ configuration: ModelConfiguration) -> Range<Int> {
    // A tile is in the part in which its middle lies.
    let own = tiles(configuration).map(\.rows).filter { rows in
      (rows.lowerBound + rows.upperBound) * count / (2 * rowCount) == index
    }
    // Of nothing, where it would be does not matter but must follow.
    let before = tiles(configuration).map(\.rows).last { rows in
      (rows.lowerBound + rows.upperBound) * count / (2 * rowCount) < index
    }
    let start = before?.upperBound ?? 0
    return start..<(own.last?.upperBound ?? start)
  }
}
