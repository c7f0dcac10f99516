package import Decoding
package import Drift
package import Journals
import Models
import Tokenizers

/// What is told of the progress of a verification.
package protocol VerificationProgress {
  /// - Parameters:
  ///   - stage: what is being done, in words.
  ///   - share: of the stage that is done, 0 to 1.
  func update(_ stage: String, _ share: Double)
  /// Whether somebody hears ``note(_:)``.
  var tells: Bool { get }
  /// What a person should know before it begins.
  func note(_ text: String)
  /// The largest anonymous memory seen, in bytes.
  var peakMemory: Int { get }
}

/// Measures a candidate against a reference, and keeps what the reference said.
package struct Verification {
  let reference: VerificationReference
  /// Nil where the reference is only recorded.
  let candidate: ComparedModel?
  /// Another candidate, held against the first at the same positions.
  let versus: ComparedModel?
  let special: SpecialTokens
  let options: VerificationOptions
  let data: VerificationData
  /// Whether a record is made; needs a reference that runs.
  let records: Bool
  let keeping: Keeping
  /// XXH3 of the record that stands as the reference.
  let referenceHash: UInt64?
  /// Version of what writes reports.
  let tool: String
  let progress: any VerificationProgress
  /// An error in one sentence, for `missing[]`.
  let sentence: (VerificationError) -> String
  let ledger = Ledger()

  /// - Precondition: a part attributes drift to no experts: which are looked at is told by all groups.
  package init(
    reference: VerificationReference, candidate: ComparedModel?, versus: ComparedModel? = nil, special: SpecialTokens,
    options: VerificationOptions, data: VerificationData, records: Bool, keeping: Keeping = .nothing,
    referenceHash: UInt64? = nil, tool: String, progress: any VerificationProgress,
    sentence: @escaping (VerificationError) -> String
  ) {
    self.reference = reference
    self.candidate = candidate
    self.versus = versus
    self.special = special
    self.options = options
    self.data = data
    self.records = records
    self.keeping = keeping
    self.referenceHash = referenceHash
    self.tool = tool
    self.progress = progress
    self.sentence = sentence
  }

  /// Noise of one bf16 rounding, relative.
  static let noise = 1.0 / 512

  package struct Outcome {
    /// Without gates, which are looked at when the numbers are there; nil without a candidate, and of a part.
    package let report: DriftReport?
    /// Nil unless one was asked for and all that the reference said are numbers.
    package let record: DriftRecord?
    /// Why not everything that was asked for is there.
    package let failure: VerificationError?
    /// That of the run, to be ended before outputs are written, and removed behind them.
    package let journal: Journal?
  }

  /// Which models these are; found out before the levels, which take a while.
  struct Models {
    let reference: DriftRecord.Model
    let candidate: DriftRecord.Model?
    let versus: DriftRecord.Model?
  }

  /// What the levels found.
  struct Sections {
    var weights: DriftReport.Weights?
    var masked: DriftReport.Masked?
    var layers: [DriftReport.Layer] = []
    var routing: DriftReport.Routing?
    var preferences: DriftReport.Preferences?
    var blockLengths: [DriftReport.BlockLength] = []
    var floor: DriftReport.Floor?
    var trajectories: DriftReport.Trajectories?
    var tasks: DriftReport.Tasks?
    var attribution: DriftReport.Attribution?
    var replay: DriftReport.RouteReplay?
    var versus: DriftReport.Versus?
    /// Along the reference's path, whether candidate and the other decide as it does.
    var decisions: PairedSums?
    var notes: [String] = []
    var seconds = DriftReport.LevelTimes()
    /// Seconds of what others measured, or was measured before.
    var elsewhere = 0.0
    var passes = 0
    var isLossless: Bool?
    /// Whether both gave the same numbers wherever numbers were compared; nil where none were. Tokens are no numbers.
    var isSame: Bool?
    var nonFinite: [NonFiniteFinding] = []
    /// Levels that ended early, and why.
    var failures: [(level: VerificationLevel, error: VerificationError)] = []
    /// What the reference said, for a record.
    var said = RecordedParts()
    let models: Models

    init(models: Models) { self.models = models }

    func has(_ level: VerificationLevel) -> Bool {
      switch level {
      case .weights: weights != nil
      case .masked: masked != nil
      case .trajectories: trajectories != nil
      case .tasks: tasks != nil
      }
    }

    /// Numbers that were compared beside others.
    mutating func compared(isSame: Bool) { self.isSame = (self.isSame ?? true) && isSame }
  }

  /// The parts of a record.
  struct RecordedParts {
    var scores: ReferenceScores?
    var trajectories: DriftRecord.Trajectories?
    var floor: NoiseFloor?
  }

  /// - Throws: what comes before all levels, or what stopped a level where nothing else was measured. Else a level that fails
  ///   takes none of the others along.
  package func run() throws(VerificationError) -> Outcome {
    // Refuses options with which nothing could be decoded, before anything divides by them.
    if let model = reference.model ?? candidate {
      _ = try decoder(model)
      for length in options.blockLengths { _ = try decoder(model, blockLength: length) }
    }
    if options.levels.contains(.tasks) { for prompt in data.prompts { _ = try check(prompt) } }
    let clock = ContinuousClock()
    let start = clock.now
    let before = bytesRead
    func described(_ model: ComparedModel?) throws(VerificationError) -> DriftRecord.Model? {
      guard let model else { return nil }
      return try DriftRecord.Model(model)
    }
    var sections = Sections(
      models: Models(
        reference: try reference.described(), candidate: try described(candidate), versus: try described(versus)))
    var encoded = try encode()
    if case .nothing = keeping {
    } else {
      let kept = try KeptMeasurements(keeping, run: identity(sections.models, encoded))
      if kept.isThere { return Outcome(report: nil, record: nil, failure: nil, journal: kept.journal) }
      ledger.kept = kept
    }
    if let model = reference.model, generates || encoded.texts.isEmpty { try requireDecodable(encoded.prompts, model) }
    if encoded.cut > 0 {
      sections.notes.append(
        "answers that do not fit the model's positions and were cut there: \(encoded.cut)")
    }
    if options.levels.contains(.masked), !encoded.texts.isEmpty { try tellDuration(encoded) }
    var errors: [Int: [Int: Double]] = [:]
    if let first = reference.model, let candidate,
      options.levels.contains(.weights) || options.attribution == .experts
    {
      measure(.weights, &sections) { sections throws(VerificationError) in
        errors = try weights(first, candidate, &sections)
      }
    }
    // A record has the texts that were generated when it was made.
    let lacksTexts = encoded.texts.isEmpty && options.levels.contains(.masked)
    if generates || lacksTexts && reference.model != nil {
      measure(generates && !options.levels.contains(.trajectories) ? .tasks : .trajectories, &sections) {
        sections throws(VerificationError) in try trajectories(&encoded, &sections)
      }
      if lacksTexts, !encoded.texts.isEmpty { try tellDuration(encoded) }
    }
    if options.levels.contains(.masked) {
      measure(.masked, &sections) { sections throws(VerificationError) in
        try scored(encoded, expertErrors: errors, &sections)
      }
    }
    // A level that cannot be measured is missing; what was measured and cannot be kept or read is no such thing.
    if let error = sections.failures.map(\.error).first(where: \.isOfKeeping) { throw error }
    do throws(ModelError) {
      for model in [reference.model, candidate, versus] { try model?.weights.requireUnchanged() }
    } catch { throw .model(error) }
    let read = (
      bytesRead.reference - before.reference + ledger.read.reference,
      bytesRead.candidate - before.candidate + ledger.read.candidate
    )
    let elsewhere = sections.elsewhere
    let cost = Cost(seconds: (clock.now - start) / .seconds(1) + elsewhere, read: read)
    let failure = sections.failures.first?.error
    let journal = ledger.kept?.journal
    if let kept = ledger.kept, kept.isPart {
      if let failure { throw failure }
      try kept.write()
      return Outcome(report: nil, record: nil, failure: nil, journal: journal)
    }
    if let failure, !VerificationLevel.allCases.contains(where: sections.has) { throw failure }
    let unrecordable = records ? sections.nonFinite.first { ["reference", "floor"].contains($0.model) } : nil
    let isWhole = failure == nil && unrecordable == nil
    return Outcome(
      report: report(encoded, sections, cost), record: isWhole ? record(encoded, sections) : nil,
      failure: failure ?? unrecordable.map { .unrecordable($0) }, journal: journal)
  }

  /// Whether a file says that it is a part.
  package static func isPart(_ path: String) -> Bool { KeptMeasurements.isPart(path) }

  /// Whether the prompts are decoded for their own sake.
  var generates: Bool { options.levels.contains(.trajectories) || options.levels.contains(.tasks) }

  var bytesRead: (reference: Int, candidate: Int) {
    (reference.model?.weights.counters.bytesRead ?? 0, candidate?.weights.counters.bytesRead ?? 0)
  }

  /// Measures a level; what stops it is kept, and other levels go on.
  private func measure(
    _ level: VerificationLevel, _ sections: inout Sections,
    _ body: (inout Sections) throws(VerificationError) -> Void
  ) {
    let clock = ContinuousClock()
    let start = clock.now
    do throws(VerificationError) { try body(&sections) } catch { sections.failures.append((level, error)) }
    sections.elsewhere += ledger.seconds
    sections.seconds.add(level.rawValue, (clock.now - start) / .seconds(1) + ledger.seconds)
    ledger.seconds = 0
  }

  private func encode() throws(VerificationError) -> EncodedData {
    switch reference {
    case .record(let record, _): return EncodedData(record)
    case .model(let model):
      return try EncodedData(
        data, model, try decoder(model), windowLength: options.windowLength, fill: special.stops[0],
        isRaw: options.isRaw ?? false)
    }
  }

  private func record(_ encoded: EncodedData, _ sections: Sections) -> DriftRecord? {
    guard records else { return nil }
    var record = DriftRecord(
      model: sections.models.reference,
      options: .init(
        maskRatios: options.maskRatios, seed: options.seed, isRaw: options.isRaw, special: special,
        decoder: options.decoder,
        decoding: options.decoding),
      promptSource: data.source, prompts: zip(data.prompts, encoded.prompts).map { .init($0, tokens: $1) },
      textSource: encoded.textSource, texts: encoded.texts, pairs: encoded.pairs, cut: encoded.cut)
    record.scores = sections.said.scores
    record.trajectories = sections.said.trajectories
    record.floor = sections.said.floor
    record.notes = sections.notes
    return record
  }

  var teller: ComparedModel? { candidate ?? reference.model }

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
