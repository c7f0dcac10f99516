import Testing
import Text

@Suite struct FormatTests {
  @Test(arguments: [
    (0.0, "0"), (0.0721349, "0.07213"), (1234.56, "1235"), (0.00001, "1.000e-5"), (-0.5, "-0.5000"),
    (12_345_678, "1.235e7"),
  ])
  func numbersKeepFourDigits(value: Double, text: String) { #expect(Format.significant(value) == text) }

  @Test func digitsCanBeFewer() {
    #expect(Format.significant(0.0721349, digits: 2) == "0.072")
    #expect(Format.significant(3.1e-7, digits: 2) == "3.1e-7")
  }

  @Test func fixedDigitsRoundAndHaveNoNegativeZero() {
    #expect(Format.fixed(1.005, 1) == "1.0")
    #expect(Format.fixed(-0.04, 1) == "0.0")
    #expect(Format.fixed(2.5, 0) == "3")
    #expect(Format.fixed(.infinity, 2) == "inf")
  }

  @Test func countsHaveThousands() {
    #expect(Format.count(24_161) == "24,161")
    #expect(Format.count(-1_000) == "-1,000")
    #expect(Format.count(999) == "999")
  }

  @Test func whatSteersATerminalIsSpelled() {
    #expect(Shown.text("a\u{1B}[2Jb\u{202E}c") == "a\\u{1b}[2Jb\\u{202e}c")
    #expect(Shown.text("abcdef", limit: 3) == "abc…")
    for hidden in [
      "\u{80}", "\u{9F}", "\u{AD}", "\u{61C}", "\u{200B}", "\u{200D}", "\u{2029}", "\u{2069}", "\u{FEFF}", "\u{3164}",
    ] {
      #expect(Shown.text(hidden).hasPrefix(#"\u{"#))
    }
    for seen in ["é", "漢", "e\u{301}", "\u{2764}\u{FE0F}", "👍🏽"] { #expect(Shown.text(seen) == seen) }
  }
}
