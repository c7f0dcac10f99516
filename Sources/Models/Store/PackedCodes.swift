import Kernels
package import Safetensors
package import Storage
package import Tensors

/// Codes with scales as other tools pack them (`Formats/checkpoint.md` §3): a matrix, or a stack of them. Where an encoding of packs
/// holds the same codes and scales, it is read as that; where none does, as the numbers that they stand for.
package struct PackedCodes: Sendable {
  typealias Place = (file: SafetensorsFile, entry: TensorEntry)

  /// How codes and scales lie.
  enum Layout: Sendable {
    /// (rows, words), each code plus 2^(bits − 1), the first in the lowest bits; scales (rows, groups).
    case words
    /// The same, turned round: (words, rows) and (groups, rows).
    case columns
    /// Blocks of ggml, each behind its scale; codes are those of packs.
    case blocks
  }

  /// What makes codes asymmetric.
  enum Offsets: Sendable {
    case none
    /// (rows, groups): what is added to scale · (code + 2^(bits − 1)).
    case biases(Place)
    /// (groups, words of rows): less than what is taken from a code plus 2^(bits − 1) by so much, modulo 2^bits.
    case zeros(Place, lowered: Int)
  }

  package private(set) var name: String
  package private(set) var shape: Shape
  /// Who packs like this, for messages.
  package let tool: String
  let layout: Layout
  let bits: Int
  /// Elements of a row that share a scale there.
  private(set) var groupSize: Int
  /// Where the codes are.
  package let codes: (file: SafetensorsFile, entry: TensorEntry)
  /// Where the scales are; in blocks where the codes are.
  package let scales: (file: SafetensorsFile, entry: TensorEntry)
  let offsets: Offsets
  /// By column its group, where that is not in order.
  let order: Place?
  /// All tensors that this is made of.
  let parts: [Place]
  /// Where it begins among the rows of what is stored.
  var firstRow = 0
  /// By matrix of a stack of blocks, how many elements share a scale (``settleGroups(of:)``); empty for all else.
  var groupSizes: [Int] = []

  init(
    _ name: String, _ shape: Shape, tool: String, _ layout: Layout, bits: Int, groupSize: Int, codes: Place,
    scales: Place, offsets: Offsets = .none, order: Place? = nil, parts: [Place]
  ) {
    (self.name, self.shape, self.tool, self.layout) = (name, shape, tool, layout)
    (self.bits, self.groupSize, self.codes, self.scales) = (bits, groupSize, codes, scales)
    (self.offsets, self.order, self.parts) = (offsets, order, parts)
  }

  /// The encoding that has the same codes, and the same scales where those are portable; nil where none has.
  package var encoding: Encoding? {
    let kinds: [Int: Encoding.Kind] = [4: .int4, 8: .int8]
    guard order == nil, let kind = kinds[bits] else { return nil }
    return Encoding(kind: kind, groupSize: groupSize)
  }

  /// As listings show what no encoding holds.
  package var description: String { "\(tool)-\(bits)bit-g\(groupSize)" }

  /// The files of all tensors that it is made of.
  package var files: [SafetensorsFile] { parts.map(\.file) }

  /// Bytes of codes and scales.
  package var byteCount: Int {
    let count = shape.elementCount * bits / 8
    return count + shape.elementCount / groupSize * scaleByteCount
  }

  var scaleByteCount: Int { layout == .blocks ? 2 : scaleFormat.byteCount }

  var scaleFormat: FloatFormat { layout == .blocks ? .f16 : FloatFormat(scales.entry.dtype) ?? .f32 }

  /// One matrix of a stack, a part of one, or itself.
  func part(_ name: String, _ shape: Shape, firstRow: Int) -> PackedCodes {
    var part = self
    (part.name, part.shape, part.firstRow) = (name, shape, self.firstRow + firstRow)
    if !groupSizes.isEmpty { part.groupSize = groupSizes[part.firstRow * groupSizes.count / storedRowCount] }
    return part
  }

  /// Columns of what is stored, in groups.
  var groupCount: Int { shape.columns / groupSize }
  var blockByteCount: Int { GGUFTypes.codeBlockByteCount(bits: bits) }
  /// Rows of all matrices of a stack.
  var storedRowCount: Int { layout == .columns ? scales.entry.shape.columns : codes.entry.shape.rows }

  var rowByteCount: Int {
    layout == .blocks ? shape.columns / 32 * blockByteCount : shape.columns * bits / 8
  }

  /// Where the codes of some rows lie in their file; of those that are turned round all of them.
  package func codeRange(_ rows: Range<Int>) -> Range<Int> {
    guard layout != .columns else { return codes.entry.byteRange }
    let start = codes.entry.byteRange.lowerBound + (firstRow + rows.lowerBound) * rowByteCount
    return start..<start + rows.count * rowByteCount
  }

  /// Bytes of the codes of so many rows.
  package func codeByteCount(rows: Int) -> Int { rows * rowByteCount }

  /// Where the scale of a group lies among those of its tensor, in bytes.
  func scaleOffset(_ row: Int, _ group: Int) -> Int {
    switch layout {
    case .words: ((firstRow + row) * groupCount + group) * scaleByteCount
    case .columns: (group * storedRowCount + row) * scaleByteCount
    case .blocks: (firstRow + row) * rowByteCount + group * (groupSize / 32) * blockByteCount
    }
  }

  /// The scale of an element, where that is infinite or not a number: its tensor, and its byte in their file.
  package func scaleNotFinite(_ row: Int, _ column: Int) -> (tensor: String, path: String, byteOffset: Int)? {
    let group = order.map { $0.file.bytes(of: $0.entry).integer(at: 4 * column, as: Int32.self) }.map(Int.init)
    let place = scaleOffset(row, group ?? column / groupSize)
    guard !Self.float(scales.file.bytes(of: scales.entry), place, scaleFormat).isFinite else { return nil }
    return (scales.entry.name, scales.file.path, scales.entry.byteRange.lowerBound + place)
  }

  /// Read ahead or let go of, all that a matrix is made of.
  package var places: [SharedBytes] {
    parts.map { part in
      guard part.entry.shape.rows == storedRowCount, layout != .columns else {
        return SharedBytes(part.file.file, part.entry.byteRange)
      }
      let each = part.entry.byteRange.count / storedRowCount
      let start = part.entry.byteRange.lowerBound + firstRow * each
      return SharedBytes(part.file.file, start..<start + shape.rows * each)
    }
  }
}
