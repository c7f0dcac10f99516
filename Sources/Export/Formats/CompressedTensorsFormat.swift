import JSON
import Models
package import Tensors

/// The checkpoint with packed experts that compressed-tensors describes (`Formats/export-compressed-tensors.md`).
package enum CompressedTensorsFormat: ExportFormat {
  package static let name = "compressed-tensors"
  package static let engines = "SGLang, mlx-vlm, transformers with compressed-tensors"
  package static let servable: String? = "sglang"
  package static let holds =
    "routed experts in int4 or int8 with groups of 32, 64 or 128, one encoding for each layer; all else plain"
  package static let refuses =
    "groups of 16, a layer whose experts are encoded differently, quantized tensors that are no routed experts"
  package static let options: Set<ExportOptions.Key> = [.shardSize, .tensorParallel]
  package static let encodings: [Encoding] = Encoding.grouped.filter { $0.groupSize >= 32 }

  package static func plan(_ source: ExportSource) throws(ExportError) -> [PlannedFile] {
    let checker = SchemeChecker(source: source, format: self)
    try checker.requireHeld(restIsPlain: true)
    let schemes = try checker.byLayer()
    try checker.requireTensorParallel(schemes.map(\.scheme))
    let groups = try source.groups { index in
      let tensor = source.tensors[index]
      let encoding = source.encoding(index)
      guard let codes = encoding.codes else { preconditionFailure("a plain tensor") }
      let module = TensorNames.module(of: tensor.name)
      let (rows, columns) = (tensor.shape.rows, tensor.shape.columns)
      return [
        OutputTensor(
          module + ".weight_packed", .i32, [rows, columns * codes.code.bits / 32], index, CodeWords(code: codes.code),
          of: tensor.shape),
        OutputTensor(
          module + ".weight_scale", .bf16, [rows, columns / encoding.groupSize], index,
          GroupScales(groupSize: encoding.groupSize), of: tensor.shape),
        OutputTensor(module + ".weight_shape", .i64, [2], index, MatrixShape(), of: tensor.shape),
      ]
    }
    return SafetensorsFiles.plan(groups, format: "pt", source.options)
      + (try source.checkpointFiles([("quantization_config", configuration(source, schemes))]))
  }

  package static func notes(_ source: ExportSource) -> [String] {
    let schemes = (try? SchemeChecker(source: source, format: self).byLayer()) ?? []
    guard groups(schemes).count > 1 else { return [] }
    return ["layers are encoded in several ways, which SGLang serves and mlx-vlm does not"]
  }

  /// Schemes with codes and the layers that have them, in the order of their first layers.
  private static func groups(
    _ schemes: [(layer: Int, scheme: Scheme)]
  ) -> [(code: Encoding.Code, groupSize: Int, layers: [Int])] {
    var groups: [(code: Encoding.Code, groupSize: Int, layers: [Int])] = []
    for (layer, scheme) in schemes {
      guard let codes = scheme.codes else { continue }
      if let index = groups.firstIndex(where: { ($0.code, $0.groupSize) == codes }) {
        groups[index].layers.append(layer)
      } else {
        groups.append((codes.code, codes.groupSize, [layer]))
      }
    }
    return groups
  }

  private static func configuration(
    _ source: ExportSource, _ schemes: [(layer: Int, scheme: Scheme)]
  ) -> JSONValue {
    let patterns = source.store.architecture.modulePatterns(source.configuration)
    let groups = groups(schemes)
    let plain = schemes.filter { $0.scheme.codes == nil }.map(\.layer)
    // `Linear` is what all engines understand. It would also mean the modules of other parts, whose names are not known here.
    let isOne = groups.count == 1 && source.store.passedThrough.isEmpty
    var members: [(key: String, value: JSONValue)] = []
    for (number, group) in groups.enumerated() {
      let targets: JSONValue = isOne ? ["Linear"] : [.string("re:" + patterns.experts(group.layers))]
      members.append(
        (
          "group_\(number)",
          [
            "targets": targets,
            "weights": [
              "num_bits": JSONValue(group.code.bits), "type": "int", "symmetric": true, "strategy": "group",
              "group_size": JSONValue(group.groupSize), "dynamic": false,
            ],
            "input_activations": .null, "output_activations": .null, "format": "pack-quantized",
          ]
        ))
    }
    let ignored = patterns.rest + (plain.isEmpty ? [] : [patterns.experts(plain)])
    return [
      "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
      "config_groups": SafetensorsFiles.object(members),
      "ignore": .array(ignored.map { .string("re:" + $0) }),
    ]
  }
}
