import Decoding
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

    func decoder(_ options: DecodingOptions, _ special: SpecialTokens) throws -> BlockDiffusion {
      let weights = try CheckpointWeights(directory: Shared.checkpoint(model))
      let model = try LLaDA2Model(weights, compute: Compute(kernels: kernels, threads: 2))
      var options = options
      options.usesCache = usesCache
      return try BlockDiffusion(model, options: options, special: special)
    }
  }
  static let cases: [Case] = Shared.models.flatMap { model in
    KernelSet.available.flatMap { kernels in
      [true, false].map { Case(model: model, kernels: kernels, usesCache: $0) }
    }
  }

  @Test("tokens, steps and probabilities are those of the original", arguments: cases)
  func decode(_ golden: Case) throws {
    let document = try GoldenRuns(golden.model)
    var largest = 0.0
    for (number, run) in document.runs.enumerated() {
      let output = try golden.decoder(run.options, document.special).decode(prompt: run.prompt)
      largest = max(largest, try run.compare(output, "run \(number)"))
    }
    #expect(largest < 1e-4)
    print("\(golden.testDescription): largest difference of a probability or margin \(largest)")
  }

  @Test("and so they are with all prompts decoded together", arguments: cases.filter { $0.kernels == .best })
  func together(_ golden: Case) throws {
    let document = try GoldenRuns(golden.model)
    for runs in document.groups {
      let outputs = try golden.decoder(runs[0].options, document.special).decodeTogether(prompts: runs.map(\.prompt))
      for (run, output) in zip(runs, outputs) { #expect(try run.compare(output, "\(run.options)") < 1e-4) }
    }
  }
}
