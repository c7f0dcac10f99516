import Patterns
import TestSupport
import Testing

@Suite struct SearchPatternTests {
  @Test(
    "a pattern is found as Perl finds it",
    arguments: [
      ("", "", true), ("", "a", true), ("b", "abc", true), ("d", "abc", false), ("a.c", "xa-c", true),
      ("a.c", "a\nc", false), ("^a", "ba", false), ("^a", "ab", true), ("a$", "ba", true), ("a$", "a\n", true),
      ("a$", "a\n\n", false), ("a$", "ab", false), ("^$", "", true), ("^$", "a", false), ("a|", "x", true),
      ("^(a|b)$", "b", true), ("^(a|b)$", "ab", false), ("^(?:ab?)*$", "aabab", true), ("^(?:ab?)*$", "abb", false),
      ("^(a?b?)*c$", "aabbabc", true), ("^(a?b?)*c$", "aabdc", false), ("^(a*)*$", "aaa", true),
      ("^(a*)+$", "b", false),
      ("^((a|b?)*c)*$", "abcbaccc", true), ("^((a|b?)*c)*$", "abcb", false), ("^a{2,3}$", "aa", true),
      ("^a{2,3}$", "a", false), ("^a{2,3}$", "aaaa", false), ("^(ab){2}$", "abab", true), ("^a{2,}$", "aaaaa", true),
      ("^a+?b*?$", "aab", true), ("^a??b$", "b", true), ("^a{2}?$", "aa", true), (#"\byes\b"#, "oh yes!", true),
      (#"\byes\b"#, "eyes", false), (#"\Byes"#, "eyes", true), (#"^\b"#, "", false), (#"^\B$"#, "", true),
      (#"^\w+$"#, "läufe_1\u{301}", true), (#"\W"#, "a-b", true), (#"[^\W\d]"#, "12", false), (#"\."#, "ab", false),
      ("(?i)PROJ", "up_proj", true), ("up_(?i:PROJ)$", "UP_proj", false), ("((?i)a)b", "Ab", true),
      ("((?i)a)b", "AB", false),
      ("^(?!.*lm_head).*weight", "lm_head.weight", false), ("^(?!.*lm_head).*weight", "up.weight", true),
      ("a(?=b)", "ac", false), ("a(?=b)b", "ab", true), ("^(?:(?!b)[a-z])*$", "acd", true),
      ("^(?:(?!b)[a-z])*$", "acbd", false), ("(?<kind>gate|up)_proj", "x.up_proj", true), ("(?P<k>a)", "a", true),
      ("^a{0,}$", "aa", true),
      ("^((?=a)|b)*a$", "bba", true), (#"layers\.(1|2)\.mlp\.experts\."#, "model.layers.12.mlp.experts.3.up", false),
      ("é", "e\u{301}", false), ("😀.$", "😀é", true),
    ])
  func found(pattern: String, text: String, isFound: Bool) throws {
    #expect(try SearchPattern(pattern).occurs(in: text) == isFound)
  }

  @Test(
    "what is not in the table is refused where it stands",
    arguments: [
      ("a**", 2), ("*a", 0), ("(?<=a)b", 0), ("(?<!a)b", 0), ("(?>a)b", 0), ("(a)\\1", 3), ("a++", 2), ("a{2}+", 4),
      ("[a[b]]", 2), ("[a&&b]", 2), ("[]", 0), ("[a", 0), ("[z-a]", 1), ("(a", 0), ("a)", 1), ("a\\", 1), ("a{3,2}", 1),
      ("a{9999}", 1), ("a{0}", 1), ("(?i)é", 4), ("\\x41", 0), ("\\p{Han}", 0), ("(?<n a)", 0), ("(?#a)", 0),
      ("\\Qa", 0),
    ])
  func refused(pattern: String, position: Int) {
    let error = #expect(throws: RegexError.self) { try SearchPattern(pattern) }
    #expect(error?.position == position, "\(error?.reason ?? "")")
  }

  @Test(
    "what other engines try for ever is decided or refused at once",
    arguments: [
      "(.*)*x$", "(?=(.*)*x$)", "(((.{1,100}){1,100}){1,100}){1,100}x$", "(a|a)*b", "(a*)*b", "(a+)+b", "(.*)*Q$",
      "(?=.*(?=.*(?=.*(?=.*(?=.*x)))))", "((((((((((a*)*)*)*)*)*)*)*)*)*)*b", "(a?){30}a{30}", "(.?){40}{40}",
      String(repeating: "(", count: 100_000), String(repeating: "a?", count: 100_000),
    ])
  func endless(pattern: String) throws {
    let clock = ContinuousClock()
    let start = clock.now
    let text = String(repeating: "a", count: 4000)
    let isFound = (try? SearchPattern(pattern))?.occurs(in: text)
    #expect(isFound == nil || isFound == pattern.hasPrefix("(a?)"), "\(pattern)")
    #expect(clock.now - start < .seconds(20))
  }

  /// Against matching by definition: the set of ends of matches from a place.
  @Test func randomPatternsAgreeWithTheirDefinition() throws {
    var random = SeededRandom(seed: testSeed)
    for _ in 0..<3000 {
      let pattern = Random.pattern(depth: 4, &random)
      let text = String((0..<Int.random(in: 0...7, using: &random)).map { _ in "ab\n".randomElement(using: &random)! })
      let scalars = Array(text.unicodeScalars)
      let expected =
        scalars.indices.contains { !pattern.ends(scalars, $0).isEmpty }
        || !pattern.ends(scalars, scalars.count).isEmpty
      let source = pattern.source
      #expect(
        try SearchPattern(source).occurs(in: text) == expected,
        "`\(source)` in \(text.debugDescription), seed \(testSeed)")
    }
  }
}

private indirect enum Random {
  case character(Unicode.Scalar), any, start, end, boundary
  case both(Random, Random), either(Random, Random), many(Random, Int, Int?), ahead(Random, Bool)

  static func pattern(depth: Int, _ random: inout SeededRandom) -> Random {
    let kind = Int.random(in: 0...(depth > 0 ? 10 : 4), using: &random)
    func inner() -> Random { pattern(depth: depth - 1, &random) }
    switch kind {
    case 0...1: return .character(["a", "b"].randomElement(using: &random)!)
    case 2: return .any
    case 3: return [.start, .end, .boundary].randomElement(using: &random)!
    case 4: return .character("b")
    case 5...6: return .both(inner(), inner())
    case 7: return .either(inner(), inner())
    case 8...9:
      let bounds: [(Int, Int?)] = [(0, nil), (1, nil), (0, 1), (2, 2), (1, 3), (2, nil)]
      let (least, most) = bounds.randomElement(using: &random)!
      return .many(inner(), least, most)
    default: return .ahead(inner(), Bool.random(using: &random))
    }
  }

  var source: String {
    switch self {
    case .character(let scalar): String(scalar)
    case .any: "."
    case .start: "^"
    case .end: "$"
    case .boundary: #"\b"#
    case .both(let one, let other): "\(one.source)\(other.source)"
    case .either(let one, let other): "(\(one.source)|\(other.source))"
    case .many(let one, let least, let most): "(?:\(one.source)){\(least),\(most.map { "\($0)" } ?? "")}"
    case .ahead(let one, let isNegative): "(?\(isNegative ? "!" : "=")\(one.source))"
    }
  }

  func ends(_ text: [Unicode.Scalar], _ place: Int) -> Set<Int> {
    let isWord = { (index: Int) in text.indices.contains(index) && text[index] != "\n" }
    switch self {
    case .character(let scalar): return place < text.count && text[place] == scalar ? [place + 1] : []
    case .any: return place < text.count && text[place] != "\n" ? [place + 1] : []
    case .start: return place == 0 ? [place] : []
    case .end: return place == text.count || place == text.count - 1 && text[place] == "\n" ? [place] : []
    case .boundary: return isWord(place - 1) != isWord(place) ? [place] : []
    case .both(let one, let other): return Set(one.ends(text, place).flatMap { other.ends(text, $0) })
    case .either(let one, let other): return one.ends(text, place).union(other.ends(text, place))
    case .many(let one, let least, let most):
      var now: Set<Int> = [place]
      for _ in 0..<least { now = Set(now.flatMap { one.ends(text, $0) }) }
      var all = now
      for _ in 0..<(most ?? text.count + 1 + least) - least {
        now = Set(now.flatMap { one.ends(text, $0) })
        all.formUnion(now)
      }
      return all
    case .ahead(let one, let isNegative): return one.ends(text, place).isEmpty == isNegative ? [place] : []
    }
  }
}
