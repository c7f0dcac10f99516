import JSON
import Templates
import TestSupport
import Testing

/// What a template gives with variables written as JSON.
func render(
  _ source: String, _ variables: String = "{}", limits: TemplateLimits = TemplateLimits()
) throws -> TemplateText {
  let values = try #require(try JSONParser.parse(variables).object).members.map { member in
    (name: member.key, value: try #require(TemplateValue(member.value, isContent: true)))
  }
  return try Template(source).render(values, limits: limits, time: { "[\($0)]" })
}

func failure(_ source: String, _ variables: String = "{}") -> TemplateError? {
  #expect(throws: TemplateError.self) { try render(source, variables) }
}

/// Behaviour beside that which is compared with Jinja for whole templates.
@Suite struct TemplateTests {
  @Test(
    "white space around tags",
    arguments: [
      ("a\n  {% if true %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"), ("{% if true -%}\n\n x {%- endif %}\n\ny", "x\ny"),
      ("a {#- b -#} c", "ac"), ("a\n {# b #}\nc", "a\nc"), (" {%+ if true %}x{% endif +%}\ny", " x\ny"),
      ("{{ 'a' }}\n{{ 'b' }}\n", "a\nb"), ("a\r\nb\rc\r\n", "a\nb\nc"), ("a  {{- 'b' -}}  c", "abc"),
      ("{{ '}}' }}{{ \"{%\" }}", "}}{%"), ("x{% set a = {'b': {'c': 1}} %}{{ a.b.c }}", "x1"),
      ("{ { } % }", "{ { } % }"),
    ])
  func whiteSpace(source: String, wanted: String) throws {
    #expect(try render(source).string == wanted)
  }

  @Test(
    "outside of the subset, by name and line",
    arguments: [
      ("\n{% include 'a' %}", 2, "`{% include %}`"), ("{% extends 'a' %}", 1, "`{% extends %}`"),
      ("{% block a %}{% endblock %}", 1, "`{% block %}`"), ("{% raw %}{% endraw %}", 1, "`{% raw %}`"),
      ("{% call f() %}{% endcall %}", 1, "`{% call %}`"), ("{% filter upper %}a{% endfilter %}", 1, "`{% filter %}`"),
      ("a\n\n{{ x | sort }}", 3, "the filter `sort`"), ("{{ x is callable }}", 1, "the test `callable`"),
      ("{% for a in x recursive %}{% endfor %}", 1, "`{% for … recursive %}`"), ("{{ f(*a) }}", 1, "from a list"),
      ("{{ 'a'.title() }}", 1, "the method `title` of text"), ("{{ 'a'.title }}", 1, "`title` of text"),
      ("{{ 'a' % 1 }}", 1, "`%` with text"), ("{{ lipsum() }}", 1, "`lipsum`"), ("{{ x.__class__ }}", 1, "`__class__`"),
      ("{% set x = [range] %}", 1, "a function as a part"), ("{{ 0x10 }}", 1, "a number written"),
      ("{% set x = namespace(a=namespace()) %}", 1, "a namespace as a part"), ("{{ 'a'.split(x=1) }}", 1, "`x=`"),
      ("{% for a in [1] %}{% macro m() %}{% endmacro %}{% endfor %}", 1, "`{% macro %}`"), ("{{ {1: 2} }}", 1, "a key"),
      ("{{ [].append(1) }}", 1, "the method `append` of a list"),
      ("{{ 9223372036854775807 + 1 }}", 1, "more than 64 bits"),
    ])
  func refused(source: String, line: Int, words: String) throws {
    let error = try #require(failure(source, #"{"x": {}}"#))
    #expect(error.kind == .unsupported)
    #expect(error.line == line)
    #expect(error.reason.contains(words), "\(error.reason)")
  }

  @Test(
    "where Jinja stops, too",
    arguments: [
      "{{ x.y.z }}", "{{ x + 'a' }}", "{{ 1 + 'a' }}", "{{ none + 1 }}", "{{ 1 / 0 }}", "{{ 1 % 0 }}", "{{ x() }}",
      "{% for a in 5 %}{% endfor %}", "{% for a, b in [1] %}{% endfor %}", "{% set x.y = 1 %}", "{{ 'a'.split('') }}",
      "{{ x | tojson }}", "{{ {}.items() | tojson }}", "{{ 1 in 'a' }}", "{{ x < 1 }}", "{{ [1][::0] }}",
      "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(b=1) }}", "{{ -'a' }}",
      "{{ [1] | select('odd') | length }}",
    ])
  func failed(source: String) throws {
    #expect(try #require(failure(source)).kind == .failed)
  }

  @Test(
    "not Jinja",
    arguments: [
      "{{", "{%", "{#", "{{ }}", "{% %}", "{{ 'a }}", "{% if %}{% endif %}", "{% if x %}", "{% endif %}", "{{ a b }}",
      "{{ (a }}", "{{ a) }}", "{% for x %}{% endfor %}", "{% set 5 = 1 %}", "{% set true = 1 %}", "{% break %}",
      "{{ 'a\\u00' }}", "{{ a is }}", "{{ a | }}", "{{ 1 if }}", "{% macro m(a, a) %}{% endmacro %}", "{{ ] }}",
      "{{ a is b is c }}", "{% macro m(a=1, b) %}{% endmacro %}", "{{ f(a=1, 2) }}", "{{ 007 }}", "{{ ! }}",
      "{% else %}",
    ])
  func malformed(source: String) throws {
    let error = try #require(failure(source))
    #expect(error.kind == .malformed || error.kind == .unsupported && source.contains("is b is"), "\(error)")
  }

  @Test func functionsOfTheSurroundings() throws {
    #expect(try render("{{ strftime_now('%d %b %Y') }}").string == "[%d %b %Y]")
    let error = try #require(failure("\n{{ raise_exception('stop: ' ~ 1) }}"))
    #expect(error == failure("\n{{ raise_exception('stop: 1') }}"))
    #expect(error.kind == .raised && error.line == 2)
    #expect(LocalTime.text("%Y-%m-%d%%").utf8.count == 11)
    #expect(LocalTime.text("") == "")
  }

  @Test func whatAMacroSees() throws {
    #expect(
      try render("{% macro m() %}{{ a }}{{ b }}{% endmacro %}{% set a = 1 %}{% for b in [2] %}{{ m() }}{% endfor %}")
        .string
        == "1")
    #expect(
      try render("{% macro m(n) %}{{ n }}{% if n %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}").string == "3210")
  }

  @Test func anIteratorIsGoneThroughOnce() throws {
    #expect(try render("{% set i = [1, 2] | select %}{{ i | list }}{{ i | list }}").string == "[1, 2][]")
    #expect(try render("{% set i = [1, 2] | map('string') %}{{ i | first }}{{ i | list }}").string == "1['2']")
  }
}

/// No template takes more than it may.
@Suite struct TemplateLimitTests {
  @Test(
    "hostile templates end with an error",
    arguments: [
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(1000) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(1000) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
      "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(70) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
      "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(70) %}{% set ns.x = [ns.x, ns.x] %}"
        + "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{{ 'a' * 99999999999 }}", "{{ [0] * 9999999999 }}",
      "{{ range(999999999) | list }}", "{% for i in range(100000) %}{{ 'a' * 100000 }}{% endfor %}",
      "{% set a = 'a' * 1000000 %}{% for i in range(100000) %}{{ 'b' in a }}{% endfor %}",
      "{{ {'a': 1} | tojson(indent=99999999) }}", "{{ [1, 2] | tojson(indent='a' * 99999999) }}",
      "{% set a = 'a' * 100000 %}{% for i in range(100000) %}{{ a[::-1] | length }}{% endfor %}",
      "{{ ('a' * 100000000).split('a') }}", "{{ ('a ' * 50000000).split() }}", "{{ ('a' * 100000000) | list }}",
      "{{ ('a' * 100000000).replace('a', 'b') }}", "{{ 'a' * 100000000 in 'a' * 100000000 }}",
      "{{ 2 ** 2 ** 62 }}",
    ])
  func hostile(source: String) throws {
    let error = try #require(failure(source))
    #expect(error.kind == .limit || error.kind == .unsupported, "\(error)")
  }

  @Test func nesting() throws {
    for source in [
      String(repeating: "(", count: 5000), String(repeating: "[", count: 5000), String(repeating: "not ", count: 5000),
      String(repeating: "-", count: 5000), "a" + String(repeating: ".a", count: 5000),
      "a" + String(repeating: "+a", count: 5000), "a" + String(repeating: "|list", count: 5000),
      "a" + String(repeating: " or a", count: 5000), "a" + String(repeating: " if a", count: 5000),
      "a" + String(repeating: "()", count: 5000), "a" + String(repeating: "[a", count: 5000),
    ] {
      // Where a bracket is left open, that may be found first.
      let kind = try #require(failure("{{ \(source) }}")).kind
      #expect(
        kind == .limit || kind == .malformed && source.contains { "([".contains($0) }, "\(source.prefix(8)) \(kind)")
    }
    #expect(try #require(failure(String(repeating: "{% if a %}", count: 5000))).kind == .limit)
    #expect(try #require(failure(String(repeating: "a", count: 1 << 21))).kind == .limit)
    // Long, but not deep.
    #expect(try render("{{ " + String(repeating: "'a' ~ ", count: 5000) + "'b' }}").string.utf8.count == 5001)
    #expect(try render("{{ 'a'" + String(repeating: " + 'a'", count: 60) + " }}").string.utf8.count == 61)
  }

  @Test func theLimitsAreThoseGiven() throws {
    var limits = TemplateLimits()
    limits.steps = 50
    #expect(throws: TemplateError.self) { try render("{% for i in range(100) %}{% endfor %}", limits: limits) }
    limits = TemplateLimits()
    limits.bytes = 100
    #expect(throws: TemplateError.self) { try render("{{ 'a' * 200 }}", limits: limits) }
    // What is given may be repeated some times whatever its length.
    let long = "{\"x\": \"\(String(repeating: "a", count: 1000))\"}"
    #expect(try render("{{ x }}{{ x ~ x }}", long, limits: limits).bytes.count == 3000)
  }

  @Test func longConversationsAreFine() throws {
    let message = #"{"role": "user", "content": "\#(String(repeating: "abc\\n", count: 500))"}"#
    let variables = "{\"messages\": [\(Array(repeating: message, count: 1000).joined(separator: ","))]}"
    let source = String(decoding: try contents(of: "Tests/Fixtures/templates/ling.jinja"), as: UTF8.self)
    #expect(try render(source, variables).bytes.count > 2_000_000)
  }
}
