import Kernels
import Storage
import Tensors

/// Looks at the content of a chunk, whole or in pieces, for anything that needs a closer look. Nearly all contents have
/// nothing of the kind.
struct ContentScan {
  private let planes: [PackStructure.Plane]
  private let checksGaps: Bool
  private var byteCount = 0
  /// Whether all bytes between planes were zero, all scales portable and not zero, all bases in range, and no int8 code −128.
  private(set) var isPlain = true

  /// - Parameter checksGaps: whether the planes are all there are.
  init(_ planes: [PackStructure.Plane], checksGaps: Bool) {
    self.planes = planes.sorted { $0.range.lowerBound < $1.range.lowerBound }
    self.checksGaps = checksGaps
  }

  /// - Parameter piece: the next bytes, an even number of them but for the last.
  mutating func add(_ piece: RawSpan) {
    let range = byteCount..<byteCount + piece.byteCount
    byteCount = range.upperBound
    func part(_ bytes: Range<Int>) -> Range<Int> {
      let common = bytes.clamped(to: range)
      return common.lowerBound - range.lowerBound..<common.upperBound - range.lowerBound
    }
    var end = 0
    for plane in planes where isPlain {
      if checksGaps, end < plane.range.lowerBound {
        isPlain = piece.extracting(part(end..<plane.range.lowerBound)).isZero
      }
      end = plane.range.upperBound
      guard isPlain else { continue }
      let bytes = piece.extracting(part(plane.range))
      switch plane.description.content {
      case .scales(.bf16, _): isPlain = KernelSet.firstUnusualScale(bytes, from: 0) == nil
      case .scales(.byte, _):
        isPlain = plane.rowWithBadBase(bytes, at: max(0, range.lowerBound - plane.range.lowerBound)) == nil
      case .elements: isPlain = plane.encoding.codes?.code != .int8 || !bytes.contains(0x80)
      }
    }
  }
}

extension PackStructure.Plane {
  /// The first row whose base no encoder writes, among those that begin in `bytes`, which lie at `offset` in a plane of byte
  /// scales.
  func rowWithBadBase(_ bytes: RawSpan, at offset: Int) -> Int? {
    let first = (offset + rowByteCount - 1) / rowByteCount
    for place in stride(from: first * rowByteCount - offset, to: bytes.byteCount, by: rowByteCount)
    where !Encoding.Scale.bases.contains(bytes.integer(at: place)) {
      return (offset + place) / rowByteCount
    }
    return nil
  }
}
