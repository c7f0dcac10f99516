package import JSON

/// A value of a template's variables and expressions, with the meaning that it has in Python.
package enum TemplateValue {
  /// What is not there; the text says what was looked for.
  case undefined(String)
  case none
  case bool(Bool)
  case int(Int)
  case float(Double)
  case text(TemplateText)
  case sequence(TemplateSequence)
  case mapping(TemplateMapping)
  /// What can be gone through once.
  case iterator(TemplateIterator)
  case namespace(TemplateNamespace)
  case loop(LoopState)
  case macro(MacroBox)
  case function(TemplateFunction)

  /// From JSON; nil where it holds an integer of more than 64 bits.
  ///
  /// - Parameter isContent: whether somebody said what stands in it.
  package init?(_ json: JSONValue, isContent: Bool) {
    switch json {
    case .null: self = .none
    case .bool(let value): self = .bool(value)
    case .string(let value): self = .text(TemplateText(value, isContent: isContent))
    case .number(let text):
      let isWhole = text.utf8.allSatisfy { $0 == UInt8(ascii: "-") || (0x30...0x39).contains($0) }
      if isWhole {
        guard let value = Int(text) else { return nil }
        self = .int(value)
      } else {
        self = .float(Double(text) ?? .nan)
      }
    case .array(let elements):
      var values: [TemplateValue] = []
      for element in elements {
        guard let value = TemplateValue(element, isContent: isContent) else { return nil }
        values.append(value)
      }
      self = .sequence(TemplateSequence(values))
    case .object(let object):
      var members: [(TemplateText, TemplateValue)] = []
      for member in object.members {
        guard let value = TemplateValue(member.value, isContent: isContent) else { return nil }
        members.append((TemplateText(member.key, isContent: isContent), value))
      }
      self = .mapping(TemplateMapping(members))
    }
  }

  package static func list(_ values: [TemplateValue]) -> TemplateValue { .sequence(TemplateSequence(values)) }

  package static func members(_ members: [(String, TemplateValue)]) -> TemplateValue {
    .mapping(TemplateMapping(members.map { (TemplateText($0.0), $0.1) }))
  }

  static func text(_ text: String) -> TemplateValue { .text(TemplateText(text)) }

  /// How deep lists and mappings stand in each other.
  var depth: Int {
    switch self {
    case .sequence(let sequence): sequence.depth
    case .mapping(let mapping): mapping.depth
    case .iterator(let iterator): iterator.depth
    default: 0
    }
  }

  /// Bytes, roughly; what stands for the size of the input.
  var byteCount: Int {
    switch self {
    case .text(let text): text.count
    case .sequence(let sequence): sequence.values.reduce(16) { $0 + $1.byteCount }
    case .mapping(let mapping): zip(mapping.keys, mapping.values).reduce(16) { $0 + $1.0.count + $1.1.byteCount }
    default: 16
    }
  }

  /// For messages: "a list".
  var kind: String {
    switch self {
    case .undefined: "an undefined value"
    case .none: "none"
    case .bool: "a boolean"
    case .int, .float: "a number"
    case .text: "text"
    case .sequence(let sequence): sequence.kind.words
    case .mapping: "a mapping"
    case .iterator: "an iterator"
    case .namespace: "a namespace"
    case .loop: "`loop`"
    case .macro: "a macro"
    case .function: "a function"
    }
  }
}

package final class TemplateSequence {
  enum Kind: Sendable {
    case list, tuple, range
    /// A view of a mapping's keys, values or items: neither index nor text.
    case view

    var words: String {
      switch self {
      case .list: "a list"
      case .tuple: "a tuple"
      case .range: "a range"
      case .view: "a view of a mapping"
      }
    }
  }

  let values: [TemplateValue]
  let kind: Kind
  let depth: Int

  init(_ values: [TemplateValue], _ kind: Kind = .list) {
    self.values = values
    self.kind = kind
    depth = values.reduce(0) { max($0, $1.depth) } + 1
  }
}

/// Members in their order; a key that is given again keeps its place and takes the new value.
package final class TemplateMapping {
  let keys: [TemplateText]
  let values: [TemplateValue]
  let depth: Int
  private let index: [TemplateText: Int]

  init(_ members: [(TemplateText, TemplateValue)]) {
    var (keys, values, index): ([TemplateText], [TemplateValue], [TemplateText: Int]) = ([], [], [:])
    for (key, value) in members {
      if let place = index[key] {
        values[place] = value
      } else {
        index[key] = keys.count
        keys.append(key)
        values.append(value)
      }
    }
    (self.keys, self.values, self.index) = (keys, values, index)
    depth = values.reduce(0) { max($0, $1.depth) } + 1
  }

  subscript(key: TemplateText) -> TemplateValue? { index[key].map { values[$0] } }
}

/// What filters such as `select` give: gone through once, it is empty.
package final class TemplateIterator {
  private var values: [TemplateValue]
  let depth: Int

  init(_ values: [TemplateValue]) {
    self.values = values
    depth = values.reduce(0) { max($0, $1.depth) } + 1
  }

  func take() -> [TemplateValue] {
    defer { values = [] }
    return values
  }

  func takeFirst() -> TemplateValue? { values.isEmpty ? nil : values.removeFirst() }
}

package final class TemplateNamespace {
  var values: [String: TemplateValue] = [:]
}

package final class MacroBox {
  let macro: Macro
  init(_ macro: Macro) { self.macro = macro }
}

/// Functions that a template finds without defining them.
package enum TemplateFunction: String {
  case range, dict, namespace, raiseException = "raise_exception", strftimeNow = "strftime_now"
}

/// Variables of a block, and those around it.
final class Scope {
  private var values: [String: TemplateValue] = [:]
  let parent: Scope?

  init(parent: Scope?) { self.parent = parent }

  subscript(name: String) -> TemplateValue? {
    get {
      var scope: Scope? = self
      while let current = scope {
        if let value = current.values[name] { return value }
        scope = current.parent
      }
      return nil
    }
    set { values[name] = newValue }
  }
}
