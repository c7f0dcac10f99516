package import Tensors

/// Where the planes of a chunk's tensors lie in its content (`Formats/pack.md` §5).
///
/// Planes of 16-bit values come last, so that a codec can treat the tail as one run of them.
package struct ContentLayout: Sendable, Equatable {
  /// What a chunk holds of one tensor.
  package struct Part: Sendable, Equatable {
    package let encoding: Encoding
    package let elementCount: Int

    package init(encoding: Encoding, elementCount: Int) {
      self.encoding = encoding
      self.elementCount = elementCount
    }

    var planeByteCounts: [Int] {
      [encoding.codeByteCount(elements: elementCount), encoding.scaleByteCount(elements: elementCount)]
    }
  }

  /// For each part the byte ranges of plane 0 and plane 1 in the content; plane 1 is 0..<0 where there is none.
  package let planes: [[Range<Int>]]
  package let tailOffset: Int
  package let byteCount: Int

  package init(_ parts: [Part]) {
    var planes = parts.map { _ in [0..<0, 0..<0] }
    var end = 0
    func place(_ part: Int, _ plane: Int) {
      let count = parts[part].planeByteCounts[plane]
      let start = end.roundedUp(to: PackLimits.alignment)
      planes[part][plane] = start..<start + count
      end = start + count
    }
    let isWide = { (part: Int) in parts[part].encoding.codeBits == 16 }
    for part in parts.indices where !isWide(part) { place(part, 0) }
    let headEnd = end
    for part in parts.indices {
      if isWide(part) { place(part, 0) }
      if parts[part].encoding.isGrouped { place(part, 1) }
    }
    self.planes = planes
    tailOffset = end == headEnd ? end : headEnd.roundedUp(to: PackLimits.alignment)
    byteCount = end
  }
}
