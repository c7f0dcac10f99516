import Decoding
import Drift
import JSON
import Models
import Safetensors
import Storage
import TestSupport

/// Records by hand, with numbers that no model gave.
enum RecordSamples {
  /// With everything that a record can hold.
  ///
  /// - Parameters:
  ///   - vocabulary: above 4,096 the most probable tokens have ids.
  ///   - experts: above 256 their ids take four bytes.
  static func record(vocabulary: Int = 40, experts: Int = 8) -> DriftRecord {
    var random = SeededRandom(seed: 7)
    var record = DriftRecord(
      model: .init(
        path: "models/full", kind: "checkpoint", hash: 0xFEDC_BA98_0000_0001, byteCount: 3_559_112,
        bitsPerWeight: 16.096567319433767, experts: ["bf16"], tokenizerHash: 12,
        sizes: .init(vocabulary: vocabulary, layers: 3, hidden: 16, experts: experts),
        computation: computation),
      options: .init(
        maskRatios: [0.1, 0.5, 1], seed: .max, isRaw: true, special: .init(mask: 39, stops: [38, 37]), decoder: "2.2",
        decoding: .levenshtein22(.init(delete: 35, split: 36))),
      promptSource: "questions.jsonl",
      prompts: [
        .init(prompt: "Wie? \u{1F980}\n\"", answer: "So.", task: "ask", line: 1, tokens: [1, 2, 3, 4, 5]),
        .init(prompt: "b", chosen: "c", rejected: "d", line: 3, tokens: [6, 7]),
      ],
      textSource: "answers", texts: [], pairs: [.init(chosen: 1, rejected: 2)], cut: 1)
    record.options.decoding.blockLength = 4
    record.options.decoding.threshold = 0.1 + 0.2
    record.options.decoding.topP = 0.9
    record.texts = [
      ScoredText(tokens: [1, 2, 3, 4, 5, 6, 7], scored: 5..<7, blockLength: 4, fill: 38),
      ScoredText(tokens: [1, 2, 3, 4, 5], scored: 2..<5, blockLength: 4, fill: 38),
      ScoredText(tokens: [9, 8, 7], scored: 0..<3, blockLength: 4, fill: nil),
    ]
    let count = record.scoring.positionCount
    func route() -> Router.Route {
      let last = Int(random.next() % UInt64(experts))
      return .init(experts: [last, (last + 1) % experts], weights: [random.normal(), random.normal()])
    }
    record.scores = ReferenceScores(
      rows: rows(count, vocabulary, &random),
      routes: [1: (0..<count).map { _ in route() }, 2: (0..<count).map { _ in route() }])
    record.trajectories = .init(
      outputs: [output([30, 31, 38], [(1, 0, 3, [5: 30, 6: 31]), (1, 1, 1, [7: 38])]), output([], [])],
      places: [[0, 0, 5], [0, 0, 6], [0, 1, 7]], rows: rows(3, vocabulary, &random))
    let section: JSONValue = [
      "noise": JSONValue(0.001953125), "non_finite": 0, "kl": .null,
      "top1_agreement": ["mean": JSONValue(1e-7), "ci95": [JSONValue(0.0), JSONValue(1.0 / 3)]],
    ]
    guard let numbers = try? section.decoded(as: DriftReport.FloorNumbers.self) else {
      preconditionFailure("a floor as documented")
    }
    record.floor = NoiseFloor(
      numbers: numbers, routingChanged: [1: 1.0 / 3, 2: 0], layerErrors: [-1: 0, 0: 0.1])
    record.notes = ["1 answers were cut"]
    return record
  }

  private static var computation: DriftRecord.Computation? {
    let document: JSONValue = [
      "rope_theta": JSONValue(600_000.0), "partial_rotary_factor": JSONValue(0.5), "rms_norm_eps": JSONValue(1e-6),
      "routed_scaling_factor": JSONValue(2.5), "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
      "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "expert_capacity": 7,
      "block_size": .null,
    ]
    return try? document.decoded()
  }

  private static func rows(_ count: Int, _ vocabulary: Int, _ random: inout SeededRandom) -> [ReferenceRow] {
    (0..<count).map { _ in
      let isWhole = vocabulary <= ReferenceRow.wholeVocabulary
      let width = isWhole ? vocabulary : ReferenceRow.topCount
      let first = Int32(random.next() % UInt64(vocabulary - width + 1))
      return ReferenceRow(
        tokens: isWhole ? [] : (0..<Int32(width)).map { first + $0 },
        logits: (0..<width).map { _ in random.normal() }, logNormalizer: 1 + Double(abs(random.normal())) / 3,
        best: Int(random.next() % UInt64(vocabulary)), bestLogProbability: -0.25,
        truthLogProbability: random.normal())
    }
  }
}

/// Document and tensors of a record's file, to be changed and written again with the right hashes.
struct RecordParts {
  var document: JSONValue
  var tensors: [(description: TensorDescription, bytes: [UInt8])] = []

  init(path: String) throws {
    let file = try SafetensorsFile(path: path)
    var document: [UInt8] = []
    for tensor in file.tensors {
      let bytes = Self.bytes(of: tensor, file)
      if tensor.name == "document" {
        document = bytes
      } else {
        tensors.append((TensorDescription(name: tensor.name, dtype: tensor.dtype, shape: tensor.shape), bytes))
      }
    }
    self.document = try JSONParser.parse(String(decoding: document, as: UTF8.self))
  }

  private static func bytes(of tensor: TensorEntry, _ file: SafetensorsFile) -> [UInt8] {
    let bytes = file.bytes(of: tensor)
    return bytes.array
  }

  /// - Parameter version: of the format, as the metadata tell it.
  func write(to path: String, version: Int = DriftRecord.version) throws {
    let tensors = tensors.map { tensor in
      SafetensorsWriter.Tensor(
        name: tensor.description.name, dtype: tensor.description.dtype, shape: tensor.description.shape
      ) { tensor.bytes }
    }
    try DriftRecord.write(document, tensors, version: version, to: path, replaces: true)
  }
}
