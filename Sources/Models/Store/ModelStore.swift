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
  /// - Parameter drops: tensors of a checkpoint that the model does without.
  package convenience init(path: String, dropping drops: [TensorDrop] = []) throws(ModelError) {
    try self.init(ModelFiles(path: path), path: path, dropping: drops)
  }

  /// Reads `config.json` and finds every tensor that it asks for.
  ///
  /// - Throws: ``ModelError``; a tensor of the files without a place is an error, so nothing is lost silently.
  package init(_ files: ModelFiles, path: String, dropping drops: [TensorDrop] = []) throws(ModelError) {
    let config = try files.configuration()
    var notes: [SourceNote] = []
    let configuration = try ModelConfiguration(json: config.bytes, path: config.path) { notes.append($0) }
    let reader = try ConfigurationReader(bytes: config.bytes, path: config.path)
    let quantization = try QuantizationConfiguration(reader)
    let catalogue = try files.tensors()
    var finder = TensorFinder(files, path: path, catalogue, configuration, quantization)
    var dropped: [DroppedTensors] = []
    if case .checkpoint(let checkpoint) = files {
      dropped = try DroppedTensors.named(by: drops, among: finder.names, in: checkpoint.directory)
      for part in dropped { finder.drop(part) }
      if let buffers = try DroppedTensors.rotaryBuffers(among: finder.names, of: checkpoint, configuration) {
        dropped.append(buffers)
        finder.drop(buffers)
      }
      try finder.requireSupportedTypes()
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
    if packedCount > 0 { notes.append(.packed(count: packedCount)) }
    notes += dropped.filter { $0.pattern == nil }.map { .rotaryBuffers(count: $0.names.count) }
    if !passedThrough.isEmpty {
      notes.append(
        .passedThrough(count: passedThrough.count, byteCount: passedThrough.reduce(0) { $0 + ($1.byteCount ?? 0) }))
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
    guard case .checkpoint(let checkpoint) = self,
      let (file, entry) = checkpoint.tensor(named: name) ?? checkpoint.tensor(named: name + PackedCodes.suffixes[0])
    else {
      preconditionFailure("what a pack stores was looked at when it was opened")
    }
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
  /// Rows and columns of FP8 that share a scale.
  private let block: (rows: Int, columns: Int)
  private var used: Set<String> = []
  /// Tensors of FP8 with their scales, by name.
  private var scaled: [String: StoredTensor] = [:]
  /// By the name of a tensor, the pattern that leaves it out.
  private var patterns: [String: String] = [:]

  var fp8Count: Int { scaled.count }

  init(
    _ files: ModelFiles, path: String, _ catalogue: [StoredTensor], _ configuration: ModelConfiguration,
    _ quantization: QuantizationConfiguration
  ) {
    self.files = files
    block = quantization.block
    self.path = path
    self.configuration = configuration
    names = catalogue.map(\.name)
    let byName = Dictionary(catalogue.map { ($0.name, $0) }) { first, _ in first }
    self.byName = byName
    architecture = configuration.architecture { byName[$0] != nil }
    used.reserveCapacity(names.count)
  }

  mutating func drop(_ dropped: DroppedTensors) {
    guard !dropped.names.isEmpty else { return }
    for name in dropped.names { patterns[name] = dropped.pattern ?? "" }
    names.removeAll { patterns[$0] != nil }
  }

  func has(_ id: TensorID) -> Bool { byName[architecture.names.name(of: id)] != nil }

  /// The tensor, unless it is left out.
  private func tensor(named name: String) -> StoredTensor? { patterns[name] == nil ? byName[name] : nil }

  private func missing(_ name: String) -> ModelError {
    if let pattern = patterns[name] { return .dropsNeeded(name, pattern: pattern, directory: path) }
    return .missingTensor(name, directory: path)
  }

  /// Refuses other types than the three floats and FP8, which ``find(_:layout:)`` looks at.
  func requireSupportedTypes() throws(ModelError) {
    for name in names where !architecture.passesThrough(name) {
      guard case .dtype(let dtype) = byName[name]?.type, FP8Format(dtype) == nil else { continue }
      if case .checkpoint(let checkpoint) = files { try PackedCodes.requireReadable(name, in: checkpoint) }
      throw files.bad(
        name,
        dtype == .f8e8m0 && FP8Scales.owner(of: name) != nil
          ? "has type \(dtype.name): scales that are bare exponents (ue8m0) are not supported"
          : "has type \(dtype.name); BF16, F16, F32 and FP8 (F8_E4M3, F8_E5M2) with scales are supported")
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
    for layer in 0..<configuration.layerCount where configuration.isMoE(layer: layer) {
      let first = TensorID(.expert, .down, layer: layer, expert: 0)
      let found = architecture.layouts.filter { tensor(named: $0.name(of: first)) != nil }
      switch found.count {
      case 1: layouts[layer] = found[0]
      case 0: throw missing(architecture.names.name(of: first))
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
    var (name, shape, firstRow) = (wanted.name, wanted.shape.dimensions, 0)
    if wanted.role == .expert, let layout { (name, shape, firstRow) = layout.place(of: wanted, configuration) }
    guard let found = tensor(named: name) else { throw missing(name) }
    guard found.shape.dimensions == shape else {
      if case .pack = files {
        throw .packedShape(name: name, found: found.shape, expected: wanted.shape, path: path)
      }
      throw files.bad(name, "has shape \(found.shape), config.json asks for \(shape)")
    }
    used.insert(name)
    return StoredTensor(wanted, in: try withScales(found), firstRow: firstRow)
  }

  /// The tensors that the model does not use.
  ///
  /// - Throws: ``ModelError/unknownTensors(_:count:directory:)`` for those that belong to no other part either.
  func rest() throws(ModelError) -> [StoredTensor] {
    let unused = names.filter { !used.contains($0) }.sorted()
    let unknown = unused.filter { !architecture.passesThrough($0) }
    for name in unknown {
      guard let owner = FP8Scales.owner(of: name), used.contains(owner), let type = byName[owner]?.type else {
        continue
      }
      throw files.bad(name, "holds scales of `\(owner)`, which is \(type) and has none")
    }
    guard unknown.isEmpty else {
      throw .unknownTensors(Array(unknown.prefix(5)), count: unknown.count, directory: path)
    }
    return unused.compactMap { name in
      var tensor = byName[name]
      tensor?.role = nil
      return tensor
    }
  }
}
