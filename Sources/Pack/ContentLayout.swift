import Storage
package import Tensors

/// Where the planes of a chunk's tensors lie in its content (`Formats/pack.md` §5).
///
/// Planes of 16-bit values come last, so that a codec can treat the tail as one run of them.
package struct ContentLayout: Sendable, Equatable {
  /// What a chunk holds of one tensor.
  package struct Part: Sendable, Equatable {
    package let encoding: Encoding
    package let elementCount: Int
    /// Columns of a row.
    package let columns: Int

    package init(encoding: Encoding, elementCount: Int, columns: Int) {
      self.encoding = encoding
      self.elementCount = elementCount
      self.columns = columns
    }
  }

  /// For each part the byte ranges of its planes in the content.
  package let planes: [[Range<Int>]]
  package let tailOffset: Int
  package let byteCount: Int

  package init(_ parts: [Part]) {
    let described = parts.map(\.encoding.planes)
    var planes = described.map { $0.map { _ in 0..<0 } }
    var end = 0
    func place(_ part: Int, _ plane: Int) {
      let count = described[part][plane].byteCount(elements: parts[part].elementCount, columns: parts[part].columns)
      let start = end.roundedUp(to: PackLimits.alignment)
      planes[part][plane] = start..<start + count
      end = start + count
    }
    for plane in 0..<(described.map(\.count).max() ?? 0) {
      for part in parts.indices where plane < described[part].count && !described[part][plane].is16Bit {
        place(part, plane)
      }
    }
    let headEnd = end
    for part in parts.indices {
      for plane in described[part].indices where described[part][plane].is16Bit { place(part, plane) }
    }
    self.planes = planes
    tailOffset = end == headEnd ? end : headEnd.roundedUp(to: PackLimits.alignment)
    byteCount = end
  }
}
