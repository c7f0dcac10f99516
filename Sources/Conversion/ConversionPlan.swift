package import Calibration
package import JSON
package import Models
package import Pack
package import Quantization
package import Safetensors
import Storage
package import Tensors

/// Everything decided before a weight is read: what the pack will hold, from where, and what it will cost.
package struct ConversionPlan: Sendable {
  package struct Options: Sendable {
    package var recipe = Recipe()
    /// Regular expressions; tensors whose names match one are left out.
    package var drops: [String] = []
    /// Whether codes that other tools packed are taken as the numbers they stand for, which are quantized anew.
    package var requantizes = false
    /// Where config and tokenizer lie; nil for beside the weights.
    package var companions: String?
    /// For what no rule names a solver; of routed experts, where there are no states.
    package var solver = Solvers.standard
    /// For routed experts of which there are states, where no rule names a solver.
    package var calibrated = Solvers.standardCalibrated
    /// What the states are that routed experts are solved with; nil where there are none.
    package var calibration: CalibrationDocument?
    /// Whether there will be such states: the plan is then made to be checked before they are.
    package var awaitsStates = false
    /// What the recipe's ``Recipe/Choice/byTarget`` means.
    package var target: PrecisionTarget?
    /// Which engine must be able to serve what the target leads to; nil for none.
    package var engine: ServingEngine?
    /// What it has led to, by name of the tensor.
    package var chosen: [String: Encoding] = [:]
    package var compression = Compression.none
    /// Name and version of the tool, for the provenance.
    package var tool = ""
    package init() {}

    var hasStates: Bool { calibration != nil || awaitsStates }
  }

  package let model: ModelStore
  package let checkpoint: Checkpoint
  package let options: Options
  package let pack: PackPlan
  /// By tensor of the pack plan.
  package let sources: [StoredTensor]
  package let decisions: [RecipeMatcher.Decision]
  /// The hashes of the shards' headers, as they were when the plan was made.
  private let headerHashes: [UInt64]
  /// Small files that hold nothing and are left out.
  package let emptyFiles: [String]
  /// By tensor of the pack plan: the solver of its rule, or the one of the options.
  package let solvers: [any Solver]

  /// Reads headers and small files only.
  ///
  /// - Parameter path: of a directory, or a GGUF.
  package init(checkpoint path: String, options: Options) throws(ConversionError) {
    _ = try Self.drops(options)
    let checkpoint: Checkpoint
    do throws(SafetensorsError) { checkpoint = try Checkpoint(path: path, companions: options.companions) } catch {
      throw .model(.source(error))
    }
    try self.init(checkpoint, options: options)
  }

  private static func drops(_ options: Options) throws(ConversionError) -> [TensorDrop] {
    do throws(RecipeError) { return try RecipeMatcher.drops(options.drops) } catch { throw .recipe(error) }
  }

  /// The same of a checkpoint whose files are open.
  package init(_ checkpoint: Checkpoint, options: Options) throws(ConversionError) {
    let directory = checkpoint.directory
    let drops = try Self.drops(options)
    let model: ModelStore
    var files: [PackPlan.File] = []
    var emptyFiles: [String] = []
    do throws(ModelError) {
      model = try ModelStore(
        .checkpoint(checkpoint), path: directory, dropping: drops, asNumbers: options.requantizes)
      try model.requirePackable()
      for name in ["config.json"] + SourceFile.companions {
        guard let bytes = try model.files.file(named: name) else { continue }
        if bytes.isEmpty {
          emptyFiles.append(name)
        } else {
          files.append(.init(name: SourceFile.name(inPack: name), bytes: bytes))
        }
      }
      // What `run` would refuse is better found out now.
      let generation = files.first { $0.name == "source/\(GenerationConfiguration.fileName)" }
      _ = try GenerationConfiguration(
        json: generation?.bytes, vocabulary: model.configuration.vocabularySize,
        path: "\(directory)/\(GenerationConfiguration.fileName)")
    } catch { throw .model(error) }

    guard !options.requantizes || !model.requantized.isEmpty else { throw .requantizesNothing(directory: directory) }
    var options = options
    let experts = model.items.lazy.filter(\.isExpert).flatMap(\.tensors).compactMap { model.tensor($0.id) }
    // What is quantized already stays so, and the recipe says so.
    if options.recipe.experts == .standardExperts, !experts.isEmpty, experts.allSatisfy(\.type.isGrouped) {
      options.recipe.experts = .keep
    }
    let (items, sources, decisions) = try Self.decide(model, options)
    solvers = try Self.solvers(sources, decisions, options)
    if let document = options.calibration {
      try Self.require(document, of: model.configuration)
      files.append(.init(name: SolutionRecord.fileName, bytes: SolutionRecord(document.sizes).bytes))
    }
    headerHashes = checkpoint.files.map { XXH3.hash($0.header) }
    let provenance = Self.provenance(model, checkpoint, headerHashes, options)
    files.append(.init(name: "provenance.json", bytes: Array(provenance.text().utf8)))
    do { pack = try PackPlan(items, files: files) } catch { throw .pack(error) }
    var assembler = PackAssembler(plan: pack)
    for _ in 0..<assembler.chunkTotal { assembler.placeRaw() }
    rawByteCount = assembler.byteCount
    self.model = model
    self.checkpoint = checkpoint
    self.options = options
    self.emptyFiles = emptyFiles
    self.sources = sources
    self.decisions = decisions
    if let target = options.target, options.chosen.isEmpty { try requireReachable(target) }
    if let engine = options.engine { try requireDecidedServable(by: engine) }
    if options.hasStates, !pack.chunks.contains(where: needsStates) { throw .statesWithoutUse }
  }

  /// Refuses experts that are quantized already, unless as a person asked by name; the plan cannot tell the standard from a wish.
  package func requireExperts(_ wanted: Recipe.Choice, decidedBy: String) throws(ConversionError) {
    for source in sources where source.role == .expert {
      guard let encoding = source.type.encoding, encoding.isGrouped, ![.keep, .encode(encoding)].contains(wanted) else {
        continue
      }
      throw .recipe(.isQuantized(tensor: source.name, as: encoding, decidedBy: decidedBy))
    }
  }

  /// Refuses codes of other tools that a look at the first row of each matrix shows to be none that packs hold; the others are looked
  /// at when they are taken.
  package func requireHeld() throws(ConversionError) {
    do throws(ModelError) {
      for case .packed(_, let codes) in sources.lazy.filter(\.type.isGrouped).map(\.place) {
        try codes.requireHeld(row: 0)
      }
    } catch { throw .model(error) }
  }

  /// What quantizing anew adds to the error that codes of other tools have already: relative RMSE beside the numbers that they stand
  /// for. Nil where nothing is quantized anew.
  ///
  /// - Parameter statistics: by tensor.
  package func requantizationError(_ statistics: [QuantizationStatistics]) -> Float? {
    var sum: QuantizationStatistics?
    for (index, source) in sources.enumerated() where source.codesAsNumbers != nil && statistics.indices.contains(index)
    {
      if pack.tensors[index].encoding.isGrouped { sum = (sum ?? QuantizationStatistics()) + statistics[index] }
    }
    return sum?.relativeRMSE
  }

  /// Whether a chunk holds matrices that are solved with states.
  func needsStates(_ chunk: PackPlan.Chunk) -> Bool {
    chunk.tensors.contains { solvers[$0] is any CalibratedSolver && pack.tensors[$0].encoding.isGrouped }
  }

  /// From the first layer that some chunks are solved in to the last.
  func solvedLayers(in range: Range<Int>) -> Range<Int> {
    let layers = range.filter { needsStates(pack.chunks[$0]) }.map { pack.chunks[$0].layer }
    guard let first = layers.min(), let last = layers.max() else { return 0..<0 }
    return first..<last + 1
  }

  /// Refuses what was encoded where a shard is not what it was when the plan was made: the pack would be of two checkpoints,
  /// or its provenance would name files that are gone.
  func requireUnchangedSources() throws(SafetensorsError) {
    try checkpoint.requireUnchanged(mayBeReplaced: false)
    // Clocks of file systems are coarse.
    for (file, hash) in zip(checkpoint.files, headerHashes) where XXH3.hash(file.header) != hash {
      throw SafetensorsError(FileError("read", file.path, code: FileError.changed))
    }
  }

  /// A small file of the checkpoint that the pack takes along, such as `tokenizer.json`.
  package func file(named name: String) -> [UInt8]? { pack.files.first { $0.name == "source/\(name)" }?.bytes }

  private static func decide(
    _ model: ModelStore, _ options: Options
  ) throws(ConversionError) -> ([PackPlan.Item], [StoredTensor], [RecipeMatcher.Decision]) {
    var items: [PackPlan.Item] = []
    var sources: [StoredTensor] = []
    var decisions: [RecipeMatcher.Decision] = []
    do throws(RecipeError) {
      var matcher = try RecipeMatcher(
        options.recipe, protecting: model.architecture.protectedRoles, passing: model.architecture.otherParts,
        chosen: options.chosen)
      func plan(_ source: StoredTensor) throws(RecipeError) -> PackPlan.Tensor {
        guard let encoding = source.type.encoding else { preconditionFailure("the store checked its types") }
        let decision = try matcher.decide(source, source: encoding)
        sources.append(source)
        decisions.append(decision)
        return PackPlan.Tensor(
          name: source.name, shape: source.shape, encoding: decision.encoding,
          sourceEncoding: encoding.isGrouped ? .bf16 : encoding)
      }
      for item in model.items {
        var tensors: [PackPlan.Tensor] = []
        for tensor in item.tensors {
          guard let source = model.tensor(tensor.id) else { preconditionFailure("the store found all of its items") }
          tensors.append(try plan(source))
        }
        if let layer = item.id.layer, let expert = item.id.expert {
          items.append(.expert(layer: layer, expert: expert, gate: tensors[0], up: tensors[1], down: tensors[2]))
        } else {
          items.append(.tensor(tensors[0]))
        }
      }
      for source in model.passedThrough { items.append(.tensor(try plan(source))) }
      try matcher.requireAllUsed()
    } catch { throw .recipe(error) }
    return (items, sources, decisions)
  }

  /// By tensor: that of its rule; of a routed expert the calibrated one where there are states; that of the options.
  private static func solvers(
    _ sources: [StoredTensor], _ decisions: [RecipeMatcher.Decision], _ options: Options
  ) throws(ConversionError) -> [any Solver] {
    var solvers: [any Solver] = []
    for (source, decision) in zip(sources, decisions) {
      let canCalibrate = options.hasStates && source.role == .expert
      if canCalibrate, let encoding = source.type.encoding, encoding.isGrouped {
        throw .recipe(.isQuantized(tensor: source.name, as: encoding, decidedBy: "calibration"))
      }
      let standard: any Solver = canCalibrate ? options.calibrated : options.solver
      let solver = decision.solver.flatMap(Solvers.named) ?? standard
      guard solver is any GroupwiseSolver || canCalibrate else {
        throw .recipe(
          .solver(
            solver.name, tensor: source.name, decidedBy: decision.decidedBy,
            hasStates: options.hasStates))
      }
      solvers.append(solver)
    }
    return solvers
  }

  private static func require(
    _ document: CalibrationDocument, of configuration: ModelConfiguration
  ) throws(ConversionError) {
    let (own, other) = (CalibrationDocument.Sizes(configuration), document.sizes)
    for (name, a, b) in [
      ("layers", own.layers, other.layers), ("dense layers", own.firstDense, other.firstDense),
      ("hidden size", own.hidden, other.hidden), ("experts", own.experts, other.experts),
      ("experts of a token", own.slots, other.slots),
    ] where a != b { throw .otherModel(detail: "\(name): the checkpoint has \(a), the states \(b)") }
  }

  /// `provenance.json` (`Formats/pack.md` §7). Its length must not depend on weights, so that a dry run is exact.
  private static func provenance(
    _ model: ModelStore, _ checkpoint: Checkpoint, _ hashes: [UInt64], _ options: Options
  ) -> JSONValue {
    let sources = zip(checkpoint.files, hashes).map { file, hash -> JSONValue in
      [
        "name": .string(file.name), "bytes": JSONValue(file.file.byteCount), "header_xxh3": .string(XXH3.text(hash)),
      ]
    }
    var provenance = JSONObject()
    for (key, value): (String, JSONValue) in [
      ("schema", 1),
      ("tool", .string(options.tool)),
      ("architecture", .string(model.configuration.modelType)),
      ("layout", model.layout.map { .string($0.name) } ?? .null),
      (
        "options",
        [
          "solver": .string(options.solver.name),
          "compress": .string(options.compression.rawValue),
        ]
      ),
      ("recipe", options.recipe.json),
      ("sources", .array(sources)),
    ] { provenance.append(.init(key: key, value: value)) }
    if let calibration = options.calibration {
      provenance.append(.init(key: "calibration", value: calibration.provenance))
      if options.calibrated.name != Solvers.standardCalibrated.name {
        provenance.append(.init(key: "calibrated_solver", value: .string(options.calibrated.name)))
      }
      if let target = options.target { provenance.append(.init(key: "target", value: .string("\(target)"))) }
      if let engine = options.engine { provenance.append(.init(key: "servable", value: .string(engine.name))) }
    }
    // Only where something is, so that all other packs stay what they were.
    if options.requantizes {
      var kinds = JSONObject()
      for (name, count) in model.requantized { kinds.append(.init(key: name, value: JSONValue(count))) }
      provenance.append(.init(key: "requantized", value: .object(kinds)))
    }
    if !model.dropped.isEmpty {
      provenance.append(.init(key: "dropped", value: .array(model.dropped.map(\.json))))
    }
    if !model.passedThrough.isEmpty {
      provenance.append(.init(key: "passed_through", value: .array(model.passedThrough.map { .string($0.name) })))
    }
    return .object(provenance)
  }

  /// Tensors of the source that are left out.
  package var droppedCount: Int { model.dropped.reduce(0) { $0 + $1.names.count } }

  /// Bytes of weights read.
  package var sourceByteCount: Int { sources.reduce(0) { $0 + ($1.byteCount ?? 0) } }

  /// Bytes of the pack if every chunk is stored raw: exact without compression, an upper bound with it.
  package let rawByteCount: Int

  /// Bytes of all routed experts if stored raw.
  package var rawExpertByteCount: Int {
    pack.chunks.reduce(0) { $1.kind == .expert ? $0 + $1.layout.byteCount : $0 }
  }

  /// Weights of the model, and of its routed experts.
  package var parameterCounts: (all: Int, experts: Int) {
    sources.reduce(into: (0, 0)) { counts, source in
      counts.0 += source.shape.elementCount
      if source.role == .expert { counts.1 += source.shape.elementCount }
    }
  }
}

extension DroppedTensors {
  /// As it stands in the provenance (`Formats/pack.md` §7).
  package var json: JSONValue {
    ["match": pattern.map { .string($0) } ?? .null, "tensors": .array(names.map { .string($0) })]
  }
}
