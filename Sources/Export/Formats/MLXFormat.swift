import JSON
import Models
package import Tensors

/// A model of mlx-vlm with affine quantization and stacked experts (`Formats/export-mlx.md`).
package enum MLXFormat: ExportFormat {
  package static let name = "mlx"
  package static let engines = "mlx-vlm"
  package static let servable: String? = "mlx"
  package static let holds =
    "any matrix in int4 or int8 with groups of 32, 64 or 128; each stack of experts in one encoding"
  package static let refuses =
    "groups of 16, experts of one projection and layer that are encoded differently, LLaDA2.0-Uni and LLaDA-Image"
  package static let options: Set<ExportOptions.Key> = [.shardSize]
  package static let encodings: [Encoding] = Encoding.grouped.filter { $0.groupSize >= 32 }

  /// A quantized module, for `config.json`.
  private struct Module {
    let path: String
    let code: Encoding.Code
    let groupSize: Int

    var json: [(key: String, value: JSONValue)] {
      [("group_size", JSONValue(groupSize)), ("bits", JSONValue(code.bits)), ("mode", "affine")]
    }
  }

  package static func plan(_ source: ExportSource) throws(ExportError) -> [PlannedFile] {
    guard let names = source.store.architecture.names(in: .mlx) else {
      throw .refused(.family(profile: nil), format: name)
    }
    guard source.store.passedThrough.isEmpty else {
      throw .refused(
        .otherParts(count: source.store.passedThrough.count, of: source.store.architecture.otherParts), format: name)
    }
    let checker = SchemeChecker(source: source, format: self)
    try checker.requireHeld(restIsPlain: false)
    var groups: [[OutputTensor<DType>]] = []
    var modules: [Module] = []
    for item in source.store.items {
      guard item.isExpert else {
        groups.append(matrix(source, [source.place(of: item.id)], names.name(of: item.id), [], &modules))
        continue
      }
      // With the first expert of a layer come all.
      guard item.id.expert == 0, let layer = item.id.layer else { continue }
      for part in TensorPart.projections {
        let stack = source.experts(part, layer: layer)
        _ = try checker.common(stack, scope: "the experts of a projection and layer")
        let name = names.name(of: TensorID(.expert, part, layer: layer))
        groups.append(matrix(source, stack, name, [stack.count], &modules))
      }
    }
    let parameters = source.tensors.reduce(0) { $0 + $1.shape.elementCount }
    return SafetensorsFiles.plan(groups, format: "mlx", source.options, parameterCount: parameters)
      + (try source.checkpointFiles(configuration(modules)))
  }

  /// The tensors of a module: its elements, or words, scales and what is added to codes times scales.
  ///
  /// - Parameter outer: dimensions before those of a matrix.
  private static func matrix(
    _ source: ExportSource, _ indices: [Int], _ name: String, _ outer: [Int], _ modules: inout [Module]
  ) -> [OutputTensor<DType>] {
    let shape = source.tensors[indices[0]].shape
    let encoding = source.encoding(indices[0])
    guard let codes = encoding.codes else {
      guard let dtype = encoding.dtype else { preconditionFailure("an encoding with neither codes nor elements") }
      return [
        OutputTensor(
          name, dtype, outer + shape.dimensions, stacking: indices, StoredElements(byteWidth: dtype.byteCount),
          of: shape)
      ]
    }
    let path = TensorNames.module(of: name)
    modules.append(Module(path: path, code: codes.code, groupSize: encoding.groupSize))
    let scales = outer + [shape.rows, shape.columns / encoding.groupSize]
    return [
      OutputTensor(
        name, .u32, outer + [shape.rows, shape.columns * codes.code.bits / 32], stacking: indices,
        CodeWords(code: codes.code), of: shape),
      OutputTensor(
        path + ".scales", .bf16, scales, stacking: indices, GroupScales(groupSize: encoding.groupSize), of: shape),
      OutputTensor(
        path + ".biases", .bf16, scales, stacking: indices,
        GroupScales(groupSize: encoding.groupSize, factor: codes.code == .int4 ? -8 : -128), of: shape),
    ]
  }

  /// What most modules have stands once, all else by the path of its module.
  private static func configuration(_ modules: [Module]) -> [(key: String, value: JSONValue)] {
    func count(_ module: Module) -> Int {
      modules.count { ($0.code, $0.groupSize) == (module.code, module.groupSize) }
    }
    guard let usual = modules.max(by: { count($0) < count($1) }) else { return [] }
    var members = usual.json
    for module in modules where (module.code, module.groupSize) != (usual.code, usual.groupSize) {
      members.append((module.path, SafetensorsFiles.object(module.json)))
    }
    let quantization = SafetensorsFiles.object(members)
    return [("quantization", quantization), ("quantization_config", quantization)]
  }
}
