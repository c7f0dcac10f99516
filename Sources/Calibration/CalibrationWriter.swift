import JSON
import Kernels
import Pack
package import Safetensors
package import Storage
import Tensors

/// Writes a file of states, rows as they come. It appears under its name only when whole.
package final class CalibrationWriter {
  private let document: CalibrationDocument
  private let layout: CalibrationLayout
  private let text: [UInt8]
  private let headerByteCount: Int
  private var output: OutputFile?
  private var hashes: [UInt64] = []
  /// The hashes of the layer that is being written: states, experts, weights.
  private var states = HashState()
  private var experts = HashState()
  private var weights = HashState()

  /// Bytes of the file.
  package static func byteCount(_ document: CalibrationDocument) -> Int {
    let text = Array(document.json.text(indented: false).utf8)
    let layout = CalibrationLayout(document, documentByteCount: text.count)
    return layout.header(documentHash: 0, layers: document.layers.map { _ in 0 }).count + layout.byteCount
  }

  /// - Parameter replaces: whether a file that has the name may be replaced.
  package convenience init(
    _ document: CalibrationDocument, _ copies: NoisyCopies, to path: String, replaces: Bool
  ) throws(SafetensorsError) {
    let output: OutputFile
    do throws(FileError) { output = try OutputFile(path: path, replaces: replaces) } catch {
      throw SafetensorsError(error)
    }
    try self.init(document, copies, to: output)
  }

  /// - Parameter output: where it goes.
  package init(
    _ document: CalibrationDocument, _ copies: NoisyCopies, to output: consuming OutputFile
  ) throws(SafetensorsError) {
    self.document = document
    text = Array(document.json.text(indented: false).utf8)
    layout = CalibrationLayout(document, documentByteCount: text.count)
    headerByteCount = layout.header(documentHash: 0, layers: document.layers.map { _ in 0 }).count
    do throws(FileError) {
      try output.reserve(headerByteCount + layout.byteCount)
      self.output = consume output
    } catch { throw SafetensorsError(error) }
    try write(text, "document")
    try write(copies.tokens.littleEndian, "tokens")
    try write(copies.places.littleEndian, "places")
    try write(copies.classes, "classes")
  }

  private func write(_ bytes: [UInt8], _ name: String, at offset: Int = 0) throws(SafetensorsError) {
    guard let start = layout.offsets[name] else { preconditionFailure("a tensor of the layout") }
    try write(bytes, at: headerByteCount + start + offset)
  }

  private func write(_ bytes: [UInt8], at position: Int) throws(SafetensorsError) {
    do throws(FileError) { try output?.write(bytes.bytes, at: position) } catch { throw SafetensorsError(error) }
  }

  /// Writes the next rows of a layer; layers come in order.
  package func add(_ rows: StatePass.Rows) throws(SafetensorsError) {
    let first = rows.range.lowerBound
    let (ids, given) = (rows.experts.littleEndian, rows.weights.littleEndian)
    try write(rows.states, CalibrationLayout.name(rows.layer, "states"), at: 2 * document.sizes.hidden * first)
    try write(ids, CalibrationLayout.name(rows.layer, "experts"), at: 4 * document.sizes.slots * first)
    try write(given, CalibrationLayout.name(rows.layer, "weights"), at: 4 * document.sizes.slots * first)
    states.add(rows.states.bytes)
    experts.add(ids.bytes)
    weights.add(given.bytes)
  }

  /// Ends a layer.
  package func finishLayer() {
    hashes.append(CalibrationLayout.hash(of: [states.hash, experts.hash, weights.hash]))
    states = HashState()
    experts = HashState()
    weights = HashState()
  }

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
    try write(layout.header(documentHash: XXH3.hash(text.bytes), layers: hashes), at: 0)
  }
}
