import ArgumentParser
import Conversion
import Pack
import Quantization

/// What decides the bytes of a pack, whether it is made at once or in parts.
struct PackArguments: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "A recipe for a purpose (Formats/recipe.md), to which the options below add: "
        + RecipePreset.all.map { "\($0.name) (\($0.purpose))" }.joined(separator: ", ") + ".", valueName: "name"))
  var preset: RecipePreset?

  @Option(
    help: ArgumentHelp(
      "Encoding of the routed experts. (default: int4-g64, or what the preset says)", valueName: "encoding"))
  var experts: String?

  @Option(
    help: ArgumentHelp(
      "Encoding of all other matrices. (default: keep, or what the preset says)", valueName: "encoding"))
  var rest: String?

  @Option(
    name: [.customLong("override")],
    help: ArgumentHelp(
      "Encoding of tensors whose name matches; repeatable, the last match wins.", valueName: "regex=encoding"))
  var overrides: [String] = []

  @Option(
    help: ArgumentHelp(
      "A recipe file (Formats/recipe.md), in the place of a preset; --experts, --rest and --override add to it.",
      valueName: "file"))
  var recipe: String?

  @Option(
    name: [.customLong("drop")],
    help: ArgumentHelp(
      "Leave out tensors whose name matches and that the model does without; repeatable.", valueName: "regex"))
  var drops: [String] = []

  @Flag(
    help: ArgumentHelp(
      "Take what other tools quantized (GPTQ, GGUF, MLX, compressed-tensors) as the numbers that it stands for, and quantize these "
        + "anew. The errors add up; the report says by how much. Without, codes and scales are taken as they are "
        + "or refused."))
  var requantize = false

  @Option(
    help: ArgumentHelp(
      "How scales are chosen where the recipe does not say: "
        + Solvers.all.map { "\($0.name) (\($0.summary))" }.joined(separator: ", ")
        + ". Experts of which there are states are solved by \(Solvers.standardCalibrated.name) where no other solver of "
        + "states is named. (default: \(Solvers.standard.name))",
      valueName: "solver"))
  var solver: SolverName?

  @Option(
    help: ArgumentHelp(
      "States that the experts are fed, from `ingot calibrate`: far less drift at the same size.",
      valueName: "file"))
  var calibration: String?

  @Option(
    help: ArgumentHelp(
      "Bits a weight of the experts (4.25bpw) or bytes of the pack (9GB); states tell which matrices are worth more. "
        + "The recommended way: --target 4.25bpw.", valueName: "size"))
  var target: PrecisionTarget?

  @Option(
    help: ArgumentHelp(
      "Let a target choose only what an engine can serve after `ingot export`, which makes many matrices share a level and "
        + "costs much of what a target gains: " + ServingEngine.all.map(\.name).joined(separator: ", ") + ".",
      valueName: "engine"))
  var servable: ServingEngine?

  @Option(
    help:
      "none keeps chunks mappable; zstd saves about 14 % more and is unpacked when read. (default: none, or what the preset says)"
  )
  private var compress: Compression?

  var compression: Compression { compress ?? preset?.compression ?? .none }

  func validate() throws {
    if preset != nil, recipe != nil {
      throw ValidationError("--preset and --recipe are both whole recipes: give one of them")
    }
  }

  /// What was asked for; states and a target's choice are added by whoever has them.
  ///
  /// - Parameter recipe: the bytes of the recipe file, if there is one.
  func options(recipe: [UInt8]?) throws(ConversionError) -> ConversionPlan.Options {
    var options = ConversionPlan.Options()
    do throws(RecipeError) {
      if let preset { options.recipe = preset.recipe }
      if let recipe { options.recipe = try Recipe(json: recipe) }
      if let experts { options.recipe.experts = try choice(experts) }
      if let rest { options.recipe.rest = try choice(rest) }
      for text in overrides { options.recipe.overrides.append(try Recipe.rule(parsing: text)) }
    } catch { throw .recipe(error) }
    options.drops = drops
    options.requantizes = requantize
    switch solver?.solver {
    case let own as any GroupwiseSolver: options.solver = own
    case let own as any CalibratedSolver: options.calibrated = own
    default: break
    }
    options.compression = compression
    options.tool = "ingot \(toolVersion)"
    return options
  }

  private func choice(_ name: String) throws(RecipeError) -> Recipe.Choice {
    guard let choice = Recipe.Choice(name: name) else { throw .unknownEncoding(name) }
    return choice
  }

  /// An option that is given; nil where none is.
  var given: String? {
    let given: [(String, Bool)] = [
      ("--preset", preset != nil), ("--experts", experts != nil), ("--rest", rest != nil),
      ("--override", !overrides.isEmpty),
      ("--recipe", recipe != nil), ("--drop", !drops.isEmpty), ("--requantize", requantize),
      ("--solver", solver != nil),
      ("--target", target != nil), ("--servable", servable != nil), ("--compress", compress != nil),
    ]
    return given.first(where: \.1)?.0
  }
}

extension Compression: ExpressibleByArgument {}

extension RecipePreset: ExpressibleByArgument {
  package init?(argument: String) { self.init(name: argument) }

  package static var allValueStrings: [String] { all.map(\.name) }
}

extension ServingEngine: ExpressibleByArgument {
  package init?(argument: String) { self.init(name: argument) }

  package static var allValueStrings: [String] { all.map(\.name) }
}
