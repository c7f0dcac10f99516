package import Models
import Pack
import Storage
import Tensors

/// Tensors that differ only in numbers within their names, such as layer and expert, as one line.
package struct TensorFamily: Sendable {
  /// The name with ranges for numbers: `model.layers.{1…19}.mlp.experts.{0…255}.up_proj.weight`.
  package let name: String
  /// All of one shape, type and role, in the order of their numbers.
  package let members: [StoredTensor]
  package var first: StoredTensor { members[0] }

  /// Names alone, collapsed, in the order of their first numbers and then by name.
  package static func collapse(_ names: [String]) -> [(name: String, count: Int)] {
    var groups: [[Substring]: [[Int]]] = [:]
    for name in names {
      let (pattern, numbers) = NamePattern.split(name)
      groups[pattern, default: []].append(numbers)
    }
    var lines: [(order: [Int], name: String, count: Int)] = []
    for (pattern, tuples) in groups {
      for block in NamePattern.blocks(of: tuples.sorted { $0.lexicographicallyPrecedes($1) }) {
        let count = block.reduce(1) { $0 * $1.count }
        lines.append((block.map { $0[0] }, NamePattern.name(pattern, block), count))
      }
    }
    return lines.sorted {
      $0.order == $1.order ? $0.name.utf8Precedes($1.name) : $0.order.lexicographicallyPrecedes($1.order)
    }.map { ($0.name, $0.count) }
  }

  /// Families of all tensors, ordered by role, then by the number of the first layer, then by name.
  package static func families(of tensors: [StoredTensor]) -> [TensorFamily] {
    struct Key: Hashable {
      let pattern: [Substring]
      let shape: Shape
      let type: StoredType
    }
    var groups: [Key: [(numbers: [Int], tensor: StoredTensor)]] = [:]
    for tensor in tensors {
      let (pattern, numbers) = NamePattern.split(tensor.name)
      groups[Key(pattern: pattern, shape: tensor.shape, type: tensor.type), default: []].append((numbers, tensor))
    }
    var families: [(order: [Int], family: TensorFamily)] = []
    for (key, group) in groups {
      let byNumbers = Dictionary(group.map { ($0.numbers, $0.tensor) }) { first, _ in first }
      let tuples = byNumbers.keys.sorted { $0.lexicographicallyPrecedes($1) }
      for block in NamePattern.blocks(of: tuples) {
        let members = NamePattern.tuples(in: block).compactMap { byNumbers[$0] }
        let role = SizeClass.order.firstIndex(of: members[0].role) ?? 0
        let family = TensorFamily(name: NamePattern.name(key.pattern, block), members: members)
        families.append(([role] + block.map { $0[0] }, family))
      }
    }
    return families.sorted {
      $0.order == $1.order
        ? $0.family.name.utf8Precedes($1.family.name) : $0.order.lexicographicallyPrecedes($1.order)
    }.map(\.family)
  }
}

enum NamePattern {
  /// A name of a model has two, layer and expert; one made to do harm would nest `blocks` without end.
  private static let maximumNumbers = 8

  /// The parts of a name between its numbers, and the numbers. A part that is a number without leading zeros counts, so that
  /// the name can be put together again.
  static func split(_ name: String) -> (pattern: [Substring], numbers: [Int]) {
    var pattern: [Substring] = []
    var numbers: [Int] = []
    for part in name.split(separator: ".", omittingEmptySubsequences: false) {
      if numbers.count < maximumNumbers, part.utf8.count <= 9, let number = Int(part), number >= 0,
        String(number) == part
      {
        numbers.append(number)
        pattern.append("")
      } else {
        pattern.append(part.isEmpty ? "\u{0}" : part)
      }
    }
    return (pattern, numbers)
  }

  /// Cuts a set of tuples into products of sets: {1, 2} × {0, 1, 2} and {3} × {0}. Tuples are sorted and of one length.
  static func blocks(of tuples: [[Int]]) -> [[[Int]]] {
    guard let length = tuples.first?.count, length > 0 else { return [[]] }
    var rests: [(first: Int, blocks: [[[Int]]])] = []
    var start = 0
    while start < tuples.count {
      let first = tuples[start][0]
      var end = start
      while end < tuples.count, tuples[end][0] == first { end += 1 }
      rests.append((first, blocks(of: tuples[start..<end].map { Array($0.dropFirst()) })))
      start = end
    }
    // First numbers with the same rest belong together.
    var order: [[[[Int]]]] = []
    var firsts: [[[[Int]]]: [Int]] = [:]
    for (first, blocks) in rests {
      if firsts[blocks] == nil { order.append(blocks) }
      firsts[blocks, default: []].append(first)
    }
    return order.flatMap { blocks in blocks.map { [firsts[blocks] ?? []] + $0 } }
  }

  /// The tuples of a product of sets, the last number running fastest.
  static func tuples(in block: [[Int]]) -> [[Int]] {
    block.reduce([[]]) { prefixes, set in prefixes.flatMap { prefix in set.map { prefix + [$0] } } }
  }

  static func name(_ pattern: [Substring], _ block: [[Int]]) -> String {
    var sets = block[...]
    return pattern.map { part in
      if part == "\u{0}" { return "" }
      return part.isEmpty ? text(of: sets.popFirst() ?? []) : String(part)
    }.joined(separator: ".")
  }

  /// `7`, `{0…3}` or `{0…3,7,9…12}`; of more than four runs the first three and the last.
  static func text(of numbers: [Int]) -> String {
    guard numbers.count > 1 else { return numbers.first.map(String.init) ?? "" }
    var runs: [ClosedRange<Int>] = []
    for number in numbers {
      if let last = runs.last, last.upperBound == number - 1 {
        runs[runs.count - 1] = last.lowerBound...number
      } else {
        runs.append(number...number)
      }
    }
    var texts = runs.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)…\($0.upperBound)" }
    if texts.count > 4 { texts = texts[..<3] + ["…"] + texts.suffix(1) }
    return "{\(texts.joined(separator: ","))}"
  }
}
