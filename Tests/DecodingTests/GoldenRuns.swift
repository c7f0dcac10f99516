import Decoding
import JSON
import TestSupport
import Testing

/// `decode.json` of a trained checkpoint: prompts, options, every step's commits and outputs of the original implementation.
struct GoldenRuns {
  struct Run {
    let prompt: [Int]
    let options: DecodingOptions
    private let record: JSONObject

    init(_ record: JSONObject) throws {
      self.record = record
      prompt = integers(record["prompt_ids"])
      let given = try #require(record["options"]?.object)
      var options = DecodingOptions()
      options.blockLength = try #require(given["block"]?.int)
      options.steps = try #require(given["steps"]?.int)
      options.generationLength = try #require(given["gen"]?.int)
      options.threshold = Float(try #require(given["threshold"]?.double))
      self.options = options
    }

    /// Tokens and steps must be the same.
    ///
    /// - Returns: the largest difference of a probability or margin.
    func compare(_ output: BlockDiffusion.Output, _ label: String) throws -> Double {
      #expect(output.tokens == integers(record["output_ids"]), "\(label)")
      #expect(output.forwards == record["forwards"]?.int, "\(label)")
      let steps = record["steps"]?.array ?? []
      #expect(steps.count == output.steps.count, "\(label)")
      var largest = 0.0
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
      return largest
    }
  }

  let special: SpecialTokens
  let runs: [Run]

  init(_ model: String) throws {
    let bytes = try contents(of: Shared.golden(model, "decode.json"))
    let document = try #require(try parse(bytes).object)
    let ids = try #require(document["ids"]?.object)
    special = SpecialTokens(
      mask: try #require(ids["mask_token_id"]?.int), stops: [try #require(ids["eos_token_id"]?.int)])
    runs = try #require(document["runs"]?.array).map { try Run(#require($0.object)) }
  }

  /// Runs with the same options, which can be decoded together.
  var groups: [[Run]] {
    var groups: [[Run]] = []
    for run in runs {
      if let index = groups.firstIndex(where: { $0[0].options == run.options }) {
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
