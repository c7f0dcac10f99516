import Decoding
import Kernels
import Models
import TestSupport
import Testing

/// Runs of the published code of 2.0 (`decode.json`), 2.1 and 2.2: prompts, options, every step's commits, outputs.
struct GoldenDecodeTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let model: String
    let file: String
    let kernels: KernelSet
    let usesCache: Bool
    var testDescription: String { "\(model) \(file) \(kernels) \(usesCache ? "cached" : "uncached")" }

    /// Calls `body` for runs of one configuration, with a way to make their decoder.
    func forEachGroup(
      by same: (GoldenRuns.Run, GoldenRuns.Run) -> Bool,
      _ body: ([GoldenRuns.Run], (GoldenRuns.Run) throws -> BlockDiffusion) throws -> Void
    ) throws {
      let golden = try GoldenRuns(model, file)
      for runs in golden.groups({ $0.variant.name == $1.variant.name && same($0, $1) }) {
        try Trained.withVariant(of: model, runs[0].variant.config) { directory in
          let weights = try StoredWeights(path: directory)
          let model = try TransformerModel(weights, compute: Compute(kernels: kernels, threads: 1))
          try body(runs) { run in
            var options = run.options
            options.usesCache = usesCache
            return try BlockDiffusion(model, options: options, special: golden.special)
          }
        }
      }
    }
  }

  /// All kernel sets where little is computed; without a cache, and with the later decoders, which make many more passes, the
  /// best set, and in long tests all but the scalar one, which would take minutes.
  static let cases: [Case] = Trained.goldens.flatMap { model in
    listing(of: Trained.golden(model, "")).filter { $0.hasPrefix("decode") }.flatMap { file in
      KernelSet.available.flatMap { kernels in
        [true, false].filter { usesCache in
          kernels == .best || (file == "decode.json" && usesCache) || (runsLongTests && kernels.name != "scalar")
        }.map { Case(model: model, file: file, kernels: kernels, usesCache: $0) }
      }
    }
  }

  @Test("tokens, steps and probabilities are those of the published code", arguments: cases)
  func decode(_ golden: Case) throws {
    var largest = 0.0
    try golden.forEachGroup(by: { _, _ in true }) { runs, decoder in
      for (number, run) in runs.enumerated() {
        var first: [[[Int]]]?
        let output = try decoder(run).decode(prompt: run.prompt, recordsExperts: run.hasExperts) { record, _ in
          first = first ?? record.experts
          return true
        }
        largest = max(largest, try run.compare(output, first: first, "\(run.variant.name) run \(number)"))
      }
    }
    #expect(largest < 2e-4)
    print("\(golden.testDescription): largest difference of a probability or margin \(largest)")
  }

  @Test("and so they are with all prompts decoded together", arguments: cases.filter { $0.kernels == .best })
  func together(_ golden: Case) throws {
    try golden.forEachGroup(by: { $0.options == $1.options }) { runs, decoder in
      let outputs = try decoder(runs[0]).decodeTogether(prompts: runs.map(\.prompt))
      for (run, output) in zip(runs, outputs) { #expect(try run.compare(output, "\(run.options)") < 2e-4) }
    }
  }
}
