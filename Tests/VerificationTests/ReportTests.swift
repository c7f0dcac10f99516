import Decoding
import Drift
import JSON
import Models
import TestSupport
import Testing
import Tokenizers
import Verification

/// The engine without a command around it: pico held against itself.
@Suite(.serialized) struct ReportTests {
  private final class Silence: VerificationProgress {
    func update(_ stage: String, _ share: Double) {}
    var tells: Bool { true }
    func note(_ text: String) {}
    var peakMemory: Int { 1 << 20 }
  }

  private func model() throws -> ComparedModel {
    let path = Trained.checkpoint("pico")
    let weights = try StoredWeights(path: path)
    let bytes = try contents(of: path + "/tokenizer.json")
    return ComparedModel(
      path: path, weights: weights, model: try TransformerModel(weights, compute: Compute(threads: 2)),
      tokenizer: try Tokenizer(
        tokenizerJSON: bytes, others: [.config: try contents(of: path + "/tokenizer_config.json")]),
      tokenizerBytes: bytes)
  }

  private func options() -> VerificationOptions {
    var options = VerificationOptions()
    options.decoding.generationLength = 32
    options.maskRatios = [0.5, 1]
    options.blockLengths = [8]
    options.attribution = .layers
    return options
  }

  private func outcome(_ reference: VerificationReference, records: Bool = false) throws -> Verification.Outcome {
    let candidate = try model()
    let tokenizer = candidate.tokenizer
    let special = SpecialTokens(mask: try #require(tokenizer.maskID), stops: [try #require(tokenizer.eosID)])
    var options = options()
    if reference.record != nil { (options.blockLengths, options.attribution) = ([], nil) }
    let data = try VerificationData(
      prompts: Array(
        "{\"prompt\": \"What is 2 + 3?\", \"answer\": \"2 + 3 = 5\", \"task\": \"add\"}\n{\"prompt\": \"Count from 3 to 9.\"}"
          .utf8),
      path: "q.jsonl")
    return try Verification(
      reference: reference, candidate: candidate, special: special, options: options, data: data, records: records,
      tool: "1", progress: Silence(), sentence: { "\($0)" }
    ).run()
  }

  @Test func aReportIsItsDocument() throws {
    let outcome = try outcome(.model(model()), records: true)
    let report = try #require(outcome.report)
    #expect(outcome.failure == nil && report.missing.isEmpty && report.nonFinite.isEmpty)
    #expect(report.masked?.kl?.max == 0 && report.candidate.lossless == true && !report.verdict.zeroDrift)
    #expect(report.trajectories?.identical?.mean == 1 && report.tasks?.prompts == 1 && report.layers.count == 5)
    #expect(report.blockLengths.count == 1 && report.attribution?.parts.count == 4 && report.floor?.klRatio == 0)
    // What is written is read, and nothing of it is left out.
    let read = try DriftReport(json: try JSONParser.parse(report.json.text())) { Issue.record("\($0)") }
    #expect(read == report)
    // From what was recorded the same numbers come, but for those that only a model gives.
    let record = try #require(outcome.record)
    let recorded = try #require(try self.outcome(.record(record, path: "r")).report)
    #expect(recorded.masked?.kl == report.masked?.kl && recorded.trajectories == report.trajectories)
    #expect(recorded.weights == nil && recorded.layers.isEmpty && recorded.reference.kind == "record")
  }
}
