package import Decoding
package import Drift
import Models
import Tokenizers

/// What is told of the progress of a verification.
package protocol VerificationProgress {
  /// - Parameters:
  ///   - stage: what is being done, in words.
  ///   - share: of the stage that is done, 0 to 1.
  func update(_ stage: String, _ share: Double)
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
  /// Version of what writes reports.
  let tool: String
  let progress: any VerificationProgress
  /// An error in one sentence, for `missing[]`.
  let sentence: (VerificationError) -> String

  package init(
    reference: VerificationReference, candidate: ComparedModel?, versus: ComparedModel? = nil, special: SpecialTokens,
    options: VerificationOptions, data: VerificationData, records: Bool, tool: String,
    progress: any VerificationProgress,
    sentence: @escaping (VerificationError) -> String
  ) {
    self.reference = reference
    self.candidate = candidate
    self.versus = versus
    self.special = special
    self.options = options
    self.data = data
    self.records = records
    self.tool = tool
    self.progress = progress
    self.sentence = sentence
  }

  /// Noise of one bf16 rounding, relative.
  static let noise = 1.0 / 512

  package struct Outcome {
    /// Without gates, which are looked at when the numbers are there; nil without a candidate.
    package let report: DriftReport?
    /// Nil unless one was asked for and all that the reference said are numbers.
    package let record: DriftRecord?
    /// Why not everything that was asked for is there.
    package let failure: VerificationError?
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
    if let model = reference.model, generates || encoded.texts.isEmpty { try requireDecodable(encoded.prompts, model) }
    if encoded.cut > 0 {
      sections.notes.append(
        "answers that do not fit the model's positions and were cut there: \(encoded.cut)")
    }
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
    }
    if options.levels.contains(.masked) {
      measure(.masked, &sections) { sections throws(VerificationError) in
        try scored(encoded, expertErrors: errors, &sections)
      }
    }
    do throws(ModelError) {
      for model in [reference.model, candidate, versus] { try model?.weights.requireUnchanged() }
    } catch { throw .model(error) }
    let read = (bytesRead.reference - before.reference, bytesRead.candidate - before.candidate)
    let cost = Cost(seconds: (clock.now - start) / .seconds(1), read: read)
    let failure = sections.failures.first?.error
    if let failure, !VerificationLevel.allCases.contains(where: sections.has) { throw failure }
    let unrecordable = records ? sections.nonFinite.first { ["reference", "floor"].contains($0.model) } : nil
    let isWhole = failure == nil && unrecordable == nil
    return Outcome(
      report: report(encoded, sections, cost), record: isWhole ? record(encoded, sections) : nil,
      failure: failure ?? unrecordable.map { .unrecordable($0) })
  }

  /// Whether the prompts are decoded for their own sake.
  var generates: Bool { options.levels.contains(.trajectories) || options.levels.contains(.tasks) }

  private var bytesRead: (reference: Int, candidate: Int) {
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
    sections.seconds.add(level.rawValue, (clock.now - start) / .seconds(1))
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
