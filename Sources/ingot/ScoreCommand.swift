import ArgumentParser
import Decoding
import JSON
import Models
import Text
import Tokenizers

struct ScoreCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "score",
    abstract: "Tell how probable continuations are.",
    discussion: """
      Each line of the input is an object with a context, as prompt, messages or prompt_tokens, and a continuation of it; each \
      line of the output tells what −ln p of the continuation is at most, in nats, by the bound that block diffusion is \
      trained with, and whether the most probable tokens are those. The same command resumes an interrupted run. \
      Formats/score.md defines the numbers.

      EXAMPLES
        ingot score mini.ingot pairs.jsonl -o scores.jsonl
        echo '{"prompt": "The sky is", "continuation": " blue"}' | ingot score mini.ingot - -o scores.jsonl --raw
      """)

  @Argument(help: "A pack, or a directory with a checkpoint.")
  var model: String

  @Argument(help: ArgumentHelp("Lines of JSON with a context and a continuation; - is stdin.", valueName: "file.jsonl"))
  var pairs: String

  @Option(
    name: .shortAndLong,
    help: ArgumentHelp("The file of scores, a line for each pair in their order.", valueName: "file.jsonl"))
  var output: String

  @Flag(help: "Take contexts as they are, special tokens in them and in continuations included: no chat template.")
  var raw = false

  @Option(help: ArgumentHelp("Text of the system, before the conversation.", valueName: "text"))
  var system: String?

  @Option(help: "Whether the model is to think first, where its chat template has a switch: on or off.")
  var thinking: Switch?

  @Option(help: "Positions denoised together; 1 is autoregressive. (default: the model's, for LLaDA2 32)")
  var blockLength: Int?

  @Option(help: "Sets of masks that are drawn for a block; where there are no more, all of them are taken.")
  var draws = 32

  @Option(help: "The number that masks are drawn from.")
  var seed: UInt64 = 0

  @Option(
    help: ArgumentHelp(
      "Most continuations in progress at a time. (default: as many as --max-memory has room for, "
        + "\(BatchRun<ScoredPair>.mostTogether) at most)", valueName: "count"))
  var batchSize: Int?

  @OptionGroup var computing: ComputeArguments

  @Flag(
    name: .shortAndLong,
    help: "Replace an existing file of scores, and begin anew: scores kept of an interrupted run are discarded.")
  var force = false

  @Flag(name: .shortAndLong, help: "Say nothing on stderr unless something fails.")
  var quiet = false

  func validate() throws {
    if raw, system != nil { throw ValidationError("--system needs the chat template") }
    if raw, thinking != nil { throw ValidationError("--thinking needs the chat template") }
    if !(1...65536).contains(draws) { throw ValidationError("--draws must be 1 to 65536") }
    if let batchSize, !(1...65536).contains(batchSize) { throw ValidationError("--batch-size must be 1 to 65536") }
  }

  mutating func run() throws {
    try HubModel.find(&model, isQuiet: quiet)
    try score()
  }

  private func score() throws(Failure) {
    try TextInput.requireText(system, "--system")
    let compute = try computing.compute(treatsRowsAlike: true)
    var file = try BatchOutput(output, .scores, model: model, files: [pairs], force: force, isQuiet: quiet)
    let bytes = try TextInput.contents(of: pairs)
    let lines = try BatchLines(
      bytes, path: pairs, .scores, keys: ScoredPair.Line.keys
    ) { reader, number throws(Failure) in try ScoredPair.Line(&reader, number) }
    let opened = try computing.openForBatch(model, compute)
    guard opened.configuration.conventions.prediction == .masked else { throw Failure(scoringNextToken: model) }
    let prompting = ChatTemplate.Options(thinking: thinking.map { $0 == .on })
    let usesTemplate = lines.lines.contains { $0.prompt.usesTemplate(raw: raw) }
    if !quiet {
      if usesTemplate { Console.notes(opened.promptRemarks + opened.remarks(on: prompting, system: system)) }
      Console.notes(opened.weights.notes.map(\.text) + lines.remarks(pairs))
    }
    let special = try opened.specialTokens(stopsAtTurnEnd: false)
    var options = DecodingOptions()
    options.blockLength = blockLength ?? opened.configuration.blockLength
    options.steps = options.blockLength
    let answering = try Answering(opened, options: options, special: special)
    let memory = computing.batchMemory(opened)
    let batch = ScoringBatch(
      answering.decoder, draws: MaskDraws(count: draws, seed: seed), passRows: memory.passRows)
    let items = try lines.lines.map { line throws(Failure) in
      try ScoredPair(line, self, opened, batch, prompting, memory)
    }
    let header: [(key: String, value: JSONValue)] =
      try opened.batchHeader(bytes, compute, mask: special.mask) + [
        ("block_length", JSONValue(options.blockLength)), ("draws", JSONValue(draws)), ("seed", JSONValue(seed)),
        ("raw", JSONValue(raw)), ("system", system.map { .string($0) } ?? .null),
        ("thinking", thinking.map { .string($0.rawValue) } ?? .null),
      ]
    guard var log = try file.log(header: header, lines: lines.lines.map(\.line)) else { return }
    let run = BatchRun(
      kind: .scores, stage: "scoring", passes: "states", items: items, model: opened, memory: memory,
      batchSize: batchSize, isQuiet: quiet)
    try run.run(batch, into: &log)
    do throws(ModelError) { try opened.weights.requireUnchanged() } catch { throw Failure(error) }
    if !quiet { Console.notes(compute.remarks) }
    try file.finish(log)
  }
}
