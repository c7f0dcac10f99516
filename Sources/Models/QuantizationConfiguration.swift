import JSON

/// What a `config.json` says of weights that are no plain floats (`Formats/checkpoint.md` §4). Which tensors are FP8 or packed, their
/// types and names say; what shares a scale, the shapes of the scales, unless it is a block.
package struct QuantizationConfiguration {
  /// The keys that say it. Of a pack they tell what its source was; what is made of one has its own.
  package static let keys = ["quantization_config", "compression_config", "llada_fp8_experts", "use_fp8_experts"]

  enum Kind: String {
    case fp8 = "FP8"
    case packed = "packed as int4 or int8"
  }

  /// Rows and columns of FP8 that share a scale.
  private(set) var block = (rows: 128, columns: 128)
  /// The key that says there are such weights, and which; nil where none does.
  private(set) var promise: (key: String, kind: Kind)?

  /// Ways of Hugging Face (`fp8`) and of llm-compressor (`compressed-tensors`), then of LLaDA-Image and of LLaDA2.0-Uni.
  ///
  /// - Throws: ``ModelError/configuration(key:detail:path:byteOffset:)`` for weights that are quantized in another way.
  init(_ reader: ConfigurationReader) throws(ModelError) {
    for key in ["quantization_config", "compression_config"] where !reader.isOff(key) {
      guard let object = reader.object[key]?.object else { throw reader.error(key, "must be an object or null") }
      let inner = reader.inside(key, object)
      switch object["quant_method"]?.string {
      case "fp8":
        try takeHuggingFace(inner)
        promise = (key, .fp8)
      case "compressed-tensors" where object["format"] == "float-quantized":
        try takeCompressedTensors(inner, "float", bits: [8])
        promise = (key, .fp8)
      case "compressed-tensors" where object["format"] == "pack-quantized":
        try takeCompressedTensors(inner, "int", bits: [4, 8])
        promise = (key, .packed)
      case let method:
        let format = object["format"]?.string.map { ", \($0)" } ?? ""
        throw reader.error(
          key,
          "says that the weights are quantized already\(method.map { " (\($0)\(format))" } ?? ""), in a way that is not read; "
            + "`fp8` is, and `compressed-tensors` with `float-quantized` or `pack-quantized`. If they were turned back into "
            + "floats, take the key out")
      }
    }
    if let flags = reader.object["llada_fp8_experts"]?.object {
      let inner = reader.inside("llada_fp8_experts", flags)
      if try inner.readBool("enabled", default: true) {
        try takeHuggingFace(inner)
        promise = ("llada_fp8_experts", .fp8)
      }
    }
    if try reader.readBool("use_fp8_experts", default: false) { promise = ("use_fp8_experts", .fp8) }
  }

  private mutating func takeHuggingFace(_ reader: ConfigurationReader) throws(ModelError) {
    for name in ["fmt", "format"] where !reader.isOff(name) {
      let known = ["e4m3", "e4m3fn", "e5m2"]
      guard let format = reader.object[name]?.string?.lowercased(), known.contains(format) else {
        throw reader.error(name, "must be one of \(known.joined(separator: ", "))")
      }
    }
    if reader.object["scale_fmt"]?.string == "ue8m0" {
      throw reader.error("scale_fmt", "is \"ue8m0\": scales that are bare exponents are not supported")
    }
    try takeBlock("weight_block_size", reader)
  }

  private mutating func takeCompressedTensors(
    _ reader: ConfigurationReader, _ type: JSONValue, bits: [Int]
  ) throws(ModelError) {
    let groups = reader.object["config_groups"]?.object?.members ?? []
    guard !groups.isEmpty else { throw reader.error("config_groups", "is missing") }
    for group in groups {
      guard let weights = group.value.object?["weights"]?.object else { continue }
      let inner = reader.inside("config_groups.\(group.key).weights", weights)
      let found = weights["num_bits"] ?? .null
      guard found.int.map(bits.contains) ?? false else {
        let known = bits.map(String.init).joined(separator: " or ")
        throw inner.error("num_bits", "is \(found.text(indented: false)), must be \(known)")
      }
      try inner.expect("type", type)
      try inner.expect("symmetric", true)
      try takeBlock("block_structure", inner)
    }
  }

  private mutating func takeBlock(_ key: String, _ reader: ConfigurationReader) throws(ModelError) {
    guard !reader.isOff(key) else { return }
    let sides = reader.object[key]?.array?.compactMap(\.int) ?? []
    guard sides.count == 2, sides.allSatisfy({ (1...(1 << 24)).contains($0) }) else {
      throw reader.error(key, "must be two whole numbers, the rows and columns that share a scale")
    }
    block = (sides[0], sides[1])
  }
}
