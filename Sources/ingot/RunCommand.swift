import ArgumentParser
import Decoding
import Glibc
import JSON
import Kernels
import Models
import Text
import Tokenizers

struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Answer a prompt with a pack or a checkpoint.",
    discussion: """
      The prompt is -p, --tokens, or stdin; --batch answers a file of them together. On a terminal the block in progress is shown while its masks fill in; a pipe \
      gets the finished text alone, block by block. Ctrl-C prints what is finished and exits with 130.

      Decoders: 2.0 commits above a threshold (0.95); 2.1-quality (0.7) and 2.1-speed (0.5) also edit what is written; \
      2.2 (0.5) also deletes and inserts; next-token, for Ling, writes one token after the other. --threshold replaces the \
      number. Decoders, JSON and traces are described in Formats/run.md.

      EXAMPLES
        ingot run mini.ingot -p "Why is the sky blue?"
        ingot run mini.ingot --chat --system "Answer in one sentence."
        ingot run LLaDA2.0-mini --json --trace steps.jsonl < question.txt
        ingot run mini.ingot --batch prompts.jsonl -o answers.jsonl --gen-length 256 --stop 'Question:'
      """)

  @Argument(help: "A pack, or a directory with a checkpoint.")
  var model: String

  @Option(name: [.customShort("p"), .long], help: ArgumentHelp("The user's message.", valueName: "text"))
  var prompt: String?

  @Flag(help: "Take the text as the whole prompt, special tokens in it included: no chat template.")
  var raw = false

  @Option(help: ArgumentHelp("Take token ids, between white space or as JSON; - is stdin.", valueName: "file"))
  var tokens: String?

  @Flag(help: "Converse: each line of stdin is a message; /exit or the end of input ends.")
  var chat = false

  @Option(
    help: ArgumentHelp(
      "Answer many prompts together: lines of JSON with prompt or messages and, by name, options of their own; - is stdin. "
        + "The same command resumes an interrupted run.", valueName: "file.jsonl"))
  var batch: String?

  @Option(
    name: .shortAndLong,
    help: ArgumentHelp(
      "With --batch: the file of answers, a line for each prompt in their order.", valueName: "file.jsonl"))
  var output: String?

  @Option(
    help: ArgumentHelp(
      "With --batch: most prompts in progress at a time. (default: as many as --max-memory has room for, "
        + "\(BatchRun<BatchSequence>.mostTogether) at most)", valueName: "count"))
  var batchSize: Int?

  @Option(help: ArgumentHelp("Text of the system, before the conversation.", valueName: "text"))
  var system: String?

  @Option(help: "Whether the model is to think first, where its chat template has a switch: on or off.")
  var thinking: Switch?

  @Option(help: ArgumentHelp("Functions that the model may call, as a JSON array.", valueName: "file.json"))
  var tools: String?

  @Option(help: "Tokens asked for.")
  var genLength = 512

  @Option(help: "Positions denoised together; 1 is autoregressive. (default: the model's, for LLaDA2 32)")
  var blockLength: Int?

  @Option(help: ArgumentHelp("End the answer before this text; repeatable.", valueName: "text"))
  var stop: [String] = []

  @OptionGroup var decoding: DecodingArguments

  @Option(help: "0 takes the most probable token.")
  var temperature: Float = 0

  @Option(help: "Draw among so many tokens.")
  var topK: Int?

  @Option(help: "Draw among the most probable tokens that make up this share.")
  var topP: Float?

  @Option(help: "The number that random draws start from. (default: 0)")
  var seed: UInt64?

  @Flag(name: .customLong("no-cache"), help: "Compute finished blocks anew in each forward: the same tokens, slower.")
  var noCache = false

  @OptionGroup var computing: ComputeArguments

  @Option(help: ArgumentHelp("Write each forward as a line of JSON.", valueName: "file.jsonl"))
  var trace: String?

  @Flag(help: "With --trace: also the experts each row chose, by layer.")
  var traceExperts = false

  @Flag(
    name: .shortAndLong,
    help:
      "Replace an existing trace (of a link, what it leads to) or file of answers. A batch begins anew: answers kept of an interrupted one are discarded."
  )
  var force = false

  @Flag(help: "Print the result as JSON on stdout.")
  var json = false

  @Flag(name: .shortAndLong, help: "Say nothing on stderr unless something fails.")
  var quiet = false

  func validate() throws {
    if prompt != nil, tokens != nil { throw ValidationError("use one of -p and --tokens") }
    if chat, raw || tokens != nil || json || trace != nil {
      throw ValidationError("--chat goes with neither --raw, --tokens, --json nor --trace")
    }
    for (option, isGiven) in [("--system", system != nil), ("--thinking", thinking != nil), ("--tools", tools != nil)]
    where isGiven && (raw || tokens != nil) { throw ValidationError("\(option) needs the chat template") }
    if traceExperts, trace == nil { throw ValidationError("--trace-experts needs --trace FILE") }
    if stop.contains("") { throw ValidationError("--stop needs a text; every answer has the empty one") }
    if chat, !stop.isEmpty { throw ValidationError("--chat goes without --stop") }
    try validateBatch()
  }

  mutating func run() throws {
    try HubModel.find(&model, isQuiet: quiet)
    try runModel()
  }

  private func runModel() throws {
    try TextInput.requireText(prompt, "-p")
    try TextInput.requireText(system, "--system")
    for text in stop { try TextInput.requireText(text, "--stop") }
    if let batch, let output { return try runBatch(batch, to: output) }
    let readsStandardInput = chat || prompt == nil && tokens == nil
    try TextInput.requireApart([
      ("the prompt", readsStandardInput ? TextInput.standardInput : nil), ("--tools", tools),
    ])
    let compute = try computing.compute()
    if let trace {
      var outputs = Outputs(models: [model], files: [tokens, tools], force: force, isQuiet: quiet)
      try outputs.requireLog(trace)
    }
    let opened = try RunModel(
      path: model, compute: compute, cacheBudget: computing.maxMemory.value, checksChunks: computing.checkWeights)
    let name = decoding.name(for: opened)
    let answering = try Answering(
      opened, options: try options(opened),
      special: try opened.specialTokens(stopsAtTurnEnd: name.stopsAtTurnEnd), stops: stop, recordsExperts: traceExperts)
    let prompting = try prompting()
    warn(opened, answering.options, prompting, usesTemplate: !raw && tokens == nil, draws: temperature != 0)
    if chat {
      defer { if !quiet { Console.notes(compute.remarks) } }
      return try Conversation(answering, prompting, isQuiet: quiet).run(system: system, first: prompt)
    }

    let (ids, source) = try promptTokens(opened, prompting)
    try answering.check(ids, from: source, areGiven: tokens != nil)
    let answer = try answer(ids, answering)
    if json {
      Console.print(answer.json(answering, decoder: name, compute: compute))
    }
    if !quiet { Console.note(answer.summary) }
    if !quiet { Console.notes(compute.remarks) }
    if answer.end == .interrupted { Glibc.exit(Interrupt.status.rawValue) }
  }

  func prompting() throws(Failure) -> ChatTemplate.Options {
    ChatTemplate.Options(
      tools: try tools.map { path throws(Failure) in try PromptSource.tools(file: path) },
      thinking: thinking.map { $0 == .on })
  }

  /// Tells what a person should know before it begins.
  ///
  /// - Parameters:
  ///   - usesTemplate: whether a prompt goes through the chat template.
  ///   - draws: whether an answer is drawn at a temperature.
  func warn(
    _ model: RunModel, _ options: DecodingOptions, _ prompting: ChatTemplate.Options, usesTemplate: Bool,
    draws: Bool
  ) {
    guard !quiet else { return }
    if usesTemplate { Console.notes(model.promptRemarks + model.remarks(on: prompting, system: system)) }
    Console.notes(model.notes(options))
    warnOfIdleOptions(decoding.name(for: model), draws: draws)
  }

  private func warnOfIdleOptions(_ decoder: DecoderName, draws: Bool) {
    let options = [("--top-k", topK != nil), ("--top-p", topP != nil), ("--seed", seed != nil)].filter(\.1).map(\.0)
    if !draws, !options.isEmpty {
      Console.note("note: \(options.joined(separator: ", ")) changes nothing: at --temperature 0 nothing is drawn")
    }
    Console.notes(decoding.idleOptions(decoder))
  }

  func options(_ model: RunModel) throws(Failure) -> DecodingOptions {
    var options = try decoding.options(for: model, blockLength: blockLength, generationLength: genLength)
    options.temperature = temperature
    options.topK = topK
    options.topP = topP
    options.seed = seed ?? options.seed
    options.usesCache = !noCache
    return options
  }

  private func promptTokens(
    _ model: RunModel, _ options: ChatTemplate.Options
  ) throws(Failure) -> (ids: [Int], source: String) {
    if let tokens {
      let limit = model.configuration.maximumPositions
      return (try PromptSource.tokens(file: tokens, limit: limit), Shown.input(tokens))
    }
    let source = prompt == nil ? "stdin" : "-p"
    let text = if let prompt { prompt } else { try PromptSource.standardInput() }
    let byteCount = text.utf8.count
    if raw {
      let ids = try model.ids(of: byteCount, from: source) { tokenizer throws(TokenizerError) in
        try tokenizer.encode(text)
      }
      return (ids, source)
    }
    if text.isEmpty { throw Failure(.emptyPrompt, prompt: source, longest: 0) }
    let messages = (system.map { [ChatTemplate.Message(.system, $0)] } ?? []) + [.init(.user, text)]
    let ids = try model.ids(of: byteCount, from: source) { tokenizer throws(TokenizerError) in
      try tokenizer.encode(conversation: messages, options)
    }
    return (ids, source)
  }

  private func answer(_ prompt: [Int], _ answering: Answering) throws(Failure) -> Answer {
    let file = try trace.map { path throws(Failure) in try TraceFile(path: path, replaces: force) }
    if json {
      var display = SilentDisplay()
      return try answering.answer(prompt, display: &display, trace: file)
    }
    return try answering.answerOnStdout(prompt, isQuiet: quiet, trace: file)
  }
}
