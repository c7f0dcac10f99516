import Conversion
import Export
import JSON
import Kernels
import Models
import Pack
import Quantization
import Safetensors
import Storage
import Tensors
import TestSupport

let picoPath = Trained.checkpoint("pico")

/// pico with block routing, which every format takes, in a directory that has the rest by links.
func withBlockRouting<Result>(_ body: (String) throws -> Result) throws -> Result {
  var changes = JSONObject()
  for (key, value) in [("block_size", 32), ("expert_capacity", 8)] {
    changes.append(.init(key: key, value: JSONValue(value)))
  }
  return try Trained.withVariant(of: "pico", changes, body)
}

/// A pack that every format holds, and `body` with its path, in a directory of its own.
func withPackForAll<Result>(
  _ encoding: String = "int4-g64", _ compression: Compression = .none, _ body: (String, String) throws -> Result
) throws -> Result {
  try withBlockRouting { checkpoint in
    try withPack(of: checkpoint, recipe(encoding), solver: Solvers.searchPositive, compression, body)
  }
}

/// Packs a checkpoint and runs `body` with the pack's path, in a directory of its own.
func withPack<Result>(
  of checkpoint: String = picoPath, _ recipe: Recipe, solver: any GroupwiseSolver = Solvers.search,
  _ compression: Compression = .none, _ body: (String, String) throws -> Result
) throws -> Result {
  try withTemporaryDirectory { directory in
    var options = ConversionPlan.Options()
    options.recipe = recipe
    options.solver = solver
    options.compression = compression
    let plan = try ConversionPlan(checkpoint: checkpoint, options: options)
    let path = directory + "/model.ingot"
    _ = try Converter(plan, kernels: .best, threads: 2, memoryLimit: 1 << 30)
      .write(to: path, progress: { _ in }, isInterrupted: { false })
    return try body(path, directory)
  }
}

func recipe(_ encoding: String, _ overrides: (String, String)...) throws -> Recipe {
  var recipe = Recipe(experts: try choice(encoding), rest: .keep)
  for (pattern, encoding) in overrides { recipe.overrides.append(try Recipe.rule(parsing: "\(pattern)=\(encoding)")) }
  return recipe
}

private func choice(_ name: String) throws -> Recipe.Choice {
  guard let choice = Recipe.Choice(name: name) else { throw TestFailure("no encoding \(name)") }
  return choice
}

/// Exports a pack.
@discardableResult
func export(
  _ pack: String, to format: any ExportFormat.Type, _ output: String, threads: Int = 2, replaces: Bool = false,
  memoryLimit: Int = 1 << 30, _ change: (inout ExportOptions) -> Void = { _ in }
) throws(ExportError) -> ExportPlan {
  var options = ExportOptions()
  change(&options)
  let name = String(output.split(separator: "/").last ?? "")
  let plan = try ExportPlan(try ExportSource(path: pack, outputName: name, options: options), as: format)
  try Exporter(plan, kernels: .best, threads: threads, memoryLimit: memoryLimit)
    .write(to: output, replaces: replaces, progress: { _ in }, isInterrupted: { false })
  return plan
}

/// The refusal that an export ends with; nil where it is written.
func refusal(_ body: () throws(ExportError) -> Void) throws -> ExportRefusal? {
  do throws(ExportError) { try body() } catch {
    guard case .refused(let refusal, _) = error else { throw error }
    return refusal
  }
  return nil
}

/// All bytes of a tree of files, by path.
func tree(_ path: String) throws -> [String: [UInt8]] {
  let names = listing(of: path)
  guard !names.isEmpty else { return exists(path) ? ["": try contents(of: path)] : [:] }
  var files: [String: [UInt8]] = [:]
  for name in names {
    for (below, bytes) in try tree("\(path)/\(name)") { files[below.isEmpty ? name : "\(name)/\(below)"] = bytes }
  }
  return files
}

/// The object that a JSON file holds.
func object(_ path: String) throws -> JSONObject {
  let text = String(decoding: try contents(of: path), as: UTF8.self)
  guard let object = try JSONParser.parse(text).object else { throw TestFailure("\(path) holds no object") }
  return object
}

/// Numbers of a matrix by the words of `Formats/encodings.md`: codes and the scales of groups, or the bytes of what is plain.
struct PackedTensor {
  let shape: [Int]
  private(set) var groupSize = 1
  private(set) var codes: [Int32] = []
  private(set) var scales: [Float] = []
  private(set) var bytes: [UInt8] = []

  init(_ record: TensorRecord, _ pack: PackFile) throws {
    shape = record.shape.dimensions
    for position in 0..<record.chunkCount {
      let (encoding, planes) = try pack.planes(of: record, chunk: position)
      let held = try pack.content(ofChunk: record.firstChunk + position, codec: ChunkCodec())
      let content = held.bytes.array
      let first = Array(content[planes[0]])
      guard let form = encoding.codes else {
        bytes += first
        continue
      }
      groupSize = encoding.groupSize
      switch form.code {
      case .int8: codes += first.map { Int32(Int8(bitPattern: $0)) }
      case .int4:
        for run in stride(from: 0, to: first.count, by: 16) {
          codes += first[run..<run + 16].map { Int32($0 & 15) - 8 }
          codes += first[run..<run + 16].map { Int32($0 >> 4) - 8 }
        }
      }
      let second = Array(content[planes[1]])
      switch form.scale {
      case .bf16: scales += halves(second).map(BFloat16.widen)
      case .byte:
        let rowByteCount = 1 + record.shape.columns / encoding.groupSize
        for row in stride(from: 0, to: second.count, by: rowByteCount) {
          for byte in second[row + 1..<row + rowByteCount].map(Int.init) {
            let exponent = Int(second[row]) - 127 + byte % 128 / 16
            let magnitude = Float(sign: .plus, exponent: exponent, significand: Float(16 + byte % 16) / 16)
            scales.append(byte < 128 ? magnitude : -magnitude)
          }
        }
      }
    }
  }

  var values: [Float] { codes.enumerated().map { Float($1) * scales[$0 / groupSize] } }

  static func all(_ path: String) throws -> [String: PackedTensor] {
    let pack = try PackFile(path: path)
    var tensors: [String: PackedTensor] = [:]
    for index in 0..<pack.header.tensorCount {
      let record = try pack.tensor(index)
      tensors[record.name] = try PackedTensor(record, pack)
    }
    return tensors
  }
}

/// Reads numbers of an export as its format's documents say.
struct Reader {
  var shape: [Int]
  var dtype: String
  var bytes: [UInt8]

  /// All tensors of the safetensors files of a directory.
  static func safetensors(_ directory: String) throws -> [String: Reader] {
    let checkpoint = try Checkpoint(directory: directory)
    if let wrong = checkpoint.wrongTotalSize { throw TestFailure("the index says \(wrong.stated), not \(wrong.found)") }
    var tensors: [String: Reader] = [:]
    for file in checkpoint.files {
      for entry in file.tensors {
        guard entry.byteRange.lowerBound % entry.dtype.byteCount == 0 else {
          throw TestFailure("\(entry.name) is not aligned")
        }
        tensors[entry.name] = Reader(
          shape: entry.shape.dimensions, dtype: entry.dtype.name, bytes: file.bytes(of: entry).array)
      }
    }
    return tensors
  }

  /// Numbers of `bits` bits, the first in the lowest, less half of their range.
  func codes(bits: Int) -> [Int32] {
    if bits == 8 { return bytes.map { Int32($0) - 128 } }
    return bytes.flatMap { [Int32($0 & 15) - 8, Int32($0 >> 4) - 8] }
  }

  var bfloats: [Float] { halves(bytes).map(BFloat16.widen) }
  var floats: [Float] { halves(bytes).map { Float(Float16(bitPattern: $0)) } }

  /// The same of a matrix turned round, whose elements take so many bytes.
  func transposed(width: Int) -> Reader {
    let (rows, columns) = (shape[0], shape[1])
    var turned: [UInt8] = []
    turned.reserveCapacity(bytes.count)
    for column in 0..<columns {
      for row in 0..<rows {
        let start = (row * columns + column) * width
        turned += bytes[start..<start + width]
      }
    }
    return Reader(shape: [columns, rows], dtype: dtype, bytes: turned)
  }

  /// One of several that lie one after the other.
  func part(_ index: Int, of count: Int) -> Reader {
    let length = bytes.count / count
    return Reader(
      shape: Array(shape.dropFirst()), dtype: dtype, bytes: Array(bytes[index * length..<(index + 1) * length]))
  }
}

func halves(_ bytes: [UInt8]) -> [UInt16] {
  stride(from: 0, to: bytes.count, by: 2).map { UInt16(bytes[$0]) | UInt16(bytes[$0 + 1]) << 8 }
}
