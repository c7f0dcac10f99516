package import JSON
package import Patterns
import Quantization
import Storage
package import Tensors

/// Which encoding each tensor gets (`Formats/recipe.md`).
package struct Recipe: Sendable, Equatable {
  package enum Choice: Sendable, Equatable, CustomStringConvertible {
    /// What the source has.
    case keep
    case encode(Encoding)
    /// What a target leaves room for, each by itself; no recipe file can say so.
    case byTarget

    package init?(name: String) {
      if name.lowercased() == "keep" {
        self = .keep
      } else if let encoding = Encoding(name: name) {
        self = .encode(encoding)
      } else {
        return nil
      }
    }

    package var description: String {
      switch self {
      case .keep: "keep"
      case .encode(let encoding): encoding.description
      case .byTarget: "target"
      }
    }
  }

  package struct Rule: Sendable, Equatable {
    /// A regular expression, searched for in the tensor's name.
    package let match: String
    package let choice: Choice
    /// The name of the solver that chooses codes and scales; nil for the one of the run.
    package let solver: String?
    /// Whether it may match nothing.
    package let isOptional: Bool

    package init(match: String, choice: Choice, solver: String? = nil, isOptional: Bool = false) {
      self.match = match
      self.choice = choice
      self.solver = solver
      self.isOptional = isOptional
    }
  }

  /// The keys of a file and of a rule in it, in a few words.
  package static let keys: [(key: String, meaning: String)] = [
    ("experts", "encoding of the routed experts; \(Recipe().experts) unless it is there"),
    ("rest", "encoding of all other matrices; \(Recipe().rest) unless it is there"),
    ("overrides", "list of rules, the last match wins"),
  ]
  package static let ruleKeys: [(key: String, meaning: String)] = [
    ("match", "of a rule: a regular expression, looked for in the tensor's name"),
    ("encoding", "of a rule: what tensors that match get"),
    ("solver", "of a rule: how their scales are chosen; --solver's way unless it is there"),
    ("optional", "of a rule: whether it may match nothing; false unless it is there"),
  ]

  private static func list(_ keys: [(key: String, meaning: String)]) -> String {
    keys.map { "`\($0.key)`" }.joined(separator: ", ")
  }

  /// Larger files are refused unread.
  package static var maximumByteCount: Int { 16 << 20 }

  package var experts: Choice
  package var rest: Choice
  /// The last match wins.
  package var overrides: [Rule]

  package init(experts: Choice = .standardExperts, rest: Choice = .keep, overrides: [Rule] = []) {
    self.experts = experts
    self.rest = rest
    self.overrides = overrides
  }

  /// Reads a recipe file.
  ///
  /// - Throws: ``RecipeError/file(detail:byteOffset:)``, ``RecipeError/unknownEncoding(_:byteOffset:)``.
  package init(json bytes: [UInt8]) throws(RecipeError) {
    self.init()
    let value: JSONValue
    do { value = try unsafe JSONParser.parse(bytes.span.bytes, .settings) } catch {
      throw .file(detail: error.reason, byteOffset: error.byteOffset)
    }
    guard let object = value.object else {
      throw .file(detail: "a recipe is an object, not \(value.kind)", byteOffset: 0)
    }
    for member in object.members {
      switch member.key {
      case "experts": experts = try Self.choice(member)
      case "rest": rest = try Self.choice(member)
      case "overrides":
        guard let list = member.value.array else {
          throw .file(detail: "`overrides` must be a list", byteOffset: member.byteOffset)
        }
        for rule in list { overrides.append(try Self.rule(rule, in: member)) }
      default:
        throw .file(
          detail: "unknown key `\(member.key)`; known are \(Self.list(Self.keys))", byteOffset: member.byteOffset)
      }
    }
  }

  private static func rule(_ value: JSONValue, in list: JSONObject.Member) throws(RecipeError) -> Rule {
    guard let object = value.object else {
      throw .file(detail: "a rule is an object, not \(value.kind)", byteOffset: list.byteOffset)
    }
    for member in object.members where !ruleKeys.contains(where: { $0.key == member.key }) {
      throw .file(
        detail: "unknown key `\(member.key)` of a rule; known are \(Self.list(ruleKeys))",
        byteOffset: member.byteOffset)
    }
    guard let match = object["match"]?.string, let encoding = object.member("encoding") else {
      throw .file(detail: "a rule has `match` and `encoding`, both strings", byteOffset: list.byteOffset)
    }
    var isOptional = false
    if let optional = object.member("optional") {
      guard let value = optional.value.bool else {
        throw .file(detail: "`optional` must be true or false", byteOffset: optional.byteOffset)
      }
      isOptional = value
    }
    let choice = try choice(encoding)
    return Rule(
      match: match, choice: choice,
      solver: try object.member("solver").map { (member) throws(RecipeError) in
        try solver(member, for: choice)
      }, isOptional: isOptional)
  }

  private static func solver(_ member: JSONObject.Member, for choice: Choice) throws(RecipeError) -> String {
    guard case .encode(let encoding) = choice, encoding.isGrouped else {
      throw .file(detail: "a rule that keeps tensors as they are has no `solver`", byteOffset: member.byteOffset)
    }
    guard let name = member.value.string, Solvers.named(name) != nil else {
      let known = Solvers.all.map { "`\($0.name)`" }.joined(separator: ", ")
      throw .file(detail: "`solver` must be one of \(known)", byteOffset: member.byteOffset)
    }
    return name
  }

  private static func choice(_ member: JSONObject.Member) throws(RecipeError) -> Choice {
    guard let name = member.value.string else {
      throw .file(detail: "`\(member.key)` must be a string", byteOffset: member.byteOffset)
    }
    guard let choice = Choice(name: name) else { throw .unknownEncoding(name, byteOffset: member.byteOffset) }
    return choice
  }

  /// A rule from the command line: `REGEX=ENCODING`. The encoding is what follows the last `=`.
  package static func rule(parsing text: String) throws(RecipeError) -> Rule {
    guard let equals = text.lastIndex(of: "="), equals != text.startIndex else {
      throw .option(detail: "`\(text)` is not of the form REGEX=ENCODING")
    }
    let name = String(text[text.index(after: equals)...])
    guard let choice = Choice(name: name) else { throw .unknownEncoding(name) }
    return Rule(match: String(text[..<equals]), choice: choice)
  }

  /// The recipe as a document that reads back as itself.
  package var json: JSONValue {
    [
      "experts": .string(experts.description), "rest": .string(rest.description),
      "overrides": .array(
        overrides.map { rule in
          var object = JSONObject()
          object.append(.init(key: "match", value: .string(rule.match)))
          object.append(.init(key: "encoding", value: .string(rule.choice.description)))
          if let solver = rule.solver { object.append(.init(key: "solver", value: .string(solver))) }
          if rule.isOptional { object.append(.init(key: "optional", value: true)) }
          return .object(object)
        }),
    ]
  }
}

extension Recipe.Choice {
  /// 4.25 bits a weight: 3 % more bytes than groups of 128 for 8 % less error.
  package static var standardExperts: Self { .encode(Encoding(kind: .int4, groupSize: 64)!) }  // in the list
}

/// Why a recipe cannot be used.
package enum RecipeError: Error, Sendable, Equatable {
  /// A recipe file that is none; `byteOffset` is where.
  case file(detail: String, byteOffset: Int)
  /// A rule of the command line that is none.
  case option(detail: String)
  /// `byteOffset` is where a recipe file says so; nil for the command line.
  case unknownEncoding(String, byteOffset: Int? = nil)
  /// The regular expression of rule `number` (from 1) cannot be used.
  case pattern(String, RegexError, number: Int)
  /// A regular expression of tensors to be left out that cannot be used.
  case drop(String, RegexError)
  /// Rule `number` matches no tensor, or none that rules apply to.
  case matchesNothing(pattern: String, number: Int, protectedMatches: Int)
  /// A solver that needs states: of a tensor of which none are taken, or in a run without any.
  case solver(String, tensor: String, decidedBy: String, hasStates: Bool)
  /// The encoding's group size does not divide the tensor's columns.
  case groupSize(tensor: String, columns: Int, encoding: Encoding, decidedBy: String)
  /// Another encoding, or states, for a tensor that is quantized already.
  case isQuantized(tensor: String, as: Encoding, decidedBy: String)
  /// A plain encoding that is not the source's.
  case converts(tensor: String, from: Encoding, to: Encoding, decidedBy: String)
}
