import JSON
import Models
import Pack
import Safetensors
import Storage
import Tensors

/// The tensors of a record on their way in: each is there once, as the document says, and nothing else is.
struct RecordReader {
  private let file: SafetensorsFile
  /// The version of the format.
  let version: Int
  private var used: Set<String> = [DriftRecord.documentName]

  /// Opens the file and checks its hashes.
  init(path: String) throws(RecordError) {
    do throws(SafetensorsError) { file = try SafetensorsFile(path: path) } catch { throw .file(error) }
    guard let version = file.metadata[RecordKey.version] else {
      throw .broken("there is no `\(RecordKey.version)` in its metadata", path: path)
    }
    guard let number = DriftRecord.versions.first(where: { "\($0)" == version }) else {
      throw .version(version, path: path)
    }
    self.version = number
    let expected = try hash(RecordKey.dataHash)
    let owner = file
    let found = RecordKey.hash(owner.tensors.map { ($0.name, XXH3.hash(owner.bytes(of: $0))) })
    guard found == expected else { throw error("the tensors are not those that were written: their hash differs") }
  }

  var path: String { file.path }

  /// Some millions of committed positions.
  static let limits = JSONLimits(byteCount: 160 << 20, valueCount: 1 << 25)

  private func error(_ detail: String) -> RecordError { .broken(detail, path: file.path) }

  private func hash(_ key: String) throws(RecordError) -> UInt64 {
    guard let text = file.metadata[key], let hash = XXH3.parse(text) else {
      throw error("`\(key)` of its metadata is no hash")
    }
    return hash
  }

  func document() throws(RecordError) -> JSONValue {
    guard let entry = file[DriftRecord.documentName], entry.dtype == .u8, entry.shape.dimensions.count == 1 else {
      throw error("there is no tensor `\(DriftRecord.documentName)` of bytes")
    }
    let expected = try hash(RecordKey.documentHash)
    let owner = file
    let bytes = owner.bytes(of: entry)
    guard XXH3.hash(bytes) == expected else {
      throw error("the document is not the one that was written: its hash differs")
    }
    do throws(JSONError) { return try JSONParser.parse(bytes, Self.limits) } catch {
      throw self.error("the document is no JSON: \(error.reason) at byte \(error.byteOffset) of it")
    }
  }

  /// What stands at all rows.
  ///
  /// - Parameter expected: how many rows there must be; nil where the file decides.
  mutating func rows(
    _ prefix: String, count expected: Int?, vocabulary: Int
  ) throws(RecordError) -> (places: [[Int32]], rows: [ReferenceRow]) {
    let count = expected ?? file[prefix + "places"]?.shape.dimensions.first ?? 0
    let flat = try integers(prefix + "places", .i32, [count, 3], below: Int(Int32.max))
    let places = (0..<count).map { row in flat[3 * row..<3 * row + 3].map { Int32($0) } }
    let isWhole = vocabulary <= ReferenceRow.wholeVocabulary
    let width = ReferenceRow.width(vocabulary: vocabulary)
    let best = try integers(prefix + "best", .i32, [count], below: vocabulary)
    let bestLogs = try floats(prefix + "best_log_probability", [count])
    let truthLogs = try floats(prefix + "truth_log_probability", [count])
    let logits = try floats(prefix + (version == 1 ? "log_probabilities" : "logits"), [count, width])
    let normalizers = version == 1 ? [] : try doubles(prefix + "log_normalizer", [count])
    let tokens = isWhole ? [] : try integers(prefix + "tokens", .i32, [count, width], below: vocabulary)
    let rows = (0..<count).map { row in
      let range = row * width..<(row + 1) * width
      return ReferenceRow(
        tokens: tokens.isEmpty ? [] : tokens[range].map { Int32($0) }, logits: Array(logits[range]),
        logNormalizer: normalizers.isEmpty ? nil : normalizers[row], best: best[row], bestLogProbability: bestLogs[row],
        truthLogProbability: truthLogs[row])
    }
    return (places, rows)
  }

  /// By mixture layer; which layers there are is told by the names.
  mutating func routes(count: Int, sizes: DriftRecord.Sizes) throws(RecordError) -> [Int: [Router.Route]] {
    var routes: [Int: [Router.Route]] = [:]
    for layer in 0..<sizes.layers {
      let prefix = "masked.routes.\(layer)."
      guard let entry = file[prefix + "experts"] else { continue }
      let slots = entry.shape.dimensions.last ?? 0
      guard slots >= 1, slots <= sizes.experts else {
        throw error("`\(entry.name)` has \(slots) experts of a row, the model has \(sizes.experts)")
      }
      let experts = try integers(
        entry.name, sizes.experts <= 256 ? .u8 : .i32, [count, slots], below: sizes.experts)
      let weights = try floats(prefix + "weights", [count, slots])
      routes[layer] = (0..<count).map { row in
        let range = row * slots..<(row + 1) * slots
        return Router.Route(experts: Array(experts[range]), weights: Array(weights[range]))
      }
    }
    return routes
  }

  /// - Throws: where the file holds more than was asked for.
  func finish() throws(RecordError) {
    if let stranger = file.tensors.first(where: { !used.contains($0.name) }) {
      throw error("the tensor `\(stranger.name)` has no place in it")
    }
  }

  private mutating func entry(_ name: String, _ dtype: DType, _ shape: [Int]) throws(RecordError) -> TensorEntry {
    guard let entry = file[name] else { throw error("the tensor `\(name)` is missing") }
    guard entry.dtype == dtype, entry.shape.dimensions == shape else {
      throw error(
        "the tensor `\(name)` is \(entry.dtype.name) \(entry.shape), not \(dtype.name) \(shape)")
    }
    used.insert(name)
    return entry
  }

  /// The values of a U8 or I32 tensor, each from 0 and below a limit.
  private mutating func integers(
    _ name: String, _ dtype: DType, _ shape: [Int], below limit: Int
  ) throws(RecordError) -> [Int] {
    let entry = try entry(name, dtype, shape)
    let owner = file
    let bytes = owner.bytes(of: entry)
    var values: [Int] = []
    values.reserveCapacity(entry.shape.elementCount)
    for index in 0..<entry.shape.elementCount {
      let value =
        dtype == .u8 ? Int(bytes.integer(at: index, as: UInt8.self)) : Int(bytes.integer(at: 4 * index, as: Int32.self))
      guard value >= 0, value < limit else { throw error("`\(name)` holds \(value), which is not below \(limit)") }
      values.append(value)
    }
    return values
  }

  private mutating func doubles(_ name: String, _ shape: [Int]) throws(RecordError) -> [Double] {
    let entry = try entry(name, .f64, shape)
    let owner = file
    let bytes = owner.bytes(of: entry)
    var values: [Double] = []
    values.reserveCapacity(entry.shape.elementCount)
    for index in 0..<entry.shape.elementCount {
      let value = Double(bitPattern: bytes.integer(at: 8 * index, as: UInt64.self))
      guard value.isFinite else { throw error("`\(name)` holds what is no finite number") }
      values.append(value)
    }
    return values
  }

  private mutating func floats(_ name: String, _ shape: [Int]) throws(RecordError) -> [Float] {
    let entry = try entry(name, .f32, shape)
    let owner = file
    let bytes = owner.bytes(of: entry)
    var values: [Float] = []
    values.reserveCapacity(entry.shape.elementCount)
    for index in 0..<entry.shape.elementCount {
      let value = bytes.float(at: 4 * index)
      guard value.isFinite else { throw error("`\(name)` holds what is no finite number") }
      values.append(value)
    }
    return values
  }
}
