import ArgumentParser
import Decoding
import Models

/// What `run` and `verify` can be told of the decoder; what is not said is as its authors published it.
struct DecodingArguments: ParsableArguments {
  @Option(
    help:
      "2.0, 2.1-quality, 2.1-speed or 2.2; next-token for Ling. (default: the model's, 2.2 with block routing, else 2.0)"
  )
  var decoder: DecoderName?

  @Option(help: "Forwards that a block's masks are spread over. (default: the block length)")
  var steps: Int?

  @Option(help: "Probability above which a token is committed. (default: the decoder's)")
  var threshold: Float?

  @Option(help: "2.1 and 2.2: probability above which a committed token is replaced. (default: the decoder's)")
  var editingThreshold: Float?

  @Option(help: "2.1 and 2.2: forwards that may edit once the block's first masks are filled. (default: 16)")
  var maxPostSteps: Int?

  @Option(help: "2.2: most forwards for a block; the last one fills its masks. (default: 1000)")
  var maxSteps: Int?

  @Flag(help: "2.0: stop within a block once the end of the answer and all before it are committed.")
  var stopEarly = false

  func name(for model: RunModel) -> DecoderName { decoder ?? DecoderName(for: model.weights) }

  /// - Parameter blockLength: nil for the model's own.
  func options(
    for model: RunModel, blockLength: Int?, generationLength: Int
  ) throws(Failure) -> DecodingOptions {
    var options = try name(for: model).options(model.configuration, path: model.path)
    let blockLength = blockLength ?? model.configuration.blockLength
    options.blockLength = blockLength
    options.steps = steps ?? blockLength
    options.generationLength = generationLength
    options.threshold = threshold ?? options.threshold
    options.decoder = options.decoder.with(
      threshold: editingThreshold, maximumPostSteps: maxPostSteps, maximumSteps: maxSteps)
    options.stopsEarly = stopEarly
    return options
  }

  /// Which of the options change nothing, and why.
  func idleOptions(_ name: DecoderName) -> [String] {
    let idle: [(option: String, isIdle: Bool, reason: String)] = [
      ("--editing-threshold", editingThreshold != nil && !name.edits, "edits nothing"),
      ("--max-post-steps", maxPostSteps != nil && !name.edits, "edits nothing"),
      ("--max-steps", maxSteps != nil && name != .llada22, "needs no such limit"),
      ("--stop-early", stopEarly && name.edits, "may still edit what is committed"),
      ("--stop-early", stopEarly && name == .next, "stops at the end in any case"),
    ]
    return name.idleOptions(steps: steps.map { _ in "--steps" }, threshold: threshold.map { _ in "--threshold" })
      + idle.filter(\.isIdle).map { name.note(idle: $0.option, $0.reason) }
  }
}

extension DecoderName: ExpressibleByArgument {
  /// Which of the two change nothing, and why. Each by the name under which it was given; nil where it was not.
  func idleOptions(steps: String?, threshold: String?) -> [String] {
    let steps = [.quality21, .speed21, .next].contains(self) ? steps : nil
    let threshold = self == .next ? threshold : nil
    return [
      steps.map { note(idle: $0, "has no schedule") }, threshold.map { note(idle: $0, "writes a token at each step") },
    ].compactMap(\.self)
  }

  fileprivate func note(idle option: String, _ reason: String) -> String {
    "\(option) changes nothing: decoder \(rawValue) \(reason)"
  }
}
