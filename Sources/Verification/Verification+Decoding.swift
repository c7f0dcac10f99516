import Decoding
import Drift
import Models

// Both models decoding freely: paths, decisions along the reference's states, answers.

extension Verification {
  /// Both models decode the prompts; what they wrote is compared step by step, and held against the answers.
  func trajectories(_ encoded: inout EncodedData, _ sections: inout Sections) throws(VerificationError) {
    let first = try referenceOutputs(encoded.prompts)
    if encoded.texts.isEmpty {
      encoded.addGenerations(first, blockLength: options.decoding.blockLength, fill: special.stops[0])
    }
    guard generates else { return }
    let comparesPaths = candidate != nil && options.levels.contains(.trajectories)
    var alongReference: DriftReport.AlongReference?
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
      sections.trajectories = TrajectoryDrift(pairs).section(
        seed: options.seed, alongReference: alongReference, text: words)
    }
    if options.levels.contains(.tasks) { sections.tasks = try tasks(first, second) }
  }

  private func referenceOutputs(_ prompts: [[Int]]) throws(VerificationError) -> [BlockDiffusion.Output] {
    switch reference {
    case .record(let record, _): return record.trajectories?.outputs ?? []
    case .model(let model): return try decode(prompts, model, "reference decodes")
    }
  }

  /// - Parameter blockLength: another than that of the options.
  func decoder(_ model: ComparedModel, blockLength: Int? = nil) throws(VerificationError) -> BlockDiffusion {
    var decoding = options.decoding
    decoding.blockLength = blockLength ?? decoding.blockLength
    do throws(DecodingError) {
      return try BlockDiffusion(model.model, options: decoding, special: special)
    } catch { throw .decoding(error, place: data.source) }
  }

  /// Refuses a prompt that cannot be decoded by its line, before any work.
  func requireDecodable(_ prompts: [[Int]], _ model: ComparedModel) throws(VerificationError) {
    let decoder = try decoder(model)
    let block = options.decoding.blockLength
    for (index, tokens) in prompts.enumerated() {
      do throws(DecodingError) { try decoder.check(prompt: tokens) } catch {
        throw .decoding(
          error, place: source(ofPrompt: index),
          longest: model.configuration.maximumPositions / block * block - tokens.count)
      }
    }
  }

  private func decode(
    _ prompts: [[Int]], _ model: ComparedModel, _ name: String
  ) throws(VerificationError) -> [BlockDiffusion.Output] {
    let decoder = try decoder(model)
    do throws(DecodingError) {
      return try decoder.decodeTogether(prompts: prompts) { _, done in
        progress.update(name, Double(done) / Double(prompts.count))
        return true
      }
    } catch {
      var place = data.source
      if case .notFinite(let prompt, _) = error { place = source(ofPrompt: prompt) }
      throw .decoding(error, place: place, path: model.path)
    }
  }

  /// What the reference says at each state of its runs, and what the candidate would do there.
  ///
  /// - Returns: `along_reference`; nil where paths are not compared.
  private func along(
    _ prompts: [[Int]], _ outputs: [BlockDiffusion.Output], _ comparesPaths: Bool, _ sections: inout Sections
  ) throws(VerificationError) -> DriftReport.AlongReference? {
    guard let either = reference.model ?? candidate else { return nil }
    let along = TrajectoryScorer(
      try decoder(either), prompts: prompts, outputs: outputs, mask: special.mask, seed: options.seed)
    if case .record(let record, let path) = reference, along.places != record.trajectories?.places {
      throw .record(.broken("the steps of its outputs do not lead to `along.places`", path: path))
    }
    if along.leftOut > 0 {
      sections.notes.append(
        "outputs whose steps could not be gone over again, not in along_reference: \(along.leftOut)")
    }
    do throws(DriftError) {
      let result = try along.run(
        reference: reference.model?.model, candidate: comparesPaths ? candidate?.model : nil,
        recorded: reference.record?.trajectories?.rows, memory: options.memory
      ) {
        progress.update("along the reference", $0)
        return true
      }
      sections.nonFinite += nonFinite(result)
      if let isSame = result.isSame { sections.compared(isSame: isSame) }
      sections.said.trajectories = .init(outputs: outputs, places: along.places, rows: result.rows)
      if comparesPaths, let versus {
        let other = try along.run(
          reference: nil, candidate: versus.model, recorded: result.rows, memory: options.memory
        ) {
          progress.update("the other along the reference", $0)
          return true
        }
        sections.nonFinite += [nonFinite(other.nonFinite.candidate, of: "versus", versus.path)].compactMap(\.self)
        // Decisions that could not be taken would be left out of the pairs.
        if other.nonFinite.candidate.first == nil {
          var pairs = PairedSums()
          for case (let own?, let other?) in zip(result.decisions, other.decisions) {
            pairs.add(own.isSame ? 1 : 0, other.isSame ? 1 : 0, cluster: own.trajectory)
          }
          sections.decisions = pairs
        }
      }
      return result.section
    } catch { throw .drift(error) }
  }

  /// Nil where no answer is known.
  func check(_ prompt: VerificationData.Prompt) throws(VerificationError) -> AnswerCheck? {
    guard let answer = prompt.answer else { return nil }
    do throws(AnswerError) { return try AnswerCheck(options.match, answer: answer, line: prompt.line) } catch {
      throw .answer(error, source: data.source)
    }
  }

  private func tasks(
    _ first: [BlockDiffusion.Output], _ second: [BlockDiffusion.Output]
  ) throws(VerificationError) -> DriftReport.Tasks? {
    var rows: [TaskDrift.Row] = []
    for (prompt, outputs) in zip(data.prompts, zip(first, second)) {
      guard let check = try check(prompt) else { continue }
      let attempt = { (output: BlockDiffusion.Output) in
        TaskDrift.Attempt(isCorrect: check.accepts(answerText(output.tokens)), isTruncated: !output.stopped)
      }
      rows.append(.init(task: prompt.task, reference: attempt(outputs.0), candidate: attempt(outputs.1)))
    }
    return TaskDrift(rows, match: options.match).section(seed: options.seed)
  }
}
