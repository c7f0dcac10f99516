import Decoding
import Drift
import Inspection
import JSON
import Kernels
import Models
import Pack

// The document of `Formats/drift-report.md`, when the numbers are there.

extension Verification {
  struct Cost {
    let seconds: Double
    /// Bytes of routed experts.
    let read: (reference: Int, candidate: Int)
  }

  /// Nil without a candidate.
  func document(_ encoded: EncodedData, _ sections: Sections, _ cost: Cost) -> JSONValue? {
    guard let candidate, let own = sections.models.candidate else { return nil }
    return [
      "schema": "ingot.drift/1", "ingot": JSONValue(toolVersion),
      "reference": reference.json(sections.models.reference),
      "candidate": own.json(
        activations: candidate.model.compute.activations, isLossless: sections.isLossless),
      "data": dataJSON(encoded), "verdict": verdict(sections), "weights": sections.weights,
      "masked": sections.masked,
      "layers": .array(sections.layers), "routing": sections.routing, "preferences": sections.preferences,
      "block_lengths": .array(sections.blockLengths), "floor": sections.floor, "trajectories": sections.trajectories,
      "tasks": sections.tasks, "attribution": sections.attribution, "route_replay": sections.replay,
      "missing": .array(missing(sections).map(\.json)), "non_finite": .array(sections.nonFinite.map(\.json)),
      "notes": .array(notes(sections).map { JSONValue($0) }),
      "cost": costJSON(sections, cost, candidate.model.compute),
    ]
  }

  /// Without gates, which are looked at when the numbers are there.
  private func verdict(_ sections: Sections) -> JSONValue {
    // Where weights were not compared, other encodings tell that quantization did something.
    let mayBeSame = sections.isLossless ?? (sections.models.reference.experts == sections.models.candidate?.experts)
    let isZero = sections.isSame == true && !mayBeSame
    return ["status": "none", "gates": [], "zero_drift": JSONValue(isZero)]
  }

  /// Levels that were asked for and could not be measured; one that decodes takes the other along.
  private func missing(_ sections: Sections) -> [MissingLevel] {
    let found: [(VerifyLevel, JSONValue)] = [
      (.weights, sections.weights), (.masked, sections.masked), (.trajectories, sections.trajectories),
      (.tasks, sections.tasks),
    ]
    return found.compactMap { level, section in
      guard options.levels.contains(level), section == .null else { return nil }
      let isDecoding = level == .trajectories || level == .tasks
      let failed = sections.failures.first {
        $0.level == level || isDecoding && ($0.level == .trajectories || $0.level == .tasks)
      }
      return failed.map { MissingLevel(level: level.rawValue, failure: $0.failure) }
    }
  }

  /// What a reader must know, the most important first.
  private func notes(_ sections: Sections) -> [String] {
    missing(sections).map(\.sentence) + sections.nonFinite.map(\.sentence) + sections.notes + recordNotes
  }

  /// What a recorded reference cannot give.
  private var recordNotes: [String] {
    guard let record = reference.record else { return [] }
    var lacking = ["weights", "layers", "masked.kl_full_mean", "routing.kl"]
    if options.replaysRoutes { lacking.append("route_replay") }
    var notes = ["the reference is a record, which cannot give \(lacking.joined(separator: ", "))"]
    if record.scores == nil {
      notes.append("the record holds no scored states: masked, routing and floor are not there")
    }
    if record.trajectories == nil {
      notes.append("the record holds no free decoding: trajectories and tasks are not there")
    }
    if options.measuresFloor, record.scores != nil, record.floor == nil {
      notes.append("the record was made without a noise floor")
    }
    return notes
  }

  private func dataJSON(_ encoded: EncodedData) -> JSONValue {
    let ids = encoded.texts.flatMap { $0.tokens.map(UInt32.init) + [UInt32($0.scored.lowerBound), .max] }
    let asked = data.prompts.flatMap { Array("\($0.prompt)\0\($0.answer ?? "")\0".utf8) }
    let decoding = options.decoding
    return [
      "prompts": [
        "source": JSONValue(data.source), "count": JSONValue(data.prompts.count),
        "hash": JSONValue(XXH3.text(unsafe XXH3.hash(asked.span.bytes))),
        "with_answers": JSONValue(data.prompts.count { $0.answer != nil }),
        "with_preferences": JSONValue(encoded.pairs.count),
      ],
      "texts": [
        "source": JSONValue(encoded.textSource), "count": JSONValue(encoded.texts.count),
        "tokens": JSONValue(encoded.texts.reduce(0) { $0 + $1.tokens.count }),
        "scored_positions": JSONValue(encoded.texts.reduce(0) { $0 + $1.scored.count }),
        "hash": JSONValue(XXH3.text(unsafe XXH3.hash(ids.span.bytes))),
      ],
      "seed": JSONValue(options.seed), "mask_ratios": .array(options.maskRatios.map { JSONValue($0) }),
      "block_length": JSONValue(decoding.blockLength), "steps": JSONValue(decoding.steps),
      "generation_length": JSONValue(decoding.generationLength), "threshold": JSONValue(decoding.threshold),
      "temperature": JSONValue(decoding.temperature), "decoder": JSONValue(options.decoder.rawValue),
      "editing": decoding.decoder.editingJSON, "stops_early": JSONValue(decoding.stopsEarly),
      "levels": .array(VerifyLevel.allCases.filter(options.levels.contains).map { JSONValue($0.rawValue) }),
    ]
  }

  private func costJSON(_ sections: Sections, _ cost: Cost, _ compute: Compute) -> JSONValue {
    var levels = JSONObject()
    for (level, seconds) in sections.seconds { levels.append(.init(key: level.rawValue, value: JSONValue(seconds))) }
    return [
      "seconds": JSONValue(cost.seconds), "by_level": .object(levels),
      "peak_memory": JSONValue(progress.peakAnonymous),
      "bytes_read": ["reference": JSONValue(cost.read.reference), "candidate": JSONValue(cost.read.candidate)],
      "passes": JSONValue(sections.passes), "threads": JSONValue(compute.threads),
      "kernels": JSONValue(compute.kernels.name), "blas": Compute.blasProblem == nil ? "OpenBLAS" : .null,
    ]
  }
}
