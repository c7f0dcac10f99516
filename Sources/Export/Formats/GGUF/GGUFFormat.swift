import Models
package import Tensors

/// GGUF, version 3: experts as blocks of 32 with their scale (`Formats/export-gguf.md`).
package enum GGUFFormat: ExportFormat {
  package static let name = "gguf"
  package static let engines = GGUFProfile.all.map { "\($0.name): \($0.engines)" }.joined(separator: "; ")
  package static let servable: String? = "llama.cpp"
  package static let holds =
    "any matrix in int4 (Q4_0) or int8 (Q8_0) with groups of 32, 64 or 128, of which larger ones repeat their scale: 4.5 or "
    + "8.5 bits a weight; plain matrices as they are, or with --dtype in another type, which rounds them"
  package static let refuses =
    "groups of 16, int4 and int8 among the experts of one projection and layer; of other parts than the language model "
    + "all but the profile llada-image"
  package static let options: Set<ExportOptions.Key> = [.dtype, .profile, .shardSize]
  package static let dtypes = ExportOptions.ElementType.allCases
  package static let encodings: [Encoding] = Encoding.grouped.filter { $0.groupSize >= 32 }

  /// One file, unless it is to be split.
  package static func isDirectory(_ options: ExportOptions) -> Bool { options.shardByteCount != nil }

  package static func plan(_ source: ExportSource) throws(ExportError) -> [PlannedFile] {
    let profile = source.profile
    let predictsNext = source.configuration.conventions.prediction == .next
    guard let names = source.store.architecture.names(in: profile.dialect), !(profile.isDiffusion && predictsNext)
    else {
      throw .refused(.family(profile: profile.name), format: name)
    }
    guard !profile.isDescribed || source.store.passedThrough.isEmpty else {
      throw .refused(
        .otherParts(count: source.store.passedThrough.count, of: source.store.architecture.otherParts), format: name)
    }
    let checker = SchemeChecker(source: source, format: self)
    try checker.requireHeld(restIsPlain: false)
    var tensors: [OutputTensor<GGMLType>] = []
    for item in source.store.items {
      guard item.isExpert else {
        let place = source.place(of: item.id)
        tensors.append(try tensor(source, names.name(of: item.id), [place], outer: []))
        continue
      }
      // With the first expert of a layer come all.
      guard item.id.expert == 0, let layer = item.id.layer else { continue }
      for part in TensorPart.projections {
        let stack = source.experts(part, layer: layer)
        _ = try checker.common(stack, scope: "the experts of a projection and layer", byGroup: false)
        let name = names.name(of: TensorID(.expert, part, layer: layer))
        tensors.append(try tensor(source, name, stack, outer: [stack.count]))
      }
    }
    for index in source.tensors.indices where source.tensors[index].role == nil {
      tensors.append(try tensor(source, source.tensors[index].name, [index], outer: []))
    }
    let shards = SafetensorsFiles.split(tensors.map { [$0] }, atMost: source.options.shardByteCount ?? .max)
    let metadata = GGUFMetadata.all(source, tensors) + (profile.isDescribed ? try GGUFTokenizer.metadata(source) : [])
    return GGUFFile.plan(shards, metadata, names: fileNames(source.outputName, shards.count))
  }

  package static func notes(_ source: ExportSource) -> [String] {
    var notes: [String] = []
    if let dtype = source.options.dtype {
      notes.append("matrices that are plain in the pack become \(dtype.rawValue), rounded where it does not hold them")
    }
    if source.profile.isDescribed, (try? source.file(named: "tokenizer.json")) ?? nil == nil {
      notes.append("the pack has no tokenizer.json, so the file holds none and engines will not load it")
    }
    if source.tensors.contains(where: { ($0.type.encoding?.groupSize ?? 0) > 32 }) {
      notes.append("groups are blocks of 32 here: a scale of a larger group stands in each of its blocks")
    }
    return notes
  }

  private static func fileNames(_ name: String, _ count: Int) -> [String] {
    let stem = name.hasSuffix(".gguf") ? String(name.dropLast(".gguf".count)) : name
    guard count > 1 else { return [stem + ".gguf"] }
    return (1...count).map {
      "\(stem)-\(SafetensorsFiles.padded($0))-of-\(SafetensorsFiles.padded(count)).gguf"
    }
  }

  /// - Parameter indices: of the tensors that are put one after the other.
  private static func tensor(
    _ source: ExportSource, _ name: String, _ indices: [Int], outer: [Int]
  ) throws(ExportError) -> OutputTensor<GGMLType> {
    let first = source.tensors[indices[0]]
    let shape = first.shape
    let encoding = source.encoding(indices[0])
    let (kind, encoder): (GGMLType, any TensorEncoder) =
      if let codes = encoding.codes {
        (codes.code == .int4 ? .q4_0 : .q8_0, GGMLBlocks(code: codes.code))
      } else {
        try plain(first, encoding, wanted(first, source))
      }
    return OutputTensor(name, kind, outer + shape.dimensions, stacking: indices, encoder, of: shape)
  }

  /// What plain elements are to become; nil where they stay as they are. Vectors and the router are F32 to engines that are told of the
  /// model, or stay; so do other parts, of which some have numbers that no smaller type holds.
  private static func wanted(_ tensor: StoredTensor, _ source: ExportSource) -> ExportOptions.ElementType? {
    guard let role = tensor.role else { return nil }
    guard ![.norm, .router, .bias].contains(role) else { return source.profile.isDescribed ? .f32 : nil }
    return source.options.dtype
  }

  private static func plain(
    _ tensor: StoredTensor, _ encoding: Encoding, _ wanted: ExportOptions.ElementType?
  ) throws(ExportError) -> (GGMLType, any TensorEncoder) {
    guard let dtype = encoding.dtype else { preconditionFailure("an encoding with neither codes nor elements") }
    let (kind, target): (GGMLType, DType)
    switch wanted ?? ExportOptions.ElementType(rawValue: dtype.description) {
    case .q8_0:
      guard tensor.shape.columns % RoundedBlocks.blockLength == 0 else {
        throw .refused(
          .blocks(tensor: tensor.name, columns: tensor.shape.columns, length: RoundedBlocks.blockLength), format: name)
      }
      return (.q8_0, RoundedBlocks())
    case .f32: (kind, target) = (.f32, .f32)
    case .f16: (kind, target) = (.f16, .f16)
    case .bf16, nil: (kind, target) = (.bf16, .bf16)
    }
    return (kind, target == dtype ? StoredElements(byteWidth: dtype.byteCount) : DecodedElements(dtype: target))
  }
}
