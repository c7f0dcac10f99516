import Decoding
import Glibc
import JSON
import Models
import TestSupport

/// Ids of the scripts' vocabulary of 48.
enum ID {
  static let mask = 47
  static let eos = 46
  static let delete = 45
  static let split = 44
  static let roleEnd = 43
  static let special = SpecialTokens(mask: mask, stops: [eos])
}

/// A predictor that answers from a hand-made table and notes what it was asked.
final class Script: BlockPredictor {
  struct Pass {
    let block: Int
    /// Within the block.
    let number: Int
    /// The block's, before the step.
    let tokens: [Int]
    let offsets: [Int]
    let canvasCount: Int
  }
  /// Probabilities of tokens at an offset of the block; what is left is spread over all other tokens.
  typealias Answer = (Pass, Int) -> [Int: Float]

  static let vocabulary = 48
  private let blockLength: Int
  private let answer: Answer
  private(set) var passes: [Pass] = []
  private(set) var finished: [Int] = []
  private(set) var accepted: [Int] = []

  init(blockLength: Int, _ answer: @escaping Answer) {
    self.blockLength = blockLength
    self.answer = answer
  }

  func predict(
    _ offsets: [Int], block: Int, in canvas: [Int], recordsExperts: Bool
  ) throws(ModelError) -> (logits: [Float], experts: [[[Int]]]) {
    let tokens = Array(canvas[block * blockLength..<(block + 1) * blockLength])
    let number = passes.count { $0.block == block }
    let pass = Pass(block: block, number: number, tokens: tokens, offsets: offsets, canvasCount: canvas.count)
    passes.append(pass)
    let logits = offsets.flatMap { offset in
      let given = answer(pass, offset)
      let rest = max(0, 1 - given.values.reduce(0, +)) / Float(Self.vocabulary - given.count)
      return (0..<Self.vocabulary).map { max(logf(given[$0] ?? (rest < 1e-6 ? 0 : rest)), -1e30) }
    }
    return (logits, [])
  }

  func finish(_ canvas: [Int], through count: Int) throws(ModelError) -> Bool {
    finished.append(count)
    return true
  }

  func accept(through count: Int) { accepted.append(count) }
}

func scriptConfiguration(_ changes: [String: JSONValue?] = [:]) throws -> ModelConfiguration {
  var tiny = TinyCheckpoint()
  tiny.configChanges = changes.merging(["max_position_embeddings": 4096]) { old, _ in old }
  return try ModelConfiguration(json: Array(tiny.config.text().utf8), path: "config.json")
}

/// Decodes with a script.
func run(
  _ options: DecodingOptions, prompt: [Int], special: SpecialTokens = ID.special, _ answer: @escaping Script.Answer
) throws -> (output: BlockDiffusion.Output, script: Script) {
  let script = Script(blockLength: options.blockLength, answer)
  let decoder = try BlockDiffusion(scriptConfiguration(), options: options, special: special) { script }
  return (try decoder.decode(prompt: prompt), script)
}

extension DecodingOptions {
  /// Of 2.0.
  static func plain(block: Int = 4, steps: Int? = nil, length: Int = 4, threshold: Float = 0.95) -> DecodingOptions {
    var options = DecodingOptions()
    options.blockLength = block
    options.steps = steps ?? block
    options.generationLength = length
    options.threshold = threshold
    return options
  }

  static func editing(
    block: Int = 4, length: Int = 4, threshold: Float = 0.5, edit: Float = 0, post: Int = 16
  ) -> DecodingOptions {
    var options = plain(block: block, length: length, threshold: threshold)
    options.decoder = .editing(threshold: edit, maximumPostSteps: post)
    return options
  }

  static func levenshtein(
    block: Int = 4, length: Int = 4, steps: Int? = nil, post: Int = 16, most: Int = 1000
  ) -> DecodingOptions {
    var options = plain(block: block, steps: steps, length: length, threshold: 0.5)
    options.decoder = .levenshtein(
      LevenshteinTokens(delete: ID.delete, split: ID.split), threshold: 0, maximumPostSteps: post, maximumSteps: most)
    return options
  }
}
