import ArgumentParser
import Calibration

/// The data options of `calibrate`, and of `quantize` where it does both at once.
struct CalibrationArguments: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Lines of JSON with prompt and answer, in the model's chat template; the answers are what is masked. Repeatable.",
      valueName: "file.jsonl"))
  var prompts: [String] = []

  @Option(help: ArgumentHelp("Plain text. Repeatable.", valueName: "file"))
  var text: [String] = []

  @Option(
    help: ArgumentHelp(
      "Take the model's own answers to so many built-in prompts of many domains and languages, at most "
        + "\(BuiltInPrompts.all.count); real texts are better.", valueName: "count"))
  var generate: Int?

  @Option(
    help: ArgumentHelp("The pack that writes them. (default: one made for the time of the run)", valueName: "pack"))
  var generator: String?

  @Option(help: ArgumentHelp("Token states to take, in equal parts of each source. (default: 64k)", valueName: "count"))
  var tokens: TokenCount?

  @Option(help: "Decides which texts are taken and which of their positions are masked. (default: 0)")
  var seed: UInt64?

  @Option(help: "Positions denoised together. (default: the model's, for LLaDA2 32)")
  var blockLength: Int?

  @Option(
    help:
      "2.0, 2.1-quality, 2.1-speed or 2.2: those that edit weigh what they see more; next-token for Ling. (default: as for run)"
  )
  var decoder: DecoderName?

  /// Whether any data is named.
  var hasData: Bool { !prompts.isEmpty || !text.isEmpty || generate != nil }

  func validate() throws {
    if let generate, !(1...BuiltInPrompts.all.count).contains(generate) {
      throw ValidationError("--generate must be 1 to \(BuiltInPrompts.all.count)")
    }
    if generator != nil, generate == nil { throw ValidationError("--generator needs --generate COUNT") }
  }

  /// Options that mean nothing without data.
  var idleOption: String? {
    let given: [(String, Bool)] = [
      ("--tokens", tokens != nil), ("--seed", seed != nil), ("--block-length", blockLength != nil),
      ("--decoder", decoder != nil),
    ]
    return given.first(where: \.1)?.0
  }
}

/// A number of tokens as typed: `65536`, `64k`, `1m`.
struct TokenCount: ExpressibleByArgument {
  let value: Int

  static let standard = 64 << 10

  init?(argument: String) {
    let units = ["": 1, "k": 1 << 10, "m": 1 << 20]
    let digits = argument.prefix { $0.isASCII && $0.isNumber }
    guard let number = Int(digits), let unit = units[argument.dropFirst(digits.count).lowercased()],
      (1...(1 << 30)).contains(number), number * unit <= 1 << 30
    else { return nil }
    value = number * unit
  }

  static var allValueStrings: [String] { [] }
}
