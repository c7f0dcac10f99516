import Drift
import Testing

@Suite struct ScreenTests {
  @Test func aFullReportFitsOneScreen() {
    let lines = DriftScreen.lines(SyntheticReport.full())
    // A heading and seven numbers on the other candidate, and a blank line.
    // And a heading, up to eight parts, their sum and a blank line.
    #expect(lines.count <= DriftScreen.maximumLines + 9 + 11)
    var alone = SyntheticReport.full()
    (alone.versus, alone.attribution) = (nil, nil)
    #expect(DriftScreen.lines(alone).count <= DriftScreen.maximumLines)
    #expect(lines.allSatisfy { $0.text.count <= 100 })
    #expect(lines.first?.text == "FAIL: 1 of 13 gates failed")
    let text = lines.map(\.text).joined(separator: "\n")
    for part in [
      "0.0213  0.0187 to 0.0243", "5.2×", "94.1 %", "-2.1 %", "p = 0.688", "35.2 %", "0.317  0.289 to 0.343",
      "+3.8 %", "failed: masked.kl.p99 > 0.2",
    ] {
      #expect(text.contains(part), "\(part)")
    }
  }

  @Test func thePartsThatCostTheMostAreShown() throws {
    var report = SyntheticReport.full()
    let parts = try #require(report.attribution?.parts)
    let text = DriftScreen.lines(report).map(\.text).joined(separator: "\n")
    #expect(text.contains("where it comes from") && text.contains("all parts, each alone"))
    for part in parts.prefix(8) {
      let kl = try #require(part.kl)
      let line = try #require(text.split(separator: "\n").first { $0.hasPrefix(part.part + " ") })
      #expect(line.contains(Wording.nats(kl.mean)))
    }
    report.attribution?.parts = Array(repeating: parts[0], count: 12)
    report.attribution?.leftOut = 3
    let long = DriftScreen.lines(report).map(\.text)
    #expect(long.count { $0.hasPrefix(parts[0].part + " ") } == 8)
    #expect(long.contains { $0.hasPrefix("4 more in the report; 3 not measured; ") })
    report.attribution = nil
    #expect(!DriftScreen.lines(report).contains { $0.text.contains("where it comes from") })
  }

  @Test func aNarrowTerminalLosesTheMeanings() {
    let lines = DriftScreen.lines(SyntheticReport.full(), columns: 80)
    #expect(lines.dropFirst(5).allSatisfy { $0.text.count <= 80 })
    #expect(!lines.contains { $0.text.contains("nats off") })
  }

  @Test func whatWasNotMeasuredIsNotShown() {
    let lines = DriftScreen.lines(SyntheticReport.minimal())
    #expect(lines.first?.text == "measured, not judged: there were no gates")
    #expect(lines.count == 4)
    #expect(!lines.contains { $0.text.contains("null") })
  }

  @Test func allNumbersHaveWords() {
    let numbers = Headline.all(of: SyntheticReport.full())
    #expect(numbers.count == 12)
    #expect(numbers.allSatisfy { !$0.meaning.isEmpty && $0.sentence.hasSuffix(".") })
    #expect(numbers.allSatisfy { $0.meaning.count <= 32 })
    #expect(Headline.versus(SyntheticReport.full()).count == 7 && Headline.versus(SyntheticReport.minimal()).isEmpty)
    #expect(Headline.all(of: SyntheticReport.minimal()).isEmpty)
  }

  @Test func zeroDriftIsSaidFirst() {
    var report = SyntheticReport.full()
    report.verdict = DriftReport.Verdict()
    report.verdict.zeroDrift = true
    #expect(DriftScreen.lines(report).first?.text.hasPrefix("ERROR: no drift at all") == true)
  }

  @Test func namesCannotSteerTheTerminal() {
    var report = SyntheticReport.minimal()
    report.candidate.path = "a\u{1B}[2J\u{202E}b"
    let text = DriftScreen.lines(report).map(\.text).joined(separator: "\n")
    #expect(text.contains(#"a\u{1b}[2J\u{202e}b"#))
    #expect(!text.contains("\u{1B}"))
  }
}
