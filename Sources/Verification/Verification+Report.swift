import Drift
import Kernels
import Models
import Pack
import Text

// The report, when the numbers are there.

extension Verification {
  struct Cost {
    let seconds: Double
    /// Bytes of routed experts.
    let read: (reference: Int, candidate: Int)
  }

  /// Nil without a candidate.
  func report(_ encoded: EncodedData, _ sections: Sections, _ cost: Cost) -> DriftReport? {
    guard let candidate, let own = sections.models.candidate else { return nil }
    var report = DriftReport(
      ingot: tool, reference: reference.section(sections.models.reference),
      candidate: .init(own, running: candidate, isLossless: sections.isLossless),
      data: dataFacts(encoded), cost: costSection(sections, cost, candidate.model.compute))
    // Where weights were not compared, other encodings tell that quantization did something.
    let mayBeSame = sections.isLossless ?? (sections.models.reference.experts == own.experts)
    report.verdict.zeroDrift = sections.isSame == true && !mayBeSame
    report.weights = sections.weights
    report.masked = sections.masked
    report.layers = sections.layers
    report.routing = sections.routing
    report.preferences = sections.preferences
    report.blockLengths = sections.blockLengths
    report.floor = sections.floor
    report.trajectories = sections.trajectories
    report.tasks = sections.tasks
    report.attribution = sections.attribution
    report.routeReplay = sections.replay
    report.versus = sections.versus
    report.missing = missing(sections)
    report.nonFinite = sections.nonFinite
    // What a reader must know, the most important first.
    report.notes =
      report.missing.map(\.sentence) + report.nonFinite.map(\.sentence) + sections.notes + recordNotes
      + [tailNote(report.masked)].compactMap(\.self)
    return report
  }

  /// Levels that were asked for and could not be measured; one that decodes takes the other along.
  private func missing(_ sections: Sections) -> [DriftReport.MissingLevel] {
    VerificationLevel.allCases.compactMap { level in
      guard options.levels.contains(level), !sections.has(level) else { return nil }
      let isDecoding = level == .trajectories || level == .tasks
      let failed = sections.failures.first {
        $0.level == level || isDecoding && ($0.level == .trajectories || $0.level == .tasks)
      }
      return failed.map { .init(level: level.rawValue, reason: sentence($0.error)) }
    }
  }

  /// A mean that a few positions lead says little about the others.
  private func tailNote(_ masked: DriftReport.Masked?) -> String? {
    guard let masked, let share = masked.robust?.tenWorstShare, share > 0.5, masked.positions > 20 else { return nil }
    return
      "the ten worst of \(Format.count(masked.positions)) positions hold \(Format.fixed(100 * share, 0)) % of the mean "
      + "KL, which then varies from data to data; masked.robust has means that they do not lead"
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
    if record.model.computation == nil {
      notes.append(
        "the record is of version 1, which does not say the rotary base and the like: another would not be noticed")
    }
    if options.measuresFloor, record.scores != nil, record.floor == nil {
      notes.append("the record was made without a noise floor")
    }
    return notes
  }

  private func dataFacts(_ encoded: EncodedData) -> DriftReport.DataFacts {
    // A prompt that nothing was written for has an empty text.
    let texts = encoded.texts.filter { !$0.scored.isEmpty }
    let ids = texts.flatMap { $0.tokens.map(UInt32.init) + [UInt32($0.scored.lowerBound), .max] }
    let asked = data.prompts.flatMap { Array("\($0.prompt)\0\($0.answer ?? "")\0".utf8) }
    return DriftReport.DataFacts(
      prompts: .init(
        source: data.source, count: data.prompts.count, hash: XXH3.text(unsafe XXH3.hash(asked.span.bytes)),
        withAnswers: data.prompts.count { $0.answer != nil }, withPreferences: encoded.pairs.count),
      texts: .init(
        source: encoded.textSource, count: texts.count, tokens: texts.reduce(0) { $0 + $1.tokens.count },
        scoredPositions: texts.reduce(0) { $0 + $1.scored.count },
        hash: XXH3.text(unsafe XXH3.hash(ids.span.bytes))),
      raw: options.isRaw, seed: options.seed, maskRatios: options.maskRatios, decoding: options.decoding,
      decoder: options.decoder,
      levels: VerificationLevel.allCases.filter(options.levels.contains).map(\.rawValue))
  }

  private func costSection(_ sections: Sections, _ cost: Cost, _ compute: Compute) -> DriftReport.Cost {
    DriftReport.Cost(
      seconds: cost.seconds, byLevel: sections.seconds, peakMemory: max(progress.peakMemory, ledger.peakMemory),
      bytesRead: .init(reference: cost.read.reference, candidate: cost.read.candidate), passes: sections.passes,
      threads: compute.threads, kernels: compute.kernels.name)
  }
}
