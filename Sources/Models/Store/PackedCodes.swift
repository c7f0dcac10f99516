package import Kernels
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
  private var firstRow = 0
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

  private var scaleByteCount: Int { layout == .blocks ? 2 : scaleFormat.byteCount }

  private var scaleFormat: FloatFormat { layout == .blocks ? .f16 : FloatFormat(scales.entry.dtype) ?? .f32 }

  /// One matrix of a stack, a part of one, or itself.
  func part(_ name: String, _ shape: Shape, firstRow: Int) -> PackedCodes {
    var part = self
    (part.name, part.shape, part.firstRow) = (name, shape, self.firstRow + firstRow)
    if !groupSizes.isEmpty { part.groupSize = groupSizes[part.firstRow * groupSizes.count / storedRowCount] }
    return part
  }

  // MARK: Places

  /// Columns of what is stored, in groups.
  private var groupCount: Int { shape.columns / groupSize }
  var blockByteCount: Int { GGUFTypes.codeBlockByteCount(bits: bits) }
  /// Rows of all matrices of a stack.
  private var storedRowCount: Int { layout == .columns ? scales.entry.shape.columns : codes.entry.shape.rows }

  private var rowByteCount: Int {
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
  private func scaleOffset(_ row: Int, _ group: Int) -> Int {
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

  // MARK: Scales

  /// A number is scale · (code + 2^(bits − 1) − zero) + bias.
  struct Factor {
    var scale: Float
    var zero: Int
    var bias: Float

    /// Whether it is scale · code.
    func isSymmetric(_ half: Int) -> Bool { Float(zero - half) * scale == bias }
  }

  private static func float(_ bytes: RawSpan, _ offset: Int, _ format: FloatFormat) -> Float {
    switch format {
    case .f32: bytes.float(at: offset)
    case .f16: Float(Float16(bitPattern: bytes.integer(at: offset)))
    case .bf16: BFloat16.widen(bytes.integer(at: offset))
    }
  }

  /// Gives each group of some rows its factor, row by row.
  private func forEachFactor(_ rows: Range<Int>, _ body: (Int, Int, Factor) -> Void) {
    let half = 1 << (bits - 1)
    let bytes = SharedBytes(scales.file.file, scales.entry.byteRange)
    let others: SharedBytes? =
      switch offsets {
      case .none: nil
      case .biases(let place), .zeros(let place, _): SharedBytes(place.file.file, place.entry.byteRange)
      }
    for row in rows {
      for group in 0..<groupCount {
        let offset = scaleOffset(row, group)
        var factor = Factor(scale: Self.float(bytes.bytes, offset, scaleFormat), zero: half, bias: 0)
        switch (offsets, others) {
        case (.biases, let others?):
          factor.zero = 0
          factor.bias = Self.float(others.bytes, offset, scaleFormat)
        case (.zeros(_, let lowered), let others?):
          let bit = (group * storedRowCount + row) * bits
          let byte = Int(others.bytes.integer(at: bit / 8, as: UInt8.self))
          // Zero 0 less one is stored as the largest.
          factor.zero = (byte >> (bit % 8) + lowered) & ((1 << bits) - 1)
        default: break
        }
        body(row, group, factor)
      }
    }
  }

  // MARK: As an encoding

  /// The planes of some rows, one behind the other.
  package func planes(
    _ rows: Range<Int>
  ) throws(ModelError) -> (content: SharedBytes, codes: Range<Int>, scales: Range<Int>) {
    let end = rows.count * shape.columns * bits / 8
    let whole = end + rows.count * groupCount * 2
    var buffer = AlignedBuffer(byteCount: whole)
    try buffer.withDisjoint(0..<end, end..<whole) { (codes, scales) throws(ModelError) in
      try write(rows, codes: &codes, scales: &scales)
    }
    return (SharedBytes(buffer), 0..<end, end..<whole)
  }

  /// Refuses a row that no encoding holds. Codes are looked at only where scales give reason to.
  ///
  /// - Throws: ``ModelError/packedCode(tensor:row:group:detail:path:)``.
  package func requireHeld(row: Int) throws(ModelError) {
    var isDoubtful = false
    forEachFactor(row..<row + 1) { _, _, factor in isDoubtful = isDoubtful || obstacle(factor) != nil }
    if isDoubtful { _ = try planes(row..<row + 1) }
  }

  private func refuse(_ row: Int, _ group: Int, _ detail: String) -> ModelError {
    .packedCode(tensor: name, row: row, group: group, detail: detail, path: codes.file.path)
  }

  /// What of a group's factor no encoding holds, whatever its codes are.
  private func obstacle(_ factor: Factor) -> String? {
    guard factor.scale.isFinite else { return "a scale that is infinite or not a number" }
    guard factor.isSymmetric(1 << (bits - 1)) else { return "an offset: its codes are asymmetric" }
    guard factor.scale.bitPattern & 0xFFFF == 0 else {
      return "the scale \(factor.scale), which is no number of bf16"
    }
    return nil
  }

  /// Writes the planes of some rows.
  ///
  /// - Throws: ``ModelError/packedCode(tensor:row:group:detail:path:)`` for what an encoding cannot hold.
  @_lifetime(codePlane: copy codePlane)
  @_lifetime(scalePlane: copy scalePlane)
  package func write(
    _ rows: Range<Int>, codes codePlane: inout MutableRawSpan, scales scalePlane: inout MutableRawSpan
  ) throws(ModelError) {
    writeCodes(rows, &codePlane)
    let codeByteCount = groupSize * bits / 8
    // Spans of the arguments cannot be captured: what is found is written behind.
    var found = [UInt16](repeating: 0, count: rows.count * groupCount)
    var doubtful: [(index: Int, factor: Factor)] = []
    forEachFactor(rows) { row, group, factor in
      let index = (row - rows.lowerBound) * groupCount + group
      found[index] = UInt16(truncatingIfNeeded: factor.scale.bitPattern >> 16)
      if obstacle(factor) != nil || !Self.isPortable(found[index]) { doubtful.append((index, factor)) }
    }
    for (index, factor) in doubtful {
      let own = codePlane.bytes.extracting(index * codeByteCount..<(index + 1) * codeByteCount)
      // A group of zeros has whatever scale its writer took for none.
      guard Self.holdsOnly(bits == 4 ? 0x88 : 0, own), factor.isSymmetric(1 << (bits - 1)) else {
        throw refuse(
          rows.lowerBound + index / groupCount, index % groupCount,
          obstacle(factor) ?? "the scale \(factor.scale), which is outside 2⁻¹⁷ to 65280")
      }
      found[index] = 0
    }
    for (index, bits) in found.enumerated() {
      scalePlane.storeBytes(of: bits.littleEndian, toByteOffset: 2 * index, as: UInt16.self)
    }
    guard bits == 8 else { return }
    for index in found.indices
    where codePlane.bytes.extracting(index * codeByteCount..<(index + 1) * codeByteCount).contains(0x80) {
      throw refuse(
        rows.lowerBound + index / groupCount, index % groupCount,
        "the code −128, which int8 of packs does not have")
    }
  }

  /// `Formats/encodings.md` §3.1.
  private static func isPortable(_ bits: UInt16) -> Bool { (0x3700...0x477F).contains(bits & 0x7FFF) }

  private static func holdsOnly(_ byte: UInt8, _ bytes: RawSpan) -> Bool {
    (0..<bytes.byteCount).allSatisfy { bytes.integer(at: $0, as: UInt8.self) == byte }
  }

  // MARK: As numbers

  /// Writes the numbers that some rows stand for: f32, in which scale · code is exact, or bf16, to which that is rounded once.
  ///
  /// - Parameter numbers: of so many bytes, overwritten from its start.
  package func write(
    _ rows: Range<Int>, as format: FloatFormat, into numbers: inout AlignedBuffer, kernels: KernelSet = .best
  ) {
    let columns = shape.columns
    let rowCodeByteCount = columns * bits / 8
    var plane = AlignedBuffer(byteCount: rows.count * rowCodeByteCount)
    var target = plane.mutableBytes
    writeCodes(rows, &target)
    var factors: [Factor] = []
    factors.reserveCapacity(rows.count * groupCount)
    forEachFactor(rows) { _, _, factor in factors.append(factor) }
    let groups = order.map { order in
      let bytes = order.file.bytes(of: order.entry)
      return (0..<columns).map { Int(bytes.integer(at: 4 * $0, as: Int32.self)) }
    }
    // Codes become floats as those of groups whose scale is 1.
    let codeFormat = CodeFormat(bits == 4 ? .int4 : .int8, groupSize: 32)
    let ones: [UInt8] = (0..<columns / 32).flatMap { _ in [0x80, 0x3F] }
    let half = 1 << (bits - 1)
    var values = [Float](repeating: 0, count: columns)
    var out = numbers.mutableBytes
    for row in 0..<rows.count {
      var all = values.mutableSpan
      kernels.decode(
        codes: plane.bytes.extracting(row * rowCodeByteCount..<(row + 1) * rowCodeByteCount), scales: ones.bytes,
        as: codeFormat, columns: columns, into: &all)
      func number(_ code: Float, _ factor: Factor) -> Float {
        factor.scale * (code + Float(half - factor.zero)) + factor.bias
      }
      if let groups {
        for column in 0..<columns {
          values[column] = number(values[column], factors[row * groupCount + groups[column]])
        }
      } else {
        for group in 0..<groupCount {
          let factor = factors[row * groupCount + group]
          for column in group * groupSize..<(group + 1) * groupSize {
            values[column] = number(values[column], factor)
          }
        }
      }
      if format == .f32 {
        unsafe out.write(values.span.bytes, at: 4 * row * columns)
      } else {
        for column in 0..<columns {
          out.storeBytes(
            of: BFloat16.narrow(values[column]).littleEndian, toByteOffset: 2 * (row * columns + column),
            as: UInt16.self)
        }
      }
    }
  }

  // MARK: Codes

  /// Writes plane 0 of some rows.
  @_lifetime(plane: copy plane)
  private func writeCodes(_ rows: Range<Int>, _ plane: inout MutableRawSpan) {
    let source = SharedBytes(codes.file.file, codeRange(rows))
    let bytes = source.bytes
    switch layout {
    case .words:
      for at in stride(from: 0, to: bytes.byteCount, by: 16) {
        put(bytes.integer(at: at), bytes.integer(at: at + 8), at, &plane)
      }
    case .columns:
      // Sixteen bytes of a row are four words of a column.
      let width = shape.columns * bits / 8
      for word in stride(from: 0, to: width / 4, by: 4) {
        for row in rows {
          let at = 4 * (word * storedRowCount + row)
          let a: UInt32 = bytes.integer(at: at)
          let b: UInt32 = bytes.integer(at: at + 4 * storedRowCount)
          let c: UInt32 = bytes.integer(at: at + 8 * storedRowCount)
          let d: UInt32 = bytes.integer(at: at + 12 * storedRowCount)
          put(
            UInt64(a) | UInt64(b) << 32, UInt64(c) | UInt64(d) << 32, (row - rows.lowerBound) * width + 4 * word, &plane
          )
        }
      }
    case .blocks:
      let each = blockByteCount - 2
      for block in 0..<bytes.byteCount / blockByteCount {
        plane.write(
          bytes.extracting(block * blockByteCount + 2..<(block + 1) * blockByteCount), at: block * each)
      }
    }
  }

  /// Writes sixteen bytes of codes that lie one after the other: of 8 bits with their sign, of 4 bits 32 codes from pairs of
  /// neighbours to pairs that are 16 apart.
  @inline(__always)
  @_lifetime(plane: copy plane)
  private func put(_ a: UInt64, _ b: UInt64, _ at: Int, _ plane: inout MutableRawSpan) {
    guard bits == 4 else {
      plane.storeBytes(of: (a ^ 0x8080_8080_8080_8080).littleEndian, toByteOffset: at, as: UInt64.self)
      plane.storeBytes(of: (b ^ 0x8080_8080_8080_8080).littleEndian, toByteOffset: at + 8, as: UInt64.self)
      return
    }
    let low: UInt64 = 0x0F0F_0F0F_0F0F_0F0F
    // The bytes of 32 bits to every other byte of 64.
    func spread(_ four: UInt64) -> UInt64 {
      let two = (four | four << 16) & 0x0000_FFFF_0000_FFFF
      return (two | two << 8) & 0x00FF_00FF_00FF_00FF
    }
    let (even, odd) = (a & low | (b & low) << 4, a >> 4 & low | b & ~low)
    let first = spread(even & 0xFFFF_FFFF) | spread(odd & 0xFFFF_FFFF) << 8
    let second = spread(even >> 32) | spread(odd >> 32) << 8
    plane.storeBytes(of: first.littleEndian, toByteOffset: at, as: UInt64.self)
    plane.storeBytes(of: second.littleEndian, toByteOffset: at + 8, as: UInt64.self)
  }
}
