import JSON
import Safetensors
import Storage
package import Tensors

/// Tensors as FP8 with scales, as other tools write them, and the bf16 that they stand for; by the definition of the types, not
/// by any kernel.
package struct FP8 {
  /// What shares a scale.
  package enum Sharing: Sendable { case block(rows: Int, columns: Int), row, matrix, tensor }

  package var isE4M3 = true
  package var sharing = Sharing.block(rows: 128, columns: 128)
  package var scaleDType = DType.f32
  /// Behind the name of a tensor, that of its scales.
  package var suffix = "_scale_inv"

  package init() {}

  /// The number of a code.
  package static func value(_ code: UInt8, isE4M3: Bool) -> Float {
    let (mantissaBits, bias) = isE4M3 ? (3, 7) : (2, 15)
    let exponent = Int(code & 0x7F) >> mantissaBits
    let mantissa = Float(Int(code) & (1 << mantissaBits - 1)) / Float(1 << mantissaBits)
    let sign: Float = code & 0x80 == 0 ? 1 : -1
    if isE4M3 ? code & 0x7F == 0x7F : exponent == 31 { return isE4M3 || mantissa > 0 ? .nan : sign * .infinity }
    // Powers of two by their bits: the exponents of both types are normal in binary32.
    func power(_ exponent: Int) -> Float { Float(bitPattern: UInt32(127 + exponent) << 23) }
    return sign * (exponent == 0 ? mantissa * power(1 - bias) : (1 + mantissa) * power(exponent - bias))
  }

  /// Codes of the positive numbers, rising.
  private var positive: [Float] { (0..<(isE4M3 ? 0x7F : 0x7C)).map { Self.value($0, isE4M3: isE4M3) } }

  /// A tensor's codes and scales, and it as the bf16 that these stand for.
  package func encode(
    _ tensor: TinyCheckpoint.Stored
  ) -> (codes: TinyCheckpoint.Stored, scales: TinyCheckpoint.Stored, dequantized: TinyCheckpoint.Stored) {
    let x = floats(tensor.bytes, as: tensor.dtype)
    let stack = Array(tensor.dimensions.dropLast(2))
    let (rows, columns) = (tensor.dimensions.dropLast().last ?? 1, tensor.dimensions.last ?? 1)
    let matrices = stack.reduce(1, *)
    let (height, width, shape): (Int, Int, [Int]) =
      switch sharing {
      case .block(let height, let width):
        (height, width, stack + [(rows + height - 1) / height, (columns + width - 1) / width])
      case .row: (1, columns, stack + [rows, 1])
      case .matrix: (rows, columns, stack + [1, 1])
      case .tensor: (matrices * rows, columns, [1])
      }
    let isWhole = if case .tensor = sharing { true } else { false }
    let across = (columns + width - 1) / width
    let down = isWhole ? 1 : (rows + height - 1) / height
    func place(_ index: Int) -> Int {
      let (row, column) = (index / columns, index % columns)
      return isWhole ? 0 : (row / rows * down + row % rows / height) * across + column / width
    }
    var largest = [Float](repeating: 0, count: (isWhole ? 1 : matrices) * down * across)
    for index in x.indices { largest[place(index)] = max(largest[place(index)], abs(x[index])) }
    let table = positive
    let scaleBytes = largest.map { elementBytes($0 == 0 ? 1 : $0 / table[table.count - 1], as: scaleDType) }
    let scales = scaleBytes.map { floats($0, as: scaleDType)[0] }
    var codes: [UInt8] = []
    var numbers: [UInt8] = []
    for index in x.indices {
      let scale = scales[place(index)]
      let wanted = abs(x[index] / scale)
      var (low, high) = (0, table.count - 1)
      while low < high {
        let middle = (low + high) / 2
        if table[middle] < wanted { low = middle + 1 } else { high = middle }
      }
      if low > 0, wanted - table[low - 1] < table[low] - wanted { low -= 1 }
      codes.append(UInt8(low) | (x[index].sign == .minus ? 0x80 : 0))
      numbers += elementBytes(Self.value(codes[index], isE4M3: isE4M3) * scale, as: .bf16)
    }
    var (stored, beside, dequantized) = (tensor, tensor, tensor)
    (stored.dtype, stored.bytes) = (isE4M3 ? .f8e4m3 : .f8e5m2, codes)
    beside = .init(name: tensor.name + suffix, dtype: scaleDType, dimensions: shape, bytes: scaleBytes.flatMap { $0 })
    (dequantized.dtype, dequantized.bytes) = (.bf16, numbers)
    return (stored, beside, dequantized)
  }

  /// Makes FP8 of the matrices among these tensors that `isWanted`.
  ///
  /// - Returns: all tensors as the bf16 that they then stand for.
  @discardableResult
  package func convert(
    _ tensors: inout [TinyCheckpoint.Stored], where isWanted: (String) -> Bool
  ) -> [TinyCheckpoint.Stored] {
    var scales: [TinyCheckpoint.Stored] = []
    var dequantized = tensors
    for index in tensors.indices where isWanted(tensors[index].name) {
      let result = encode(tensors[index])
      (tensors[index], dequantized[index]) = (result.codes, result.dequantized)
      scales.append(result.scales)
    }
    tensors += scales
    return dequantized
  }
}

extension FP8 {
  /// The spellings in which whole checkpoints are published.
  package enum Spelling: String, CaseIterable, Sendable {
    /// Hugging Face: every matrix but embedding, head and router, in blocks, beside it `weight_scale_inv`.
    case huggingFace
    /// LLaDA2.0-Uni and LLaDA-Image: stacked experts alone, in blocks, beside them `_scale`.
    case uni
    /// llm-compressor: `float-quantized`, a scale for each row.
    case compressedTensors
  }

  /// Writes the trained checkpoint `model` as FP8, and the bf16 that it stands for, each into a directory of its own.
  ///
  /// - Parameter change: changes the tensors of the first.
  package static func write(
    _ model: String, _ spelling: Spelling, to directory: String, dequantized: String,
    change: (inout [TinyCheckpoint.Stored]) -> Void = { _ in }
  ) throws {
    var fp8 = FP8()
    var config = JSONObject()
    let source: String
    if spelling == .uni {
      source = directory + ".bf16"
      try UniLayout().write(model, to: source)
      fp8.suffix = "_scale"
      config.append(.init(key: "use_fp8_experts", value: true))
    } else {
      source = Trained.checkpoint(model)
      var scheme: JSONValue = ["quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]]
      if spelling == .compressedTensors {
        (fp8.sharing, fp8.scaleDType, fp8.suffix) = (.row, .bf16, "_scale")
        let weights: JSONValue = ["num_bits": 8, "type": "float", "symmetric": true, "strategy": "channel"]
        scheme = [
          "quant_method": "compressed-tensors", "format": "float-quantized",
          "config_groups": ["group_0": ["targets": ["Linear"], "weights": weights]],
        ]
      }
      config.append(.init(key: "quantization_config", value: scheme))
    }
    var tensors: [TinyCheckpoint.Stored] = []
    for file in try Checkpoint(directory: source).files {
      for entry in file.tensors {
        tensors.append(
          .init(
            name: entry.name, dtype: entry.dtype, dimensions: entry.shape.dimensions, bytes: file.bytes(of: entry).array
          ))
      }
    }
    let plain = fp8.convert(&tensors) { name in
      spelling == .uni
        ? name.contains(".experts.")
        : name.hasSuffix("_proj.weight") || name.contains(".attention.") && !name.contains("norm")
    }
    change(&tensors)
    try write(tensors, besideThoseOf: source, config, to: directory)
    try write(plain, besideThoseOf: source, JSONObject(), to: dequantized)
  }

  private static func write(
    _ tensors: [TinyCheckpoint.Stored], besideThoseOf source: String, _ config: JSONObject, to directory: String
  ) throws {
    try makeDirectory(directory)
    for name in listing(of: source) where !name.contains("safetensors") && name != "config.json" {
      try TestSupport.write(try contents(of: "\(source)/\(name)"), to: "\(directory)/\(name)")
    }
    let text = String(decoding: try contents(of: source + "/config.json"), as: UTF8.self)
    var object = try JSONParser.parse(text).object ?? JSONObject()
    for member in config.members { object.append(member) }
    try TestSupport.write(Array(JSONValue.object(object).text().utf8), to: directory + "/config.json")
    try SafetensorsWriter.write(
      tensors.map { tensor in
        guard let shape = Shape(tensor.dimensions) else { fatalError("a test's shape") }
        return .init(name: tensor.name, dtype: tensor.dtype, shape: shape) { tensor.bytes }
      }, to: directory + "/model.safetensors")
  }
}
