extension JSONValue {
  /// The first place where another document is not the same.
  ///
  /// - Returns: the keys that lead there, joined by dots, and both values, null where there is none; nil where all is the same.
  package func difference(to other: JSONValue) -> (path: String, own: JSONValue, other: JSONValue)? {
    guard let members = object?.members, let others = other.object else {
      return self == other ? nil : ("", self, other)
    }
    for member in members {
      guard let found = member.value.difference(to: others[member.key] ?? .null) else { continue }
      return (found.path.isEmpty ? member.key : "\(member.key).\(found.path)", found.own, found.other)
    }
    return others.members.first { object?[$0.key] == nil && !$0.value.isNull }.map { ($0.key, .null, $0.value) }
  }
}
