import Decoding
import Drift
import JSON
import Models

// Both models decoding freely: paths, decisions along the reference's states, answers.

extension Verification {
  /// Both models decode the prompts; what they wrote is compared step by step, and held against the answers.
  func trajectories(_ encoded: inout EncodedData, _ sections: inout Sections) throws(Failure) {
    let first = try referenceOutputs(encoded.prompts)
    if encoded.texts.isEmpty {
      encoded.addGenerations(first, blockLength: options.decoding.blockLength, fill: special.stops[0])
    }
    guard generates else { return }
    let comparesPaths = candidate != nil && options.levels.contains(.trajectories)
    var alongReference = JSONValue.null
    if comparesPaths || records {
      alongReference = try along(encoded.prompts, first, comparesPaths, &sections)
    }
    guard let candidate else { return }
    let second = try decode(encoded.prompts, candidate, "candidate decodes")
    if comparesPaths {
      let pairs = zip(encoded.prompts, zip(first, second)).map { prompt, outputs in
        TrajectoryPair(
          prompt: prompt, reference: outputs.0, candidate: outputs.1, blockLength: options.decoding.blockLength)
      }
      sections.trajectories = TrajectoryDrift(pairs).json(
        seed: options.seed, alongReference: alongReference, text: words)
    }
    if options.levels.contains(.tasks) { sections.tasks = try tasks(first, second) }
  }

  private func referenceOutputs(_ prompts: [[Int]]) throws(Failure) -> [BlockDiffusion.Output] {
    switch reference {
    case .record(let record, _): return record.trajectories?.outputs ?? []
    case .model(let model): return try decode(prompts, model, "reference decodes")
    }
  }

  /// - Parameter blockLength: another than that of the options.
  func decoder(_ model: RunModel, blockLength: Int? = nil) throws(Failure) -> BlockDiffusion {
    var decoding = options.decoding
    decoding.blockLength = blockLength ?? decoding.blockLength
    do throws(DecodingError) {
      return try BlockDiffusion(model.model, options: decoding, special: special)
    } catch { throw Failure(error, prompt: data.source, longest: 0) }
  }

  /// Refuses a prompt that cannot be decoded by its line, before any work.
  func requireDecodable(_ prompts: [[Int]], _ model: RunModel) throws(Failure) {
    let decoder = try decoder(model)
    let block = options.decoding.blockLength
    for (index, tokens) in prompts.enumerated() {
      do throws(DecodingError) { try decoder.check(prompt: tokens) } catch {
        throw Failure(
          error, prompt: source(ofPrompt: index),
          longest: model.configuration.maximumPositions / block * block - tokens.count)
      }
    }
  }

  private func decode(
    _ prompts: [[Int]], _ model: RunModel, _ name: String
  ) throws(Failure) -> [BlockDiffusion.Output] {
    let decoder = try decoder(model)
    do throws(DecodingError) {
      return try decoder.decodeTogether(prompts: prompts) { _, done in
        progress.update(name, Double(done) / Double(prompts.count))
      }
    } catch {
      var place = data.source
      if case .notFinite(let prompt, _) = error { place = source(ofPrompt: prompt) }
      throw Failure(error, prompt: place, longest: 0, model: model.path)
    }
  }

  /// What the reference says at each state of its runs, and what the candidate would do there.
  ///
  /// - Returns: `along_reference`; null where paths are not compared.
  private func along(
    _ prompts: [[Int]], _ outputs: [BlockDiffusion.Output], _ comparesPaths: Bool, _ sections: inout Sections
  ) throws(Failure) -> JSONValue {
    guard let either = reference.model ?? candidate else { return .null }
    let along = AlongRun(
      try decoder(either), prompts: prompts, outputs: outputs, mask: special.mask, seed: options.seed)
    if case .record(let record, let path) = reference, along.places != record.trajectories?.places {
      throw Failure(.broken("the steps of its outputs do not lead to `along.places`", path: path))
    }
    if along.leftOut > 0 {
      sections.notes.append(
        "outputs whose steps could not be gone over again, not in along_reference: \(along.leftOut)")
    }
    do throws(DriftError) {
      let result = try along.run(
        reference: reference.model?.model, candidate: comparesPaths ? candidate?.model : nil,
        recorded: reference.record?.trajectories?.rows, memory: options.memory
      ) { progress.update("along the reference", $0) }
      sections.nonFinite += nonFinite(result)
      if let isSame = result.isSame { sections.compared(isSame: isSame) }
      sections.said.trajectories = .init(outputs: outputs, places: along.places, rows: result.rows)
      return result.json
    } catch { throw Failure(error) }
  }

  /// Nil where no answer is known.
  func check(_ prompt: VerifyPrompt) throws(Failure) -> AnswerCheck? {
    guard let answer = prompt.answer else { return nil }
    do throws(AnswerError) { return try AnswerCheck(options.match, answer: answer, line: prompt.line) } catch {
      throw Failure(error, in: data.source)
    }
  }

  private func tasks(
    _ first: [BlockDiffusion.Output], _ second: [BlockDiffusion.Output]
  ) throws(Failure) -> JSONValue {
    var rows: [TaskDrift.Row] = []
    for (prompt, outputs) in zip(data.prompts, zip(first, second)) {
      guard let check = try check(prompt) else { continue }
      let attempt = { (output: BlockDiffusion.Output) in
        TaskDrift.Attempt(isCorrect: check.accepts(answerText(output.tokens)), isTruncated: !output.stopped)
      }
      rows.append(.init(task: prompt.task, reference: attempt(outputs.0), candidate: attempt(outputs.1)))
    }
    return TaskDrift(rows, match: options.match).json(seed: options.seed)
  }
}
