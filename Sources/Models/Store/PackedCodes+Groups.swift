import Pack
import Safetensors
import Storage
import Tensors

// How many elements share a scale in blocks of ggml, where every 32 have one of their own.

extension PackedCodes {
  /// Finds it out for all matrices of blocks. One whose scales do not show it, as those of an expert that is never used do not, has the
  /// smallest groups of its stack, else the smallest of all with as many bits, else 32: what was quantized alike comes back so.
  static func settleGroups(of tensors: inout [StoredTensor]) {
    var shown: [(place: Int, codes: PackedCodes, sizes: [Int?])] = []
    var smallest: [Int: Int] = [:]
    for (place, tensor) in tensors.enumerated() {
      guard case .packed(_, let codes) = tensor.place, codes.layout == .blocks else { continue }
      // A stack of more matrices than packs have is none of a model.
      guard codes.matrixCount <= PackLimits.maximumTensors else { continue }
      let sizes = codes.shownGroupSizes()
      shown.append((place, codes, sizes))
      if let least = least(sizes) { smallest[codes.bits] = min(least, smallest[codes.bits] ?? least) }
    }
    for (place, codes, sizes) in shown {
      let other = min(least(sizes) ?? smallest[codes.bits] ?? 32, codes.largestGroupSize)
      tensors[place].takeGroups(sizes.map { $0 ?? other })
    }
  }

  private static func least(_ sizes: [Int?]) -> Int? { sizes.lazy.compactMap { $0 }.min() }

  /// The largest that packs have and rows are made of.
  private var largestGroupSize: Int { [128, 64].first { shape.columns % $0 == 0 } ?? 32 }

  private var matrixCount: Int { shape.dimensions.dropLast(2).reduce(1, *) }

  /// By matrix of the stack, 128 or 64 where all scales are repeated so, else 32; nil where they are all the same. Of a matrix no more is
  /// read than up to the first pair of neighbours that differ.
  private func shownGroupSizes() -> [Int?] {
    let rows = shape.rows / matrixCount
    return (0..<matrixCount).map { shownGroupSize($0 * rows..<($0 + 1) * rows) }
  }

  private func shownGroupSize(_ rows: Range<Int>) -> Int? {
    let source = SharedBytes(codes.file.file, codeRange(rows))
    func scale(_ block: Int) -> UInt16 { source.bytes.integer(at: block * blockByteCount) }
    var size = largestGroupSize
    var isShown = false
    var block = 0
    while block < rows.count * shape.columns / 32, size > 32 {
      let own = scale(block)
      isShown = isShown || own != scale(0)
      if (1..<size / 32).allSatisfy({ scale(block + $0) == own }) {
        block += size / 32
      } else {
        // What was found for 128 holds for 64.
        size /= 2
        isShown = true
      }
    }
    return isShown ? size : nil
  }
}
