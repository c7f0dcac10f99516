package import Decoding
package import Drift
import Models
import Text
import Tokenizers

/// The data as token ids: what a record keeps.
package struct EncodedData {
  /// By prompt: the ids with the chat template around.
  var prompts: [[Int]] = []
  package var texts: [ScoredText] = []
  /// By text, the prompt that it belongs to; nil for a window of a text on its own.
  var origins: [Int?] = []
  package var pairs: [ScoredDrift.Pair] = []
  /// What the texts are: `answers`, `generations`, or a file.
  var textSource = "answers"
  /// Answers that do not fit the model's positions.
  package internal(set) var cut = 0

  /// The fewest tokens of a rest of a text where the next token is predicted.
  private static var leastContext: Int { 32 }

  /// Texts from answers and pairs; of a file, windows of whole blocks. All of it is something that the model may be shown:
  /// what is refused of a prompt is refused of all.
  ///
  /// - Parameters:
  ///   - fill: the end token, with which the last block of an answer is filled as decoding would.
  ///   - isRaw: whether prompts are taken without the chat template.
  package init(
    _ data: VerificationData, _ model: ComparedModel, _ decoder: BlockDiffusion, windowLength: Int, fill: Int,
    isRaw: Bool
  ) throws(VerificationError) {
    let blockLength = decoder.options.blockLength
    // The first token has no context to be predicted from.
    let lead = model.configuration.conventions.prediction.lead
    let longest = model.configuration.maximumPositions / blockLength * blockLength
    for (index, prompt) in data.prompts.enumerated() {
      let place = data.place(of: prompt, "prompt")
      let ids = try model.ids(of: prompt.prompt.utf8.count, from: place) { tokenizer throws(TokenizerError) in
        isRaw
          ? try tokenizer.encode(prompt.prompt)
          : try tokenizer.encode(conversation: [.init(.user, prompt.prompt)])
      }
      try Self.check(ids, model, decoder, from: place)
      guard ids.count < longest else {
        throw .decoding(.tooLong(positions: ids.count + 1, limit: longest), place: place)
      }
      prompts.append(ids)
      func add(_ answer: String, _ key: String) throws(VerificationError) {
        let place = data.place(of: prompt, key)
        let all = try ids + Self.ids(of: answer, model, decoder, from: place) + [fill]
        if all.count > longest { cut += 1 }
        let tokens = Array(all.prefix(longest))
        texts.append(
          ScoredText(tokens: tokens, scored: max(lead, ids.count)..<tokens.count, blockLength: blockLength, fill: fill))
        origins.append(index)
      }
      if let answer = prompt.answer { try add(answer, "answer") }
      if let chosen = prompt.chosen, let rejected = prompt.rejected {
        pairs.append(.init(chosen: texts.count, rejected: texts.count + 1))
        try add(chosen, "chosen")
        try add(rejected, "rejected")
      }
    }
    guard let text = data.text else { return }
    textSource = texts.isEmpty ? text.source : "answers and \(text.source)"
    let ids = try Self.ids(ofText: text.content, model, decoder, from: Shown.input(text.source))
    let length = max(blockLength, min(windowLength, longest) / blockLength * blockLength)
    // A shorter rest would be scored with next to no context.
    let least = min(lead > 0 ? Self.leastContext : blockLength, length, ids.count)
    for start in stride(from: 0, to: ids.count, by: length) {
      let window = Array(ids[start..<min(ids.count, start + length)])
      guard window.count >= least else { continue }
      texts.append(ScoredText(tokens: window, scored: lead..<window.count, blockLength: blockLength, fill: nil))
      origins.append(nil)
    }
  }

  /// The ids of an answer: what looks like a special token in it is none.
  private static func ids(
    of text: String, _ model: ComparedModel, _ decoder: BlockDiffusion, from source: String
  ) throws(VerificationError) -> [Int] {
    let ids = try model.ids(of: text.utf8.count, from: source) { tokenizer throws(TokenizerError) in
      try tokenizer.encode(text, findingSpecial: false)
    }
    try check(ids, model, decoder, from: source)
    return ids
  }

  /// The ids of a text that is cut into windows, so that none is too long. A token that must not be there is told with its line.
  private static func ids(
    ofText text: String, _ model: ComparedModel, _ decoder: BlockDiffusion, from source: String
  ) throws(VerificationError) -> [Int] {
    let ids = try model.ids(of: 0, from: source) { tokenizer throws(TokenizerError) in
      try tokenizer.encode(text, findingSpecial: false)
    }
    do throws(DecodingError) { try decoder.check(tokens: ids) } catch {
      var place = source
      if let index = error.tokenIndex, let before = try? model.tokenizer.bytes(of: Array(ids[..<index])) {
        place += ", line \(Format.count(before.count { $0 == UInt8(ascii: "\n") } + 1))"
      }
      throw .decoding(error, place: place, tokenizer: model.tokenizer)
    }
    return ids
  }

  private static func check(
    _ tokens: [Int], _ model: ComparedModel, _ decoder: BlockDiffusion, from source: String
  ) throws(VerificationError) {
    do throws(DecodingError) { try decoder.check(tokens: tokens) } catch {
      throw .decoding(error, place: source, tokenizer: model.tokenizer)
    }
  }

  /// Outputs of the reference as the texts, where there are no others: one for each prompt, so that its number is that of the
  /// prompt. Where nothing was written, or it is another's to decode, nothing of it is scored.
  mutating func addGenerations(_ outputs: [BlockDiffusion.Output?], blockLength: Int, fill: Int) {
    textSource = "generations"
    for (index, (prompt, output)) in zip(prompts, outputs).enumerated() {
      let tokens = prompt + (output?.tokens ?? [])
      let isFilled = output.map { $0.stopped && !$0.tokens.isEmpty } ?? false
      origins.append(index)
      texts.append(
        ScoredText(
          tokens: tokens, scored: prompt.count..<tokens.count, blockLength: blockLength, fill: isFilled ? fill : nil))
    }
  }
}
