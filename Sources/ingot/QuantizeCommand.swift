import ArgumentParser
import Calibration
import Conversion
import Inspection
import JSON
import Kernels
import Models
import Pack
import Quantization
import Storage
import Tensors
import Text
import Tokenizers

struct QuantizeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quantize",
    abstract: "Turn a checkpoint directory into a pack.",
    discussion: """
      Routed experts are quantized, everything else is kept, unless told otherwise; the router, norms and biases always \
      are. Best with the states that the experts are fed while the model denoises: --target 4.25bpw with data of every \
      kind that the model will be used for, here or in `ingot calibrate` before. Encodings: keep, \(Encoding.grouped.map(\.description).joined(separator: ", ")).

      EXAMPLES
        ingot quantize LLaDA2.0-mini -o mini.ingot
        ingot quantize LLaDA2.0-mini -o mini.ingot --target 4.25bpw --prompts chats.jsonl --text code.txt
        ingot quantize LLaDA2.0-mini -o mini.ingot --override 'layers\\.1\\.=int8-g64' --dry-run
        ingot quantize LLaDA2.0-mini --explain \(exampleName) --rest int8-g64
      """)

  @Argument(
    help: "The checkpoint: a directory with config.json and safetensors, or the id of a downloaded model of the hub.")
  var checkpoint: String

  @Option(name: .shortAndLong, help: "The pack to write. Needed unless --dry-run or --explain is given.")
  var output: String?

  @Flag(name: .shortAndLong, help: "Replace an existing file; of a link, the link itself.")
  var force = false

  @Option(help: ArgumentHelp("Encoding of the routed experts. (default: int4-g64)", valueName: "encoding"))
  var experts: String?

  @Option(help: ArgumentHelp("Encoding of all other matrices. (default: keep)", valueName: "encoding"))
  var rest: String?

  @Option(
    name: [.customLong("override")],
    help: ArgumentHelp(
      "Encoding of tensors whose name matches; repeatable, the last match wins.", valueName: "regex=encoding"))
  var overrides: [String] = []

  @Option(help: ArgumentHelp("A recipe file (Formats/recipe.md); the options above add to it.", valueName: "file"))
  var recipe: String?

  @Option(
    name: [.customLong("drop")],
    help: ArgumentHelp(
      "Leave out tensors whose name matches and that the model does without; repeatable.", valueName: "regex"))
  var drops: [String] = []

  @Option(
    help: ArgumentHelp(
      "How scales are chosen where the recipe does not say: "
        + Solvers.all.map { "\($0.name) (\($0.summary))" }.joined(separator: ", ")
        + ". Experts of which there are states are solved by \(Solvers.standardCalibrated.name) where no other solver of "
        + "states is named. "
        + "(default: \(Solvers.standard.name))",
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
    name: .customLong("target-kl"),
    help: ArgumentHelp(
      "Mean KL divergence at masked positions that is still good enough, such as 0.01: a pack within it and close to the "
        + "smallest, found by making up to \(DriftSearch.most) and checking each on --held-out. The disk must have room for "
        + "two.", valueName: "nats"))
  var targetKL: Double?

  @Option(
    name: .customLong("held-out"),
    help: ArgumentHelp(
      "Texts to check --target-kl on, which no states were taken on: lines of JSON where the name ends in .jsonl, else "
        + "plain text.", valueName: "file"))
  var heldOut: String?

  @Option(
    help: ArgumentHelp(
      "Let a target choose only what an engine can serve after `ingot export`, which makes many matrices share a level and "
        + "costs much of what a target gains: " + ServingEngine.all.map(\.name).joined(separator: ", ") + ".",
      valueName: "engine"))
  var servable: ServingEngine?

  @OptionGroup(title: "Calibrating in the same run") var data: CalibrationArguments

  @Option(help: "none keeps chunks mappable; zstd saves about 14 % more and is unpacked when read.")
  var compress = Compression.none

  @Option(name: .shortAndLong, help: "Threads that encode. (default: the processors this process may use)")
  var threads: Int?

  @Option(help: ArgumentHelp("Most anonymous memory to use.", valueName: "size"))
  var maxMemory = ByteCount(argument: "1GiB")!  // a valid literal

  @Flag(help: "Say what would be written, exact to the byte, and write nothing.")
  var dryRun = false

  @Option(
    help: ArgumentHelp("Say which rule decides this tensor's encoding, and do nothing else.", valueName: "tensor"))
  var explain: String?

  @Flag(help: "Print the result as JSON on stdout.")
  var json = false

  @Flag(name: .shortAndLong, help: "Say nothing on stderr unless something fails.")
  var quiet = false

  func validate() throws {
    if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads must be 1 to 1024") }
    if calibration != nil, let option = data.hasData ? "data" : data.idleOption {
      throw ValidationError("--calibration has its own data and options: leave out \(option)")
    }
    if !data.hasData, calibration == nil, let option = data.idleOption {
      throw ValidationError("\(option) needs data to calibrate on: --prompts or --text")
    }
    if let targetKL, !(targetKL > 0 && targetKL < 100) {
      throw ValidationError("--target-kl must be above 0 and below 100")
    }
    if targetKL != nil, explain != nil {
      throw ValidationError("what --target-kl leads to is known when packs were checked: --explain goes with --target")
    }
    if target != nil, targetKL != nil { throw ValidationError("give --target or --target-kl, not both") }
    if wanted != nil {
      let name = target == nil ? "--target-kl" : "--target"
      if calibration == nil, !data.hasData { throw ValidationError("\(name) needs states: --calibration, or data") }
      if experts != nil { throw ValidationError("\(name) chooses what --experts would say: leave one of them out") }
    } else if servable != nil {
      throw ValidationError("--servable restricts what a target may choose: give --target or --target-kl")
    }
    guard (targetKL == nil) == (heldOut == nil) else {
      throw ValidationError("--target-kl and --held-out need each other")
    }
    if output == nil, !dryRun, explain == nil {
      throw ValidationError("say where to write with -o OUT.ingot, or use --dry-run")
    }
  }

  var writes: Bool { !dryRun && explain == nil }

  /// What the experts' levels are chosen by.
  var wanted: PrecisionTarget? { target ?? targetKL.map { .divergence($0) } }

  mutating func run() throws {
    try HubModel.find(&checkpoint, isQuiet: quiet)
    try quantize()
  }

  private func quantize() throws {
    guard let kernels = KernelSet.selected(forced: KernelSet.forcedName) else {
      throw Failure(unknownKernels: KernelSet.forcedName ?? "")
    }
    guard Machine.exists(checkpoint) else { throw Failure(noModel: checkpoint) }
    guard !Machine.isRegularFile(checkpoint) else {
      throw Failure(
        what: "`\(checkpoint)` is a file; quantize takes the directory of a checkpoint",
        hint: "give the directory that holds config.json and the weights; `ingot inspect` looks into single files")
    }
    let rules = try recipe.map { path throws(Failure) in
      try TextInput.contents(of: path, limit: Recipe.maximumByteCount)
    }
    if let output, writes {
      var outputs = Outputs(
        models: [checkpoint], files: [recipe, calibration, data.generator, heldOut] + data.prompts + data.text,
        force: force, isQuiet: quiet)
      try outputs.require(output)
    }
    let progress = StageProgress(isQuiet: quiet)
    // What can be found out before the work is, and the checkpoint's own words are the first of it.
    let file = try statesFile()
    let check = try driftCheck(file, kernels, progress)
    let states = try file ?? madeStates(kernels, progress)
    if let named = solver?.solver as? any CalibratedSolver, states == nil {
      throw Failure(solverNeedsStates: named.name)
    }
    var plan: ConversionPlan
    var choices: LevelChoices?
    var choice: PrecisionChoice?
    do throws(ConversionError) {
      var options = try options(recipe: rules)
      options.calibration = states?.document
      options.target = wanted
      options.engine = servable
      if wanted != nil {
        guard options.recipe.experts == Recipe().experts else { throw .targetWithExperts }
        options.recipe.experts = .byTarget
      }
      plan = try ConversionPlan(checkpoint: checkpoint, options: options)
      if experts != nil { try plan.requireExperts(options.recipe.experts) }
      if wanted != nil, let states { choices = try levels(of: plan, states, kernels) }
      if let target, let choices {
        choice = try choices.choose(target)
        plan = try plan.with(choice?.encodings ?? [:])
      }
      if let explain { return try printExplanation(plan, of: explain, choices) }
    } catch { throw Failure(error, output: output ?? "", recipe: recipe) }
    try requireTokenizer(plan)
    if let targetKL, let choices, let states, let check {
      return try convert(within: targetKL, choices, plan, states, check, kernels, progress)
    }
    do throws(ConversionError) {
      let converter = try converter(of: plan, states, kernels)
      let report = QuantizeReport(converter, source: checkpoint, output: dryRun ? nil : output, choice)
      try convert(converter, states, report)
    } catch { throw Failure(error, output: output ?? "") }
  }

  func converter(
    of plan: ConversionPlan, _ states: (any StateSource)?, _ kernels: KernelSet
  ) throws(ConversionError) -> Converter {
    try Converter(
      plan, kernels: kernels, threads: threads ?? Machine.threads, memoryLimit: maxMemory.value,
      statesHeld: statesHeld(states))
  }

  private func options(recipe: [UInt8]?) throws(ConversionError) -> ConversionPlan.Options {
    var options = ConversionPlan.Options()
    do throws(RecipeError) {
      if let recipe { options.recipe = try Recipe(json: recipe) }
      if let experts { options.recipe.experts = try choice(experts) }
      if let rest { options.recipe.rest = try choice(rest) }
      for text in overrides { options.recipe.overrides.append(try Recipe.rule(parsing: text)) }
    } catch { throw .recipe(error) }
    options.drops = drops
    switch solver?.solver {
    case let own as any GroupwiseSolver: options.solver = own
    case let own as any CalibratedSolver: options.calibrated = own
    default: break
    }
    options.compression = compress
    options.tool = "ingot \(toolVersion)"
    return options
  }

  private func choice(_ name: String) throws(RecipeError) -> Recipe.Choice {
    guard let choice = Recipe.Choice(name: name) else { throw .unknownEncoding(name) }
    return choice
  }

  /// Refuses the files of a tokenizer that no command could read from the pack, and tells of a template that none could use.
  /// The vocabulary is looked at when it is used, as that takes seconds. Without a tokenizer a checkpoint can be packed all
  /// the same.
  private func requireTokenizer(_ plan: ConversionPlan) throws(Failure) {
    var files: [TokenizerError.File: [UInt8]] = [:]
    for file in TokenizerError.File.allCases {
      if plan.emptyFiles.contains(file.rawValue) { throw Failure(emptyFile: "\(checkpoint)/\(file.rawValue)") }
      files[file] = plan.file(named: file.rawValue)
    }
    do throws(TokenizerError) {
      if let json = files[.tokenizer] {
        do throws(JSONError) { try unsafe JSONParser.check(json.span.bytes) } catch { throw .json(.tokenizer, error) }
      }
      if let fault = try Tokenizer.checkSettings(files), !quiet {
        let reason = Failure(fault, of: checkpoint).what
        Console.note("note: the chat template cannot be used, prompts will need --raw: \(reason)")
      }
    } catch { throw Failure(error, of: checkpoint) }
  }
}

/// A tensor's name for the examples of help texts.
let exampleName = Architectures.name(of: TensorID(.head, .weight))

extension Compression: ExpressibleByArgument {}

extension ServingEngine: ExpressibleByArgument {
  package init?(argument: String) { self.init(name: argument) }

  package static var allValueStrings: [String] { all.map(\.name) }
}
