package import Decoding
package import Models
package import Safetensors

/// What a reference said, kept (`Formats/drift-record.md`): enough to compare any candidate with it.
package struct DriftRecord: Sendable, Equatable {
  /// The model that was recorded.
  package struct Model: Sendable, Equatable {
    package var path: String
    /// `checkpoint` or `pack`.
    package var kind: String
    package var hash: UInt64
    package var byteCount: Int
    package var bitsPerWeight: Double?
    /// Encodings of the routed experts, sorted.
    package var experts: [String]
    /// XXH3 of its `tokenizer.json`.
    package var tokenizerHash: UInt64
    package var sizes: Sizes
    /// Nil of a record of version 1.
    package var computation: Computation?

    package init(
      path: String, kind: String, hash: UInt64, byteCount: Int, bitsPerWeight: Double?, experts: [String],
      tokenizerHash: UInt64, sizes: Sizes, computation: Computation? = nil
    ) {
      self.path = path
      self.kind = kind
      self.hash = hash
      self.byteCount = byteCount
      self.bitsPerWeight = bitsPerWeight
      self.experts = experts
      self.tokenizerHash = tokenizerHash
      self.sizes = sizes
      self.computation = computation
    }
  }

  /// What two models must have in common to be compared.
  package struct Sizes: Sendable, Equatable {
    package var vocabulary: Int
    package var layers: Int
    package var hidden: Int
    package var experts: Int

    package init(vocabulary: Int, layers: Int, hidden: Int, experts: Int) {
      self.vocabulary = vocabulary
      self.layers = layers
      self.hidden = hidden
      self.experts = experts
    }

    package init(_ configuration: ModelConfiguration) {
      self.init(
        vocabulary: configuration.vocabularySize, layers: configuration.layerCount, hidden: configuration.hiddenSize,
        experts: configuration.expertCount)
    }
  }

  /// What shaped the data.
  package struct Options: Sendable, Equatable {
    package var maskRatios: [Double]
    package var seed: UInt64
    /// Whether prompts were taken without the chat template; nil of a record of version 1.
    package var isRaw: Bool?
    package var special: SpecialTokens
    /// As typed: `2.0`, `2.1-quality`, `2.1-speed`, `2.2`.
    package var decoder: String
    package var decoding: DecodingOptions

    package init(
      maskRatios: [Double], seed: UInt64, isRaw: Bool?, special: SpecialTokens, decoder: String,
      decoding: DecodingOptions
    ) {
      self.maskRatios = maskRatios
      self.seed = seed
      self.isRaw = isRaw
      self.special = special
      self.decoder = decoder
      self.decoding = decoding
    }
  }

  /// A question, and its ids with the chat template around.
  package struct Prompt: Sendable, Equatable {
    package var prompt: String
    package var answer: String?
    package var chosen: String?
    package var rejected: String?
    package var task: String?
    /// Line in the file, from 1; 0 for a built-in one.
    package var line: Int
    package var tokens: [Int]

    package init(
      prompt: String, answer: String? = nil, chosen: String? = nil, rejected: String? = nil, task: String? = nil,
      line: Int = 0, tokens: [Int]
    ) {
      self.prompt = prompt
      self.answer = answer
      self.chosen = chosen
      self.rejected = rejected
      self.task = task
      self.line = line
      self.tokens = tokens
    }
  }

  /// How the reference decoded the prompts, and what it said of what it committed.
  package struct Trajectories: Sendable, Equatable {
    /// By prompt.
    package var outputs: [BlockDiffusion.Output]
    /// For each committed position, its prompt, the forward and the position.
    package var places: [[Int32]]
    /// In the order of `places`.
    package var rows: [ReferenceRow]

    package init(outputs: [BlockDiffusion.Output], places: [[Int32]], rows: [ReferenceRow]) {
      self.outputs = outputs
      self.places = places
      self.rows = rows
    }
  }

  package var model: Model
  package var options: Options
  /// File of the prompts, or `built-in`.
  package var promptSource: String
  package var prompts: [Prompt]
  /// What the texts are: `answers`, a file's name, `generations`.
  package var textSource: String
  package var texts: [ScoredText]
  package var pairs: [ScoredDrift.Pair]
  /// Answers that were cut at the model's last position.
  package var cut: Int
  /// The scores at masked positions of the texts; nil where they were not scored.
  package var scores: ReferenceScores?
  /// Nil where the prompts were not decoded for their own sake.
  package var trajectories: Trajectories?
  package var floor: NoiseFloor?
  package var notes: [String]

  package init(
    model: Model, options: Options, promptSource: String, prompts: [Prompt], textSource: String, texts: [ScoredText],
    pairs: [ScoredDrift.Pair], cut: Int
  ) {
    self.model = model
    self.options = options
    self.promptSource = promptSource
    self.prompts = prompts
    self.textSource = textSource
    self.texts = texts
    self.pairs = pairs
    self.cut = cut
    notes = []
  }

  /// The texts with the masks that belong to them.
  package var scoring: Scoring {
    let plan = MaskPlan(
      ratios: options.maskRatios, blockLength: options.decoding.blockLength, mask: options.special.mask,
      seed: options.seed)
    return Scoring(texts, plan: plan)
  }
}

/// Why a record cannot be used or written.
package enum RecordError: Error, Sendable, Equatable {
  /// The file itself, as safetensors.
  case file(SafetensorsError)
  case version(String, path: String)
  /// It is not what it says it is.
  case broken(String, path: String)
}
