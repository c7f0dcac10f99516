import JSON
import Kernels
import Models
import Safetensors
import Storage
import Tensors
import TestSupport
import Testing

/// Runs of the original implementation in fp32: hidden states after each layer, every router's choice, logits. The metadata
/// of a file may change the configuration, as for the block routing of 2.2.
@Suite(.serialized) struct GoldenForwardTests {
  /// ‖a − b‖ / ‖b‖. Two fp32 programs that add in another order differ by some 1e-6; a wrong step shows as 1e-2 and more.
  private static let tolerance = 2e-4

  struct Case: Sendable, CustomTestStringConvertible {
    let model: String
    let file: String
    let kernels: KernelSet
    var testDescription: String { "\(model) \(file) \(kernels)" }
  }
  static let cases: [Case] = Trained.goldens.flatMap { model in
    listing(of: Trained.golden(model, "")).filter { $0.hasSuffix(".safetensors") }.flatMap { file in
      KernelSet.available.map { Case(model: model, file: file, kernels: $0) }
    }
  }

  @Test("hidden states, routes and logits are those of the original", arguments: cases)
  func forward(_ golden: Case) throws {
    let file = try SafetensorsFile(path: Trained.golden(golden.model, golden.file))
    let changes = try file.metadata["config"].map { try #require(try JSONParser.parse($0).object) } ?? JSONObject()
    try Trained.withVariant(of: golden.model, changes) { directory in
      try compare(golden, file, StoredWeights(path: directory))
    }
  }

  private func compare(_ golden: Case, _ file: SafetensorsFile, _ weights: StoredWeights) throws {
    let model = try TransformerModel(weights, compute: Compute(kernels: golden.kernels, threads: 2))
    let tokens = try integers(file, "input_ids")
    let blockLength = try #require(file.metadata["block_length"].flatMap { Int($0) })

    var hiddenErrors: [Double] = []
    var wrongExperts = 0
    var largestWeightError: Float = 0
    var taps = TransformerModel.Taps()
    taps.hidden = { index, hidden in
      hiddenErrors.append((try? relativeError(hidden, floats(file, "hidden.\(index)"))) ?? .infinity)
    }
    let firstMoE = weights.configuration.firstDenseLayers
    taps.routes = { layer, routes in
      let experts = (try? integers(file, "experts.\(layer - firstMoE)")) ?? []
      let expected = (try? floats(file, "weights.\(layer - firstMoE)")) ?? []
      let k = weights.configuration.expertsPerToken
      guard experts.count == routes.count * k else { return wrongExperts += 1_000_000 }
      for (row, route) in routes.enumerated() {
        for slot in 0..<k {
          if route.experts[slot] != experts[row * k + slot] { wrongExperts += 1 }
          largestWeightError = max(largestWeightError, abs(route.weights[slot] - expected[row * k + slot]))
        }
      }
    }
    let segment = TransformerModel.Segment(tokens: tokens, start: 0, cache: KeyValueCache(weights.configuration))
    let hidden = try model.hiddenStates([segment], blockLength: blockLength, taps: taps)
    let logitError = relativeError(model.logits(hidden), try floats(file, "logits"))

    #expect(wrongExperts == 0)
    #expect(largestWeightError < 1e-4)
    #expect(hiddenErrors.count == weights.configuration.layerCount + 1)
    for (layer, error) in hiddenErrors.enumerated() { #expect(error < Self.tolerance, "after layer \(layer)") }
    #expect(logitError < Self.tolerance)
    let shown = (hiddenErrors + [logitError]).map { String(Float($0)) }.joined(separator: " ")
    print("\(golden.testDescription): relative errors by layer, then logits: \(shown)")
  }
}

private func integers(_ file: SafetensorsFile, _ name: String) throws -> [Int] {
  let entry = try #require(file[name])
  let bytes = file.bytes(of: entry)
  return (0..<entry.shape.elementCount).map { Int(bytes.integer(at: 4 * $0, as: Int32.self)) }
}

private func floats(_ file: SafetensorsFile, _ name: String) throws -> [Float] {
  let entry = try #require(file[name])
  let bytes = file.bytes(of: entry)
  return (0..<entry.shape.elementCount).map { bytes.float(at: 4 * $0) }
}

private func relativeError(_ a: [Float], _ b: [Float]) -> Double {
  guard a.count == b.count else { return .infinity }
  var difference = 0.0
  var norm = 0.0
  for (x, y) in zip(a, b) {
    difference += Double(x - y) * Double(x - y)
    norm += Double(y) * Double(y)
  }
  return (difference / norm).squareRoot()
}
