import Models

extension BlockDiffusion {
  /// Decodes many sequences with the same options in a ``DecodingBatch``.
  ///
  /// The outputs are those of ``decode(prompt:recordsExperts:observer:)``, up to the rounding of products of more rows.
  ///
  /// - Parameters:
  ///   - positions: most positions, prompts and generation together, of the sequences under work, whose keys and values are
  ///     held; a further one begins when there is room. A longer one is decoded alone.
  ///   - progress: called after each round with the denoising passes made and the sequences completed; false stops.
  /// - Returns: the outputs in the order of the prompts.
  /// - Throws: ``DecodingError``; a prompt that cannot be answered is refused before any work.
  /// - Precondition: made with a model.
  package func decodeTogether(
    prompts: [[Int]], positions: Int = 16_384, progress: (_ forwards: Int, _ completed: Int) -> Bool = { _, _ in true }
  ) throws(DecodingError) -> [Output] {
    guard let model else { preconditionFailure("decoded without a model") }
    for prompt in prompts { try check(prompt: prompt) }
    var outputs = Array(repeating: Output(), count: prompts.count)
    var waiting = prompts.indices
    var batch = DecodingBatch(model)
    while true {
      while let index = waiting.first {
        let held = batch.positions + options.positions(after: prompts[index].count)
        guard batch.count == 0 || held <= positions else { break }
        try batch.add(index, prompt: prompts[index], self)
        waiting.removeFirst()
      }
      guard batch.count > 0 else { return outputs }
      for done in try batch.advance() { outputs[done.index] = try done.result.get() }
      let forwards = outputs.reduce(batch.forwards) { $0 + $1.forwards }
      guard progress(forwards, waiting.lowerBound - batch.count) else { throw .interrupted }
    }
  }
}
