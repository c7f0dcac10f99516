import JSON
import Models
package import Tensors

/// A checkpoint with experts as GPTQ stores them, version 1, symmetric, without order of activations (`Formats/export-gptq.md`).
package enum GPTQFormat: ExportFormat {
  package static let name = "gptq"
  package static let engines = "SGLang and vLLM (gptq_marlin), transformers with gptqmodel or auto-round"
  package static let holds =
    "routed experts in int4 or int8 with groups of 32, 64 or 128, all in one encoding; all else plain"
  package static let refuses =
    "groups of 16, experts that are encoded differently, quantized tensors that are no routed experts"
  package static let options: Set<ExportOptions.Key> = [.shardSize, .tensorParallel]
  package static let encodings: [Encoding] = Encoding.grouped.filter { $0.groupSize >= 32 }

  package static func plan(_ source: ExportSource) throws(ExportError) -> [PlannedFile] {
    let checker = SchemeChecker(source: source, format: self)
    try checker.requireHeld(restIsPlain: true)
    let schemes = try checker.byLayer()
    try checker.requireTensorParallel(schemes.map(\.scheme))
    let quantized = source.tensors.indices.filter { source.encoding($0).isGrouped }
    guard let codes = try checker.common(quantized, scope: "all experts of the model").codes else {
      throw .refused(.nothingQuantized, format: name)
    }
    let groups = try source.groups { (index) throws(ExportError) in
      try matrix(source, index, codes.code, codes.groupSize)
    }
    let plain = schemes.filter { $0.scheme.codes == nil }.map(\.layer)
    let settings = settings(source, codes.code, codes.groupSize, plain: plain)
    let config = SafetensorsFiles.object(settings)
    return SafetensorsFiles.plan(groups, format: "pt", source.options)
      + (try source.checkpointFiles([
        ("quantization_config", SafetensorsFiles.object([("quant_method", "gptq")] + settings))
      ]))
      + [PlannedFile(name: "quantize_config.json", bytes: Array((config.text() + "\n").utf8))]
  }

  private static func matrix(
    _ source: ExportSource, _ index: Int, _ code: Encoding.Code, _ groupSize: Int
  ) throws(ExportError) -> [OutputTensor<DType>] {
    let tensor = source.tensors[index]
    let (rows, columns, perWord) = (tensor.shape.rows, tensor.shape.columns, 32 / code.bits)
    guard rows % perWord == 0 else {
      throw .refused(.dimension(tensor: tensor.name, rows, multiple: perWord), format: name)
    }
    let module = TensorNames.module(of: tensor.name)
    let groups = columns / groupSize
    func output(
      _ suffix: String, _ dtype: DType, _ dimensions: [Int], _ encoder: any TensorEncoder
    ) -> OutputTensor<DType> {
      OutputTensor(module + suffix, dtype, dimensions, index, encoder, of: tensor.shape)
    }
    return [
      output(".qweight", .i32, [columns / perWord, rows], TransposedWords(code: code)),
      output(".scales", .f16, [groups, rows], TransposedScales(groupSize: groupSize)),
      output(".qzeros", .i32, [groups, rows / perWord], SymmetricZeros(code: code, groupSize: groupSize)),
      output(".g_idx", .i32, [columns], ColumnGroups(groupSize: groupSize)),
    ]
  }

  /// Patterns of the modules of other parts, none of which is quantized: the first number of a name is its own, later ones may be any.
  private static func otherModules(_ store: ModelStore) -> [String] {
    var patterns: [String] = []
    var known: Set<String> = []
    for tensor in store.passedThrough where tensor.name.hasSuffix(".weight") && tensor.shape.dimensions.count > 1 {
      var hasNumber = false
      let words = TensorNames.module(of: tensor.name).split(separator: ".").map { word in
        guard word.allSatisfy(\.isNumber) else {
          return word.map { $0.isLetter || $0.isNumber || $0 == "_" ? "\($0)" : "\\\($0)" }.joined()
        }
        defer { hasNumber = true }
        return hasNumber ? #"\d+"# : String(word)
      }
      let pattern = "^" + words.joined(separator: #"\."#) + "$"
      if known.insert(pattern).inserted { patterns.append(pattern) }
    }
    return patterns
  }

  /// - Parameter plain: layers whose experts are not quantized.
  private static func settings(
    _ source: ExportSource, _ code: Encoding.Code, _ groupSize: Int, plain: [Int]
  ) -> [(key: String, value: JSONValue)] {
    let patterns = source.store.architecture.modulePatterns(source.configuration)
    let skipped = patterns.rest + (plain.isEmpty ? [] : [patterns.experts(plain)]) + otherModules(source.store)
    return [
      ("bits", JSONValue(code.bits)), ("group_size", JSONValue(groupSize)), ("desc_act", false), ("sym", true),
      ("checkpoint_format", "gptq"), ("pack_dtype", "int32"),
      ("dynamic", SafetensorsFiles.object(skipped.map { ("-:" + $0, [:]) })),
      ("meta", ["quantizer": .array([.string(source.options.tool.replacing(" ", with: ":"))])]),
    ]
  }
}
