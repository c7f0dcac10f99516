import Pack
package import Safetensors
package import Tensors

/// A checkpoint understood: every tensor of the architecture with its bytes, every tensor of the source in use.
package struct CheckpointModel: Sendable {
  /// A tensor and where its numbers are.
  package struct Source: Sendable {
    package let tensor: ModelTensor
    package let dtype: DType
    /// Index into the checkpoint's files.
    package let file: Int
    /// The bytes of the tensor in that file.
    package let byteRange: Range<Int>
  }

  /// What is read together: one tensor, or the three projections of one routed expert.
  package struct Item: Sendable {
    package let sources: [Source]
    package var id: TensorID { sources[0].tensor.id }
    package var isExpert: Bool { id.role == .expert }
  }

  package let configuration: ModelConfiguration
  package let checkpoint: Checkpoint
  /// The layout of the experts; layers may differ, then that of the first.
  package let layout: ExpertLayout?
  /// In the order of the forward pass.
  package let items: [Item]
  /// Tensors of the checkpoint that are left out.
  package let dropped: [DroppedTensors]
  /// What a person should know of the files.
  package let notes: [SourceNote]

  /// Opens a directory, reads its `config.json` and finds every tensor that it asks for.
  ///
  /// - Parameter drops: tensors that the model does without.
  package init(directory: String, dropping drops: [TensorDrop] = []) throws(ModelError) {
    let checkpoint: Checkpoint
    let config: [UInt8]
    do throws(SafetensorsError) {
      checkpoint = try Checkpoint(directory: directory)
      config = try checkpoint.readSmallFile(name: "config.json")
    } catch { throw .source(error) }
    var notes: [SourceNote] = []
    let configuration = try ModelConfiguration(json: config, path: "\(directory)/config.json") { notes.append($0) }
    try self.init(checkpoint, configuration: configuration, dropping: drops, notes: notes)
  }

  /// Finds every tensor that `config.json` asks for.
  ///
  /// - Parameters:
  ///   - drops: tensors that the model does without.
  ///   - notes: what is known of the files already.
  /// - Throws: ``ModelError``; a checkpoint's tensor without a place is an error, so nothing is lost silently.
  package init(
    _ checkpoint: Checkpoint, configuration: ModelConfiguration, dropping drops: [TensorDrop] = [],
    notes: [SourceNote] = []
  ) throws(ModelError) {
    var dropped = try DroppedTensors.named(by: drops, in: checkpoint)
    var finder = TensorFinder(checkpoint, configuration, dropped)
    if let buffers = try DroppedTensors.rotaryBuffers(among: finder.names, of: checkpoint, configuration) {
      dropped.append(buffers)
      finder.drop(buffers)
    }
    try finder.requireSupportedTypes()
    var layouts: [Int: ExpertLayout] = [:]
    for layer in 0..<configuration.layerCount where configuration.isMoE(layer: layer) {
      layouts[layer] = try finder.layout(of: layer)
    }
    try configuration.requireExperts(atMost: PackLimits.maximumTensors, in: checkpoint.directory)
    var items: [Item] = []
    for item in configuration.items(has: { checkpoint.tensor(named: configuration.name(of: $0)) != nil }) {
      var sources: [Source] = []
      for tensor in item.tensors {
        let layout = item.isExpert ? item.id.layer.flatMap { layouts[$0] } : nil
        sources.append(try finder.find(tensor, layout: layout))
      }
      items.append(Item(sources: sources))
    }
    try finder.requireAllUsed()
    self.configuration = configuration
    self.checkpoint = checkpoint
    self.layout = layouts[configuration.firstDenseLayers]
    self.items = items
    self.dropped = dropped
    self.notes =
      notes + SourceNote.files(of: checkpoint)
      + SourceNote.tiedHead(configuration) { checkpoint.tensor(named: configuration.name(of: $0)) != nil }
      + dropped.filter { $0.pattern == nil }.map { .rotaryBuffers(count: $0.names.count) }
  }
}

/// Looks tensors up and remembers which were used.
private struct TensorFinder {
  let checkpoint: Checkpoint
  let configuration: ModelConfiguration
  /// Of tensors that are not left out.
  private(set) var names: [String]
  var used: Set<String> = []
  private let fileIndex: [String: Int]
  /// By the name of a tensor, the pattern that leaves it out.
  private var patterns: [String: String] = [:]

  init(_ checkpoint: Checkpoint, _ configuration: ModelConfiguration, _ dropped: [DroppedTensors]) {
    self.checkpoint = checkpoint
    self.configuration = configuration
    names = checkpoint.tensorNames
    fileIndex = Dictionary(uniqueKeysWithValues: checkpoint.files.enumerated().map { ($1.path, $0) })
    for part in dropped { drop(part) }
  }

  mutating func drop(_ dropped: DroppedTensors) {
    for name in dropped.names { patterns[name] = dropped.pattern ?? "" }
    names.removeAll { patterns[$0] != nil }
  }

  /// The tensor, unless it is left out.
  private func tensor(named name: String) -> (file: SafetensorsFile, entry: TensorEntry)? {
    patterns[name] == nil ? checkpoint.tensor(named: name) : nil
  }

  private func missing(_ name: String) -> ModelError {
    if let pattern = patterns[name] {
      return .dropsNeeded(name, pattern: pattern, directory: checkpoint.directory)
    }
    return .missingTensor(name, directory: checkpoint.directory)
  }

  /// FP8 with block scales is recognised and refused by name; so is every other type but the three floats.
  func requireSupportedTypes() throws(ModelError) {
    for name in names {
      guard let (file, entry) = checkpoint.tensor(named: name), Encoding(keeping: entry.dtype) == nil else { continue }
      let isFP8 = entry.dtype == .f8e4m3 || entry.dtype == .f8e5m2
      let detail =
        isFP8
        ? "has type \(entry.dtype.name): FP8 checkpoints with block scales (`weight_scale_inv`) are not supported"
        : "has type \(entry.dtype.name); BF16, F16 and F32 are supported"
      throw .badTensor(name: name, detail: detail, path: file.path, byteOffset: entry.headerOffset)
    }
  }

  func layout(of layer: Int) throws(ModelError) -> ExpertLayout {
    let found = ExpertLayout.allCases.filter { layout in
      let place = layout.place(layer: layer, expert: 0, .down, configuration)
      return tensor(named: place.name) != nil
    }
    switch found.count {
    case 1: return found[0]
    case 0:
      throw missing(configuration.name(of: TensorID(.expert, .down, layer: layer, expert: 0)))
    default:
      let both = found.map(\.rawValue).joined(separator: " and ")
      throw .layout(layer: layer, detail: "its experts are there twice: \(both)", directory: checkpoint.directory)
    }
  }

  /// - Parameter layout: of an expert; nil for what every layout names alike.
  mutating func find(_ tensor: ModelTensor, layout: ExpertLayout?) throws(ModelError) -> CheckpointModel.Source {
    guard let layout, let layer = tensor.id.layer, let expert = tensor.id.expert else {
      return try find(tensor, in: tensor.name, shape: tensor.shape.dimensions, firstRow: 0)
    }
    let place = layout.place(layer: layer, expert: expert, tensor.id.part, configuration)
    return try find(tensor, in: place.name, shape: place.shape, firstRow: place.firstRow)
  }

  private mutating func find(
    _ tensor: ModelTensor, in name: String, shape: [Int], firstRow: Int
  ) throws(ModelError) -> CheckpointModel.Source {
    guard let (file, entry) = self.tensor(named: name), let index = fileIndex[file.path] else { throw missing(name) }
    guard entry.shape.dimensions == shape else {
      throw .badTensor(
        name: name, detail: "has shape \(entry.shape), config.json asks for \(shape)", path: file.path,
        byteOffset: entry.headerOffset)
    }
    used.insert(name)
    let rowByteCount = tensor.shape.columns * entry.dtype.byteCount
    let start = entry.byteRange.lowerBound + firstRow * rowByteCount
    return CheckpointModel.Source(
      tensor: tensor, dtype: entry.dtype, file: index,
      byteRange: start..<start + tensor.shape.elementCount * entry.dtype.byteCount)
  }

  func requireAllUsed() throws(ModelError) {
    let unknown = names.filter { !used.contains($0) }
    guard unknown.isEmpty else {
      throw .unknownTensors(Array(unknown.prefix(5)), count: unknown.count, directory: checkpoint.directory)
    }
  }
}
