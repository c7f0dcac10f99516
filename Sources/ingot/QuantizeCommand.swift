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
      kind that the model will be used for, here or in `ingot calibrate` before. What `ingot export` wrote is taken back as it is, and so is what \
      other tools quantized with codes and scales that a pack can hold. Encodings: keep, \(Encoding.grouped.map(\.description).joined(separator: ", ")).

      EXAMPLES
        ingot quantize LLaDA2.0-mini -o mini.ingot
        ingot quantize LLaDA2.0-mini -o mini.ingot --target 4.25bpw --prompts chats.jsonl --text code.txt
        ingot quantize LLaDA2.0-mini -o mini.ingot --override 'layers\\.1\\.=int8-g64' --dry-run
        ingot quantize mini.gguf --config LLaDA2.0-mini -o mini.ingot
        ingot quantize LLaDA2.0-mini --explain \(exampleName) --rest int8-g64
      """)

  @Argument(
    help: ArgumentHelp(
      "The checkpoint: a directory with config.json and safetensors or GGUF files, a GGUF, or the id of a downloaded model of the hub. Where --plan is "
        + "given, only needed if it lies elsewhere than the plan says.", valueName: "checkpoint"))
  var checkpointName: String?

  @Option(name: .shortAndLong, help: "The pack to write. Needed unless --dry-run, --explain or --plan is given.")
  var output: String?

  @Flag(name: .shortAndLong, help: "Replace an existing file; of a link, the link itself.")
  var force = false

  @OptionGroup var content: PackArguments

  @Option(
    name: .customLong("config"),
    help: ArgumentHelp(
      "Where config.json and tokenizer.json lie, if not beside the weights: a GGUF has neither. The checkpoint it was made from, "
        + "without its weights, will do.", valueName: "directory"))
  var companions: String?

  @Option(
    name: .customLong("target-kl"),
    help: ArgumentHelp(
      "Mean KL divergence of predictions that is still good enough, such as 0.01: a pack within it and close to the "
        + "smallest, found by making up to \(DriftSearch.most) and checking each on --held-out. The disk must have room for "
        + "two.", valueName: "nats"))
  var targetKL: Double?

  @Option(
    name: .customLong("held-out"),
    help: ArgumentHelp(
      "Texts to check --target-kl on, which no states were taken on: lines of JSON where the name ends in .jsonl, else "
        + "plain text.", valueName: "file"))
  var heldOut: String?

  @OptionGroup(title: "Calibrating in the same run") var data: CalibrationArguments

  @OptionGroup(title: "Making one part of a plan") var parts: PartArguments

  @Flag(
    help: ArgumentHelp(
      "Keep in OUT.resume what is done, so that the same command goes on after any interruption; it is gone at the end."
    ))
  var resume = false

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
    if parts.plan != nil { return try validatePart() }
    if checkpointName == nil { throw ValidationError("name the checkpoint") }
    if let option = parts.idleOption { throw ValidationError("\(option) needs a plan: --plan FILE, from `ingot plan`") }
    if content.calibration != nil, let option = data.hasData ? "data" : data.idleOption {
      throw ValidationError("--calibration has its own data and options: leave out \(option)")
    }
    if !data.hasData, content.calibration == nil, let option = data.idleOption {
      throw ValidationError("\(option) needs data to calibrate on: --prompts or --text")
    }
    if let targetKL, !(targetKL > 0 && targetKL < 100) {
      throw ValidationError("--target-kl must be above 0 and below 100")
    }
    if targetKL != nil, explain != nil {
      throw ValidationError("what --target-kl leads to is known when packs were checked: --explain goes with --target")
    }
    if content.target != nil, targetKL != nil { throw ValidationError("give --target or --target-kl, not both") }
    if wanted != nil {
      let name = content.target == nil ? "--target-kl" : "--target"
      if content.calibration == nil, !data.hasData {
        throw ValidationError("\(name) needs states: --calibration, or data")
      }
      if content.experts != nil {
        throw ValidationError("\(name) chooses what --experts would say: leave one of them out")
      }
    } else if content.servable != nil {
      throw ValidationError("--servable restricts what a target may choose: give --target or --target-kl")
    }
    guard (targetKL == nil) == (heldOut == nil) else {
      throw ValidationError("--target-kl and --held-out need each other")
    }
    if output == nil, !dryRun, explain == nil {
      throw ValidationError("say where to write with -o OUT.ingot, or use --dry-run")
    }
    if resume { try validateResume() }
  }

  var writes: Bool { !dryRun && explain == nil }

  var checkpoint: String { checkpointName ?? "" }

  /// What the experts' levels are chosen by.
  var wanted: PrecisionTarget? { content.target ?? targetKL.map { .divergence($0) } }

  mutating func run() throws {
    let kernels = try KernelSet.chosen()
    if let plan = parts.plan { return try makePart(of: plan, kernels) }
    try HubModel.find(&checkpointName, isQuiet: quiet)
    try quantize(kernels)
  }

  private func quantize(_ kernels: KernelSet) throws {
    try PackArguments.requireDirectory(checkpoint, takesGGUF: true)
    if let companions { try PackArguments.requireDirectory(companions) }
    let rules = try content.rules()
    // Of a run that ended between the pack's getting its name and its saying so, the name is taken by what was asked for.
    let isFinished = try hasFinished()
    if let output, writes, !isFinished {
      var outputs = Outputs(
        models: [checkpoint] + (companions.map { [$0] } ?? []),
        files: [content.recipe, content.calibration, data.generator, heldOut] + data.prompts + data.text,
        force: force, isQuiet: quiet)
      try outputs.require(output)
    }
    let progress = StageProgress(isQuiet: quiet)
    // What can be found out before the work is.
    let file = try content.statesFile(of: checkpoint)
    if let named = content.solver?.solver as? any CalibratedSolver, file == nil, !data.hasData {
      throw Failure(solverNeedsStates: named.name)
    }
    func makePlan(_ states: CalibrationDocument?) throws(Failure) -> ConversionPlan {
      do throws(ConversionError) {
        return try content.plan(
          checkpoint, companions: companions, states: states, awaitsStates: data.hasData, target: wanted, recipe: rules)
      } catch { throw Failure(error, output: output ?? "", recipe: content.recipe) }
    }
    var plan = try makePlan(file?.document)
    if explain == nil { try PackArguments.requireTokenizer(plan, of: companions ?? checkpoint, isQuiet: quiet) }
    let check = try driftCheck(file, kernels, progress)
    let states = try file ?? madeStates(kernels, progress)
    if data.hasData { plan = try makePlan(states?.document) }
    var choices: LevelChoices?
    var choice: PrecisionChoice?
    var journal: Journal?
    do throws(ConversionError) {
      if resume, let output { journal = try openJournal(for: output, plan, file) }
      if let found = journal?.plan {
        choice = found.choice
      } else if wanted != nil, let states {
        choices = try PackArguments.levels(try converter(of: plan, states, kernels), states, isQuiet: quiet)
        if let target = content.target { choice = try choices?.choose(target) }
      }
      if let choice { plan = try plan.with(choice.encodings) }
      if let explain { return try printExplanation(plan, of: explain, choices) }
    } catch { throw Failure(error, output: output ?? "", recipe: content.recipe) }
    if let targetKL, let choices, let states, let check {
      return try convert(within: targetKL, choices, plan, states, check, kernels, progress)
    }
    let converter: Converter
    do throws(ConversionError) { converter = try self.converter(of: plan, states, kernels) } catch {
      throw Failure(error, output: output ?? "")
    }
    let report = QuantizeReport(converter, source: checkpoint, output: dryRun ? nil : output, choice)
    if let journal { return try write(journal, converter, file, choice, report) }
    if let output, writes, Journal.exists(for: output), !quiet {
      Console.note("note: `\(Journal.directory(of: output))` keeps what another run did; --resume goes on with it")
    }
    do throws(ConversionError) { try convert(converter, states, report) } catch {
      throw Failure(error, output: output ?? "", couldResume: writes && !data.hasData)
    }
  }

  func converter(
    of plan: ConversionPlan, _ states: (any StateSource)?, _ kernels: KernelSet
  ) throws(ConversionError) -> Converter {
    try Converter(
      plan, kernels: kernels, threads: threads ?? Machine.threads, memoryLimit: maxMemory.value,
      statesHeld: statesHeld(states))
  }
}

/// A tensor's name for the examples of help texts.
let exampleName = Architectures.name(of: TensorID(.head, .weight))
