import Decoding
import JSON
import Models
import TestSupport
import Testing

/// `decode*.json` of a trained checkpoint, whose `about` explains every field: prompts, options, every step's commits and
/// outputs of the published code.
struct GoldenRuns {
  struct Run {
    let prompt: [Int]
    let options: DecodingOptions
    /// What the checkpoint's configuration has in addition; its name is empty where there is nothing.
    let variant: (name: String, config: JSONObject)
    private let record: JSONObject

    init(_ record: JSONObject, variants: JSONObject, special: SpecialTokens) throws {
      self.record = record
      prompt = integers(record["prompt_ids"])
      let given = try #require(record["options"]?.object)
      var options = special.mask == SpecialTokens.noMask ? DecodingOptions.next : DecodingOptions()
      options.blockLength = try #require(given["block"]?.int)
      options.steps = given["steps"]?.int ?? options.blockLength
      options.generationLength = try #require(given["gen"]?.int)
      options.threshold = Float(try #require(given["threshold"]?.double))
      let name = record["variant"]?.string ?? ""
      variant = (name, variants[name]?.object?["config"]?.object ?? JSONObject())
      if let editing = given["editing_threshold"]?.double, let post = given["max_post_steps"]?.int {
        options.decoder = .editing(threshold: Float(editing), maximumPostSteps: post)
        if let most = given["max_steps"]?.int {
          let tokens = DecodingOptions.LevenshteinTokens(
            delete: try #require(variant.config["delete_token_id"]?.int),
            split: try #require(variant.config["split_token_id"]?.int))
          options.decoder = .levenshtein(
            tokens, threshold: Float(editing), maximumPostSteps: post, maximumSteps: most)
        }
      }
      self.options = options
    }

    /// Tokens and steps must be the same, and the experts of the first pass where they are there.
    ///
    /// - Parameter first: the experts of the output's first step, by layer and row of the pass.
    /// - Returns: the largest difference of a probability or margin.
    func compare(_ output: BlockDiffusion.Output, first: [[[Int]]]? = nil, _ label: String) throws -> Double {
      var steps = record["steps"]?.array ?? []
      if goesOn {
        #expect(output.tokens == integers(record["output_ids"]), "\(label)")
        return 0
      }
      // Where its steps ran out, the published code leaves masks.
      let capped = try steps.firstIndex { try isCap($0) }
      if let capped {
        steps = Array(steps[..<capped])
      } else {
        #expect(output.tokens == integers(record["output_ids"]), "\(label)")
        #expect(output.forwards == record["forwards"]?.int, "\(label)")
        #expect(output.forwards == output.steps.count && steps.count == output.steps.count, "\(label)")
      }
      guard steps.count <= output.steps.count else { return .infinity }
      var largest = 0.0
      for (expected, found) in zip(steps, output.steps) {
        let expected = try #require(expected.object)
        #expect(expected["block"]?.int == found.block && expected["step"]?.int == found.step, "\(label)")
        #expect(expected["masked"]?.int == found.masked, "\(label)")
        let commits = expected["commits"]?.array?.compactMap(\.array) ?? []
        #expect(
          commits.map { [$0[0].int, $0[1].int] } == found.commits.map { [$0.position, $0.token] },
          "\(label), block \(found.block), step \(found.step)")
        for (commit, record) in zip(commits, found.commits) {
          largest = max(largest, abs((commit[2].double ?? .infinity) - Double(record.probability)))
          largest = max(largest, abs((commit[3].double ?? .infinity) - Double(record.margin)))
        }
      }
      if let first, let experts = record["experts"]?.array {
        let expected = experts.map { ($0.array ?? []).map { integers($0) } }
        #expect(first.map { Array($0.suffix(options.blockLength)) } == expected, "\(label)")
      }
      return largest
    }

    var hasExperts: Bool { record["experts"] != nil }

    /// Without early stopping the published code goes on to the last block, whatever was written.
    private var goesOn: Bool { record["options"]?.object?["early"] == .bool(false) }

    private func isCap(_ step: JSONValue) throws -> Bool {
      guard case .levenshtein(_, _, _, let most) = options.decoder else { return false }
      return step.object?["step"]?.int == most - 1
    }
  }

  let special: SpecialTokens
  let runs: [Run]

  init(_ model: String, _ file: String = "decode.json") throws {
    let bytes = try contents(of: Trained.golden(model, file))
    let document = try #require(try parse(bytes).object)
    let ids = try #require(document["ids"]?.object)
    let special = SpecialTokens(
      mask: try #require(ids["mask_token_id"]?.int), stops: [try #require(ids["eos_token_id"]?.int)])
    self.special = special
    let variants = document["variants"]?.object ?? JSONObject()
    runs = try #require(document["runs"]?.array).map {
      try Run(#require($0.object), variants: variants, special: special)
    }
  }

  /// Runs that satisfy `same` with each other.
  func groups(_ same: (Run, Run) -> Bool) -> [[Run]] {
    var groups: [[Run]] = []
    for run in runs {
      if let index = groups.firstIndex(where: { same($0[0], run) }) {
        groups[index].append(run)
      } else {
        groups.append([run])
      }
    }
    return groups
  }
}

private func parse(_ bytes: [UInt8]) throws -> JSONValue { try unsafe JSONParser.parse(bytes.span.bytes) }

private func integers(_ value: JSONValue?) -> [Int] { value?.array?.compactMap(\.int) ?? [] }
