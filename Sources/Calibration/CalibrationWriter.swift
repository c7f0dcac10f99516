import JSON
import Kernels
import Pack
package import Safetensors
package import Storage
import Tensors

/// Writes a file of states, or a part of one, rows as they come. It appears under its name only when whole.
package final class CalibrationWriter {
  private let document: CalibrationDocument
  private let layout: CalibrationLayout
  private let text: [UInt8]
  /// What a part says of itself.
  private let part: CalibrationPart.Facts?
  /// The rows that it holds, among all.
  private let rows: Range<Int>
  private let data: CalibrationRows
  private let headerByteCount: Int
  private var output: OutputFile?
  private var hashes: [UInt64] = []
  /// The hashes of the layer that is being written: states, experts, weights.
  private var states = HashState()
  private var experts = HashState()
  private var weights = HashState()

  /// Bytes of the file.
  ///
  /// - Parameter part: nil for the whole.
  package static func byteCount(_ document: CalibrationDocument, part: CalibrationPart.Facts? = nil) -> Int {
    let text = Array(document.json.text(indented: false).utf8)
    let layout = CalibrationLayout(document, documentByteCount: text.count, rows: part?.rows.count)
    return headerByteCount(document, layout, part) + layout.byteCount
  }

  /// The hash of a layer as far as it is written.
  ///
  /// - Returns: nil where the file is too short.
  static func hash(
    ofLayer layer: Int, in file: MappedFile, _ document: CalibrationDocument, part: CalibrationPart.Facts?
  ) -> UInt64? {
    let text = Array(document.json.text(indented: false).utf8)
    let layout = CalibrationLayout(document, documentByteCount: text.count, rows: part?.rows.count)
    let first = headerByteCount(document, layout, part)
    guard file.byteCount >= first + layout.byteCount else { return nil }
    let parts = ["states", "experts", "weights"].compactMap { part -> UInt64? in
      let name = CalibrationLayout.name(layer, part)
      guard let start = layout.offsets[name], let tensor = layout.tensors.first(where: { $0.name == name }) else {
        return nil
      }
      return XXH3.hash(file.bytes.extracting(first + start..<first + start + tensor.byteCount))
    }
    return parts.count == 3 ? CalibrationLayout.hash(of: parts) : nil
  }

  private static func headerByteCount(
    _ document: CalibrationDocument, _ layout: CalibrationLayout, _ part: CalibrationPart.Facts?
  ) -> Int {
    layout.header(documentHash: 0, layers: document.layers.map { _ in 0 }, part: part.map { ($0.text, 0) }).count
  }

  /// - Parameters:
  ///   - part: nil for the whole.
  ///   - replaces: whether a file that has the name may be replaced.
  package convenience init(
    _ document: CalibrationDocument, _ copies: NoisyCopies, part: CalibrationPart.Facts? = nil, to path: String,
    replaces: Bool
  ) throws(SafetensorsError) {
    let output: OutputFile
    do throws(FileError) { output = try OutputFile(path: path, replaces: replaces) } catch {
      throw SafetensorsError(error)
    }
    try self.init(document, copies, part: part, to: output)
  }

  /// - Parameters:
  ///   - output: where it goes.
  ///   - finished: hashes of the layers that are there already.
  package convenience init(
    _ document: CalibrationDocument, _ copies: NoisyCopies, part: CalibrationPart.Facts? = nil,
    to output: consuming OutputFile, finished: [UInt64] = []
  ) throws(SafetensorsError) {
    let data = CalibrationRows(copies, part?.rows ?? 0..<document.rows)
    try self.init(document, data, part: part, to: output, finished: finished)
  }

  init(
    _ document: CalibrationDocument, _ data: CalibrationRows, part: CalibrationPart.Facts?,
    to output: consuming OutputFile, finished: [UInt64] = []
  ) throws(SafetensorsError) {
    self.document = document
    self.part = part
    self.data = data
    rows = part?.rows ?? 0..<document.rows
    hashes = finished
    text = Array(document.json.text(indented: false).utf8)
    layout = CalibrationLayout(document, documentByteCount: text.count, rows: rows.count)
    headerByteCount = Self.headerByteCount(document, layout, part)
    do throws(FileError) {
      try output.reserve(headerByteCount + layout.byteCount)
      self.output = consume output
    } catch { throw SafetensorsError(error) }
    let text = text
    try write(text.bytes, "document")
    try write(data.tokens.bytes, "tokens")
    try write(data.places.bytes, "places")
    try write(data.classes.bytes, "classes")
  }

  private func write(_ bytes: RawSpan, _ name: String, at offset: Int = 0) throws(SafetensorsError) {
    guard let start = layout.offsets[name] else { preconditionFailure("a tensor of the layout") }
    try write(bytes, at: headerByteCount + start + offset)
  }

  private func write(_ bytes: RawSpan, at position: Int) throws(SafetensorsError) {
    do throws(FileError) { try output?.write(bytes, at: position) } catch { throw SafetensorsError(error) }
  }

  /// Writes the next rows of a layer; layers come in order.
  package func add(_ rows: StatePass.Rows) throws(SafetensorsError) {
    let (ids, given) = (rows.experts.littleEndian, rows.weights.littleEndian)
    try add(rows.layer, first: rows.range.lowerBound, rows.states.bytes, experts: ids.bytes, weights: given.bytes)
  }

  /// - Parameters:
  ///   - first: the first of the rows, among all.
  ///   - values: their states, as the file has them; so are the others.
  func add(
    _ layer: Int, first: Int, _ values: RawSpan, experts ids: RawSpan, weights given: RawSpan
  ) throws(SafetensorsError) {
    let place = first - rows.lowerBound
    try write(values, CalibrationLayout.name(layer, "states"), at: 2 * document.sizes.hidden * place)
    try write(ids, CalibrationLayout.name(layer, "experts"), at: 4 * document.sizes.slots * place)
    try write(given, CalibrationLayout.name(layer, "weights"), at: 4 * document.sizes.slots * place)
    states.add(values)
    experts.add(ids)
    weights.add(given)
  }

  /// Ends a layer.
  ///
  /// - Returns: its hash.
  @discardableResult
  package func finishLayer() -> UInt64 {
    let hash = CalibrationLayout.hash(of: [states.hash, experts.hash, weights.hash])
    hashes.append(hash)
    states = HashState()
    experts = HashState()
    weights = HashState()
    return hash
  }

  /// Waits until all that was written is on the disk.
  func sync() throws(FileError) { try output?.sync() }

  /// Writes the header and gives the file its name.
  package func finish() throws(SafetensorsError) {
    try writeHeader()
    guard let file = output.take() else { return }
    do throws(FileError) { try file.commit() } catch { throw SafetensorsError(error) }
  }

  /// Writes the header and opens the file, which never gets a name and goes when nobody reads it any more.
  package func finishUnnamed() throws(StateError) -> CalibrationFile {
    do throws(SafetensorsError) { try writeHeader() } catch { throw .file(error) }
    return try CalibrationFile(path: output?.link ?? "")
  }

  private func writeHeader() throws(SafetensorsError) {
    precondition(hashes.count == document.layers.count)
    let text = text
    let header = layout.header(
      documentHash: XXH3.hash(text.bytes), layers: hashes, part: part.map { ($0.text, data.hash) })
    try write(header.bytes, at: 0)
  }
}
