import Conversion
import Quantization

/// What is known of the drift of quantized experts before it is measured: the first table of the README, of a small model of English
/// prose (`Tools/Bench/runs/2026-11-26-fidelity`).
enum KnownDrift {
  struct Row {
    let experts: Recipe.Choice
    /// What experts of a target came to; nil where none was given.
    let target: PrecisionTarget?
    /// Of the drift that searched scales leave without states, and its 95 % interval.
    let share: String
  }

  /// Packs that were made with states; the encodings are ones that there are.
  static let calibrated: [Row] = [
    Row(experts: Recipe.Choice(name: "int4-g64")!, target: nil, share: "0.330 [0.313, 0.348]"),
    Row(experts: Recipe.Choice(name: "int4-g32s8")!, target: nil, share: "0.275 [0.259, 0.292]"),
    Row(experts: .byTarget, target: .bitsPerWeight(4.25), share: "0.211 [0.197, 0.228]"),
  ]

  /// In a sentence; nil where nothing is known.
  static func text(_ options: ConversionPlan.Options) -> String? {
    let model = "on a small model of English prose"
    if options.calibration == nil {
      guard options.recipe.experts == .standardExperts, options.solver.name == ConversionPlan.Options().solver.name
      else {
        return nil
      }
      return
        "drift to expect: unknown until it is measured; with --calibration, \(calibrated[0].share) of it was left \(model)"
    }
    guard options.engine == nil,
      let row = calibrated.first(where: { $0.experts == options.recipe.experts && $0.target == options.target })
    else { return nil }
    return
      "drift to expect: \(row.share) of what \(Recipe.Choice.standardExperts) without states has, as measured \(model)"
  }
}
