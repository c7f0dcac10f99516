import Drift

// The data as a record keeps it.

extension VerifyData {
  /// What a reference was asked when it was recorded.
  init(_ record: DriftRecord) {
    source = record.promptSource
    prompts = record.prompts.map {
      VerifyPrompt(
        prompt: $0.prompt, answer: $0.answer, chosen: $0.chosen, rejected: $0.rejected, task: $0.task, line: $0.line)
    }
  }
}

extension DriftRecord.Prompt {
  /// - Parameter tokens: the ids of the prompt with the chat template around.
  init(_ prompt: VerifyPrompt, tokens: [Int]) {
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
  }
}
