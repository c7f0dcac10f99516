import Decoding
import JSON
import Text
import Tokenizers

/// A prompt of a batch, ready to be decoded.
struct BatchSequence: BatchItem {
  /// A line of the prompts (Formats/run.md §6): what it says of its own decoding; nil is left to the command line.
  struct Line {
    /// In the file, from 1.
    let line: Int
    let place: String
    let prompt: BatchPrompt
    let id: JSONValue?
    let stop: [String]?
    let generationLength: Int?
    let blockLength: Int?
    let steps: Int?
    let threshold: Float?
    let temperature: Float?
    let topK: Int?
    let topP: Float?
    let seed: UInt64?

    static let keys: Set<String> = [
      "prompt", "messages", "id", "raw", "system", "stop", "gen_length", "block_length", "steps", "threshold",
      "temperature", "top_k", "top_p", "seed",
    ]

    init(_ reader: inout LineReader, _ number: Int) throws(Failure) {
      line = number
      place = reader.place
      prompt = try reader.prompt(["prompt", "messages"])
      id = reader.object["id"]
      stop = try reader.texts("stop")
      generationLength = try reader.value("gen_length", "an integer", \.int)
      blockLength = try reader.value("block_length", "an integer", \.int)
      steps = try reader.value("steps", "an integer", \.int)
      threshold = try reader.value("threshold", "a number", \.double).map { Float($0) }
      temperature = try reader.value("temperature", "a number", \.double).map { Float($0) }
      topK = try reader.value("top_k", "an integer", \.int)
      topP = try reader.value("top_p", "a number", \.double).map { Float($0) }
      seed = try reader.value("seed", "an integer from 0 on", \.seed)
    }

    /// - Parameter stepsAreGiven: whether the command line says how many; otherwise they follow the block length.
    func options(over options: DecodingOptions, stepsAreGiven: Bool) -> DecodingOptions {
      var own = options
      own.generationLength = generationLength ?? options.generationLength
      own.blockLength = blockLength ?? options.blockLength
      own.steps = steps ?? (stepsAreGiven ? options.steps : own.blockLength)
      own.threshold = threshold ?? options.threshold
      own.temperature = temperature ?? options.temperature
      own.topK = topK ?? options.topK
      own.topP = topP ?? options.topP
      own.seed = seed ?? options.seed
      return own
    }
  }

  let line: Int
  let place: String
  let id: JSONValue?
  let positions: Int
  private let prompt: [Int]
  private let answering: Answering

  /// - Parameters:
  ///   - command: has what the line does not say.
  ///   - options: of the command line.
  init(
    _ line: Line, _ command: RunCommand, _ model: RunModel, _ options: DecodingOptions,
    _ prompting: ChatTemplate.Options, _ memory: BatchMemory
  ) throws(Failure) {
    self.line = line.line
    id = line.id
    place = line.place
    let options = line.options(over: options, stepsAreGiven: command.decoding.steps != nil)
    let name = command.decoding.name(for: model)
    answering = try Answering(
      model, options: options, special: try model.specialTokens(stopsAtTurnEnd: name.stopsAtTurnEnd),
      stops: line.stop ?? command.stop, place: place)
    prompt = try line.prompt.ids(
      model, raw: command.raw, system: command.system, prompting, place: place, .answers)
    try answering.check(prompt, from: place)
    positions = options.positions(after: prompt.count)
    try memory.require(positions, place: place)
  }

  func begin(_ index: Int, in batch: inout DecodingBatch) throws(DecodingError) {
    try batch.add(index, prompt: prompt, answering.decoder)
  }

  func cost(_ output: BlockDiffusion.Output) -> (tokens: Int, passes: Int) { (output.tokens.count, output.forwards) }

  func members(_ output: BlockDiffusion.Output) -> [(String, JSONValue)] {
    let (tokens, text, end) = answering.stops.cut(output.tokens, output.stopped ? .stop : .length)
    return [
      ("text", .string(String(decoding: text, as: UTF8.self))), ("tokens", .array(tokens.map { JSONValue($0) })),
      ("token_count", JSONValue(tokens.count)), ("prompt_token_count", JSONValue(prompt.count)),
      ("stop_reason", .string(end.rawValue)), ("forwards", JSONValue(output.forwards)),
      ("cache_passes", JSONValue(output.cachePasses)),
    ]
  }
}

extension JSONValue {
  fileprivate var seed: UInt64? { if case .number(let text) = self { UInt64(text) } else { nil } }
}
