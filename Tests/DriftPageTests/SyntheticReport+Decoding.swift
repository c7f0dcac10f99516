import JSON

extension SyntheticReport {
  static var trajectories: JSONValue {
    [
      "prompts": 64, "identical": mean(0.5938, spread: 0.2), "same_path": mean(0.4063, spread: 0.3),
      "first_divergence": [
        "count": 38, "block": real(1.42), "step": real(3.1), "mask_ratio": real(0.613),
        "beyond_first_block": real(0.711),
      ],
      "edit_distance": mean(0.0912, spread: 0.3), "order_agreement": mean(0.8711, spread: 0.03),
      "forwards": ["reference": 3_120, "candidate": 3_187, "change": real(0.02147)],
      "tokens_per_forward": ["reference": real(4.201), "candidate": real(4.112), "change": real(-0.0212)],
      "stopped": ["reference": real(0.9531), "candidate": real(0.9375), "changed": real(0.0156)],
      "along_reference": alongReference, "examples": [example, sameExample],
    ]
  }

  private static var alongReference: JSONValue {
    let quarters = (0..<4).map(quarter)
    return [
      "states": 3_120, "commits": 13_107, "non_finite": 0, "same_positions": mean(0.8532, spread: 0.02),
      "slots": mean(0.9441, spread: 0.01),
      "same_tokens": mean(0.9911, spread: 0.003), "same_decision": mean(0.8389, spread: 0.02),
      "kl": distribution(0.0051),
      "by_mask_ratio": .array(quarters),
    ]
  }

  private static func quarter(_ index: Int) -> JSONValue {
    let from = 0.25 * Double(index)
    let states = 700 + 40 * index
    return row(
      [("from", real(from)), ("to", real(from + 0.25)), ("states", JSONValue(states))],
      [("same_positions", real(0.93 - 0.2 * from)), ("same_tokens", real(0.995 - 0.016 * from))])
  }

  private static let words =
    "Natalia| sold| |4|8| clips| in| April|,| and| half| as| many| in| May|,| which| is| |4|8| /| |2| =| |2|4|.|\n|Al"
    + "together| she| sold| |4|8| +| |2|4| =| |7|2| clips|.|\n|#|###| |7|2"

  private static func side(_ words: [String], forwards: Int, shift: Int, other: [String]) -> JSONValue {
    var tokens: [JSONValue] = []
    for (index, word) in words.enumerated() {
      let block = index / 32
      // Numbers and line ends come late, as they do.
      let late: Int = word.contains { $0.isNumber || $0 == "\n" } ? 4 : 0
      let step: Int = (index % 32) * 5 % 7 + late + shift
      let same: Bool = other.indices.contains(index) && other[index] == word
      let forward: Int = block * 9 + step % 9
      tokens.append(
        row(
          [("text", .string(word)), ("forward", JSONValue(forward))],
          [("block", JSONValue(block)), ("same", .bool(same))]))
    }
    let text = words.joined()
    return ["text": .string(text), "tokens": .array(tokens), "forwards": JSONValue(forwards)]
  }

  private static var example: JSONValue {
    let reference = words.split(separator: "|").map(String.init)
    var candidate = reference
    candidate.replaceSubrange(31..<35, with: ["In", " total", " she", " sold"])
    candidate[45] = "7"
    candidate[46] = "0"
    return [
      "prompt": "Natalia sold clips to 48 of her friends in April, and half as many in May. How many altogether?",
      "prompt_tokens": .array((0..<38).map { JSONValue(1000 + 7 * $0) }),
      "reference": side(reference, forwards: 17, shift: 0, other: candidate),
      "candidate": side(candidate, forwards: 18, shift: 1, other: reference),
      "divergence": ["block": 0, "step": 6, "position": 69, "mask_ratio": real(0.28125)],
    ]
  }

  private static var sameExample: JSONValue {
    let text = "The| capital| of| Egypt| is| Cairo|.".split(separator: "|").map(String.init)
    return [
      "prompt": "What is the capital of Egypt?", "prompt_tokens": [11, 12, 13, 14, 15, 16, 17, 18, 19],
      "reference": side(text, forwards: 4, shift: 0, other: text),
      "candidate": side(text, forwards: 4, shift: 0, other: text),
      "divergence": .null,
    ]
  }

  static var tasks: JSONValue {
    let byTask: [JSONValue] = [
      task("add", [16, 15, 14, 1, 0]), task("capital", [16, 16, 16, 0, 0]), task("sort_numbers", [16, 13, 12, 2, 1]),
      task("record", [16, 11, 11, 1, 1]),
    ]
    return [
      "prompts": 64, "match": "exact", "reference_correct": mean(0.8594, spread: 0.1),
      "candidate_correct": mean(0.8281, spread: 0.1), "both": 51, "neither": 7, "lost": 4, "gained": 2,
      "p": real(0.6875),
      "lost_significantly": 0, "truncated": ["reference": real(0.0156), "candidate": real(0.0313)],
      "by_task": .array(byTask),
    ]
  }

  private static func task(_ name: String, _ numbers: [Int]) -> JSONValue {
    let keys = ["prompts", "reference_correct", "candidate_correct", "lost", "gained"]
    return row([("task", .string(name))], zip(keys, numbers).map { ($0, JSONValue($1)) })
  }
}
