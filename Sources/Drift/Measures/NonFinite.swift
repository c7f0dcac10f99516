/// Places where a model's numbers are infinite or no numbers: how many of how many, and where the first one is.
///
/// They are in no mean, so a mean says nothing about a model without them.
package struct NonFinite: Sendable, Equatable {
  /// A position of a text, or of a prompt's output.
  package struct Place: Sendable, Equatable, Comparable {
    /// Index of the text, or of the prompt.
    package let text: Int
    package let position: Int

    package init(text: Int, position: Int) {
      self.text = text
      self.position = position
    }

    package static func < (a: Place, b: Place) -> Bool { (a.text, a.position) < (b.text, b.position) }
  }

  package private(set) var count = 0
  /// Places that were looked at.
  package private(set) var total = 0
  /// The first by text and position, whatever the order in which they came; nil where all is finite.
  package private(set) var first: Place?

  package init() {}

  /// As it was counted before.
  init(count: Int, total: Int, first: Place?) {
    self.count = count
    self.total = total
    self.first = first
  }

  package mutating func add(isFinite: Bool, at place: Place) {
    total += 1
    guard !isFinite else { return }
    count += 1
    first = first.map { min($0, place) } ?? place
  }

  /// Those of other places, too.
  package static func += (all: inout Self, others: Self) {
    all.count += others.count
    all.total += others.total
    all.first = [all.first, others.first].compactMap(\.self).min()
  }
}
