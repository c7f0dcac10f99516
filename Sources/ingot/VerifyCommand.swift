import ArgumentParser
import Decoding
import Drift
import Glibc
import Inspection
import JSON
import Journals
import Kernels
import Models
import Storage
import Tensors
import Text
import Verification

struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Measure how far a packed model's decoding drifts from full precision.",
    discussion: """
      Four levels: the weights; what both models say at masked positions of the same texts (of models that predict the \
      next token: at each position), layer by layer; both decoding the same prompts freely; right and wrong answers. See \
      Formats/drift-report.md for every number.

      A reference that was recorded once stands for the model from then on; data and options of decoding and masks are \
      then the record's.

      EXAMPLES
        ingot verify mini.ingot --reference LLaDA2.0-mini
        ingot verify --record mini.record --reference LLaDA2.0-mini --prompts questions.jsonl
        ingot verify mini.ingot --reference mini.record
        ingot verify mini.ingot --versus other.ingot --reference mini.record

      IN PARTS: the same command on several machines, each with a part of the prompts, and then once more with all parts, \
      where nothing is measured: it gives the report that one run would have given.
        ingot verify mini.ingot -r LLaDA2.0-mini --prompts questions.jsonl --part 0/2 -o a.part
        ingot verify mini.ingot -r LLaDA2.0-mini --prompts questions.jsonl --part 1/2 -o b.part
        ingot verify mini.ingot -r LLaDA2.0-mini --prompts questions.jsonl --merge a.part b.part
      """)

  @Argument(help: "The model to be measured: a pack or a checkpoint directory. Not needed to record.")
  var candidate: String?

  @Option(
    name: .shortAndLong, help: "What is held to be right: a checkpoint directory, a pack, or what --record wrote.")
  var reference: String

  @Option(
    help: ArgumentHelp(
      "Another candidate, compared with the first at the same positions: ratios of their drift.", valueName: "model"))
  var versus: String?

  @Option(
    help: ArgumentHelp("Keep what the reference said, to compare others with it without the model.", valueName: "file"))
  var record: String?

  @Flag(name: .shortAndLong, help: "Replace an existing file; of a link, the link itself.")
  var force = false

  @Option(
    help: ArgumentHelp(
      "Lines of JSON with prompt and, where known, answer, task, chosen and rejected; or as published: "
        + PromptForm.published.map(\.summary).joined(separator: ", ")
        + ". Programs are compared as text, none is run. (default: a small built-in set)",
      valueName: "file.jsonl"))
  var prompts: String?

  @Flag(help: "Take each prompt as it is, special tokens in it included: no chat template.")
  var raw = false

  @Option(help: ArgumentHelp("Text to be scored, too.", valueName: "file"))
  var text: String?

  @Option(help: ArgumentHelp("Use only so many prompts.", valueName: "count"))
  var limit: Int?

  @Option(help: "A level to run: weights, masked, trajectories or tasks; repeatable. (default: all)")
  var level: [VerificationLevel] = []

  @Option(
    help: ArgumentHelp("Shares of a block that are masked. (default: 0.1,0.3,0.5,0.7,0.9,1)", valueName: "ratios"))
  var maskRatios: NumberList?

  @Option(help: "Positions denoised together, in scoring and decoding. (default: the model's, for LLaDA2 32)")
  var blockLength: Int?

  @Option(help: ArgumentHelp("Also score with these block lengths.", valueName: "lengths"))
  var blockLengths: NumberList?

  @Option(help: "Tokens of an answer. (default: 128)")
  var genLength: Int?

  @OptionGroup var decoding: DecodingArguments

  @Option(
    help:
      "When an answer is right: exact, contains, numeric (equal numbers: the one right behind ####, else the last), or regex (the answer)."
  )
  var match = AnswerMatch.exact

  @Option(help: "Which parts cost how much: layers, experts or projections.")
  var attribute: Attribution.Subject?

  @Flag(name: .customLong("no-floor"), help: "Leave out the noise floor.")
  var noFloor = false

  @Flag(name: .customLong("no-replay"), help: "Leave out the replay of routes.")
  var noReplay = false

  @Option(help: "How int4 and int8 matrices of the candidate take activations: fp32 or int8.")
  var activations = Activations.fp32

  @Option(
    help:
      "What quantized weights of the candidate are multiplied as: fp32, or bf16-weights, rounded once as engines do.")
  var arithmetic = WeightArithmetic.fp32

  @Option(help: "What the candidate keeps keys and values as: fp32, or bf16, which rounds them.")
  var kvCacheDtype = KeyValueType.fp32

  @Option(
    help: ArgumentHelp(
      "Exit with 3 if this holds of the report, as 'masked.kl.mean > 0.03'; default is a set of such conditions. Repeatable.",
      valueName: "condition"))
  var gate: [String] = []

  /// What `--gate` was once called where it took a condition.
  @Option(name: .customLong("fail-if"), help: .hidden)
  var failIf: [String] = []

  @Option(help: ArgumentHelp("Write the report as a page.", valueName: "file.html"))
  var html: String?

  @Flag(help: "Put the report into the pack that was measured, where `inspect` shows it.")
  var attach = false

  @Option(help: "Number from which masks, noise and intervals are drawn. (default: 0)")
  var seed: UInt64?

  @Option(name: .shortAndLong, help: "Threads that compute. (default: the processors this process may use)")
  var threads: Int?

  @Option(help: ArgumentHelp("Memory for hidden states and unpacked chunks.", valueName: "size"))
  var maxMemory = ByteCount(argument: "2GiB")!  // a valid literal

  @OptionGroup var division: DivisionArguments

  @Flag(help: "Print the report as JSON on stdout.")
  var json = false

  @Flag(name: .shortAndLong, help: "Say nothing on stderr unless something fails.")
  var quiet = false

  func validate() throws {
    if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads must be 1 to 1024") }
    if let limit, limit < 1 { throw ValidationError("--limit must be 1 or more") }
    try validateRecording()
    try division.validate(attribute: attribute)
    if division.part != nil, json || html != nil {
      throw ValidationError("a part is no report: give \(json ? "--json" : "--html") with --merge")
    }
    guard maskRatios?.values.allSatisfy({ $0 > 0 && $0 <= 1 }) ?? true, maskRatios?.values.isEmpty != true else {
      throw ValidationError("--mask-ratios must lie above 0 and be 1 at most")
    }
    if let ratios = maskRatios?.values, Set(ratios).count < ratios.count {
      throw ValidationError("--mask-ratios names a ratio twice")
    }
    if arithmetic == .bf16Weights, activations == .int8 {
      throw ValidationError("--activations int8 needs weights as they are stored: leave out --arithmetic bf16-weights")
    }
    if !level.isEmpty, !level.contains(.masked), attribute != nil || blockLengths != nil {
      throw ValidationError("--attribute and --block-lengths need the level masked")
    }
    if versus != nil, !level.isEmpty, !level.contains(.masked) {
      throw ValidationError("--versus needs the level masked")
    }
    for length in blockLengths?.values ?? [] where length < 1 || length != length.rounded() || length > 65536 {
      throw ValidationError("--block-lengths must be whole numbers from 1 to 65536")
    }
  }

  mutating func run() throws {
    try HubModel.find(&reference, isQuiet: quiet)
    try HubModel.find(&candidate, isQuiet: quiet)
    try HubModel.find(&versus, isQuiet: quiet)
    try verify()
  }

  private func verify() throws {
    guard let kernels = KernelSet.selected(forced: KernelSet.forcedName) else {
      throw Failure(unknownKernels: KernelSet.forcedName ?? "")
    }
    let compute = Compute(kernels: kernels, threads: threads ?? Machine.threads)
    let gates: Gates
    do throws(GateError) { gates = try Gates(gate + failIf) } catch { throw Failure(error) }
    if attach, let candidate, ModelFiles.Kind(of: candidate) != .pack { throw Failure(notAttachable: candidate) }
    let replaces = mayReplace
    try requireOutputs(replacing: replaces)
    let first = try openReference(compute)
    let input = try input(for: first)
    if versus != nil, !input.options.levels.contains(.masked) {
      throw Failure(
        what: "--versus compares at masked positions, which the record does not hold", place: "`\(reference)`",
        hint: "make a record without --level, which holds all", code: .usage)
    }
    func open(_ path: String?) throws(Failure) -> RunModel? {
      guard let path else { return nil }
      if DriftRecord.isRecord(path) { throw Failure(recordAsCandidate: path) }
      return try RunModel(
        path: path,
        compute: Compute(
          kernels: kernels, threads: compute.threads, activations: activations, keyValues: kvCacheDtype),
        cacheBudget: maxMemory.value / (versus == nil ? 4 : 8), arithmetic: arithmetic)
    }
    let (second, third) = (try open(candidate), try open(versus))
    func compared(_ model: RunModel?) throws(Failure) -> ComparedModel? { try model?.compared() }
    let (candidate, other) = (try compared(second), try compared(third))
    let reference = try first.compared()
    do throws(VerificationError) {
      for model in [candidate, other] { if let model { try reference.requireComparable(with: model) } }
    } catch { throw Failure(error) }
    // Its own tokenizer and configuration must agree, too, whatever the reference says.
    for model in [second, third] { _ = try model?.specialTokens(stopsAtTurnEnd: input.decoder.stopsAtTurnEnd) }
    if !quiet {
      let asks = level.isEmpty || Set(level) != [.weights]
      Console.notes(asks && !raw ? first.model?.promptRemarks ?? [] : [])
      Console.notes(
        notes(first.model, second, input.data, input.options.decoding) + idleOptions(input.options, input.decoder)
          + notes(input.options, prompts: input.data.prompts.count))
    }
    let progress = StageProgress(isQuiet: quiet)
    if attach, let candidate {
      try DriftReport.requireSound(candidate.path, threads: compute.threads) { progress.update("checking", $0) }
    }
    Interrupt.advise(division.resume ? .goesOn : .resume)
    let verification = Verification(
      reference: reference, candidate: candidate, versus: other, special: input.special, options: input.options,
      data: input.data, records: record != nil, keeping: keeping(replacing: replaces),
      referenceHash: try first.recordHash(),
      tool: toolVersion, progress: progress, sentence: { Failure($0).sentence })
    let outcome: Verification.Outcome
    do throws(VerificationError) { outcome = try verification.run() } catch { throw Failure(error) }
    progress.finish()
    if !quiet { Console.notes((second ?? first.model)?.model.compute.remarks ?? []) }
    if division.part != nil { return try endPart(outcome.journal) }
    let report = outcome.report.map(gates.judge)
    // An end with exit code 3 is an end, too.
    try tell(
      outcome.record, report, outcome.failure.map { Failure($0) }, outcome.journal, replacing: replaces, progress)
    if let status = report?.status { Glibc.exit(status.rawValue) }
  }

  /// What a person should know before it begins; what holds of both models is said once.
  private func notes(
    _ reference: RunModel?, _ candidate: RunModel?, _ data: VerificationData, _ options: DecodingOptions
  ) -> [String] {
    var notes: [String] = []
    for note in [reference, candidate].compactMap(\.self).flatMap({ $0.notes(options) }) where !notes.contains(note) {
      notes.append(note)
    }
    if !data.unusedKeys.isEmpty {
      notes.append("\(Shown.input(data.source)) has keys that nothing reads: \(SourceNote.list(data.unusedKeys))")
    }
    return notes
  }

  /// Puts record and report where they were asked for, and prints the report.
  ///
  /// - Parameters:
  ///   - failure: why not everything is there; thrown at the end.
  ///   - journal: of the run; it stays where something could not be written.
  private func tell(
    _ kept: DriftRecord?, _ report: DriftReport?, _ failure: Failure?, _ journal: Journal?,
    replacing replaces: Bool, _ progress: StageProgress
  ) throws(Failure) {
    do throws(Failure) {
      if !replaces {
        // Of a journal that is at its end the next run would take what got the name meanwhile for its own.
        for case let path? in [kept == nil ? nil : record, report == nil ? nil : html] where Machine.isTaken(path) {
          throw Failure(outputExists: path, target: SystemCall.target(ofLink: path))
        }
      }
      do throws(JournalError) { try journal?.finish() } catch { throw Failure(error) }
      if let kept { try write(kept, replacing: replaces) }
      if let report, let html { try report.writePage(to: html, replacing: replaces) }
      if let report, attach, let candidate {
        try report.attach(to: candidate) { progress.update("attaching", $0) }
      }
    } catch {
      // What cannot be written must not take away what can be shown.
      if let report { show(report, progress) }
      throw error
    }
    guard let report else {
      try end(journal)
      if let failure { throw failure }
      return
    }
    show(report, progress)
    if let html, !quiet { Console.note("the page: \(html)") }
    if attach, !quiet, let candidate { Console.note("the report is in \(candidate); see `ingot inspect`") }
    try end(journal)
    if let failure { throw failure }
  }

  private func show(_ report: DriftReport, _ progress: StageProgress) {
    progress.finish()
    if json { Console.print(report.json) } else { report.print() }
  }

  /// Of the command line, for a model that runs.
  func options(_ name: DecoderName, _ model: RunModel) throws(Failure) -> VerificationOptions {
    var options = measuring
    options.decoding = try decoding.options(
      for: model, blockLength: blockLength, generationLength: genLength ?? 128)
    options.decoder = name.rawValue
    options.maskRatios = VerificationOptions.maskRatios(maskRatios?.values, for: model.configuration)
    options.seed = seed ?? 0
    return options
  }

  /// Options that change nothing beside the others.
  private func idleOptions(_ options: VerificationOptions, _ decoder: DecoderName) -> [String] {
    var idle = decoding.idleOptions(decoder)
    if text != nil, !options.levels.contains(.masked) {
      idle.append("--text changes nothing: only the level masked scores texts")
    }
    if maskRatios != nil, !options.levels.contains(.masked) {
      idle.append("--mask-ratios changes nothing: only the level masked draws masks")
    } else if maskRatios != nil, decoder == .next {
      idle.append("--mask-ratios changes nothing: a model that predicts the next token has no masks")
    }
    return idle
  }

  /// What does not shape the data.
  var measuring: VerificationOptions {
    var options = VerificationOptions()
    if !level.isEmpty { options.levels = Set(level) }
    options.together = division.together ?? options.together
    options.blockLengths = blockLengths?.values.map { Int($0) } ?? []
    options.attribution = attribute
    options.measuresFloor = !noFloor
    options.replaysRoutes = !noReplay
    options.match = match
    options.isRaw = raw
    options.memory = maxMemory.value / 2
    options.dataMemory = max(maxMemory.value / 2, VerificationOptions.leastDataMemory)
    return options
  }
}

extension VerificationLevel: ExpressibleByArgument {}
extension Attribution.Subject: ExpressibleByArgument {}
extension AnswerMatch: ExpressibleByArgument {}
extension WeightArithmetic: ExpressibleByArgument {}

/// Numbers between commas.
struct NumberList: ExpressibleByArgument {
  let values: [Double]

  init(values: [Double]) { self.values = values }

  init?(argument: String) {
    let parts = argument.split(separator: ",", omittingEmptySubsequences: false).map { Double($0) }
    guard !parts.contains(nil) else { return nil }
    values = parts.compactMap { $0 }
  }

  var text: String { values.map { $0 == $0.rounded() ? "\(Int($0))" : "\($0)" }.joined(separator: ",") }
  static var allValueStrings: [String] { [] }
}
