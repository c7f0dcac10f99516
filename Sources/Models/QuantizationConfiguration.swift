import JSON
import Safetensors

/// What a `config.json` says of weights that are no plain floats (`Formats/checkpoint.md` §4). Which tensors are FP8 or packed, their
/// types and names say; what shares a scale, the shapes of the scales, unless it is a block.
package struct QuantizationConfiguration {
  /// The keys that say it. Of a pack they tell what its source was; what is made of one has its own.
  package static let keys = [
    "quantization", "quantization_config", "compression_config", "llada_fp8_experts", "use_fp8_experts",
  ]

  enum Kind: String {
    case fp8 = "FP8"
    case packed = "packed as int4 or int8"
  }

  /// Rows and columns of FP8 that share a scale.
  private(set) var block = (rows: 128, columns: 128)
  /// The key that says there are such weights, and which; nil where none does.
  private(set) var promise: (key: String, kind: Kind)?
  /// Of GPTQ, where tensors do not tell.
  private(set) var bits = 4
  /// Whether GPTQ stores zeros as they are, rather than less one.
  private(set) var storesZeros = false
  /// Bits and group sizes of MLX, by module; those of all others under an empty name.
  private var modules: [String: (bits: Int, groupSize: Int)] = [:]

  /// Those of a module of MLX; nil where it has none.
  func affine(_ module: String) -> (bits: Int, groupSize: Int)? {
    // Some writers leave out what all names begin with.
    let short = module.split(separator: ".", maxSplits: 1).last.map(String.init)
    return modules[module] ?? short.flatMap { modules[$0] } ?? modules[""]
  }

  /// Nothing is said.
  init() {}

  /// Ways of Hugging Face (`fp8`), of llm-compressor (`compressed-tensors`), of GPTQ and of MLX, then of LLaDA-Image and of
  /// LLaDA2.0-Uni.
  ///
  /// - Throws: ``ModelError/configuration(key:detail:path:byteOffset:)`` for weights that are quantized in another way.
  init(_ reader: ConfigurationReader) throws(ModelError) {
    for key in ["quantization", "quantization_config", "compression_config"] where !reader.isOff(key) {
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
      case "gptq":
        try takeGPTQ(inner)
        promise = (key, .packed)
      case nil where object["bits"] != nil && object["group_size"] != nil:
        try takeMLX(inner)
        promise = (key, .packed)
      case let method:
        let format = object["format"]?.string.map { ", \($0)" } ?? ""
        throw reader.error(
          key,
          "says that the weights are quantized already\(method.map { " (\($0)\(format))" } ?? ""), in a way that is not read; "
            + "`fp8` is, `gptq`, that of MLX, and `compressed-tensors` with `float-quantized` or `pack-quantized`. If they "
            + "were turned back into floats, take the key out")
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

  /// The same with what a file of GPTQ beside `config.json` says, where that says nothing. Beside a pack or a GGUF both speak of other
  /// weights, those that it was made from.
  init(_ reader: ConfigurationReader, beside files: ModelFiles) throws(ModelError) {
    guard case .checkpoint(let checkpoint) = files, !checkpoint.isGGUF else {
      self.init()
      return
    }
    try self.init(reader)
    let name = "quantize_config.json"
    let hasCodes = checkpoint.files.contains { $0.tensors.contains { $0.name.hasSuffix(".qweight") } }
    guard promise == nil, hasCodes, let bytes = try files.file(named: name) else { return }
    try takeGPTQ(ConfigurationReader(bytes: bytes, path: "\(checkpoint.directory)/\(name)"))
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

  /// - Parameter reader: of `quantization_config`, or of `quantize_config.json`.
  mutating func takeGPTQ(_ reader: ConfigurationReader) throws(ModelError) {
    bits = try reader.readInt("bits", in: 2...8, default: 4)
    let known = ["gptq", "gptq_v2"]
    let format = reader.object["checkpoint_format"] ?? "gptq"
    guard let name = format.string, known.contains(name) else {
      throw reader.error("checkpoint_format", "must be one of \(known.joined(separator: ", "))")
    }
    storesZeros = name == "gptq_v2"
  }

  /// By the paths of modules those that differ; false or `{}` for one that is not quantized, which its tensors show.
  private mutating func takeMLX(_ reader: ConfigurationReader) throws(ModelError) {
    try reader.expect("mode", "affine")
    func pair(_ reader: ConfigurationReader) throws(ModelError) -> (bits: Int, groupSize: Int) {
      (try reader.readInt("bits", in: 1...8), try reader.readInt("group_size", in: 1...65536))
    }
    modules[""] = try pair(reader)
    for member in reader.object.members {
      guard let object = member.value.object, !object.members.isEmpty else { continue }
      let inner = reader.inside(member.key, object)
      try inner.expect("mode", "affine")
      modules[member.key] = try pair(inner)
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
