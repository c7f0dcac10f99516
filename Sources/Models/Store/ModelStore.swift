import Kernels
import Pack
import Safetensors
import Tensors

/// A model found in its files, a checkpoint or a pack: its configuration, every tensor of its architecture with the place of its
/// bytes, and every tensor of the files in use. Prefixes of names and layouts of experts end here.
package final class ModelStore: Sendable {
  /// What was opened, for messages.
  package let path: String
  package let files: ModelFiles
  package let configuration: ModelConfiguration
  package let architecture: any Architecture.Type
  /// What is read together, in the order of the forward pass.
  package let items: [ModelItem]
  /// Tensors that belong to other parts than the language model, sorted by name: kept as they are, and used by nothing here.
  package let passedThrough: [StoredTensor]
  /// The layout of the experts; layers may differ, then that of the first. Nil without experts.
  package let layout: ExpertLayout?
  /// Tensors of the checkpoint that are left out.
  package let dropped: [DroppedTensors]
  /// What a person should know of the files.
  package let notes: [SourceNote]
  /// All tensors: those of the model in the order of the forward pass, then those that pass through.
  package let tensors: [StoredTensor]
  private let places: [TensorID: Int]

  /// Opens a checkpoint directory or a pack.
  ///
  /// - Parameters:
  ///   - drops: tensors of a checkpoint that the model does without.
  ///   - asNumbers: whether codes that other tools packed are read as the numbers they stand for.
  package convenience init(
    path: String, dropping drops: [TensorDrop] = [], asNumbers: Bool = false
  ) throws(ModelError) {
    try self.init(ModelFiles(path: path), path: path, dropping: drops, asNumbers: asNumbers)
  }

  /// Reads `config.json` and finds every tensor that it asks for.
  ///
  /// - Throws: ``ModelError``; a tensor of the files without a place is an error, so nothing is lost silently.
  package init(
    _ files: ModelFiles, path: String, dropping drops: [TensorDrop] = [], asNumbers: Bool = false
  ) throws(ModelError) {
    let config = try files.configuration()
    var notes: [SourceNote] = []
    let configuration = try ModelConfiguration(json: config.bytes, path: config.path) { notes.append($0) }
    let reader = try ConfigurationReader(bytes: config.bytes, path: config.path)
    let quantization = try QuantizationConfiguration(reader, beside: files)
    var catalogue = try files.tensors()
    PackedCodes.settleGroups(of: &catalogue)
    var finder = TensorFinder(files, path: path, catalogue, configuration, quantization, asNumbers: asNumbers)
    var dropped: [DroppedTensors] = []
    if case .checkpoint(let checkpoint) = files {
      dropped = try DroppedTensors.named(by: drops, among: finder.names, in: checkpoint.directory)
      for part in dropped { finder.drop(part) }
      if let buffers = try DroppedTensors.rotaryBuffers(among: finder.names, of: checkpoint, configuration) {
        dropped.append(buffers)
        finder.drop(buffers)
      }
      try finder.requireSupportedTypes()
      try checkpoint.requireMetadata(configuration)
    }
    let architecture = finder.architecture
    let layouts = try finder.layouts()
    items = architecture.items(configuration) { finder.has($0) }
    var tensors: [StoredTensor] = []
    var places: [TensorID: Int] = [:]
    tensors.reserveCapacity(catalogue.count)
    for tensor in items.lazy.flatMap(\.tensors) {
      places[tensor.id] = tensors.count
      tensors.append(try finder.find(tensor, layout: tensor.id.layer.flatMap { layouts[$0] }))
    }
    passedThrough = try finder.rest()
    let packedCount = tensors.count { if case .packed = $0.place { true } else { false } }
    if case .checkpoint = files, let (key, kind) = quantization.promise,
      (kind == .fp8 ? finder.fp8Count : packedCount) == 0
    {
      throw reader.error(
        key,
        "says that weights are \(kind.rawValue), but none is; if they were turned back into floats, take the key out")
    }
    self.path = path
    self.files = files
    self.configuration = configuration
    self.architecture = architecture
    self.tensors = tensors + passedThrough
    self.places = places
    self.dropped = dropped
    layout = layouts[configuration.firstDenseLayers]
    if case .checkpoint(let checkpoint) = files { notes += SourceNote.files(of: checkpoint) }
    let head = TensorID(.head, .weight)
    if configuration.tiesWordEmbeddings, !finder.has(head) {
      notes.append(.tiedHead(name: architecture.names.name(of: head)))
    }
    if finder.fp8Count > 0 { notes.append(.fp8(count: finder.fp8Count)) }
    if packedCount > 0 { notes.append(asNumbers ? .packedAsNumbers(count: packedCount) : .packed(count: packedCount)) }
    notes += dropped.filter { $0.pattern == nil }.map { .rotaryBuffers(count: $0.names.count) }
    if !passedThrough.isEmpty {
      notes.append(
        .passedThrough(
          count: passedThrough.count, byteCount: passedThrough.reduce(0) { $0 + ($1.byteCount ?? 0) },
          of: architecture.otherParts))
    }
    self.notes = notes
  }

  /// Where a tensor of the model is; nil for one that it does not have.
  package func tensor(_ id: TensorID) -> StoredTensor? { places[id].map { tensors[$0] } }

  /// Where a tensor of the model is among ``tensors``; nil likewise.
  package func place(of id: TensorID) -> Int? { places[id] }

  /// The name that published checkpoints of the family, and packs, give a tensor.
  package func name(of id: TensorID) -> String { architecture.names.name(of: id) }
}

extension ModelStore {
  /// Codes of other tools that are taken as numbers: how many matrices there are of each kind.
  package var requantized: [(name: String, count: Int)] {
    var counts: [String: Int] = [:]
    for tensor in tensors { if let codes = tensor.codesAsNumbers { counts[codes.description, default: 0] += 1 } }
    return counts.sorted { $0.key < $1.key }.map { (name: $0.key, count: $0.value) }
  }

  /// Refuses tensors of other parts that a pack cannot hold; what runs the model passes them by.
  package func requirePackable() throws(ModelError) {
    for tensor in passedThrough {
      let reason: String
      if case .dtype(let dtype) = tensor.type {
        reason = "type \(dtype.name)"
      } else if !(1...4).contains(tensor.shape.dimensions.count) || tensor.shape.elementCount == 0 {
        reason = "shape \(tensor.shape)"
      } else {
        continue
      }
      throw files.bad(
        tensor.name, "has \(reason), which a pack cannot hold; leave it out with `ingot quantize --drop`")
    }
  }
}

extension ModelFiles {
  /// What is wrong with a tensor of a checkpoint.
  fileprivate func bad(_ name: String, _ detail: String) -> ModelError {
    guard case .checkpoint(let checkpoint) = self else {
      preconditionFailure("what a pack stores was looked at when it was opened")
    }
    // Packed codes have a name that none of their tensors need have.
    let packed = (try? tensors())?.first { $0.name == name }?.place
    var place = checkpoint.tensor(named: name)
    if case .packed(_, let codes)? = packed { place = codes.codes }
    guard let (file, entry) = place else { preconditionFailure("a tensor that was found") }
    return .badTensor(name: name, detail: detail, path: file.path, byteOffset: entry.headerOffset)
  }
}

/// Looks tensors up by name and remembers which were used.
private struct TensorFinder {
  let files: ModelFiles
  let path: String
  let configuration: ModelConfiguration
  let architecture: any Architecture.Type
  /// The names of tensors that are not left out.
  private(set) var names: [String]
  private let byName: [String: StoredTensor]
  private let quantization: QuantizationConfiguration
  /// How the files call the tensors: as published, or as another format does.
  private let written: (dialect: NameDialect?, names: TensorNames)
  private let asNumbers: Bool
  private var used: Set<String> = []
  /// Tensors of FP8 with their scales, by name.
  private var scaled: [String: StoredTensor] = [:]
  /// By the name of a tensor, the pattern that leaves it out.
  private var patterns: [String: String] = [:]

  var fp8Count: Int { scaled.count }

  init(
    _ files: ModelFiles, path: String, _ catalogue: [StoredTensor], _ configuration: ModelConfiguration,
    _ quantization: QuantizationConfiguration, asNumbers: Bool
  ) {
    self.files = files
    self.quantization = quantization
    self.asNumbers = asNumbers
    self.path = path
    self.configuration = configuration
    names = catalogue.map(\.name)
    let byName = Dictionary(catalogue.map { ($0.name, $0) }) { first, _ in first }
    self.byName = byName
    let architecture = configuration.architecture { byName[$0] != nil }
    self.architecture = architecture
    let embedding = TensorID(.embedding, .weight)
    let other = architecture.dialects.first { byName[$0.names.name(of: embedding)] != nil }
    let isPublished = byName[architecture.names.name(of: embedding)] != nil
    written = isPublished ? (nil, architecture.names) : (other?.dialect, other?.names ?? architecture.names)
    used.reserveCapacity(names.count)
  }

  mutating func drop(_ dropped: DroppedTensors) {
    guard !dropped.names.isEmpty else { return }
    for name in dropped.names { patterns[name] = dropped.pattern ?? "" }
    names.removeAll { patterns[$0] != nil }
  }

  func has(_ id: TensorID) -> Bool { byName[written.names.name(of: id)] != nil }

  /// The tensor, unless it is left out.
  private func tensor(named name: String) -> StoredTensor? { patterns[name] == nil ? byName[name] : nil }

  private func missing(_ name: String) -> ModelError {
    if let pattern = patterns[name] { return .dropsNeeded(name, pattern: pattern, directory: path) }
    return .missingTensor(name, directory: path)
  }

  /// Refuses other types than the three floats and FP8, which ``find(_:layout:)`` looks at.
  func requireSupportedTypes() throws(ModelError) {
    var known: Set<String> = []
    for name in names where !known.insert(name).inserted {
      throw files.bad(name, "is there twice: its elements, and codes that stand for them")
    }
    for name in names where !architecture.passesThrough(name, further: configuration.furtherLayers) {
      guard case .dtype(let dtype) = byName[name]?.type, FP8Format(dtype) == nil else { continue }
      if case .packed = byName[name]?.place { continue }
      if case .checkpoint(let checkpoint) = files {
        try PackedCodes.requireReadable(name, in: checkpoint, quantization)
      }
      throw files.bad(
        name,
        dtype == .f8e8m0 && FP8Scales.owner(of: name) != nil
          ? "has type \(dtype.name): scales that are bare exponents (ue8m0) are not supported"
          : "has type \(dtype.name); BF16, F16, F32, FP8 (F8_E4M3, F8_E5M2) with scales, and Q4_0 and Q8_0 of GGUF are "
            + "supported; of what was quantized in another way, take the checkpoint that it was made from")
    }
  }

  /// FP8 with the scales that lie beside it; other tensors as they are.
  private mutating func withScales(_ tensor: StoredTensor) throws(ModelError) -> StoredTensor {
    guard case .dtype(let dtype) = tensor.type, let format = FP8Format(dtype), case .checkpoint(let checkpoint) = files
    else { return tensor }
    if let known = scaled[tensor.name] { return known }
    let candidates = FP8Scales.suffixes.map { tensor.name + $0 }
    let found = candidates.filter { self.tensor(named: $0) != nil }
    guard let name = found.first, let (file, entry) = checkpoint.tensor(named: name) else {
      let wanted = candidates.map { "`\($0)`" }.joined(separator: " or ")
      throw files.bad(tensor.name, "has type \(dtype.name), which is FP8, but its scales are missing: \(wanted)")
    }
    guard found.count == 1 else { throw files.bad(found[1], "and `\(name)` both hold scales of one tensor") }
    guard let type = FloatFormat(entry.dtype) else {
      throw files.bad(name, "has type \(entry.dtype.name); scales may be F32, BF16 and F16")
    }
    let block = quantization.block
    guard let scales = FP8Scales(of: tensor.shape, format, block: block, file, entry, type) else {
      throw files.bad(
        name,
        "has shape \(entry.shape), which gives `\(tensor.name)` \(tensor.shape) neither a scale for each block of "
          + "\(block.rows)×\(block.columns), nor for each row, nor one")
    }
    used.insert(name)
    let result = StoredTensor(tensor, scales)
    scaled[tensor.name] = result
    return result
  }

  /// By layer of experts, how they are stored. In a pack all are stored alike.
  func layouts() throws(ModelError) -> [Int: ExpertLayout] {
    guard case .checkpoint = files else {
      try configuration.requireExperts(atMost: names.count, in: path)
      let layers = (0..<configuration.layerCount).filter(configuration.isMoE)
      return Dictionary(uniqueKeysWithValues: layers.map { ($0, architecture.layouts[0]) })
    }
    var layouts: [Int: ExpertLayout] = [:]
    let known = written.dialect.map { [ExpertLayout($0, written.names)] } ?? architecture.layouts
    for layer in 0..<configuration.layerCount where configuration.isMoE(layer: layer) {
      let first = TensorID(.expert, .down, layer: layer, expert: 0)
      let found = known.filter { tensor(named: $0.name(of: first)) != nil }
      switch found.count {
      case 1: layouts[layer] = found[0]
      case 0: throw missing(known[0].name(of: first))
      default:
        let both = found.map(\.name).joined(separator: " and ")
        throw .layout(layer: layer, detail: "its experts are there twice: \(both)", directory: path)
      }
    }
    try configuration.requireExperts(atMost: PackLimits.maximumTensors, in: path)
    return layouts
  }

  /// - Parameter layout: of the experts of the tensor's layer.
  mutating func find(_ wanted: ModelTensor, layout: ExpertLayout?) throws(ModelError) -> StoredTensor {
    var (name, shape, firstRow) = (written.names.name(of: wanted.id), wanted.shape.dimensions, 0)
    if wanted.role == .expert, let layout { (name, shape, firstRow) = layout.place(of: wanted, configuration) }
    guard let found = tensor(named: name) else { throw missing(name) }
    guard found.shape.dimensions == shape else {
      if case .pack = files {
        throw .packedShape(name: name, found: found.shape, expected: wanted.shape, path: path)
      }
      throw files.bad(name, "has shape \(found.shape), config.json asks for \(shape)")
    }
    used.insert(name)
    return try asWanted(StoredTensor(wanted, in: try withScales(found), firstRow: firstRow))
  }

  /// Packed codes as an encoding, or as numbers.
  private func asWanted(_ tensor: StoredTensor) throws(ModelError) -> StoredTensor {
    guard case .packed(_, let codes) = tensor.place else { return tensor }
    var tensor = tensor
    if asNumbers { tensor.takeAsNumbers() } else { try codes.requireEncoding() }
    return tensor
  }

  /// The tensors that the model does not use.
  ///
  /// - Throws: ``ModelError/unknownTensors(_:count:directory:)`` for those that belong to no other part either.
  func rest() throws(ModelError) -> [StoredTensor] {
    let unused = names.filter { !used.contains($0) }.sorted()
    let unknown = unused.filter { !architecture.passesThrough($0, further: configuration.furtherLayers) }
    for name in unknown {
      guard let owner = FP8Scales.owner(of: name), used.contains(owner), let type = byName[owner]?.type else {
        continue
      }
      throw files.bad(name, "holds scales of `\(owner)`, which is \(type) and has none")
    }
    guard unknown.isEmpty else {
      throw .unknownTensors(Array(unknown.prefix(5)), count: unknown.count, directory: path)
    }
    var rest: [StoredTensor] = []
    for name in unused {
      guard var tensor = byName[name] else { continue }
      tensor.role = nil
      rest.append(try asWanted(tensor))
    }
    return rest
  }
}
