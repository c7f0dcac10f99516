package import Decoding

/// What `ingot verify` found out: the document of `Formats/drift-report.md`, which has the meaning of every number.
///
/// Its properties and those of its sections are the registry of all metrics: a property is a key of the document, and so a
/// name that gates know. Keys stand in the order in which properties are declared.
package struct DriftReport: Codable, Sendable, Equatable {
  package static let currentSchema = "ingot.drift/1"

  package private(set) var schema = Self.currentSchema
  /// Version of the tool.
  package var ingot: String
  package var reference: Model
  package var candidate: Model
  package var data: DataFacts
  package var verdict = Verdict()
  package var weights: Weights?
  package var masked: Masked?
  package var layers: [Layer] = []
  package var routing: Routing?
  package var preferences: Preferences?
  package var blockLengths: [BlockLength] = []
  package var floor: Floor?
  package var trajectories: Trajectories?
  package var tasks: Tasks?
  package var attribution: Attribution?
  package var routeReplay: RouteReplay?
  package var versus: Versus?
  package var missing: [MissingLevel] = []
  package var nonFinite: [NonFiniteFinding] = []
  package var notes: [String] = []
  package var cost: Cost

  /// A report without sections.
  package init(ingot: String, reference: Model, candidate: Model, data: DataFacts, cost: Cost) {
    self.ingot = ingot
    self.reference = reference
    self.candidate = candidate
    self.data = data
    self.cost = cost
  }
}

// MARK: What was compared (§2, §3)

extension DriftReport {
  /// One of the two models.
  package struct Model: Codable, Sendable, Equatable {
    package var path: String
    /// `checkpoint`, `pack` or `record`.
    package var kind: String
    /// Sixteen hexadecimal digits.
    package var hash: String
    package var bytes: Int
    package var bitsPerWeight: Double?
    package var experts: [String]
    package var activations: String
    /// `fp32` or `bf16-weights`; nil in reports that were made before there was a choice.
    package var arithmetic: String?
    /// `fp32` or `bf16`; nil in reports that were made before there was a choice.
    package var kvCacheDtype: String?
    package var lossless: Bool?

    package init(
      path: String, kind: String, hash: String, bytes: Int, bitsPerWeight: Double?, experts: [String],
      activations: String, arithmetic: String? = nil, kvCacheDtype: String? = nil, lossless: Bool? = nil
    ) {
      self.path = path
      self.kind = kind
      self.hash = hash
      self.bytes = bytes
      self.bitsPerWeight = bitsPerWeight
      self.experts = experts
      self.activations = activations
      self.arithmetic = arithmetic
      self.kvCacheDtype = kvCacheDtype
      self.lossless = lossless
    }
  }

  package struct DataFacts: Codable, Sendable, Equatable {
    package struct Prompts: Codable, Sendable, Equatable {
      package var source: String
      package var count: Int
      package var hash: String
      package var withAnswers: Int
      package var withPreferences: Int

      package init(source: String, count: Int, hash: String, withAnswers: Int, withPreferences: Int) {
        self.source = source
        self.count = count
        self.hash = hash
        self.withAnswers = withAnswers
        self.withPreferences = withPreferences
      }
    }

    package struct Texts: Codable, Sendable, Equatable {
      package var source: String
      package var count: Int
      package var tokens: Int
      package var scoredPositions: Int
      package var hash: String

      package init(source: String, count: Int, tokens: Int, scoredPositions: Int, hash: String) {
        self.source = source
        self.count = count
        self.tokens = tokens
        self.scoredPositions = scoredPositions
        self.hash = hash
      }
    }

    package var prompts: Prompts
    package var texts: Texts
    package var raw: Bool?
    package var seed: UInt64
    package var maskRatios: [Double]
    package var blockLength: Int
    package var steps: Int
    package var generationLength: Int
    package var threshold: Float
    package var temperature: Float
    package var decoder: String
    package var editing: Editing?
    package var stopsEarly: Bool
    package var levels: [String]

    package init(
      prompts: Prompts, texts: Texts, raw: Bool?, seed: UInt64, maskRatios: [Double], decoding: DecodingOptions,
      decoder: String,
      levels: [String]
    ) {
      self.prompts = prompts
      self.texts = texts
      self.raw = raw
      self.seed = seed
      self.maskRatios = maskRatios
      blockLength = decoding.blockLength
      steps = decoding.steps
      generationLength = decoding.generationLength
      threshold = decoding.threshold
      temperature = decoding.temperature
      self.decoder = decoder
      editing = decoding.decoder.reported
      stopsEarly = decoding.stopsEarly
      self.levels = levels
    }
  }

  /// What 2.1 and 2.2 add to decoding.
  package struct Editing: Codable, Sendable, Equatable {
    package var threshold: Float
    package var maximumPostSteps: Int
    package var maximumSteps: Int?
    package var delete: Int?
    package var split: Int?
  }

  /// Sums of what it took (§16).
  package struct Cost: Codable, Sendable, Equatable {
    package var seconds: Double
    package var byLevel: LevelTimes
    package var peakMemory: Int
    package var bytesRead: Sides<Int>
    package var passes: Int
    package var threads: Int
    package var kernels: String

    package init(
      seconds: Double, byLevel: LevelTimes, peakMemory: Int, bytesRead: Sides<Int>, passes: Int, threads: Int,
      kernels: String
    ) {
      self.seconds = seconds
      self.byLevel = byLevel
      self.peakMemory = peakMemory
      self.bytesRead = bytesRead
      self.passes = passes
      self.threads = threads
      self.kernels = kernels
    }
  }

  /// Seconds by the name of a level, in the order in which they ran.
  package struct LevelTimes: Codable, Sendable, Equatable {
    package struct Entry: Sendable, Equatable {
      package let level: String
      package var seconds: Double
    }
    package private(set) var entries: [Entry] = []

    package init() {}

    package mutating func add(_ level: String, _ seconds: Double) {
      entries.append(.init(level: level, seconds: seconds))
    }

    private struct Level: CodingKey {
      let stringValue: String
      let intValue: Int? = nil
      init(stringValue: String) { self.stringValue = stringValue }
      init?(intValue: Int) { nil }
    }

    package init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: Level.self)
      for key in container.allKeys { add(key.stringValue, try container.decode(Double.self, forKey: key)) }
    }

    package func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: Level.self)
      for entry in entries { try container.encode(entry.seconds, forKey: Level(stringValue: entry.level)) }
    }
  }
}

// MARK: What became of it (§4)

extension DriftReport {
  package struct Verdict: Codable, Sendable, Equatable {
    package enum Status: String, Codable, Sendable { case pass, fail, none }
    package var status = Status.none
    package var gates: [GateOutcome] = []
    package var zeroDrift = false

    package init() {}
  }

  /// A gate held against the report.
  package struct GateOutcome: Codable, Sendable, Equatable {
    package var expression: String
    package var key: String
    package var value: Metric?
    package var limit: Double
    package var leftOut: Int
    package var passed: Bool
  }

  /// A number as it stands in the report: whole numbers are told from others.
  package enum Metric: Codable, Sendable, Equatable {
    case whole(Int)
    case real(Double)

    package var double: Double {
      switch self {
      case .whole(let value): Double(value)
      case .real(let value): value
      }
    }

    package init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let value = try? container.decode(Int.self) {
        self = .whole(value)
      } else {
        self = .real(try container.decode(Double.self))
      }
    }

    package func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      switch self {
      case .whole(let value): try container.encode(value)
      case .real(let value): try container.encode(value)
      }
    }
  }

  /// A level that was asked for and could not be measured.
  package struct MissingLevel: Codable, Sendable, Equatable {
    package var level: String
    package var reason: String

    package init(level: String, reason: String) {
      self.level = level
      self.reason = reason
    }

    package var sentence: String { "the level \(level) could not be measured: \(reason)" }
  }
}
