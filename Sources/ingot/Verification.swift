import Decoding
import Drift
import JSON
import Models
import Tokenizers

/// Measures a candidate against a reference, and keeps what the reference said.
struct Verification {
  let reference: VerifyReference
  /// Nil where the reference is only recorded.
  let candidate: RunModel?
  let special: SpecialTokens
  let options: VerifyOptions
  let data: VerifyData
  let progress: StageProgress
  /// Whether a record is made; needs a reference that runs.
  var records = false

  /// Noise of one bf16 rounding, relative.
  static let noise = 1.0 / 512

  struct Outcome {
    /// The report of `Formats/drift-report.md`; nil without a candidate.
    let document: JSONValue?
    /// Nil unless one was asked for and all that the reference said are numbers.
    let record: DriftRecord?
    /// Why not everything that was asked for is there.
    let failure: Failure?
  }

  /// What the levels found.
  struct Sections {
    var weights = JSONValue.null
    var masked = JSONValue.null
    var layers: [JSONValue] = []
    var routing = JSONValue.null
    var preferences = JSONValue.null
    var blockLengths: [JSONValue] = []
    var floor = JSONValue.null
    var trajectories = JSONValue.null
    var tasks = JSONValue.null
    var attribution = JSONValue.null
    var replay = JSONValue.null
    var notes: [String] = []
    var seconds: [(VerifyLevel, Double)] = []
    var passes = 0
    var isLossless: Bool?
    /// Whether both gave the same numbers wherever numbers were compared; nil where none were. Tokens are no numbers.
    var isSame: Bool?
    var nonFinite: [NonFiniteFinding] = []
    /// Levels that ended early, and why.
    var failures: [(level: VerifyLevel, failure: Failure)] = []
    /// What the reference said, for a record.
    var said = Said()
    /// Which models these are; found out before the levels, which take a while.
    let models: (reference: DriftRecord.Model, candidate: DriftRecord.Model?)

    /// Whether there is a section of a report.
    var hasMeasured: Bool { [weights, masked, trajectories, tasks].contains { $0 != .null } }

    /// Numbers that were compared beside others.
    mutating func compared(isSame: Bool) { self.isSame = (self.isSame ?? true) && isSame }
  }

  /// The parts of a record.
  struct Said {
    var scores: ReferenceScores?
    var trajectories: DriftRecord.Trajectories?
    var floor: NoiseFloor?
  }

  /// - Throws: what comes before all levels, a signal, or what stopped a level where nothing else was measured. Else a level
  ///   that fails takes none of the others along.
  func run() throws(Failure) -> Outcome {
    // Refuses options with which nothing could be decoded, before anything divides by them.
    if let model = reference.model ?? candidate {
      _ = try decoder(model)
      for length in options.blockLengths { _ = try decoder(model, blockLength: length) }
    }
    if options.levels.contains(.tasks) { for prompt in data.prompts { _ = try check(prompt) } }
    let start = Clock.seconds
    let before = bytesRead
    var sections = Sections(
      models: (try reference.described(), try candidate.map { model throws(Failure) in try DriftRecord.Model(model) }))
    var encoded = try encode()
    if let model = reference.model, generates || encoded.texts.isEmpty { try requireDecodable(encoded.prompts, model) }
    if encoded.cut > 0 {
      sections.notes.append(
        "answers that do not fit the model's positions and were cut there: \(encoded.cut)")
    }
    var errors: [Int: [Int: Double]] = [:]
    if let first = reference.model, let candidate,
      options.levels.contains(.weights) || options.attribution == .experts
    {
      try measure(.weights, &sections) { sections throws(Failure) in
        errors = try weights(first, candidate, &sections)
      }
    }
    // A record has the texts that were generated when it was made.
    let lacksTexts = encoded.texts.isEmpty && options.levels.contains(.masked)
    if generates || lacksTexts && reference.model != nil {
      try measure(generates && !options.levels.contains(.trajectories) ? .tasks : .trajectories, &sections) {
        sections throws(Failure) in try trajectories(&encoded, &sections)
      }
    }
    if options.levels.contains(.masked) {
      try measure(.masked, &sections) { sections throws(Failure) in
        try scored(encoded, expertErrors: errors, &sections)
      }
    }
    progress.finish()
    do throws(ModelError) {
      for model in [reference.model, candidate] { try model?.weights.requireUnchanged() }
    } catch { throw Failure(error) }
    let read = (bytesRead.reference - before.reference, bytesRead.candidate - before.candidate)
    let cost = Cost(seconds: Clock.seconds - start, read: read)
    let failure = sections.failures.first?.failure
    if let failure, !sections.hasMeasured { throw failure }
    let unrecordable = records ? sections.nonFinite.first { ["reference", "floor"].contains($0.model) } : nil
    let isWhole = failure == nil && unrecordable == nil
    return Outcome(
      document: document(encoded, sections, cost), record: isWhole ? record(encoded, sections) : nil,
      failure: failure ?? unrecordable.map { Failure(unrecordable: $0) })
  }

  /// Whether the prompts are decoded for their own sake.
  var generates: Bool { options.levels.contains(.trajectories) || options.levels.contains(.tasks) }

  private var bytesRead: (reference: Int, candidate: Int) {
    (reference.model?.weights.counters.bytesRead ?? 0, candidate?.weights.counters.bytesRead ?? 0)
  }

  /// Measures a level; what stops it is kept, and other levels go on.
  ///
  /// - Throws: an interruption.
  private func measure(
    _ level: VerifyLevel, _ sections: inout Sections, _ body: (inout Sections) throws(Failure) -> Void
  ) throws(Failure) {
    let start = Clock.seconds
    do throws(Failure) { try body(&sections) } catch {
      if Interrupt.isRequested { throw error }
      sections.failures.append((level, error))
    }
    sections.seconds.append((level, Clock.seconds - start))
  }

  private func encode() throws(Failure) -> EncodedData {
    switch reference {
    case .record(let record, _): return EncodedData(record)
    case .model(let model):
      return try EncodedData(
        data, model, try decoder(model), windowLength: options.windowLength, fill: special.stops[0],
        isRaw: options.isRaw)
    }
  }

  private func record(_ encoded: EncodedData, _ sections: Sections) -> DriftRecord? {
    guard records else { return nil }
    var record = DriftRecord(
      model: sections.models.reference,
      options: .init(
        maskRatios: options.maskRatios, seed: options.seed, special: special, decoder: options.decoder.rawValue,
        decoding: options.decoding),
      promptSource: data.source, prompts: zip(data.prompts, encoded.prompts).map { .init($0, tokens: $1) },
      textSource: encoded.textSource, texts: encoded.texts, pairs: encoded.pairs, cut: encoded.cut)
    record.scores = sections.said.scores
    record.trajectories = sections.said.trajectories
    record.floor = sections.said.floor
    record.notes = sections.notes
    return record
  }

  var teller: RunModel? { candidate ?? reference.model }

  /// An answer as a person reads it: special tokens are none.
  func answerText(_ tokens: [Int]) -> String {
    teller.map { String(decoding: $0.text(of: tokens), as: UTF8.self) } ?? ""
  }

  /// Tokens as a report shows them: special tokens by their names, since they are what may differ.
  func words(_ tokens: [Int]) -> String {
    guard let teller else { return "" }
    var bytes: [UInt8] = []
    for token in tokens {
      bytes += teller.tokenizer.specialName(of: token).map { Array($0.utf8) } ?? teller.text(of: [token])
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
