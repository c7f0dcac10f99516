import Glibc
import JSON
import Tensors
import TestSupport
import Testing

/// `ingot card`, and `ingot inspect --markdown`.
@Suite struct CardTests {
  private func withPack(_ experts: String = "int4-g64", _ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { directory in
      let packed = try ingot(["quantize", pico, "-o", "pico.ingot", "-q", "--experts", experts], in: directory)
      #expect(packed.code == 0, "\(packed)")
      try body(directory)
    }
  }

  private func card(_ arguments: [String] = [], in directory: String) throws -> String {
    let result = try ingot(["card", "pico.ingot"] + arguments, in: directory)
    guard result.code == 0 else { throw TestFailure("\(result)") }
    return result.out
  }

  /// Made with `ingot card pico.ingot --base-model inclusionAI/LLaDA2.0-mini --license apache-2.0` of pico with default options.
  private let golden = String(
    decoding: (try? contents(of: Trained.golden("pico", "card.md"))) ?? [], as: UTF8.self)

  @Test func theWholeCard() throws {
    try withPack { directory in
      let found = try card(["--base-model", "inclusionAI/LLaDA2.0-mini", "--license", "apache-2.0"], in: directory)
      #expect(found == golden)
    }
  }

  @Test("the numbers on the card are those of the report, in the pack or beside it")
  func drift() throws {
    try withPack { directory in
      let measure = [
        "verify", "pico.ingot", "--reference", pico, "--prompts", pico + "/eval.jsonl", "--limit", "8", "--json", "-q",
      ]
      let result = try ingot(measure, in: directory)
      let report = try object(result)
      try write(Array(result.out.utf8), to: directory + "/drift.json")
      #expect(try card(in: directory).contains("It was not measured."))
      let beside = try card(["--drift", "drift.json"], in: directory)
      #expect(try ingot(measure + ["--attach"], in: directory).code == 0)
      let attached = try card(in: directory)
      let section = { (text: String) in
        text.split(separator: "\n").drop { $0 != "## Drift from full precision" }.dropFirst().prefix {
          !$0.hasPrefix("##")
        }
      }
      #expect(section(beside).count > 8 && Array(section(beside)) == Array(section(attached)))
      let kl = try #require(report["masked"]?.object?["kl"]?.object?["mean"]?.double)
      let row = try #require(section(beside).first { $0.hasPrefix("| KL, mean |") }).split(separator: "|")
      let shown = try #require(Double(String(row[1].filter { $0 != " " })))
      #expect(abs(shown - kl) <= 0.006 * kl)
      // Its screen has the same words.
      let screen = try ingot(measure.filter { $0 != "--json" }, in: directory).out
      for line in section(beside) where line.hasPrefix("| ") && !line.contains("interval") && !line.contains("---") {
        let label = line.split(separator: "|")[0].drop { $0 == " " }.prefix { $0 != "|" }
        #expect(screen.contains(String(label).split(separator: "  ")[0]), "\(line)")
      }
    }
  }

  @Test(
    "names are quoted for the shell, and words that YAML reads as something else for it",
    arguments: [("a b;$x&`y`|'.ingot", #"'a b;$x&`y`|'\''.ingot'"#), ("-q.ingot", "./-q.ingot")])
  func quoting(name: String, argument: String) throws {
    try withPack { directory in
      unsafe _ = rename(directory + "/pico.ingot", directory + "/" + name)
      let arguments = ["--base-model", "1.0/no", "--license", "null"]
      let result = try ingot(["card", "./" + name] + arguments, in: directory)
      let lines = result.out.split(separator: "\n").map(String.init)
      #expect(lines.contains("ingot run \(argument) --chat"), "\(result)")
      #expect(lines.contains(#"base_model: "1.0/no""#) && lines.contains(#"license: "null""#), "\(result)")
      for license in ["no", "true", "1.0", "Yes"] {
        let card = try ingot(["card", "./" + name, "--license", license], in: directory)
        #expect(card.out.contains("license: \"\(license)\"\n"), "\(card)")
      }
    }
  }

  @Test func aReportAboutAnotherFileIsRefused() throws {
    try withPack { directory in
      let made = try ingot(["quantize", pico, "-o", "other.ingot", "-q", "--experts", "int8-g64"], in: directory)
      #expect(made.code == 0)
      let report = try ingot(
        [
          "verify", "other.ingot", "--reference", pico, "--level", "weights", "--json", "-q",
        ], in: directory)
      try write(Array(report.out.utf8), to: directory + "/drift.json")
      let refused = try ingot(["card", "pico.ingot", "--drift", "drift.json"], in: directory)
      #expect(refused.code == 1 && refused.err.contains("about another file"), "\(refused)")
      for text in ["", "{", "[]", #"{"schema": "x/1"}"#] {
        try write(Array(text.utf8), to: directory + "/drift.json")
        let result = try ingot(["card", "pico.ingot", "--drift", "drift.json"], in: directory)
        #expect(result.code == 1 && result.err.contains("cannot be put on the card"), "\(text): \(result)")
      }
    }
  }

  @Test func whatTheHubReadsIsWhatItTakes() throws {
    try withPack { directory in
      let lines = try card(in: directory).split(separator: "\n", omittingEmptySubsequences: false)
      #expect(lines.first == "---" && lines.contains("- int4-g64") && !lines.contains { $0.hasPrefix("license") })
      for bad in [
        ["--base-model", "mini"], ["--base-model", "a/b@c"], ["--base-model", "a/b\nx: y"],
        ["--license", "my licence"],
        ["--license", "a\nb"],
      ] { #expect(try ingot(["card", "pico.ingot"] + bad, in: directory).code == 64, "\(bad)") }
      let written = try ingot(["card", "pico.ingot", "-o", "README.md"], in: directory)
      #expect(written.code == 0 && written.out.isEmpty)
      #expect(try contents(of: directory + "/README.md") == Array((lines.joined(separator: "\n")).utf8))
      #expect(try ingot(["card", "pico.ingot", "-o", "README.md"], in: directory).code == 1)
      #expect(try ingot(["card", "pico.ingot", "-o", "README.md", "--force"], in: directory).code == 0)
      let checkpoint = try ingot(["card", pico], in: directory)
      #expect(checkpoint.code == 64 && checkpoint.err.contains("`ingot quantize`"), "\(checkpoint)")
    }
  }

  @Test("Markdown has what the screen has", arguments: ["pack", "checkpoint"])
  func markdown(kind: String) throws {
    try withPack { directory in
      let path = kind == "pack" ? "pico.ingot" : pico
      let screen = try ingot(["inspect", path], in: directory).out
      let text = try ingot(["inspect", path, "--markdown"], in: directory).out
      let cells = { (text: Substring) in
        text.replacing("\\", with: "").split(separator: "|").map { $0.drop { $0 == " " }.prefix { $0 != "|" } }
      }
      let rows = text.split(separator: "\n").filter { $0.hasPrefix("|") && !$0.contains("---") }
      #expect(rows.count > 12)
      for row in rows {
        for cell in cells(row) {
          var value = String(cell)
          while value.hasSuffix(" ") { value.removeLast() }
          // The screen has the path in place of the name.
          if !value.hasPrefix("pico") { #expect(screen.contains(value), "\(value)") }
        }
      }
      #expect(try ingot(["inspect", path, "--markdown", "--json"], in: directory).code == 64)
    }
  }
}
