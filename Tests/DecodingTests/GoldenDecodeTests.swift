import Decoding
import JSON
import Kernels
import Models
import TestSupport
import Testing

/// Runs of the original implementation: prompts, options, every step's commits, outputs.
@Suite(.enabled(if: Shared.directory != nil), .serialized) struct GoldenDecodeTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let model: String
    let kernels: KernelSet
    let usesCache: Bool
    var testDescription: String { "\(model) \(kernels) \(usesCache ? "cached" : "uncached")" }
  }
  static let cases: [Case] = Shared.models.flatMap { model in
    KernelSet.available.flatMap { kernels in
      [true, false].map { Case(model: model, kernels: kernels, usesCache: $0) }
    }
  }

  @Test("tokens, steps and probabilities are those of the original", arguments: cases)
  func decode(_ golden: Case) throws {
    let document = try document(Shared.golden(golden.model, "decode.json"))
    let ids = try #require(document["ids"]?.object)
    let special = SpecialTokens(
      mask: try #require(ids["mask_token_id"]?.int), stops: [try #require(ids["eos_token_id"]?.int)])
    let weights = try CheckpointWeights(directory: Shared.checkpoint(golden.model))
    let model = try LLaDA2Model(weights, compute: Compute(kernels: golden.kernels, threads: 2))
    var largest = 0.0
    for (number, run) in try #require(document["runs"]?.array).enumerated() {
      let run = try #require(run.object)
      let options = try options(run, usesCache: golden.usesCache)
      let decoder = try BlockDiffusion(model, options: options, special: special)
      let output = try decoder.decode(prompt: integers(run["prompt_ids"]))
      #expect(output.tokens == integers(run["output_ids"]), "run \(number)")
      #expect(output.forwards == run["forwards"]?.int, "run \(number)")
      let steps = run["steps"]?.array ?? []
      #expect(steps.count == output.steps.count, "run \(number)")
      for (expected, found) in zip(steps, output.steps) {
        let expected = try #require(expected.object)
        #expect(expected["block"]?.int == found.block && expected["step"]?.int == found.step)
        #expect(expected["masked"]?.int == found.masked)
        let commits = expected["commits"]?.array?.compactMap(\.array) ?? []
        #expect(commits.map { [$0[0].int, $0[1].int] } == found.commits.map { [$0.position, $0.token] })
        for (commit, record) in zip(commits, found.commits) {
          largest = max(largest, abs((commit[2].double ?? .infinity) - Double(record.probability)))
          largest = max(largest, abs((commit[3].double ?? .infinity) - Double(record.margin)))
        }
      }
    }
    #expect(largest < 1e-4)
    print("\(golden.testDescription): largest difference of a probability or margin \(largest)")
  }

  private func options(_ run: JSONObject, usesCache: Bool) throws -> DecodingOptions {
    let given = try #require(run["options"]?.object)
    var options = DecodingOptions()
    options.blockLength = try #require(given["block"]?.int)
    options.steps = try #require(given["steps"]?.int)
    options.generationLength = try #require(given["gen"]?.int)
    options.threshold = Float(try #require(given["threshold"]?.double))
    options.usesCache = usesCache
    return options
  }
}

private func document(_ path: String) throws -> JSONObject {
  let bytes = try contents(of: path)
  return try #require(try unsafe JSONParser.parse(bytes.span.bytes).object)
}

private func integers(_ value: JSONValue?) -> [Int] { value?.array?.compactMap(\.int) ?? [] }
