import JSON

/// What a `config.json` says of weights that are stored as FP8 with scales (`Formats/checkpoint.md` §3). Which tensors are, their
/// types say; where all share a scale, or each row has one, the shapes of the scales do.
struct FP8Configuration {
  /// Rows and columns that share a scale.
  private(set) var block = (rows: 128, columns: 128)
  /// The key that promises such weights; nil where none does.
  private(set) var key: String?

  /// Ways of Hugging Face (`fp8`) and of llm-compressor (`compressed-tensors`), then of LLaDA-Image and of LLaDA2.0-Uni.
  ///
  /// - Throws: ``ModelError/configuration(key:detail:path:byteOffset:)`` for weights that are quantized in another way.
  init(_ reader: ConfigurationReader) throws(ModelError) {
    for key in ["quantization_config", "compression_config"] where !reader.isOff(key) {
      guard let object = reader.object[key]?.object else { throw reader.error(key, "must be an object or null") }
      let inner = reader.inside(key, object)
      switch object["quant_method"]?.string {
      case "fp8": try takeHuggingFace(inner)
      case "compressed-tensors" where object["format"] == "float-quantized": try takeCompressedTensors(inner)
      case let method:
        let format = object["format"]?.string.map { ", \($0)" } ?? ""
        throw reader.error(
          key,
          "says that the weights are quantized already\(method.map { " (\($0)\(format))" } ?? ""); read are BF16, F16, F32, and FP8 as "
            + "`fp8` or `compressed-tensors` with `float-quantized`. If they were turned back into floats, take the key out"
        )
      }
      self.key = key
    }
    if let flags = reader.object["llada_fp8_experts"]?.object {
      let inner = reader.inside("llada_fp8_experts", flags)
      if try inner.readBool("enabled", default: true) {
        try takeHuggingFace(inner)
        key = "llada_fp8_experts"
      }
    }
    if try reader.readBool("use_fp8_experts", default: false) { key = "use_fp8_experts" }
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

  private mutating func takeCompressedTensors(_ reader: ConfigurationReader) throws(ModelError) {
    let groups = reader.object["config_groups"]?.object?.members ?? []
    guard !groups.isEmpty else { throw reader.error("config_groups", "is missing") }
    for group in groups {
      guard let weights = group.value.object?["weights"]?.object else { continue }
      let inner = reader.inside("config_groups.\(group.key).weights", weights)
      try inner.expect("num_bits", 8)
      try inner.expect("type", "float")
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
