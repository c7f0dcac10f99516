package import Kernels
package import Models
import Pack
import Storage
import Tensors

/// What is different between two models, each a pack or a checkpoint.
package struct ModelDiff: Sendable {
  /// Tensors of one name with different numbers.
  package struct Numbers: Sendable {
    package let name: String
    package let first: StoredType
    package let second: StoredType
    package let difference: ElementDifference
  }
  /// Tensors of one name with different shapes, or whose numbers cannot be compared.
  package struct Mismatch: Sendable {
    package let name: String
    package let first: String
    package let second: String
  }

  /// Names, sorted.
  package private(set) var onlyInFirst: [String] = []
  package private(set) var onlyInSecond: [String] = []
  package private(set) var shapes: [Mismatch] = []
  /// Stored in different ways, whatever the numbers.
  package private(set) var types: [Mismatch] = []
  /// One type that is known in neither, or other than floats: whether the numbers differ is not known.
  package private(set) var incomparable: [Mismatch] = []
  /// The worst first: numbers that are not finite, then by relative RMSE, then by name.
  package private(set) var numbers: [Numbers] = []
  /// Keys of `config.json`, of the provenance, and names of embedded files that differ.
  package let metadata: MetadataDiff
  /// Tensors that were compared number by number, or whose stored bytes were hashed and found the same.
  package private(set) var comparedCount = 0

  package var isSame: Bool {
    onlyInFirst.isEmpty && onlyInSecond.isEmpty && shapes.isEmpty && types.isEmpty && incomparable.isEmpty
      && numbers.isEmpty && metadata.isSame
  }

  /// Compares everything. Checkpoints of models we know are compared by their published names, whatever their layout.
  ///
  /// - Parameter progress: called with elements done and elements in all.
  package init(
    _ first: InspectedModel, _ second: InspectedModel, threads: Int, kernels: KernelSet,
    progress: (Int, Int) -> Void = { _, _ in }
  ) throws(InspectionError) {
    metadata = try MetadataDiff(first, second)
    let pairs = pair(Self.tensors(of: first), Self.tensors(of: second))
    let units = Self.units(pairs)
    let total = pairs.reduce(0) { $0 + $1.first.shape.elementCount }
    var done = 0
    try inOrder(
      count: units.count, threads: threads, window: 2 * threads,
      makeWorkspace: { ElementComparison(first, second, kernels) },
      work: { comparison, unit in
        do throws(InspectionError) {
          var differences: [ElementDifference] = []
          for pair in pairs[units[unit]] { differences.append(try comparison.compare(pair)) }
          return .success(differences)
        } catch { return .failure(error) }
      },
      consume: { (unit, differences: [ElementDifference]) throws(InspectionError) in
        for (pair, difference) in zip(pairs[units[unit]], differences) {
          done += pair.first.shape.elementCount
          comparedCount += 1
          guard !difference.isZero else { continue }
          numbers.append(
            Numbers(
              name: pair.first.name, first: pair.first.type, second: pair.second.type, difference: difference))
        }
        progress(done, total)
      })
    try first.requireUnchanged()
    try second.requireUnchanged()
    numbers.sort { a, b in
      let (x, y) = (a.difference.rank, b.difference.rank)
      return x == y ? a.name < b.name : x > y
    }
  }

  private static func tensors(of model: InspectedModel) -> [StoredTensor] {
    model.published?.tensors ?? model.tensors
  }

  /// Pairs of tensors whose numbers can be compared; everything else is noted. Both lists are sorted by name.
  private mutating func pair(_ a: [StoredTensor], _ b: [StoredTensor]) -> [TensorPair] {
    let byName = Dictionary(b.map { ($0.name, $0) }) { first, _ in first }
    let names = Set(a.map(\.name))
    onlyInSecond = b.map(\.name).filter { !names.contains($0) }
    var pairs: [TensorPair] = []
    for tensor in a {
      guard let other = byName[tensor.name] else {
        onlyInFirst.append(tensor.name)
        continue
      }
      let isSameType = tensor.type == other.type
      if !isSameType {
        types.append(Mismatch(name: tensor.name, first: "\(tensor.type)", second: "\(other.type)"))
      }
      if tensor.shape != other.shape {
        shapes.append(Mismatch(name: tensor.name, first: "\(tensor.shape)", second: "\(other.shape)"))
      } else if tensor.type.encoding != nil, other.type.encoding != nil {
        pairs.append(TensorPair(first: tensor, second: other))
      } else if isSameType {
        incomparable.append(Mismatch(name: tensor.name, first: "\(tensor.type)", second: "\(other.type)"))
      }
    }
    return pairs
  }

  /// Runs of pairs in one chunk, so that a thread unpacks an expert once for its three tensors.
  private static func units(_ pairs: [TensorPair]) -> [Range<Int>] {
    var units: [Range<Int>] = []
    for (index, pair) in pairs.enumerated() {
      if let last = units.last, pair.sharesChunk(with: pairs[index - 1]) {
        units[units.count - 1] = last.lowerBound..<index + 1
      } else {
        units.append(index..<index + 1)
      }
    }
    return units
  }
}

/// Two tensors of one name and one shape, both of floats or codes.
struct TensorPair: Sendable {
  let first: StoredTensor
  let second: StoredTensor

  func sharesChunk(with other: TensorPair) -> Bool {
    func same(_ a: StoredTensor, _ b: StoredTensor) -> Bool {
      a.record != nil && a.record?.firstChunk == b.record?.firstChunk
    }
    return same(first, other.first) || same(second, other.second)
  }
}
