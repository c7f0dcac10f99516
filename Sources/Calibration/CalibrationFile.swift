import JSON
import Kernels
import Pack
import Safetensors
import Storage
import Tensors

/// A file of states, mapped: each layer's hash and values are looked at when it is read.
package final class CalibrationFile: StateSource, Sendable {
  package let document: CalibrationDocument
  private let file: SafetensorsFile
  private let hashes: [UInt64]
  private let classes: [UInt8]

  /// Where the key of the metadata is looked for.
  private static let sniffedByteCount = 4096
  private static let limits = JSONLimits(byteCount: 16 << 20, valueCount: 1 << 18)

  /// Whether a file says that it holds states; also one that is damaged or cut short behind that.
  package static func isCalibration(_ path: String) -> Bool { has(CalibrationLayout.Key.version, path) }

  /// Whether the metadata of a file has a key, also where the file is damaged or cut short behind that.
  static func has(_ key: String, _ path: String) -> Bool {
    guard let file = try? MappedFile(path: path) else { return false }
    let bytes = file.bytes
    let start = bytes.extracting(0..<min(bytes.byteCount, sniffedByteCount)).array
    guard start.count > SafetensorsHeader.lengthByteCount,
      start[SafetensorsHeader.lengthByteCount] == UInt8(ascii: "{")
    else { return false }
    return start.contains(Array("\"\(key)\"".utf8))
  }

  /// Opens a file; checks its header, document and the data that all layers share.
  package init(path: String) throws(StateError) {
    do throws(SafetensorsError) { file = try SafetensorsFile(path: path) } catch { throw .file(error) }
    let metadata = file.metadata
    guard let version = metadata[CalibrationLayout.Key.version] else {
      throw metadata[CalibrationLayout.Key.part] == nil ? .otherFile(path: path) : .part(path: path)
    }
    guard version == "\(CalibrationLayout.version)" else { throw .version(version, path: path) }
    document = try Self.document(file)
    hashes = try Self.layerHashes(file, document, rows: document.rows)
    let owner = file
    classes = owner.bytes(of: owner["classes"]!).array  // of the layout
    let parts = ["tokens", "places", "classes"].map { XXH3.hash(owner.bytes(of: owner[$0]!)) }
    guard CalibrationLayout.hash(of: parts) == document.dataHash else {
      throw .broken("tokens, places or classes are not those that were written: their hash differs", path: path)
    }
    guard classes.allSatisfy({ StateClass(rawValue: $0) != nil }) else {
      throw .broken("`classes` holds a class that does not exist", path: path)
    }
  }

  package var path: String { file.path }
  package var heldByteCount: Int { 0 }
  package var byteCount: Int { file.file.byteCount }

  /// Rows of each class.
  package var classCounts: [StateClass: Int] {
    classes.reduce(into: [:]) { counts, value in StateClass(rawValue: value).map { counts[$0, default: 0] += 1 } }
  }

  /// The hashes of the layers of a file, or of a part of one, that has the tensors that it must have, and no others.
  static func layerHashes(
    _ file: SafetensorsFile, _ document: CalibrationDocument, rows: Int
  ) throws(StateError) -> [UInt64] {
    let layout = CalibrationLayout(document, documentByteCount: file["document"]?.byteRange.count ?? 0, rows: rows)
    for tensor in layout.tensors {
      guard let entry = file[tensor.name], entry.dtype == tensor.dtype, entry.shape == tensor.shape else {
        throw .broken(
          "the tensor `\(tensor.name)` is missing, or not \(tensor.dtype.name) \(tensor.shape)", path: file.path)
      }
    }
    guard file.tensors.count == layout.tensors.count else {
      throw .broken("it holds tensors that have no place in it", path: file.path)
    }
    let text = Array((file.metadata[CalibrationLayout.Key.layers] ?? "").utf8)
    let hashes = stride(from: 0, to: text.count, by: 16).compactMap { start in
      XXH3.parse(String(decoding: text[start..<min(start + 16, text.count)], as: UTF8.self))
    }
    guard hashes.count == document.layers.count, text.count == 16 * hashes.count else {
      throw .broken(
        "`\(CalibrationLayout.Key.layers)` of its metadata does not hold a hash for each layer", path: file.path)
    }
    return hashes
  }

  static func document(_ file: SafetensorsFile) throws(StateError) -> CalibrationDocument {
    guard let entry = file["document"], entry.dtype == .u8 else {
      throw .broken("there is no tensor `document` of bytes", path: file.path)
    }
    let bytes = file.bytes(of: entry)
    guard file.metadata[CalibrationLayout.Key.document].flatMap(XXH3.parse) == XXH3.hash(bytes) else {
      throw .broken("the document is not the one that was written: its hash differs", path: file.path)
    }
    let value: JSONValue
    do throws(JSONError) { value = try JSONParser.parse(bytes, limits) } catch {
      throw .broken("the document is no JSON: \(error.reason) at byte \(error.byteOffset) of it", path: file.path)
    }
    guard let document = CalibrationDocument(value) else {
      throw .broken("the document lacks a member, or one is not what it must be", path: file.path)
    }
    return document
  }

  /// The hash of the states of all layers, as a pack names it.
  package var statesHash: UInt64 { SolutionRecord.hash(ofLayers: hashes) }

  package func forEachLayer(in layers: Range<Int>, _ body: (LayerStates) -> Bool) throws(StateError) {
    for layer in layers.clamped(to: document.layers) {
      let states = try self.layer(layer)
      guard body(states) else { return }
      states.states.release()
    }
  }

  /// The states of a layer.
  package func layer(_ layer: Int) throws(StateError) -> LayerStates {
    let owner = file
    func entry(_ part: String) -> TensorEntry { owner[CalibrationLayout.name(layer, part)]! }  // of the layout
    let parts = ["states", "experts", "weights"].map { XXH3.hash(owner.bytes(of: entry($0))) }
    let hash = CalibrationLayout.hash(of: parts)
    guard hash == hashes[layer - document.sizes.firstDense] else {
      throw .broken("layer \(layer) is not as it was written: its hash differs", path: path)
    }
    let (ids, given) = (owner.bytes(of: entry("experts")), owner.bytes(of: entry("weights")))
    let count = document.rows * document.sizes.slots
    let experts = (0..<count).map { ids.integer(at: 4 * $0, as: Int32.self) }
    let weights = (0..<count).map { given.float(at: 4 * $0) }
    let limit = Int32(document.sizes.experts)
    guard experts.allSatisfy({ $0 >= 0 && $0 < limit }), weights.allSatisfy(\.isFinite),
      KernelSet.best.firstNotFinite(owner.bytes(of: entry("states")), source: .bf16) == nil
    else {
      throw .broken("layer \(layer) names an expert that does not exist, or holds a NaN or an infinity", path: path)
    }
    return LayerStates(
      layer: layer, columns: document.sizes.hidden, slots: document.sizes.slots,
      states: SharedBytes(owner.file, entry("states").byteRange), experts: experts, weights: weights, classes: classes,
      hash: hash)
  }

  /// By layer, how many tokens each expert saw. Reads where they went, not the states.
  package func coverage() -> [LayerCoverage] {
    let owner = file
    return document.layers.map { layer in
      let ids = owner.bytes(of: owner[CalibrationLayout.name(layer, "experts")]!)  // of the layout
      var tokens = [Int](repeating: 0, count: document.sizes.experts)
      for index in 0..<ids.byteCount / 4 {
        let expert = Int(ids.integer(at: 4 * index, as: Int32.self))
        if tokens.indices.contains(expert) { tokens[expert] += 1 }
      }
      return LayerCoverage(layer: layer, tokens: tokens, columns: document.sizes.hidden)
    }
  }

  /// Refuses states where the file is no longer what it was when it was opened.
  package func requireUnchanged() throws(StateError) {
    do throws(FileError) { try file.file.requireUnchanged(mayBeReplaced: true) } catch {
      throw .file(SafetensorsError(error))
    }
  }
}
