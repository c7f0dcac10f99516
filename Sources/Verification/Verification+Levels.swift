import Decoding
import Drift
import Inspection
import Models

// Weights, and what the models say at masked positions.

extension Verification {
  /// - Returns: relative errors by layer and expert.
  func weights(
    _ reference: ComparedModel, _ candidate: ComparedModel, _ sections: inout Sections
  ) throws(VerificationError) -> [Int: [Int: Double]] {
    do throws(InspectionError) {
      let (first, second) = (try InspectedModel(reference.weights), try InspectedModel(candidate.weights))
      let diff = try ModelDiff(
        first, second, threads: reference.model.compute.threads, kernels: reference.model.compute.kernels
      ) { progress.update("weights", Double($0) / Double(max($1, 1))) }
      let drift = WeightDrift(diff, candidate: second)
      sections.weights = drift.section
      sections.isLossless = drift.isLossless
      return drift.expertErrors
    } catch { throw .inspection(error) }
  }

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
    guard !encoded.texts.isEmpty else { throw .nothingToScore(source: data.source) }
    let plan = MaskPlan(
      ratios: options.maskRatios, blockLength: options.decoding.blockLength, mask: special.mask, seed: options.seed)
    let lanes = lanes
    try requireRoom(encoded.texts, plan, lanes: lanes.all.count)
    let scoring = Scoring(encoded.texts, plan: plan)
    do throws(DriftError) {
      let rejected = Set(encoded.pairs.map(\.rejected))
      let result = try ScoredRun(scoring, rejected: rejected, memory: options.memory).run(
        reference: reference.model?.model, lanes: lanes.all, recorded: reference.record?.scores, keepsScores: records
      ) {
        progress.update("scoring", $0)
        return true
      }
      var floor = options.measuresFloor ? reference.record?.floor : nil
      if let lane = lanes.floor {
        floor = NoiseFloor(
          scoring, result, lane: lane, pairs: encoded.pairs, threshold: options.decoding.threshold, noise: Self.noise)
      }
      sections.passes = reference.model == nil ? 0 : result.passes
      sections.said.scores = result.scores
      sections.said.floor = floor
      sections.nonFinite += nonFinite(scoring, result, lanes.models, rejected: rejected, encoded)
      guard let candidate else { return }
      let drift = ScoredDrift(
        scoring, result, pairs: encoded.pairs, threshold: options.decoding.threshold, floor: floor)
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
        sections.versus = drift.versus(
          .init(model, running: versus), lane: rival, decisions: sections.decisions)
      }
      guard let reference = reference.model else { return }
      if let subject = options.attribution {
        let attribution = Attribution(
          subject, reference.configuration, gateMass: result.gateMass, errors: expertErrors)
        let measured = try attribution.measure(
          scoring, reference: reference.model, candidate: candidate.weights, whole: drift.masked.kl.mean,
          threshold: options.decoding.threshold, without: rejected, memory: options.memory
        ) {
          progress.update("attribution", $0)
          return true
        }
        sections.attribution = measured.section
        if let worst = measured.nonFinite {
          let model = ScoredModel(section: "attribution", name: worst.part, path: reference.path)
          sections.nonFinite += [finding(model, worst.tally, encoded)].compactMap(\.self)
        }
      }
      for length in options.blockLengths {
        try sweep(length, encoded, reference, candidate, &sections)
      }
    } catch { throw .drift(error) }
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
    _ length: Int, _ encoded: EncodedData, _ reference: ComparedModel, _ candidate: ComparedModel,
    _ sections: inout Sections
  ) throws(DriftError) {
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
    let scoring = Scoring(texts, plan: plan)
    let result = try ScoredRun(scoring, memory: options.memory).run(
      reference: reference.model, lanes: [(.candidate, Lane(candidate.model))]
    ) {
      progress.update("block length \(length)", $0)
      return true
    }
    let section = "block_lengths[\(sections.blockLengths.count)]"
    sections.nonFinite += nonFinite(
      scoring, result, [.init(section: section, name: "candidate", path: candidate.path)],
      rejected: Set(encoded.pairs.map(\.rejected)), encoded)
    let drift = ScoredDrift(scoring, result, pairs: encoded.pairs, threshold: options.decoding.threshold)
    sections.compared(isSame: drift.masked.isSame)
    sections.blockLengths.append(drift.blockLength)
  }
}
