/// The names of a family's tensors, as templates in which `{layer}` and `{expert}` stand for numbers.
package struct TensorNames: Sendable {
  private struct Key: Hashable {
    let role: TensorRole
    let part: TensorPart
  }
  private let templates: [Key: [String]]
  private let keys: [String: Key]

  package init(_ table: [(TensorRole, TensorPart, String)]) {
    var templates: [Key: [String]] = [:]
    var keys: [String: Key] = [:]
    for (role, part, template) in table {
      let key = Key(role: role, part: part)
      templates[key] = template.split(separator: ".").map(String.init)
      keys[template] = key
    }
    self.templates = templates
    self.keys = keys
  }

  /// The name of a tensor.
  ///
  /// - Precondition: the family has tensors of this role and part.
  package func name(of id: TensorID) -> String {
    guard let template = templates[Key(role: id.role, part: id.part)] else {
      preconditionFailure("no tensor of this family is \(id.role.rawValue), \(id.part.rawValue)")
    }
    return template.map { word in
      switch word {
      case "{layer}": "\(id.layer ?? 0)"
      case "{expert}": "\(id.expert ?? 0)"
      default: word
      }
    }.joined(separator: ".")
  }

  /// Which tensor a name means; nil for a name that is not given. A number with leading zeros is none.
  package func identify(_ name: String) -> TensorID? {
    var numbers: [Int] = []
    let template = name.split(separator: ".", omittingEmptySubsequences: false).map { word -> Substring in
      guard let first = word.utf8.first, (0x30...0x39).contains(first), word.utf8.count <= 9, let number = Int(word),
        number == 0 ? word.utf8.count == 1 : first != 0x30
      else { return word }
      numbers.append(number)
      return numbers.count == 1 ? "{layer}" : "{expert}"
    }.joined(separator: ".")
    guard numbers.count <= 2, let key = keys[template] else { return nil }
    return TensorID(key.role, key.part, layer: numbers.first, expert: numbers.count > 1 ? numbers[1] : nil)
  }

  /// What the names of rotary frequencies end with, which older tools saved among the weights of any family.
  package static let rotaryBuffer = "rotary_emb.inv_freq"

  /// What a report calls the tensors of all layers and experts that have this name: its last word that is not `weight`.
  package static func label(of name: String) -> String {
    let words = name.split(separator: ".")
    return (words.last == "weight" ? words.dropLast().last : words.last).map(String.init) ?? name
  }
}

extension TensorRole {
  /// The role that a name tells in a checkpoint of any family and layout; nil for a name of no known kind. A listing of a
  /// file that belongs to no family we know goes by this, and nothing else does.
  package init?(guessedFrom name: String) {
    func has(_ part: String) -> Bool { name.utf8.containsRun(part.utf8) }
    if has("embed") {
      self = .embedding
    } else if name.hasPrefix("lm_head.") {
      self = .head
    } else if has(".shared_experts.") {
      self = .sharedExpert
    } else if has(".experts.") || name.hasSuffix(".mlp.w1") || name.hasSuffix(".mlp.w2") {
      self = .expert
    } else if has(".mlp.gate.") {
      self = .router
    } else if has("norm.") {
      self = .norm
    } else if name.hasSuffix(".bias") {
      self = .bias
    } else if has(".attention.") || has(".self_attn.") {
      self = .attention
    } else if has(".mlp.") {
      self = .denseMLP
    } else {
      return nil
    }
  }
}

extension String.UTF8View {
  /// Whether `part` stands somewhere in these bytes.
  fileprivate func containsRun(_ part: String.UTF8View) -> Bool {
    var start = startIndex
    while let found = self[start...].firstIndex(of: part.first!) {  // parts are literals, never empty
      if self[found...].starts(with: part) { return true }
      start = index(after: found)
    }
    return false
  }
}
