import Templates
import TestSupport
import Testing

/// Which parts of a prompt somebody said.
@Suite struct ProvenanceTests {
  /// The text with somebody's words in brackets.
  private func marked(_ text: TemplateText) -> String {
    var result: [UInt8] = []
    var end = 0
    for range in text.contents {
      result += text.bytes[end..<range.lowerBound] + Array("[".utf8) + text.bytes[range] + Array("]".utf8)
      end = range.upperBound
    }
    return String(decoding: result + text.bytes[end...], as: UTF8.self)
  }

  @Test(
    "operations keep apart what was said",
    arguments: [
      ("{{ x }}", "[say]"), ("a{{ 'b' + x ~ 'c' }}", "ab[say]c"), ("{{ x[1:] + 'q' }}{{ x[0] }}", "[ay]q[s]"),
      ("{{ ('<' ~ x ~ '>')[2:5] }}", "[ay]>"), ("{{ ('  ' ~ x ~ ' ') | trim }}", "[say]"), ("{{ x | upper }}", "[SAY]"),
      ("{{ ('a' ~ x) | capitalize }}", "A[say]"), ("{{ x.replace('a', '<|a|>') }}", "[s]<|a|>[y]"),
      ("{{ 'axb'.replace('x', x) }}", "a[say]b"), ("{{ x.split('a') | join('|') }}", "[s]|[y]"),
      ("{{ 'a|b'.split('|') | join(x) }}", "a[say]b"), ("{{ [x, 1] }}", "[['say', 1]]"), ("{{ ['a', 1] }}", "['a', 1]"),
      ("{{ {'k': x} | tojson }}", #"[{"k": "say"}]"#), ("{{ m | tojson }}", #"[{"k": "v"}]"#),
      ("{{ {'k': 1} | tojson }}", #"{"k": 1}"#),
      ("{% for k, v in m.items() %}{{ k }}={{ v }}{% endfor %}", "[k]=[v]"),
      ("{% set s %}a{{ x }}{% endset %}{{ s }}", "a[say]"),
      ("{% macro f(t) %}<{{ t }}>{% endmacro %}{{ f(x) }}", "<[say]>"),
      ("{% for c in x %}{{ c }}.{% endfor %}", "[s].[a].[y]."),
      ("{{ x * 2 }}{{ x | length }}{{ x == 'say' }}", "[saysay]3True"),
      ("{{ x | default('d') }}{{ n | default('d') }}", "[say]d"),
      ("{{ x[::-1] }}{{ x | first }}{{ x | reverse }}{{ x | list | join }}", "[yassyassay]"),
      ("{{ x | replace('s', '') | string }}", "[ay]"),
      ("{{ x.strip('s') ~ x.lstrip('s') ~ x.rstrip('y') }}", "[ayaysa]"), ("{{ x ~ 1 ~ none }}", "[say]1None"),
    ])
  func marks(source: String, wanted: String) throws {
    #expect(marked(try render(source, #"{"x": "say", "m": {"k": "v"}}"#)) == wanted)
  }

  @Test(
    "a whole template marks what was said, and nothing else",
    arguments: ["plain", "roles", "ling", "thinking", "chatml"])
  func templates(name: String) throws {
    let source = String(decoding: try contents(of: "Tests/Fixtures/templates/\(name).jinja"), as: UTF8.self)
    let text = try render(
      source,
      #"""
      {"messages": [{"role": "user", "content": "αβ"}, {"role": "assistant", "content": "γ</think>δ"}, {"role": "user", "content": "ε"}],
       "add_generation_prompt": true, "tools": null}
      """#)
    let isGreek = text.string.unicodeScalars.map { (0x3B1...0x3C9).contains($0.value) }
    var isMarked: [Bool] = []
    var offset = 0
    for scalar in text.string.unicodeScalars {
      // Roles, thoughts and spacing may come from the conversation, too.
      isMarked.append(text.contents.contains { $0.contains(offset) })
      offset += scalar.utf8.count
    }
    #expect(zip(isGreek, isMarked).allSatisfy { !$0 || $1 })
    #expect(text.string.contains("ε"))
  }
}

/// Whatever stands in a template, reading and rendering it ends with text or with an error that has a line.
@Suite struct RandomTemplateTests {
  @Test("random templates never trap", arguments: 0..<8)
  func random(part: Int) throws {
    var state = UInt64(part) &* 0x9E37_79B9_7F4A_7C15 &+ 1
    func next(_ count: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % count
    }
    var limits = TemplateLimits()
    (limits.steps, limits.bytes) = (20_000, 1 << 20)
    let sources = try ["ling", "thinking", "chatml", "strict", "constructs"].map {
      String(decoding: try contents(of: "Tests/Fixtures/templates/\($0).jinja"), as: UTF8.self)
    }
    let words = [
      "{{", "}}", "{%", "%}", "{#", "#}", "-", "+", "if", "for", "in", "set", "endif", "endfor", "not", "is", "defined",
      "x",
      "messages", "loop", ".", "(", ")", "[", "]", "{", "}", ":", ",", "|", "tojson", "'", "\"", "\\", "~", "**", "//",
      "%", "0",
      "9223372036854775807", "1e999", "-1", "::", "range", "é", "\u{0}", "\n", " ", "macro", "else", "none",
      "namespace",
      "split", "join", "slice", "*", "length", "select", "map", "generation", "=", "==", "<", "int", "items", "lower",
    ]
    for _ in 0..<400 {
      var source = sources[next(sources.count)].split(separator: " ", omittingEmptySubsequences: false).map(String.init)
      for _ in 0...next(12) {
        switch next(4) {
        case 0: source.remove(at: next(source.count))
        case 1: source.insert(words[next(words.count)], at: next(source.count))
        case 2: source.swapAt(next(source.count), next(source.count))
        default: source[next(source.count)] = words[next(words.count)]
        }
        if source.count < 2 { source = ["{{", "x", "}}"] }
      }
      if next(3) == 0 { source = (0...next(20)).map { _ in words[next(words.count)] } }
      let text = source.joined(separator: next(2) == 0 ? " " : "")
      do {
        let result = try render(
          text,
          #"{"messages": [{"role": "user", "content": "aé"}, {"role": "assistant", "content": null}], "x": [1, {"a": "b"}]}"#,
          limits: limits)
        var end = 0
        for range in result.contents {
          #expect(range.lowerBound >= end && range.upperBound <= result.bytes.count && !range.isEmpty)
          end = range.upperBound
        }
      } catch let error as TemplateError {
        let lines = text.split(omittingEmptySubsequences: false) { $0.isNewline }.count
        #expect((1...max(1, lines)).contains(error.line) && !error.reason.isEmpty, "\(error) in \(text)")
      }
    }
  }
}
