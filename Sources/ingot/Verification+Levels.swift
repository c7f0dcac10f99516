import Decoding
import Drift
import Inspection
import JSON
import Models

// Weights, and what the models say at masked positions.

extension Verification {
  /// - Returns: relative errors by layer and expert.
  func weights(
    _ reference: RunModel, _ candidate: RunModel, _ sections: inout Sections
  ) throws(Failure) -> [Int: [Int: Double]] {
    do throws(InspectionError) {
      let (first, second) = (try InspectedModel(reference.weights), try InspectedModel(candidate.weights))
      let diff = try ModelDiff(
        first, second, threads: reference.model.compute.threads, kernels: reference.model.compute.kernels
      ) { progress.update("weights", Double($0) / Double(max($1, 1))) }
      let drift = WeightDrift(diff, candidate: second)
      sections.weights = drift.json
      sections.isLossless = drift.isLossless
      return drift.expertErrors
    } catch { throw Failure(error) }
  }

  /// Who stands beside the reference, and where.
  private struct Lanes {
    var all: [(role: ScoredRun.Role, lane: Lane)] = []
    var floor: Int?
    /// With the candidate's routes; the one with its weights is next.
    var replay: Int?
  }

  private var lanes: Lanes {
    var lanes = Lanes()
    if let candidate { lanes.all.append((.candidate, Lane(candidate.model))) }
    guard let reference = reference.model?.model else { return lanes }
    if options.measuresFloor {
      lanes.floor = lanes.all.count
      lanes.all.append((.floor, Lane(reference, noise: Self.noise)))
    }
    if options.replaysRoutes, let candidate {
      lanes.replay = lanes.all.count
      lanes.all.append((.part, Lane(reference, replays: 1)))
      lanes.all.append((.part, Lane(candidate.model, replays: 0)))
    }
    return lanes
  }

  func scored(
    _ encoded: EncodedData, expertErrors: [Int: [Int: Double]], _ sections: inout Sections
  ) throws(Failure) {
    guard !encoded.texts.isEmpty else {
      sections.notes.append("nothing was scored: the data holds no answers or text, and nothing was generated")
      return
    }
    let plan = MaskPlan(
      ratios: options.maskRatios, blockLength: options.decoding.blockLength, mask: special.mask, seed: options.seed)
    let scoring = Scoring(encoded.texts, plan: plan)
    let lanes = lanes
    do throws(DriftError) {
      let rejected = Set(encoded.pairs.map(\.rejected))
      let result = try ScoredRun(scoring, rejected: rejected, memory: options.memory).run(
        reference: reference.model?.model, lanes: lanes.all, recorded: reference.record?.scores, keepsScores: records
      ) { progress.update("scoring", $0) }
      var floor = options.measuresFloor ? reference.record?.floor : nil
      if let lane = lanes.floor {
        floor = NoiseFloor(
          scoring, result, lane: lane, pairs: encoded.pairs, threshold: options.decoding.threshold, noise: Self.noise)
      }
      sections.passes = reference.model == nil ? 0 : result.passes
      sections.said.scores = result.scores
      sections.said.floor = floor
      guard let candidate else { return }
      let drift = ScoredDrift(
        scoring, result, pairs: encoded.pairs, threshold: options.decoding.threshold, floor: floor)
      sections.masked = drift.maskedJSON(words: words)
      sections.layers = drift.layersJSON
      sections.routing = drift.routingJSON
      sections.preferences = drift.preferencesJSON
      sections.floor = drift.floorJSON
      sections.showsDrift = sections.showsDrift || drift.masked.kl.values.contains { $0 != 0 }
      if let replay = lanes.replay {
        sections.replay = drift.routeReplayJSON(candidateRoutes: replay, candidateWeights: replay + 1)
      }
      guard let reference = reference.model else { return }
      if let subject = options.attribution {
        let attribution = Attribution(
          subject, reference.configuration, gateMass: result.gateMass, errors: expertErrors)
        sections.attribution = try attribution.json(
          scoring, reference: reference.model, candidate: candidate.weights, whole: drift.masked.kl.mean,
          threshold: options.decoding.threshold, without: rejected, memory: options.memory
        ) { progress.update("attribution", $0) }
      }
      for length in options.blockLengths {
        sections.blockLengths.append(try sweep(length, encoded, reference, candidate))
      }
    } catch { throw Failure(error) }
  }

  /// The texts at another block length; an answer that came to its end is filled, as it was at the first.
  private func sweep(
    _ length: Int, _ encoded: EncodedData, _ reference: RunModel, _ candidate: RunModel
  ) throws(DriftError) -> JSONValue {
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
    ) { progress.update("block length \(length)", $0) }
    return ScoredDrift(scoring, result, pairs: encoded.pairs, threshold: options.decoding.threshold).blockLengthJSON
  }
}
