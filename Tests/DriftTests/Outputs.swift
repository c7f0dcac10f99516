import Decoding
import JSON

/// An output by hand.
///
/// - Parameter steps: block, step, masks before it, tokens by position.
func output(_ tokens: [Int], _ steps: [(Int, Int, Int, [Int: Int])]) -> BlockDiffusion.Output {
  var output = BlockDiffusion.Output()
  output.tokens = tokens
  output.forwards = steps.count
  output.steps = steps.map { block, step, masked, writes in
    StepRecord(block: block, step: step, masked: masked, commits: commits(writes))
  }
  return output
}

func commits(_ writes: [Int: Int]) -> [StepRecord.Commit] {
  writes.sorted { $0.key < $1.key }.map { .init(position: $0.key, token: $0.value, probability: 1, margin: 1) }
}

/// What stands at a path of keys.
func value(_ document: JSONObject, _ path: String) -> JSONValue? {
  var found: JSONValue? = .object(document)
  for key in path.split(separator: ".") { found = found?.object?[String(key)] }
  return found
}

func number(_ document: JSONObject, _ path: String) -> Double? { value(document, path)?.double }
