package import Drift

// The data as a record keeps it.

extension VerificationData {
  /// What a reference was asked when it was recorded.
  package init(_ record: DriftRecord) {
    source = record.promptSource
    prompts = record.prompts.map {
      Prompt(
        prompt: $0.prompt, answer: $0.answer, chosen: $0.chosen, rejected: $0.rejected, task: $0.task, line: $0.line)
    }
  }
}

extension DriftRecord.Prompt {
  /// - Parameter tokens: the ids of the prompt with the chat template around.
  init(_ prompt: VerificationData.Prompt, tokens: [Int]) {
    self.init(
      prompt: prompt.prompt, answer: prompt.answer, chosen: prompt.chosen, rejected: prompt.rejected,
      task: prompt.task, line: prompt.line, tokens: tokens)
  }
}

extension EncodedData {
  /// What a reference was shown when it was recorded.
  init(_ record: DriftRecord) {
    prompts = record.prompts.map(\.tokens)
    texts = record.texts
    pairs = record.pairs
    textSource = record.textSource
    cut = record.cut
    // Texts stand in the order of the prompts that they begin with.
    var first = 0
    for text in texts {
      let own = (first..<prompts.count).first { index in
        text.scored.lowerBound == prompts[index].count && text.tokens.starts(with: prompts[index])
      }
      origins.append(text.scored.lowerBound == 0 ? nil : own)
      guard let own else { continue }
      // Answer and pair, or what was generated: behind its last text comes the next prompt.
      let prompt = record.prompts[own]
      let most = max(1, (prompt.answer == nil ? 0 : 1) + (prompt.chosen == nil ? 0 : 2))
      first = origins.count { $0 == own } < most ? own : own + 1
    }
  }
}
