import Decoding
import JSON
import Models
import Text
import Tokenizers

/// A prompt of a batch, ready to be decoded.
struct BatchSequence {
  let line: Int
  /// Where it stands, for messages.
  let place: String
  let prompt: [Int]
  let answering: Answering
  /// Positions whose keys and values it takes.
  let positions: Int
  private let id: JSONValue?

  /// - Parameters:
  ///   - command: has what the line does not say.
  ///   - options: of the command line.
  ///   - source: the file of prompts.
  init(
    _ line: BatchPrompts.Line, _ command: RunCommand, _ model: RunModel, _ options: DecodingOptions,
    _ prompting: ChatTemplate.Options, _ memory: BatchMemory, source: String
  ) throws(Failure) {
    self.line = line.line
    id = line.id
    place = "\(Shown.input(source)), line \(line.line)"
    let options = line.options(over: options, stepsAreGiven: command.decoding.steps != nil)
    let name = command.decoding.name(for: model)
    answering = try Answering(
      model, options: options, special: try model.specialTokens(stopsAtTurnEnd: name == .llada22),
      stops: line.stop ?? command.stop, place: place)
    let content = try Self.content(line, command, place)
    prompt = try model.ids(of: line.byteCount, from: place) { tokenizer throws(TokenizerError) in
      switch content {
      case .text(let text): return try tokenizer.encode(text)
      case .messages(let messages): return try tokenizer.encode(conversation: messages, prompting)
      }
    }
    try answering.check(prompt, from: place)
    positions = options.positions(after: prompt.count)
    guard positions <= memory.positions else {
      throw Failure(
        sequenceOf: positions, needs: 8 * (positions * memory.bytesPerPosition / 3 + 1), of: command.maxMemory.value,
        place: place)
    }
  }

  /// The whole prompt as a text, or the conversation that the chat template makes one of. `raw` and `system` may each be the line's
  /// or the command line's.
  private static func content(
    _ line: BatchPrompts.Line, _ command: RunCommand, _ place: String
  ) throws(Failure) -> BatchPrompts.Line.Content {
    let raw = line.raw ?? command.raw
    let system = (line.system ?? command.system).map { [ChatTemplate.Message(.system, $0)] } ?? []
    guard !raw || system.isEmpty else {
      throw Failure(batchLine: "`raw` goes without `system`: there is no chat template to put it in", place: place)
    }
    switch line.content {
    case .text(let text): return raw ? .text(text) : .messages(system + [.init(.user, text)])
    case .messages(let messages):
      guard !raw else {
        throw Failure(batchLine: "`messages` goes without `raw`: it needs the chat template", place: place)
      }
      guard system.isEmpty || !messages.contains(where: { $0.role == .system }) else {
        throw Failure(batchLine: "`messages` has a message of the system, and `system` is given, too", place: place)
      }
      return .messages(system + messages)
    }
  }

  /// A line of the answers.
  func answer(_ output: BlockDiffusion.Output) -> JSONValue {
    let (tokens, text, end) = answering.stops.cut(output.tokens, output.stopped ? .stop : .length)
    var object = JSONObject()
    object.append(.init(key: "line", value: JSONValue(line)))
    if let id { object.append(.init(key: "id", value: id)) }
    let members: [(String, JSONValue)] = [
      ("text", .string(String(decoding: text, as: UTF8.self))), ("tokens", .array(tokens.map { JSONValue($0) })),
      ("token_count", JSONValue(tokens.count)), ("prompt_token_count", JSONValue(prompt.count)),
      ("stop_reason", .string(end.rawValue)), ("forwards", JSONValue(output.forwards)),
      ("cache_passes", JSONValue(output.cachePasses)),
    ]
    for (key, value) in members { object.append(.init(key: key, value: value)) }
    return .object(object)
  }
}
