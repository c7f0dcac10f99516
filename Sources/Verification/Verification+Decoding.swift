import Decoding
import Drift
import Models

// Both models decoding freely: paths, decisions along the reference's states, answers.

extension Verification {
  /// Both models decode the prompts; what they wrote is compared step by step, and held against the answers.
  func trajectories(_ encoded: inout EncodedData, _ sections: inout Sections) throws(VerificationError) {
    let groups = promptGroups
    let first = try referenceOutputs(encoded.prompts, groups)
    if encoded.texts.isEmpty {
      encoded.addGenerations(
        Self.byPrompt(first, groups), blockLength: options.decoding.blockLength, fill: special.stops[0])
    }
    guard generates else { return }
    let comparesPaths = candidate != nil && options.levels.contains(.trajectories)
    var alongReference: DriftReport.AlongReference?
    if comparesPaths || records {
      alongReference = try along(encoded.prompts, groups, first, comparesPaths, &sections)
    }
    guard let candidate else { return }
    let second = try decode(encoded.prompts, groups, candidate, "candidate")
    guard let first = Self.whole(first), let second = Self.whole(second) else { return }
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

  /// The outputs of all prompts; nil where another decodes some of them.
  private static func whole(_ groups: [DecodedPrompts?]) -> [BlockDiffusion.Output]? {
    groups.contains { $0 == nil } ? nil : groups.flatMap { $0?.outputs ?? [] }
  }

  private static func byPrompt(_ decoded: [DecodedPrompts?], _ groups: [Range<Int>]) -> [BlockDiffusion.Output?] {
    zip(decoded, groups).flatMap { decoded, group -> [BlockDiffusion.Output?] in
      decoded?.outputs ?? group.map { _ in nil }
    }
  }

  private func referenceOutputs(
    _ prompts: [[Int]], _ groups: [Range<Int>]
  ) throws(VerificationError) -> [DecodedPrompts?] {
    switch reference {
    case .record(let record, _):
      guard let outputs = record.trajectories?.outputs else { return groups.map { _ in nil } }
      return groups.map { DecodedPrompts(Array(outputs[$0])) }
    case .model(let model): return try decode(prompts, groups, model, "reference")
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

  /// - Parameter role: `reference` or `candidate`.
  private func decode(
    _ prompts: [[Int]], _ groups: [Range<Int>], _ model: ComparedModel, _ role: String
  ) throws(VerificationError) -> [DecodedPrompts?] {
    let decoder = try decoder(model)
    return try each(
      "\(role)_outputs", groups, "\(role) decodes", keep: \.kept,
      read: { DecodedPrompts(kept: $0, count: $1.count, vocabulary: model.configuration.vocabularySize) }
    ) { group, progress throws(VerificationError) in
      do throws(DecodingError) {
        let outputs = try decoder.decodeTogether(prompts: Array(prompts[group])) { _, done in
          progress(Double(done) / Double(group.count))
          return true
        }
        return DecodedPrompts(outputs)
      } catch {
        var place = data.source
        if case .notFinite(let prompt, _) = error { place = source(ofPrompt: group.lowerBound + prompt) }
        throw .decoding(error, place: place, path: model.path)
      }
    }
  }

  /// What the reference says at each state of its runs, and what the candidate would do there.
  ///
  /// - Returns: `along_reference`; nil where paths are not compared, or are another's to compare.
  private func along(
    _ prompts: [[Int]], _ groups: [Range<Int>], _ outputs: [DecodedPrompts?], _ comparesPaths: Bool,
    _ sections: inout Sections
  ) throws(VerificationError) -> DriftReport.AlongReference? {
    guard let either = reference.model ?? candidate else { return nil }
    let decoder = try decoder(either)
    var scorers: [Int: TrajectoryScorer] = [:]
    var recorded: [Int: [ReferenceRow]] = [:]
    if case .record(let record, let path) = reference,
      record.trajectories?.places.contains(where: { !prompts.indices.contains(Int($0[0])) }) ?? false
    {
      throw .record(.broken("`along.places` names a prompt that there is not", path: path))
    }
    for (group, own) in zip(groups, outputs) {
      guard let own else { continue }
      let scorer = TrajectoryScorer(
        decoder, prompts: Array(prompts[group]), outputs: own.outputs, first: group.lowerBound, mask: special.mask,
        seed: options.seed)
      scorers[group.lowerBound] = scorer
      guard case .record(let record, let path) = reference, let all = record.trajectories else { continue }
      let rows = all.places.indices.filter { group.contains(Int(all.places[$0][0])) }
      guard scorer.places == rows.map({ all.places[$0] }) else {
        throw .record(.broken("the steps of its outputs do not lead to `along.places`", path: path))
      }
      recorded[group.lowerBound] = rows.map { all.rows[$0] }
    }
    let leftOut = scorers.values.reduce(0) { $0 + $1.leftOut }
    if leftOut > 0 {
      sections.notes.append(
        "outputs whose steps could not be gone over again, not in along_reference: \(leftOut)")
    }
    let keepsRows = reference.model != nil && (records || comparesPaths && versus != nil)
    func run(
      _ stage: String, _ name: String, reference: ComparedModel?, _ candidate: ComparedModel?,
      _ known: [Int: [ReferenceRow]]
    ) throws(VerificationError) -> [TrajectoryScorer.Result?] {
      try each(
        stage, groups, name, keep: { $0.kept(rows: keepsRows && reference != nil) },
        read: { value, group in
          TrajectoryScorer.Result(
            kept: value, prompts: group,
            rowCount: keepsRows && reference != nil ? scorers[group.lowerBound]?.places.count : nil,
            vocabulary: either.configuration.vocabularySize)
        }
      ) { group, progress throws(VerificationError) in
        guard let scorer = scorers[group.lowerBound] else { return TrajectoryScorer.Result() }
        do throws(DriftError) {
          return try scorer.run(
            reference: reference?.model, candidate: candidate?.model,
            recorded: reference == nil ? known[group.lowerBound] ?? [] : nil, memory: options.memory
          ) {
            progress($0)
            return true
          }
        } catch { throw .drift(error) }
      }
    }
    let found = try run(
      "along", "along the reference", reference: reference.model, comparesPaths ? candidate : nil, recorded)
    var others: [TrajectoryScorer.Result?] = []
    if comparesPaths, let versus {
      for (group, own) in zip(groups, found) where reference.model != nil { recorded[group.lowerBound] = own?.rows }
      others = try run("along_versus", "the other along the reference", reference: nil, versus, recorded)
    }
    guard let result = Self.joined(found) else { return nil }
    sections.nonFinite += nonFinite(result)
    if let isSame = result.isSame { sections.compared(isSame: isSame) }
    if records, let outputs = Self.whole(outputs) {
      let places = groups.flatMap { scorers[$0.lowerBound]?.places ?? [] }
      sections.said.trajectories = .init(outputs: outputs, places: places, rows: result.rows)
    }
    if let versus, let other = Self.joined(others), !others.isEmpty {
      sections.nonFinite += [nonFinite(other.nonFinite.candidate, of: "versus", versus.path)].compactMap(\.self)
      // Decisions that could not be taken would be left out of the pairs.
      if other.nonFinite.candidate.first == nil {
        var pairs = PairedSums()
        for case (let own?, let other?) in zip(result.decisions, other.decisions) {
          pairs.add(own.isSame ? 1 : 0, other.isSame ? 1 : 0, cluster: own.prompt)
        }
        sections.decisions = pairs
      }
    }
    return comparesPaths ? result.along.section(seed: options.seed) : nil
  }

  /// Nil where another measures some of them.
  private static func joined(_ results: [TrajectoryScorer.Result?]) -> TrajectoryScorer.Result? {
    var all = TrajectoryScorer.Result()
    for result in results {
      guard let result else { return nil }
      all += result
    }
    return all
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
