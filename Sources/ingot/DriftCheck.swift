import Decoding
import Drift
import Models
import Text
import Verification

/// How far packs drift from their checkpoint on texts that are held out: what `ingot verify --level masked` measures by default.
struct DriftCheck {
  /// What held the texts.
  let source: String
  private let record: DriftRecord
  private let special: SpecialTokens
  private let options: VerificationOptions
  private let data: VerificationData
  private let path: String
  private let maxMemory: Int
  private let progress: StageProgress

  /// Runs the checkpoint over the texts.
  ///
  /// - Parameters:
  ///   - heldOut: lines of JSON where its name ends in `.jsonl`, else plain text.
  ///   - decoder, blockLength: nil for those that go with the model.
  ///   - maxMemory: of the whole run, of which a part is taken here.
  init(
    checkpoint: String, heldOut: String, decoder: DecoderName?, blockLength: Int?, compute: Compute, maxMemory: Int,
    _ progress: StageProgress
  ) throws(Failure) {
    let model = try RunModel(path: checkpoint, compute: compute, cacheBudget: 0)
    let name = decoder ?? DecoderName(for: model.weights)
    special = try model.specialTokens(stopsAtTurnEnd: name.stopsAtTurnEnd)
    var options = VerificationOptions()
    options.levels = [.masked]
    options.decoding = try name.options(model.configuration, path: checkpoint)
    let blockLength = blockLength ?? model.configuration.blockLength
    (options.decoding.blockLength, options.decoding.steps) = (blockLength, blockLength)
    options.decoder = name.rawValue
    options.maskRatios = VerificationOptions.maskRatios(nil, for: model.configuration)
    (options.measuresFloor, options.replaysRoutes) = (false, false)
    options.memory = maxMemory / 4
    options.dataMemory = max(maxMemory / 4, VerificationOptions.leastDataMemory)
    var data = VerificationData()
    let bytes = try TextInput.contents(of: heldOut)
    if heldOut.hasSuffix(".jsonl") {
      do throws(VerificationError) { data = try VerificationData(prompts: bytes, path: heldOut) } catch {
        throw Failure(error)
      }
    } else {
      let content = try TextInput.string(bytes, Shown.input(heldOut))
      guard !content.isEmpty else { throw Failure(emptyText: heldOut) }
      (data.prompts, data.text) = ([], (heldOut, content))
    }
    (self.options, self.data) = (options, data)
    (source, path, self.maxMemory, self.progress) = (heldOut, checkpoint, maxMemory, progress)
    let outcome = try Self.run(
      Verification(
        reference: .model(try model.compared()), candidate: nil, special: special, options: options, data: data,
        records: true, tool: toolVersion, progress: progress, sentence: { Failure($0).sentence }))
    guard let record = outcome.record else { throw Failure(nothingToCheck: heldOut) }
    self.record = record
  }

  /// Mean KL divergence of a pack from the checkpoint, in nats.
  func divergence(of pack: String, compute: Compute) throws(Failure) -> Double {
    let model = try RunModel(path: pack, compute: compute, cacheBudget: maxMemory / 8)
    let outcome = try Self.run(
      Verification(
        reference: .record(record, path: path), candidate: try model.compared(), special: special, options: options,
        data: data, records: false, tool: toolVersion, progress: progress, sentence: { Failure($0).sentence }))
    guard let report = outcome.report, report.nonFinite.isEmpty, let mean = report.masked?.kl?.mean else {
      throw Failure(notFiniteOn: source)
    }
    return mean
  }

  private static func run(_ verification: Verification) throws(Failure) -> Verification.Outcome {
    let outcome: Verification.Outcome
    do throws(VerificationError) {
      outcome = try verification.run()
      if let failure = outcome.failure { throw failure }
    } catch {
      if case .textsNeed(let needed, let limit, let source) = error {
        throw Failure(heldOutNeeds: needed, limit: limit, source: source)
      }
      throw Failure(error)
    }
    return outcome
  }
}
