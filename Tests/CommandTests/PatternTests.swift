import TestSupport
import Testing

/// Regular expressions from strangers, on which engines that try every way never end.
@Suite struct PatternTests {
  private static let patterns = ["(.*)*x$", "(?=(.*)*x$)", "(((.{1,100}){1,100}){1,100}){1,100}x$"]

  @Test("a recipe's pattern is decided or refused, and the rule is named", arguments: patterns)
  func recipe(pattern: String) throws {
    try withTemporaryDirectory { directory in
      try write(
        Array(#"{"overrides":[{"match":"\#(pattern)","encoding":"int8-g64"}]}"#.utf8), to: directory + "/recipe.json")
      let arguments = ["quantize", pico, "-o", "x.ingot", "--recipe", "recipe.json"]
      let result = try ingot(arguments, in: directory, before: "ulimit -t 20")
      #expect(result.code == 64 && result.err.contains("recipe rule 1 `\(pattern)`"), "\(result)")
      #expect(!exists(directory + "/x.ingot"))
    }
  }

  @Test(
    "an answer's pattern is decided or refused, and its line is named", arguments: patterns + ["(.*)*Q$", "(a)\\\\1"])
  func answer(pattern: String) throws {
    try withTemporaryDirectory { directory in
      let lines = #"{"prompt":"1 + 1","answer":"2"}"# + "\n" + #"{"prompt":"1 + 1","answer":"\#(pattern)"}"# + "\n"
      try write(Array(lines.utf8), to: directory + "/answers.jsonl")
      let arguments = [
        "verify", pico, "-r", pico, "--prompts", "answers.jsonl", "--match", "regex", "--gen-length", "32",
        "--level", "trajectories", "--level", "tasks",
      ]
      let result = try ingot(arguments, in: directory, before: "ulimit -t 60")
      #expect(result.code == 0 || result.code == 64 && result.err.contains("line 2 "), "\(result)")
      #expect(result.code == 64 || !pattern.contains("{1,100}") && !pattern.contains("\\"))
    }
  }

  /// What is refused is refused before anything is decoded.
  @Test func aPatternOutsideTheTableIsRefusedBeforeAnyWork() throws {
    try withTemporaryDirectory { directory in
      try write(Array(#"{"prompt":"1 + 1","answer":"(?<=1)2"}"#.utf8), to: directory + "/answers.jsonl")
      let arguments = ["verify", pico, "-r", pico, "--prompts", "answers.jsonl", "--match", "regex"]
      let result = try ingot(arguments, in: directory, before: "ulimit -t 5")
      #expect(result.code == 64 && result.out.isEmpty && result.err.contains("line 1 has an answer"), "\(result)")
      #expect(result.err.contains("Formats/recipe.md"))
    }
  }
}
