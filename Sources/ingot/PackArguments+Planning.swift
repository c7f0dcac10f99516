import Calibration
import Conversion
import Inspection
import JSON
import Kernels
import Models
import Pack
import Storage
import Tokenizers

// From what was asked for to a plan of a pack.

extension KernelSet {
  /// The set that is used, or the one that the environment forces.
  static func chosen() throws(Failure) -> KernelSet {
    guard let kernels = selected(forced: forcedName) else { throw Failure(unknownKernels: forcedName ?? "") }
    return kernels
  }
}

extension PackArguments {
  /// - Parameter takesGGUF: whether it may be a file of that kind.
  static func requireDirectory(_ checkpoint: String, takesGGUF: Bool = false) throws(Failure) {
    guard Machine.exists(checkpoint) else { throw Failure(noModel: checkpoint) }
    guard !Machine.isRegularFile(checkpoint) || takesGGUF && ModelFiles.Kind(of: checkpoint) == .gguf else {
      throw Failure(
        what: "`\(checkpoint)` is a file; what is wanted is the directory of a checkpoint"
          + (takesGGUF ? ", or a GGUF" : ""),
        hint: ModelFiles.Kind(of: checkpoint) == .gguf
          ? "put the GGUF into a directory with config.json and the tokenizer's files, and give that"
          : "give the directory that holds config.json and the weights; `ingot inspect` looks into single files")
    }
  }

  /// The bytes of the recipe file, if there is one.
  func rules() throws(Failure) -> [UInt8]? {
    guard let recipe else { return nil }
    return try TextInput.contents(of: recipe, limit: Recipe.maximumByteCount)
  }

  /// The file of states that was named.
  func statesFile(of checkpoint: String) throws(Failure) -> CalibrationFile? {
    guard let calibration else { return nil }
    let file: CalibrationFile
    do throws(StateError) { file = try CalibrationFile(path: calibration) } catch { throw Failure(error) }
    let identity: ModelIdentity
    do throws(InspectionError) { identity = ModelIdentity(try InspectedModel(path: checkpoint)) } catch {
      throw Failure(error)
    }
    guard file.document.modelHash == identity.hash else { throw Failure(otherModel: calibration, of: checkpoint) }
    return file
  }

  /// The plan before a target has chosen.
  ///
  /// - Parameters:
  ///   - companions: where config and tokenizer lie; nil for beside the weights.
  ///   - awaitsStates: whether there will be states that are not made yet; the plan is then good for checks alone.
  ///   - rules: the bytes of the recipe file.
  func plan(
    _ checkpoint: String, companions: String? = nil, states: CalibrationDocument?, awaitsStates: Bool = false,
    target: PrecisionTarget?, recipe rules: [UInt8]?
  ) throws(ConversionError) -> ConversionPlan {
    var options = try options(recipe: rules)
    options.companions = companions
    options.calibration = states
    options.awaitsStates = awaitsStates && states == nil
    options.target = target
    options.engine = servable
    if target != nil {
      // What a preset says of experts is the target's to say; a recipe's is not.
      guard preset != nil || options.recipe.experts == Recipe().experts else { throw .targetWithExperts }
      options.recipe.experts = .byTarget
    }
    let plan = try ConversionPlan(checkpoint: checkpoint, options: options)
    if let experts {
      try plan.requireExperts(options.recipe.experts, decidedBy: "--experts \(experts)")
    } else if let preset, target == nil {
      try plan.requireExperts(options.recipe.experts, decidedBy: "--preset \(preset.name)")
    }
    try plan.requireHeld()
    return plan
  }

  /// Measures what each level of each expert would cost.
  static func levels(
    _ converter: Converter, _ states: any StateSource, isQuiet: Bool
  ) throws(ConversionError) -> LevelChoices {
    let plan = converter.plan
    let total = plan.sources.reduce(0) { $0 + ($1.role == .expert ? $1.byteCount ?? 0 : 0) }
    var progress = Progress("measuring levels", total: total, isQuiet: isQuiet)
    defer { progress.finish() }
    let damage = try Interrupt.lookingOut { () throws(ConversionError) in
      try converter.damage(of: states, progress: { progress.update($0) }, isInterrupted: { Interrupt.isRequested })
    }
    return try LevelChoices(plan, damage: damage)
  }

  /// Refuses the files of a tokenizer that no command could read from the pack, and tells of a template that none could use.
  /// The vocabulary is looked at when it is used, as that takes seconds. Without a tokenizer a checkpoint can be packed all
  /// the same.
  static func requireTokenizer(
    _ plan: ConversionPlan, of checkpoint: String, isQuiet: Bool
  ) throws(Failure) {
    var files: [TokenizerError.File: [UInt8]] = [:]
    for file in TokenizerError.File.allCases {
      if plan.emptyFiles.contains(file.rawValue) { throw Failure(emptyFile: "\(checkpoint)/\(file.rawValue)") }
      files[file] = plan.file(named: file.rawValue)
    }
    do throws(TokenizerError) {
      if let json = files[.tokenizer] {
        do throws(JSONError) { try unsafe JSONParser.check(json.span.bytes) } catch { throw .json(.tokenizer, error) }
      }
      if let fault = try Tokenizer.checkSettings(files), !isQuiet {
        let reason = Failure(fault, of: checkpoint).what
        Console.note("note: the chat template cannot be used, prompts will need --raw: \(reason)")
      }
    } catch { throw Failure(error, of: checkpoint) }
  }
}
