extension JSONValue {
  /// The first place where another document is not the same; lists of other lengths differ as a whole.
  ///
  /// - Returns: what leads there, as `data.files[2]`, and both values, null where there is none; nil where all is the same.
  package func difference(to other: JSONValue) -> (path: String, own: JSONValue, other: JSONValue)? {
    if let elements = array, let others = other.array, elements.count == others.count {
      for (index, pair) in zip(elements, others).enumerated() {
        if let found = pair.0.difference(to: pair.1) { return Self.behind("[\(index)]", found) }
      }
      return nil
    }
    guard let members = object?.members, let others = other.object else {
      return self == other ? nil : ("", self, other)
    }
    for member in members {
      if let found = member.value.difference(to: others[member.key] ?? .null) { return Self.behind(member.key, found) }
    }
    return others.members.first { object?[$0.key] == nil && !$0.value.isNull }.map { ($0.key, .null, $0.value) }
  }

  private static func behind(
    _ step: String, _ found: (path: String, own: JSONValue, other: JSONValue)
  ) -> (path: String, own: JSONValue, other: JSONValue) {
    let path = found.path.isEmpty || found.path.hasPrefix("[") ? step + found.path : "\(step).\(found.path)"
    return (path, found.own, found.other)
  }
}
