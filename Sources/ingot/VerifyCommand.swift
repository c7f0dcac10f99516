import ArgumentParser
import Decoding
import Drift
import Glibc
import Inspection
import JSON
import Kernels
import Models
import Tensors

struct VerifyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify",
    abstract: "Measures how far a packed model's diffusion decoding drifts from full precision.",
    discussion: """
      Four levels: the weights; what both models say at masked positions of the same texts, layer by layer; both \
      decoding the same prompts freely; right and wrong answers. See Formats/drift-report.md for every number.
      """)

  @Argument(help: "The model to be measured: an ingot or a checkpoint directory.")
  var candidate: String

  @Option(name: .shortAndLong, help: "What is held to be right: a checkpoint directory or an ingot.")
  var reference: String

  @Option(
    help: ArgumentHelp(
      "Lines of JSON with prompt and, where known, answer, task, chosen and rejected. (default: a small built-in set)",
      valueName: "file.jsonl"))
  var prompts: String?

  @Option(help: ArgumentHelp("Text to be scored, too.", valueName: "file"))
  var text: String?

  @Option(help: ArgumentHelp("Use only so many prompts.", valueName: "count"))
  var limit: Int?

  @Option(help: "A level to run: weights, masked, trajectories or tasks; repeatable. (default: all)")
  var level: [VerifyLevel] = []

  @Option(help: ArgumentHelp("Shares of a block that are masked.", valueName: "ratios"))
  var maskRatios = NumberList(values: [0.1, 0.3, 0.5, 0.7, 0.9, 1])

  @Option(help: "Positions denoised together, in scoring and decoding.")
  var blockLength = 32

  @Option(help: ArgumentHelp("Also score with these block lengths.", valueName: "lengths"))
  var blockLengths: NumberList?

  @Option(help: "Tokens of an answer.")
  var genLength = 128

  @Option(help: "Steps that a block is spread over. (default: the block length)")
  var steps: Int?

  @Option(help: "Commit what is more probable than this. (default: the decoder's)")
  var threshold: Float?

  @Option(help: "2.0, 2.1-quality, 2.1-speed or 2.2. (default: 2.2 for a model with block routing, else 2.0)")
  var decoder: DecoderName?

  @Option(help: "When an answer is right: exact, contains, numeric, or regex (the answer is the pattern).")
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
    name: .customLong("fail-if"),
    help: ArgumentHelp("Exit with 3 if this holds of the report, as 'masked.kl.mean > 0.03'.", valueName: "condition"))
  var failIf: [String] = []

  @Option(help: "A set of conditions: default.")
  var gate: [GateSet] = []

  @Option(help: ArgumentHelp("Write the report as a page.", valueName: "file.html"))
  var html: String?

  @Flag(help: "Put the report into the pack that was measured, where `inspect` shows it.")
  var attach = false

  @Flag(name: .shortAndLong, help: "Replace an existing page.")
  var force = false

  @Option(help: "Of masks, noise and intervals.")
  var seed: UInt64 = 0

  @Option(name: .shortAndLong, help: "Threads that compute. (default: the processors this process may use)")
  var threads: Int?

  @Option(help: ArgumentHelp("Memory for hidden states and unpacked chunks.", valueName: "size"))
  var maxMemory = ByteCount(argument: "2GiB")!  // a valid literal

  @Flag(help: "Print the report as JSON on stdout.")
  var json = false

  @Flag(name: .shortAndLong, help: "Say nothing on stderr unless something fails.")
  var quiet = false

  func validate() throws {
    if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads must be 1 to 1024") }
    if let limit, limit < 1 { throw ValidationError("--limit must be 1 or more") }
    guard maskRatios.values.allSatisfy({ $0 > 0 && $0 <= 1 }), !maskRatios.values.isEmpty else {
      throw ValidationError("--mask-ratios must lie above 0 and be 1 at most")
    }
    for length in blockLengths?.values ?? [] where length < 1 || length != length.rounded() || length > 65536 {
      throw ValidationError("--block-lengths must be whole numbers from 1 to 65536")
    }
  }

  func run() throws {
    guard let kernels = KernelSet.selected(forced: KernelSet.forcedName) else {
      throw Failure(unknownKernels: KernelSet.forcedName ?? "")
    }
    let compute = Compute(kernels: kernels, threads: threads ?? Machine.threads)
    let gates: Gates
    do throws(GateError) { gates = try Gates(failIf + gate.map(\.rawValue)) } catch { throw Failure(error) }
    let data = try VerifyData(prompts: prompts, text: text, limit: limit)
    if attach, InspectedModel.kind(of: candidate) != .pack { throw Failure(notAttachable: candidate) }
    if let html { try Machine.requireFree(html, force: force, sources: [candidate, reference]) }
    let first = try RunModel(path: reference, compute: compute, cacheBudget: maxMemory.value / 4)
    let second = try RunModel(
      path: candidate, compute: Compute(kernels: kernels, threads: compute.threads, activations: activations),
      cacheBudget: maxMemory.value / 4)
    try requireComparable(first, second)
    let name = decoder ?? DecoderName(for: first.configuration)
    let verification = Verification(
      reference: first, candidate: second, special: try first.specialTokens(stopsAtTurnEnd: name == .llada22),
      options: try options(name, first), data: data, progress: StageProgress(isQuiet: quiet))
    let report = VerifyReport(try verification.document(), gates)
    if let html { try report.writePage(to: html, replacing: force) }
    if attach { try report.attach(to: candidate) { verification.progress.update("attaching", $0) } }
    if json { Console.print(report.document.text()) } else { report.print() }
    if let html, !quiet { Console.note("the page: \(html)") }
    if attach, !quiet { Console.note("the report is in \(candidate); see `ingot inspect`") }
    if let status = report.status { Glibc.exit(status.rawValue) }
  }

  private func options(_ name: DecoderName, _ model: RunModel) throws(Failure) -> VerifyOptions {
    var options = VerifyOptions()
    if !level.isEmpty { options.levels = Set(level) }
    var decoding = try name.options(model.configuration, path: model.path)
    decoding.blockLength = blockLength
    decoding.steps = steps ?? blockLength
    decoding.generationLength = genLength
    decoding.threshold = threshold ?? decoding.threshold
    options.decoding = decoding
    options.decoder = name
    options.maskRatios = maskRatios.values
    options.blockLengths = blockLengths?.values.map { Int($0) } ?? []
    options.attribution = attribute
    options.measuresFloor = !noFloor
    options.replaysRoutes = !noReplay
    options.match = match
    options.seed = seed
    options.memory = maxMemory.value / 2
    return options
  }

  private func requireComparable(_ a: RunModel, _ b: RunModel) throws(Failure) {
    let sizes = [
      ("vocabulary", a.configuration.vocabularySize, b.configuration.vocabularySize),
      ("layers", a.configuration.layerCount, b.configuration.layerCount),
      ("hidden size", a.configuration.hiddenSize, b.configuration.hiddenSize),
      ("experts", a.configuration.expertCount, b.configuration.expertCount),
    ]
    for (what, first, second) in sizes where first != second {
      throw Failure(incomparable: "\(what): \(first) and \(second)", a.path, b.path)
    }
    guard try a.tokenizerBytes() == b.tokenizerBytes() else {
      throw Failure(incomparable: "their tokenizer.json differ", a.path, b.path)
    }
  }
}

extension VerifyLevel: ExpressibleByArgument {}
extension Attribution.Subject: ExpressibleByArgument {}
extension AnswerMatch: ExpressibleByArgument {}

/// Conditions that go by a name.
enum GateSet: String, CaseIterable, ExpressibleByArgument {
  /// Those that `Formats/drift-report.md` justifies.
  case `default`
}

/// Numbers between commas.
struct NumberList: ExpressibleByArgument {
  let values: [Double]

  init(values: [Double]) { self.values = values }

  init?(argument: String) {
    let parts = argument.split(separator: ",", omittingEmptySubsequences: false).map { Double($0) }
    guard !parts.contains(nil) else { return nil }
    values = parts.compactMap { $0 }
  }

  var defaultValueDescription: String {
    values.map { $0 == $0.rounded() ? "\(Int($0))" : "\($0)" }.joined(separator: ",")
  }
  static var allValueStrings: [String] { [] }
}
