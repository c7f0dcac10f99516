package import JSON

/// Where a value stands in a document: `masked.kl.ci95[1]`, or `masked.kl.ci95.1`.
package struct DocumentPath: Sendable, Equatable {
  /// The keys and indices on the way; an index is kept as its digits, since `.1` names either.
  package let steps: [String]

  /// Nil where the text is no path: an empty step, a bracket without its other half, an index that is no number.
  package init?(_ text: String) {
    var steps: [String] = []
    for part in text.split(separator: ".", omittingEmptySubsequences: false) {
      let name = part.prefix { $0 != "[" && $0 != "]" }
      // A path may begin with an index only in theory: the document is an object.
      guard !name.isEmpty, name.allSatisfy({ $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == "-") })
      else { return nil }
      steps.append(String(name))
      var rest = part.dropFirst(name.count)
      while !rest.isEmpty {
        guard rest.first == "[", let end = rest.firstIndex(of: "]") else { return nil }
        let index = rest[rest.index(after: rest.startIndex)..<end]
        guard !index.isEmpty, index.allSatisfy({ $0.isASCII && $0.isNumber }) else { return nil }
        steps.append(String(index))
        rest = rest[rest.index(after: end)...]
      }
    }
    self.steps = steps
  }

  /// What stands there; nil where nothing does, or null.
  package func value(in document: JSONValue) -> JSONValue? {
    guard let value = Self.value(at: steps[...], in: document), !value.isNull else { return nil }
    return value
  }

  /// Positions, rows or the like that are in none of the numbers around the value, since they are not finite: what the
  /// sections say on the way to it. A count of them is not one that leaves them out.
  func leftOut(in document: JSONValue) -> Int {
    guard steps.last != Self.countKey else { return 0 }
    let counts = steps.indices.compactMap { end in
      Self.value(at: steps[..<end], in: document)?.object?[Self.countKey]?.int
    }
    return counts.max() ?? 0
  }

  private static let countKey = "non_finite"

  private static func value(at steps: ArraySlice<String>, in document: JSONValue) -> JSONValue? {
    var value = document
    for step in steps {
      switch value {
      case .object(let object):
        guard let next = object[step] else { return nil }
        value = next
      case .array(let elements):
        guard let index = Int(step), elements.indices.contains(index) else { return nil }
        value = elements[index]
      default: return nil
      }
    }
    return value
  }
}
