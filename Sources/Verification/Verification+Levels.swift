import Decoding
import Drift
import JSON
import Models
import Text

// What the models say at masked positions.

extension Verification {
  /// Seconds.
  private static let longWait = 60.0

  /// Who stands beside the reference, and where.
  private struct Lanes {
    var all: [(role: ScoredRun.Role, lane: Lane)] = []
    /// What each is called where its scores are not finite.
    var models: [ScoredModel] = []
    var floor: Int?
    var rival: Int?
    /// With the candidate's routes; the one with its weights is next.
    var replay: Int?

    mutating func add(_ role: ScoredRun.Role, _ lane: Lane, _ model: ScoredModel) {
      all.append((role, lane))
      models.append(model)
    }
  }

  private var lanes: Lanes {
    var lanes = Lanes()
    if let candidate { lanes.add(.candidate, Lane(candidate.model), .candidate(candidate.path)) }
    if let versus {
      lanes.rival = lanes.all.count
      lanes.add(.rival, Lane(versus.model), .init(section: "versus", name: "versus", path: versus.path))
    }
    guard let reference = reference.model else { return lanes }
    if options.measuresFloor {
      lanes.floor = lanes.all.count
      lanes.add(
        .floor, Lane(reference.model, noise: Self.noise),
        .init(section: "floor", name: "floor", path: reference.path))
    }
    if options.replaysRoutes, let candidate {
      lanes.replay = lanes.all.count
      lanes.add(
        .part, Lane(reference.model, replays: 1),
        .init(section: "route_replay", name: "candidate_routes", path: reference.path))
      lanes.add(
        .part, Lane(candidate.model, replays: 0),
        .init(section: "route_replay", name: "candidate_weights", path: candidate.path))
    }
    return lanes
  }

  func scored(
    _ encoded: EncodedData, expertErrors: [Int: [Int: Double]], _ sections: inout Sections
  ) throws(VerificationError) {
    let isPart = ledger.kept?.isPart ?? false
    guard isPart || encoded.texts.contains(where: { !$0.scored.isEmpty }) else {
      throw .nothingToScore(source: data.source)
    }
    let plan = MaskPlan(
      ratios: options.maskRatios, blockLength: options.decoding.blockLength, mask: special.mask, seed: options.seed)
    let lanes = lanes
    let groups = textGroups(encoded)
    let own = groups.indices.filter { ledger.kept?.measures($0) ?? true }
    try requireRoom(own.flatMap { encoded.texts[groups[$0]] }, plan, lanes: lanes.all.count)
    let scoring = Scoring(encoded.texts, plan: plan)
    let rejected = Set(encoded.pairs.map(\.rejected))
    let found = try each(
      "masked", groups, "scoring", keep: { $0.kept(scores: records) },
      read: { [self] value, group in
        ScoredRun.Result(
          kept: value, Scoring(encoded.texts, plan: plan, only: group),
          like: .init(lanes.all.map(\.role), runsReference: reference.model != nil), keepsScores: records,
          sizes: sections.models.reference.sizes)
      }
    ) { group, progress throws(VerificationError) in
      let recorded = reference.record?.scores?.slice(scoring.positions(ofTexts: group))
      return try run(
        Scoring(encoded.texts, plan: plan, only: group), lanes.all, rejected: rejected, recorded: recorded,
        keepsScores: records, progress)
    }
    let result = Self.joined(
      found, groups, scoring, ScoredRun.Result(lanes.all.map(\.role), runsReference: reference.model != nil))
    if let result { report(result, scoring, lanes, encoded, rejected, &sections) }
    guard candidate != nil, reference.model != nil else { return }
    if let subject = options.attribution {
      try attribute(subject, scoring, groups, encoded, result, expertErrors: expertErrors, &sections)
    }
    for length in options.blockLengths { try sweep(length, encoded, groups, &sections) }
  }

  /// Tells how long scoring will take, where that is longer than a person would wait for it. What keeps it from being known is told
  /// by the level itself.
  func tellDuration(_ encoded: EncodedData) throws(VerificationError) {
    guard progress.tells else { return }
    let plan = MaskPlan(
      ratios: options.maskRatios, blockLength: options.decoding.blockLength, mask: special.mask, seed: options.seed)
    let lanes = lanes.all
    let groups = textGroups(encoded)
    let own = groups.indices.filter { ledger.kept?.measures($0) ?? true }
    guard (try? requireRoom(own.flatMap { encoded.texts[groups[$0]] }, plan, lanes: lanes.count)) != nil else { return }
    var work = ScoredRun.Work()
    for index in own where try !isDone("masked", index) {
      work += ScoredRun(Scoring(encoded.texts, plan: plan, only: groups[index]), memory: options.memory)
        .work(reference: reference.model?.model, lanes: lanes)
    }
    let before = bytesRead
    let seconds = try? ScoredRun.expectedSeconds(work, reference: reference.model?.model, lanes: lanes)
    // Trying it is no part of what the models read.
    ledger.read.reference -= bytesRead.reference - before.reference
    ledger.read.candidate -= bytesRead.candidate - before.candidate
    guard let seconds, seconds >= Self.longWait else { return }
    let further = [
      options.attribution == nil ? nil : "--attribute", options.blockLengths.isEmpty ? nil : "--block-lengths",
    ].compactMap(\.self)
    let rest = further.isEmpty ? "" : ", without what \(further.joined(separator: " and ")) takes"
    progress.note("scoring will take about \(Format.duration(seconds))\(rest)")
  }

  private func run(
    _ scoring: Scoring, _ lanes: [(role: ScoredRun.Role, lane: Lane)], rejected: Set<Int>,
    recorded: ReferenceScores? = nil, keepsScores: Bool = false, _ progress: (Double) -> Void
  ) throws(VerificationError) -> ScoredRun.Result {
    do throws(DriftError) {
      return try ScoredRun(scoring, rejected: rejected, memory: options.memory).run(
        reference: reference.model?.model, lanes: lanes, recorded: recorded, keepsScores: keepsScores
      ) {
        progress($0)
        return true
      }
    } catch { throw .drift(error) }
  }

  /// Groups one behind the other; nil where another measures some of them.
  private static func joined(
    _ results: [ScoredRun.Result?], _ groups: [Range<Int>], _ scoring: Scoring, _ nothing: ScoredRun.Result
  ) -> ScoredRun.Result? {
    var all = nothing
    var stateCount = 0
    for (group, result) in zip(groups, results) {
      guard let result else { return nil }
      all.add(result, after: stateCount)
      stateCount += scoring.states.count { group.contains($0.text) }
    }
    return all
  }

  /// What a run over all texts says.
  private func report(
    _ result: ScoredRun.Result, _ scoring: Scoring, _ lanes: Lanes, _ encoded: EncodedData, _ rejected: Set<Int>,
    _ sections: inout Sections
  ) {
    var floor = options.measuresFloor ? reference.record?.floor : nil
    if let lane = lanes.floor {
      floor = NoiseFloor(
        scoring, result, lane: lane, pairs: encoded.pairs, threshold: options.decoding.threshold, noise: Self.noise)
    }
    sections.passes = reference.model == nil ? 0 : result.passes
    sections.said.scores = result.scores
    sections.said.floor = floor
    sections.nonFinite += nonFinite(scoring, result, lanes.models, rejected: rejected, encoded)
    guard candidate != nil else { return }
    let drift = ScoredDrift(scoring, result, pairs: encoded.pairs, threshold: options.decoding.threshold, floor: floor)
    sections.masked = drift.maskedSection(words: words)
    sections.layers = drift.layers
    sections.routing = drift.routing
    sections.preferences = drift.preferences
    sections.floor = drift.floorSection
    sections.compared(isSame: drift.masked.isSame)
    if let replay = lanes.replay {
      sections.replay = drift.routeReplay(candidateRoutes: replay, candidateWeights: replay + 1)
    }
    if let rival = lanes.rival, let versus, let model = sections.models.versus {
      sections.versus = drift.versus(.init(model, running: versus), lane: rival, decisions: sections.decisions)
    }
  }

  private func attribute(
    _ subject: Attribution.Subject, _ scoring: Scoring, _ groups: [Range<Int>], _ encoded: EncodedData,
    _ result: ScoredRun.Result?, expertErrors: [Int: [Int: Double]], _ sections: inout Sections
  ) throws(VerificationError) {
    guard let reference = reference.model, let candidate else { return }
    let rejected = Set(encoded.pairs.map(\.rejected))
    let attribution = Attribution(
      subject, reference.configuration, gateMass: result?.gateMass ?? [:], errors: expertErrors)
    let threshold = options.decoding.threshold
    let found = try each(
      "attribution", groups, "attribution", keep: { .array($0.map(\.kept)) },
      read: { value, _ -> [Attribution.Measured]? in
        let parts = value.array?.compactMap { Attribution.Measured(kept: $0) }
        return parts?.count == attribution.parts.count ? parts : nil
      }
    ) { group, progress throws(VerificationError) in
      do throws(DriftError) {
        return try attribution.measure(
          Scoring(encoded.texts, plan: scoring.plan, only: group), reference: reference.model,
          candidate: candidate.weights, threshold: threshold, without: rejected, memory: options.memory
        ) {
          progress($0)
          return true
        }
      } catch { throw .drift(error) }
    }
    guard let result, !found.contains(where: { $0 == nil }) else { return }
    var all = attribution.parts.map { _ in Attribution.Measured() }
    for group in found { for (part, measured) in (group ?? []).enumerated() { all[part] += measured } }
    let whole = ScoredDrift(scoring, result, pairs: encoded.pairs, threshold: threshold).masked.kl.mean
    let measured = attribution.result(all, whole: whole, seed: scoring.plan.seed)
    sections.attribution = measured.section
    if let worst = measured.nonFinite {
      let model = ScoredModel(section: "attribution", name: worst.part, path: reference.path)
      sections.nonFinite += [finding(model, worst.tally, encoded)].compactMap(\.self)
    }
  }

  /// Refuses texts of which more would have to be known than fits, before any work with them.
  private func requireRoom(_ texts: [ScoredText], _ plan: MaskPlan, lanes: Int) throws(VerificationError) {
    var kept = 0
    if records, let configuration = reference.model?.configuration {
      let vocabulary = configuration.vocabularySize
      let width = ReferenceRow.width(vocabulary: vocabulary) * (vocabulary > ReferenceRow.wholeVocabulary ? 2 : 1)
      let routes = (0..<configuration.layerCount).count { configuration.isMoE(layer: $0) }
      kept = 128 + 4 * width + routes * (96 + 12 * configuration.expertsPerToken)
    }
    let needed = ScoredRun.byteCount(texts, plan, lanes: lanes, kept: kept)
    guard needed <= options.dataMemory else {
      throw .textsNeed(needed, limit: options.dataMemory, source: data.text?.source ?? data.source)
    }
  }

  /// The texts at another block length; an answer that came to its end is filled, as it was at the first.
  private func sweep(
    _ length: Int, _ encoded: EncodedData, _ groups: [Range<Int>], _ sections: inout Sections
  ) throws(VerificationError) {
    guard let reference = reference.model, let candidate else { return }
    let plan = MaskPlan(ratios: options.maskRatios, blockLength: length, mask: special.mask, seed: options.seed)
    let texts = encoded.texts.map { text in
      // What would be filled beyond the model's positions is left short.
      let isFilled =
        text.tokens[text.scored.upperBound - 1] == special.stops[0]
        && (text.scored.upperBound + length - 1) / length * length <= reference.configuration.maximumPositions
      return ScoredText(
        tokens: Array(text.tokens[..<text.scored.upperBound]), scored: text.scored, blockLength: length,
        fill: isFilled ? special.stops[0] : nil)
    }
    let nothing = ScoredRun.Result([.candidate], runsReference: true)
    let found = try each(
      "block_length_\(length)", groups, "block length \(length)", keep: { $0.kept(scores: false) },
      read: { value, group in
        ScoredRun.Result(
          kept: value, Scoring(texts, plan: plan, only: group), like: nothing, keepsScores: false,
          sizes: sections.models.reference.sizes)
      }
    ) { group, progress throws(VerificationError) in
      try run(
        Scoring(texts, plan: plan, only: group), [(.candidate, Lane(candidate.model))], rejected: [], progress)
    }
    let scoring = Scoring(texts, plan: plan)
    guard let result = Self.joined(found, groups, scoring, nothing) else { return }
    let section = "block_lengths[\(sections.blockLengths.count)]"
    sections.nonFinite += nonFinite(
      scoring, result, [.init(section: section, name: "candidate", path: candidate.path)],
      rejected: Set(encoded.pairs.map(\.rejected)), encoded)
    let drift = ScoredDrift(scoring, result, pairs: encoded.pairs, threshold: options.decoding.threshold)
    sections.compared(isSame: drift.masked.isSame)
    sections.blockLengths.append(drift.blockLength)
  }
}
