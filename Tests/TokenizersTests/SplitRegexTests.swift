import Patterns
import Testing
import Tokenizers

@Suite struct SplitRegexTests {
  /// The matches of a pattern, one after another; `·` for every scalar where none starts.
  private func matches(_ pattern: String, _ text: String) throws -> [String] {
    let bytes = Array(text.utf8)
    var matcher = RegexMatcher(try SplitRegex(pattern), byteCount: bytes.count)
    var found: [String] = []
    var offset = 0
    while offset < bytes.count {
      if let end = matcher.match(bytes, offset..<bytes.count) {
        found.append(String(decoding: bytes[offset..<end], as: UTF8.self))
        offset = end
      } else {
        found.append("·")
        repeat { offset += 1 } while offset < bytes.count && bytes[offset] & 0xC0 == 0x80
      }
    }
    return found
  }

  @Test(
    "matches agree with Oniguruma",
    arguments: [
      // Ling: digits one by one, white space before a word stays with it, contractions in either case, ſ folds to s.
      (
        Fixture.lingPattern, "a1b22  c's d'LL\n\n x",
        ["a", "1", "b", "2", "2", " ", " c", "'s", " d", "'LL", "\n\n", " x"]
      ),
      (Fixture.lingPattern, "it'ſ e\u{301}é!!\n", ["it", "'ſ", " e", "\u{301}é", "!!\n"]),
      (#"\p{N}{1,3}"#, "12345a6", ["123", "45", "·", "6"]),
      (#"\p{N}{2}"#, "12345", ["12", "34", "·"]),
      (#"\p{N}{2,}"#, "12345a6", ["12345", "·", "·"]),
      (#"\s+(?!\S)|\s+"#, "   a \u{3000}\u{2028}", ["  ", " ", "·", " \u{3000}\u{2028}"]),
      (#"a(?=b)|b"#, "aab", ["·", "a", "b"]),
      (#"a++ab|a"#, "aaab", ["a", "a", "a", "·"]),
      (#"a+ab"#, "aaab", ["aaab"]),
      (#"(?:ab|a)*c"#, "abaabc", ["abaabc"]),
      (#"(?:ab){2}|a"#, "ababab", ["abab", "a", "·"]),
      (#"(ab)?c|b"#, "abcc", ["abc", "c"]),
      (#"[^\s\p{L}]|\P{Lu}|[\S]"#, "aB. ", ["a", "B", ".", " "]),
      (#"\p{^L}+|[a-c\-\]]+"#, "cab-]x1", ["cab-]", "·", "1"]),
      (#"(?i:k)|(?i:[^s])"#, "K\u{212A}kSſ", ["K", "\u{212A}", "k", "·", "·"]),
      (#"[-a]+|[b-]+"#, "-a-b-", ["-a-", "b-"]),
      (#"\d+|\D"#, "1١²", ["1١", "²"]),
      (#"/#"#, "/#", ["/#"]),
    ])
  func agrees(pattern: String, text: String, expected: [String]) throws {
    #expect(try matches(pattern, text).elementsEqual(expected) { $0.utf8.elementsEqual($1.utf8) })
  }

  @Test(
    "syntax without a known meaning is refused where it stands",
    arguments: [
      ("a.b", 1), ("^a", 0), ("a$", 1), ("a+?", 2), ("a{2}+", 4), ("a**", 2), ("*a", 0), ("(?<=a)b", 0), ("(?>a)b", 0),
      ("(?i)a", 0), ("(?P<n>a)", 0), ("a\\b", 1), ("\\p{Han}", 0), ("\\pL", 0), ("\\x41", 0), ("[a[b]]", 2),
      ("[a&&b]", 2), ("[]", 0), ("[a", 0), ("[z-a]", 1), ("[\\s-a]", 1), ("(a", 0), ("a)", 1), ("a\\", 1), ("a*", 0),
      ("a|", 0), ("(?!a)", 0), ("(?:a?)*b", 6), ("(?:ab)++", 6), ("a{3,2}", 1), ("a{9999}", 1), ("a{,3}", 1),
      ("(?i:é)", 4), ("(?i:\\p{Lu})", 4), ("\\1", 0), ("\\w", 0), ("[\\W]", 1),
    ])
  func refused(pattern: String, position: Int) {
    let error = #expect(throws: RegexError.self) { try SplitRegex(pattern) }
    #expect(error?.position == position, "\(error?.reason ?? "")")
  }

  @Test func deepAndLongPatternsAreRefused() {
    let deep = String(repeating: "(", count: 100_000)
    #expect(throws: RegexError.self) { try SplitRegex(deep) }
    #expect(throws: RegexError.self) { try SplitRegex("(?:(?:(?:ab){999}){999}){999}") }
  }

  @Test("a pattern that backtracks without end is given up, and named", arguments: ["(?:a|a)+b|[^x]", "(?:a+)+b|[^x]"])
  func endless(pattern: String) throws {
    let fixture = Fixture.with { $0.preTokenizer = Fixture.split(pattern) }
    let tokenizer = try fixture.tokenizer()
    #expect(try tokenizer.encode("aab aac").count == 6)
    #expect(throws: TokenizerError.slowPattern(pattern)) {
      try tokenizer.encode(String(repeating: "a", count: 5000))
    }
  }

  @Test(
    "the patterns in use take few of the steps, whatever the text",
    arguments: [Fixture.lingPattern, #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#])
  func usual(pattern: String) throws {
    let regex = try SplitRegex(pattern)
    for unit in [" ", "\n", " \n", "a", "'", "1", "!\n", " a", "\u{3000}", "é'l", "\r\n ", "'v"] {
      let bytes = Array(String(repeating: unit, count: 5000).utf8) + Array("x".utf8)
      var matcher = RegexMatcher(regex, byteCount: 0)  // a million steps for all
      var offset = 0
      while offset < bytes.count {
        let end = matcher.match(bytes, offset..<bytes.count)
        offset = try #require(end)
      }
      #expect(!matcher.isExhausted)
    }
  }

  @Test func longTextNeedsNoDeepStack() throws {
    let text = String(repeating: "ab", count: 200_000)
    #expect(try matches("(?:ab)+(?!c)", text).count == 1)
  }
}
