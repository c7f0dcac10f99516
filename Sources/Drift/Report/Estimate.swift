/// A *mean* of `Formats/drift-report.md`.
package struct Estimate: Codable, Sendable, Equatable {
  package var mean: Double
  /// 95 % interval; nil with fewer than two texts.
  package var ci95: ClosedRange<Double>?

  package init(mean: Double, ci95: ClosedRange<Double>? = nil) {
    self.mean = mean
    self.ci95 = ci95
  }
}

/// A *distribution* of `Formats/drift-report.md`.
package struct Distribution: Codable, Sendable, Equatable {
  package var mean: Double
  package var ci95: ClosedRange<Double>?
  package var median: Double
  package var p90: Double
  package var p99: Double
  package var p999: Double
  package var max: Double

  package var estimate: Estimate { Estimate(mean: mean, ci95: ci95) }
}

/// A number of either model.
package struct Sides<Value: Codable & Sendable & Equatable>: Codable, Sendable, Equatable {
  package var reference: Value?
  package var candidate: Value?

  package init(reference: Value?, candidate: Value?) {
    self.reference = reference
    self.candidate = candidate
  }
}

/// A number of either model, and candidate / reference − 1.
package struct Change<Value: Codable & Sendable & Equatable>: Codable, Sendable, Equatable {
  package var reference: Value?
  package var candidate: Value?
  package var change: Double?
}

extension Change {
  /// - Parameter size: of a value; no change is told from nothing.
  init(_ reference: Value?, _ candidate: Value?, size: (Value) -> Double) {
    self.reference = reference
    self.candidate = candidate
    if let reference, let candidate, size(reference) != 0 { change = size(candidate) / size(reference) - 1 }
  }
}

/// Two parts of one object, whose keys stand side by side in the document.
@dynamicMemberLookup
package struct Joined<
  Head: Codable & Sendable & Equatable, Tail: Codable & Sendable & Equatable
>: Codable, Sendable, Equatable {
  package var head: Head
  package var tail: Tail

  init(_ head: Head, _ tail: Tail) {
    self.head = head
    self.tail = tail
  }

  package init(from decoder: any Decoder) throws {
    head = try Head(from: decoder)
    tail = try Tail(from: decoder)
  }

  package func encode(to encoder: any Encoder) throws {
    try head.encode(to: encoder)
    try tail.encode(to: encoder)
  }

  package subscript<Value>(dynamicMember path: KeyPath<Head, Value>) -> Value { head[keyPath: path] }
  package subscript<Value>(dynamicMember path: KeyPath<Tail, Value>) -> Value { tail[keyPath: path] }
}
