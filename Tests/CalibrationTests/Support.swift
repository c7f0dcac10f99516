import Calibration
import Kernels
import Models
import TestSupport

/// Texts of the pico model: a question whose answer may be masked, and plain ones of uneven lengths.
func someTexts(vocabulary: Int = 600, lengths: [Int] = [70, 64, 33, 40]) -> [CalibrationText] {
  var random = SeededRandom(seed: 7)
  return lengths.enumerated().map { index, count in
    let tokens = (0..<count).map { _ in Int.random(in: 0..<vocabulary, using: &random) }
    return CalibrationText(tokens: tokens, maskable: (index == 0 ? 41 : 0)..<count)
  }
}

func pico(threads: Int = 2, kernels: KernelSet = .best) throws -> TransformerModel {
  try TransformerModel(
    StoredWeights(path: Trained.checkpoint("pico"), cacheBudget: 0),
    compute: Compute(kernels: kernels, threads: threads))
}

func picoCopies(_ texts: [CalibrationText] = someTexts(), seed: UInt64 = 5) -> NoisyCopies {
  NoisyCopies(texts, blockLength: 32, mask: 639, seed: seed)
}

func document(_ model: TransformerModel, _ copies: NoisyCopies, edits: Bool = false) -> CalibrationDocument {
  CalibrationDocument(
    modelHash: 0x1234_5678_9ABC_DEF0, model.configuration, edits: edits, copies: copies,
    parts: [.init(name: "texts", available: 9, texts: copies.texts.count, rows: copies.rowCount)])
}

/// Writes a file of the states of `model`.
func writeStates(_ model: TransformerModel, _ copies: NoisyCopies, to path: String) throws {
  let writer = try CalibrationWriter(document(model, copies), copies, to: path, replaces: true)
  try StatePass(model, copies).run(
    add: { rows in
      do { try writer.add(rows) } catch { return false }
      return true
    },
    finished: { _ in
      writer.finishLayer()
      return true
    }, progress: { _ in true })
  try writer.finish()
}

/// All layers of a source.
func layers(_ source: any StateSource) throws -> [LayerStates] {
  var layers: [LayerStates] = []
  try source.forEachLayer {
    layers.append($0)
    return true
  }
  return layers
}
