import Calibration
import Decoding
import Drift
import Inspection
import Kernels
import Models
import Storage
import Tensors
import Text
import Verification

/// A model opened, and the texts that its states are taken on.
struct CalibrationInput {
  let model: RunModel
  let copies: NoisyCopies
  let document: CalibrationDocument
  /// What a person should know.
  let notes: [String]

  /// A text file is cut into windows of so many tokens, or a block where that is more: there is context for all but the first
  /// block, and many beginnings.
  private static let windowLength = 128

  init(
    _ arguments: CalibrationArguments, checkpoint: String, companions: String? = nil, asNumbers: Bool = false,
    compute: Compute, maxMemory: Int, _ progress: StageProgress
  ) throws(Failure) {
    let model = try RunModel(
      path: checkpoint, companions: companions, asNumbers: asNumbers, compute: compute, cacheBudget: 0)
    let name = arguments.decoder ?? DecoderName(for: model.weights)
    let special = try model.specialTokens(stopsAtTurnEnd: name.stopsAtTurnEnd)
    let blockLength = arguments.blockLength ?? model.configuration.blockLength
    var options = try name.options(model.configuration, path: checkpoint)
    (options.blockLength, options.steps) = (blockLength, blockLength)
    let decoder: BlockDiffusion
    do throws(DecodingError) {
      decoder = try BlockDiffusion(model.model, options: options, special: special)
    } catch { throw Failure(error, prompt: checkpoint, longest: 0, tokenizer: model.tokenizer) }
    let compared = try model.compared()
    var notes = model.weights.notes.map(\.text)
    var sources: [CalibrationMix.Source] = []
    func add(_ path: String, _ data: VerificationData) throws(Failure) {
      let encoded: EncodedData
      do throws(VerificationError) {
        encoded = try EncodedData(
          data, compared, decoder, windowLength: max(Self.windowLength, blockLength), fill: special.stops[0],
          isRaw: false)
      } catch { throw Failure(error) }
      let rejected = Set(encoded.pairs.map(\.rejected))
      let texts = encoded.texts.indices.filter { !rejected.contains($0) && !encoded.texts[$0].maskable.isEmpty }
      guard !texts.isEmpty else { throw Failure(nothingToCalibrate: path) }
      let unanswered = data.prompts.count { $0.answer == nil && $0.chosen == nil }
      if unanswered > 0 {
        notes.append(
          "\(Shown.input(path)) has \(Format.count(unanswered)) prompts without answers; they are left out")
      }
      if encoded.cut > 0 {
        notes.append(
          "\(Shown.input(path)) has \(Format.count(encoded.cut)) answers that are cut where the model's positions end")
      }
      if !data.unusedKeys.isEmpty {
        notes.append("\(Shown.input(path)) has keys that nothing reads: \(SourceNote.list(data.unusedKeys))")
      }
      sources.append(
        .init(
          name: OutputFile.split(path).name,
          texts: texts.map {
            CalibrationText(tokens: encoded.texts[$0].tokens, maskable: encoded.texts[$0].maskable)
          }))
    }
    for path in arguments.prompts {
      let bytes = try TextInput.contents(of: path)
      let data: VerificationData
      do throws(VerificationError) { data = try VerificationData(prompts: bytes, path: path) } catch {
        throw Failure(error)
      }
      try add(path, data)
    }
    for path in arguments.text {
      let content = try TextInput.string(try TextInput.contents(of: path), Shown.input(path))
      guard !content.isEmpty else { throw Failure(emptyText: path) }
      var data = VerificationData()
      (data.prompts, data.text) = ([], (path, content))
      try add(path, data)
    }
    if let count = arguments.generate {
      let generated = try GeneratedTexts(
        model, pack: arguments.generator, options: options, special: special, maxMemory: maxMemory)
      sources.append(
        .init(
          name: "generated",
          texts: try generated.texts(count, blockLength: blockLength) {
            progress.update("generating", $0)
            return !Interrupt.isRequested
          }))
    }
    let wanted = arguments.tokens?.value ?? TokenCount.standard
    let seed = arguments.seed ?? 0
    let ratios = NoisyCopies.ratios(for: model.configuration.conventions.prediction)
    let mix = CalibrationMix(sources, rows: wanted, blockLength: blockLength, seed: seed, ratios: ratios)
    if mix.rowCount < wanted {
      notes.append(
        "the data gives \(Format.count(mix.rowCount)) token states of the \(Format.count(wanted)) asked for")
    }
    copies = NoisyCopies(mix.texts, blockLength: blockLength, mask: special.mask, seed: seed, ratios: ratios)
    document = CalibrationDocument(
      modelHash: try model.identity().hash, model.configuration, edits: name.edits, copies: copies,
      parts: mix.parts)
    self.model = model
    self.notes = notes
  }
}
