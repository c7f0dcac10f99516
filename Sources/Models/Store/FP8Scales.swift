package import Kernels
package import Safetensors
package import Storage
import Tensors

/// The scales of a tensor of FP8, which is read as the bf16 that codes and scales together stand for (`Formats/checkpoint.md` §2).
package struct FP8Scales: Sendable {
  package let format: FP8Format
  /// Where they are.
  package let file: SafetensorsFile
  package let entry: TensorEntry
  private let type: FloatFormat
  /// Sizes of a matrix; a tensor of stacked experts has several.
  private let matrixRows: Int
  private let columns: Int
  /// Elements of a matrix that share a scale.
  private let block: (rows: Int, columns: Int)
  /// From the scales of a matrix to those of the next, and from those of a row of blocks to the next.
  private let stride: (matrix: Int, row: Int)
  /// Where the tensor begins among the rows of the stored one.
  private var firstRow = 0

  /// What their names end with, behind that of the tensor.
  package static let suffixes = ["_scale_inv", "_scale"]

  /// The tensor whose scales would have this name; nil for names of other tensors.
  package static func owner(of name: String) -> String? {
    suffixes.first(where: name.hasSuffix).map { String(name.dropLast($0.count)) }
  }

  /// - Parameters:
  ///   - shape: of the tensor: (…, rows, columns).
  ///   - block: rows and columns that share a scale, unless the scales have another shape.
  /// - Returns: nil unless there is a scale for each block, the last ones being cut off; for each row; for each matrix; or for all.
  init?(
    of shape: Shape, _ format: FP8Format, block: (rows: Int, columns: Int), _ file: SafetensorsFile,
    _ entry: TensorEntry,
    _ type: FloatFormat
  ) {
    let stack = Array(shape.dimensions.dropLast(2))
    let rows = shape.dimensions.dropLast().last ?? 1
    let grid = [
      rows.roundedUp(to: block.rows) / block.rows, shape.columns.roundedUp(to: block.columns) / block.columns,
    ]
    let found = entry.shape.dimensions
    switch found {
    case stack + grid:
      self.block = block
      stride = (grid[0] * grid[1], grid[1])
    case stack + [rows, 1],
      stack + [rows] where shape.dimensions.count > 1:
      self.block = (1, shape.columns)
      stride = (rows, 1)
    case stack + [1, 1], stack + [1], stack:
      self.block = (rows, shape.columns)
      stride = (1, 1)
    case [1], []:
      self.block = (rows, shape.columns)
      stride = (0, 0)
    default: return nil
    }
    guard shape.elementCount > 0 else { return nil }
    self.format = format
    self.file = file
    self.entry = entry
    self.type = type
    matrixRows = rows
    columns = shape.columns
  }

  /// Those of the rows from one on.
  func from(row: Int) -> FP8Scales {
    var part = self
    part.firstRow += row
    return part
  }

  /// Writes the bf16 numbers that consecutive codes of the tensor stand for.
  ///
  /// - Parameters:
  ///   - first: the element that the codes begin with.
  ///   - numbers: `2 * codes.byteCount` bytes, overwritten.
  @_lifetime(numbers: copy numbers)
  private func decode(_ codes: RawSpan, from first: Int, into numbers: inout MutableRawSpan, kernels: KernelSet) {
    var at = 0
    while at < codes.byteCount {
      let (row, column) = (first + at).quotientAndRemainder(dividingBy: columns)
      let rowEnd = min(at + columns - column, codes.byteCount)
      var scale = index(row, column)
      var end = at - column % block.columns + block.columns
      while at < rowEnd {
        let next = min(end, rowEnd)
        var own = numbers._mutatingExtracting(2 * at..<2 * next)
        kernels.scale(codes.extracting(at..<next), as: format, by: self[scale], into: &own)
        (at, end, scale) = (next, end + block.columns, scale + 1)
      }
    }
  }

  /// The same into the start of a buffer.
  package func decode(
    _ codes: RawSpan, from first: Int = 0, into numbers: inout AlignedBuffer, kernels: KernelSet = .best
  ) {
    var all = numbers.mutableBytes
    var own = all._mutatingExtracting(first: 2 * codes.byteCount)
    decode(codes, from: first, into: &own, kernels: kernels)
  }

  private func index(_ row: Int, _ column: Int) -> Int {
    let (matrix, inner) = (firstRow + row).quotientAndRemainder(dividingBy: matrixRows)
    return matrix * stride.matrix + inner / block.rows * stride.row + column / block.columns
  }

  private subscript(_ index: Int) -> Float {
    let bytes = file.bytes(of: entry)
    return switch type {
    case .f32: bytes.float(at: 4 * index)
    case .f16: Float(Float16(bitPattern: bytes.integer(at: 2 * index)))
    case .bf16: BFloat16.widen(bytes.integer(at: 2 * index))
    }
  }

  /// The scale of an element, where that is infinite or not a number: its index among the scales, and its byte in their file.
  package func notFinite(_ row: Int, _ column: Int) -> (index: Int, byteOffset: Int)? {
    let index = index(row, column)
    return self[index].isFinite ? nil : (index, entry.byteRange.lowerBound + index * type.byteCount)
  }
}
