package import Models

/// How a sequence is decoded. The defaults are those of the LLaDA2.0 cards with temperature 0.
package struct DecodingOptions: Sendable, Equatable {
  package enum Decoder: Sendable, Equatable {
    /// LLaDA2.0: a masked position is committed when its probability exceeds the threshold, or as the step's quota asks.
    case threshold
    /// Ling: the next token, at each step.
    case next
    /// LLaDA2.1: committed tokens may be edited, too.
    case editing(threshold: Float, maximumPostSteps: Int)
    /// LLaDA2.2: edits may also delete and insert.
    case levenshtein(LevenshteinTokens, threshold: Float, maximumPostSteps: Int, maximumSteps: Int)

    /// The numbers of editing; nil where nothing is edited.
    package var editing: (threshold: Float, maximumPostSteps: Int, maximumSteps: Int?, tokens: LevenshteinTokens?)? {
      switch self {
      case .threshold, .next: nil
      case .editing(let threshold, let post): (threshold, post, nil, nil)
      case .levenshtein(let tokens, let threshold, let post, let most): (threshold, post, most, tokens)
      }
    }

    /// The decoder with other numbers where given; those that it does not have change nothing.
    package func with(threshold: Float?, maximumPostSteps: Int?, maximumSteps: Int?) -> Self {
      switch self {
      case .threshold, .next: self
      case .editing(let own, let post):
        .editing(threshold: threshold ?? own, maximumPostSteps: maximumPostSteps ?? post)
      case .levenshtein(let tokens, let own, let post, let most):
        .levenshtein(
          tokens, threshold: threshold ?? own, maximumPostSteps: maximumPostSteps ?? post,
          maximumSteps: maximumSteps ?? most)
      }
    }
  }

  package struct LevenshteinTokens: Sendable, Equatable {
    package let delete: Int
    package let split: Int
    package init(delete: Int, split: Int) {
      self.delete = delete
      self.split = split
    }
  }

  package var decoder = Decoder.threshold
  /// Positions that are denoised together: 1 is one after the other, as ``Decoder/next`` must.
  package var blockLength = 32
  /// Steps that a block's quotas are spread over.
  package var steps = 32
  /// Tokens asked for.
  package var generationLength = 2048
  /// A probability must be *above* it.
  package var threshold: Float = 0.95
  /// 0 takes the most probable token.
  package var temperature: Float = 0
  package var topK: Int?
  package var topP: Float?
  package var seed: UInt64 = 0
  /// Whether 2.0 stops within a block once eos is written and everything before it is; 2.1 and 2.2 stop after such a block.
  package var stopsEarly = false
  /// Whether finished blocks keep their keys and values; the tokens are the same without.
  package var usesCache = true

  package init() {}

  /// The commit threshold and editing rule of the 2.1 cards' Quality mode.
  package static var quality21: DecodingOptions {
    var options = DecodingOptions()
    options.decoder = .editing(threshold: 0.5, maximumPostSteps: 16)
    options.threshold = 0.7
    return options
  }

  /// The same of the Speed mode. An editing threshold of 0 edits wherever the best token differs; it is not "off".
  package static var speed21: DecodingOptions {
    var options = DecodingOptions()
    options.decoder = .editing(threshold: 0, maximumPostSteps: 16)
    options.threshold = 0.5
    return options
  }

  /// Ling's decoder.
  package static var next: DecodingOptions {
    var options = DecodingOptions()
    options.decoder = .next
    (options.blockLength, options.steps) = (1, 1)
    return options
  }

  /// LLaDA2.2 as its guide runs it.
  package static func levenshtein22(_ tokens: LevenshteinTokens) -> DecodingOptions {
    var options = DecodingOptions()
    options.decoder = .levenshtein(tokens, threshold: 0, maximumPostSteps: 16, maximumSteps: 1000)
    options.threshold = 0.5
    return options
  }
}

/// The ids that decoding needs to know.
package struct SpecialTokens: Sendable, Equatable {
  /// In the place of a mask for models that predict the next token: what is not written yet, which they never see.
  package static let noMask = -1

  package let mask: Int
  /// Ids that end an answer; the first is eos.
  package let stops: [Int]

  package init(mask: Int, stops: [Int]) {
    self.mask = mask
    self.stops = stops
  }
}

/// Why a sequence cannot be decoded. All but ``model(_:)``, ``notFinite(prompt:position:)`` and
/// ``interrupted`` come before any work.
package enum DecodingError: Error, Sendable, Equatable {
  case model(ModelError)
  /// Prompt and generation, rounded up to whole blocks, go beyond the model's positions.
  case tooLong(positions: Int, limit: Int)
  /// A prompt's token that the vocabulary does not have.
  case tokenOutOfRange(id: Int, index: Int, vocabulary: Int)
  /// The prompt holds the mask token.
  case maskInPrompt(index: Int)
  case emptyPrompt
  /// There is nothing to be scored.
  case emptyContinuation
  /// An option with which nothing could ever be committed, or that makes no sense.
  case option(name: String, detail: String)
  /// The model's files name tokens with which it cannot be decoded.
  case specialToken(detail: String)
  /// A vocabulary in which this decoder would have no token to choose.
  case vocabulary(Int)
  /// The model's scores for a position hold an infinity or something that is no number. `prompt` counts those that are
  /// decoded together from 0.
  case notFinite(prompt: Int, position: Int)
  case interrupted

  /// Which of the tokens that were given is at fault, if it is one.
  package var tokenIndex: Int? {
    switch self {
    case .tokenOutOfRange(_, let index, _), .maskInPrompt(let index): index
    default: nil
    }
  }

  init(_ error: ModelError) { self = error == .interrupted ? .interrupted : .model(error) }
}
