import Decoding
import JSON
import Text
import Tokenizers

/// A continuation of a context, ready to be scored.
struct ScoredPair: BatchItem {
  /// A line of the input (Formats/score.md §1).
  struct Line {
    enum Continuation {
      case text(String)
      case tokens([Int])
    }
    /// In the file, from 1.
    let line: Int
    let place: String
    let prompt: BatchPrompt
    let continuation: Continuation
    let id: JSONValue?

    /// Whether ids were given as such.
    var hasIDs: Bool {
      if case .tokens = continuation { return true }
      if case .tokens = prompt.content { return true }
      return false
    }

    static let keys: Set<String> = [
      "prompt", "messages", "prompt_tokens", "raw", "system", "continuation", "continuation_tokens", "id",
    ]

    init(_ reader: inout LineReader, _ number: Int) throws(Failure) {
      line = number
      place = reader.place
      prompt = try reader.prompt(["prompt", "messages", "prompt_tokens"])
      id = reader.object["id"]
      let text = try reader.value("continuation", "a string", \.string)
      let tokens = try reader.tokens("continuation_tokens")
      switch (text, tokens) {
      case (let text?, nil): continuation = .text(text)
      case (nil, let tokens?): continuation = .tokens(tokens)
      case (nil, nil): throw reader.failure("it has no `continuation`")
      default: throw reader.failure("it has both `continuation` and `continuation_tokens`")
      }
    }
  }

  let line: Int
  let place: String
  let id: JSONValue?
  let positions: Int
  private let context: [Int]
  private let continuation: [Int]

  /// - Parameters:
  ///   - command: has what the line does not say.
  ///   - batch: what is going to score it.
  init(
    _ line: Line, _ command: ScoreCommand, _ model: RunModel, _ batch: ScoringBatch, _ prompting: ChatTemplate.Options,
    _ memory: BatchMemory
  ) throws(Failure) {
    self.line = line.line
    (id, place) = (line.id, line.place)
    context = try line.prompt.ids(
      model, raw: command.raw, system: command.system, prompting, place: place, .scores, mayBeEmpty: true)
    switch line.continuation {
    case .tokens(let ids): continuation = ids
    case .text(let text):
      // Behind a template a text speaks for the assistant alone.
      let isRaw = !line.prompt.usesTemplate(raw: command.raw)
      continuation = try model.ids(of: text.utf8.count, from: place) { tokenizer throws(TokenizerError) in
        try tokenizer.encode(text, findingSpecial: isRaw)
      }
    }
    do throws(DecodingError) { try batch.check(context: context, continuation: continuation) } catch {
      throw Failure(scoring: error, place: place, tokenizer: line.hasIDs ? nil : model.tokenizer)
    }
    positions = batch.load(context: context, continuation: continuation)
    try memory.require(positions, place: place)
  }

  func begin(_ index: Int, in batch: inout ScoringBatch) throws(DecodingError) {
    try batch.add(index, context: context, continuation: continuation)
  }

  func cost(_ score: ScoringBatch.Score) -> (tokens: Int, passes: Int) { (continuation.count, score.states) }

  func members(_ score: ScoringBatch.Score) -> [(String, JSONValue)] {
    [
      ("bound", JSONValue(score.bound)), ("token_count", JSONValue(continuation.count)),
      ("prompt_token_count", JSONValue(context.count)), ("is_greedy", JSONValue(score.isGreedy)),
      ("states", JSONValue(score.states)), ("is_exact", JSONValue(score.isExact)),
    ]
  }
}
