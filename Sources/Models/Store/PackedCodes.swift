package import Safetensors
package import Storage
package import Tensors

/// A matrix of int4 or int8 as compressed-tensors packs it (`Formats/checkpoint.md` §3), which is read as an encoding of packs: the same
/// codes and the same scales, in another order.
package struct PackedCodes: Sendable {
  package let name: String
  package let shape: Shape
  package let encoding: Encoding
  /// `weight_packed`: (rows, columns · bits / 32), each code plus 2^(bits − 1), the first in the lowest bits.
  package let codes: (file: SafetensorsFile, entry: TensorEntry)
  /// `weight_scale`: (rows, groups) of bf16.
  package let scales: (file: SafetensorsFile, entry: TensorEntry)

  /// What the names of the three tensors end with, behind that of the matrix.
  static let suffixes = ["_packed", "_scale", "_shape"]
  /// The same of tensors that say what no pack can hold.
  private static let others = ["_zero_point", "_g_idx"]

  /// Explains why a tensor is not taken for a part of packed codes.
  ///
  /// - Throws: what `init` throws, where the name is one of a part.
  static func requireReadable(_ part: String, in checkpoint: Checkpoint) throws(ModelError) {
    for suffix in suffixes + others where part.hasSuffix(suffix) {
      let name = String(part.dropLast(suffix.count))
      if checkpoint.tensor(named: name + suffixes[0]) != nil { _ = try PackedCodes(named: name, in: checkpoint) }
    }
  }

  /// - Throws: ``ModelError/badTensor(name:detail:path:byteOffset:)`` for what cannot be read as an encoding, and
  ///   ``ModelError/missingTensor(_:directory:)``.
  init(named name: String, in checkpoint: Checkpoint) throws(ModelError) {
    func find(_ suffix: String, _ dtype: DType) throws(ModelError) -> (SafetensorsFile, TensorEntry) {
      guard let found = checkpoint.tensor(named: name + suffix) else {
        throw .missingTensor(name + suffix, directory: checkpoint.directory)
      }
      guard found.entry.dtype == dtype else {
        throw Self.bad(found, "has type \(found.entry.dtype.name); beside packed codes it must be \(dtype.name)")
      }
      return found
    }
    for suffix in Self.others {
      guard let other = checkpoint.tensor(named: name + suffix) else { continue }
      throw Self.bad(other, "says that codes are asymmetric or out of order, which packs cannot hold")
    }
    codes = try find("_packed", .i32)
    scales = try find("_scale", .bf16)
    let size = try find("_shape", .i64)
    guard size.1.shape.dimensions == [2] else { throw Self.bad(size, "has shape \(size.1.shape), must be [2]") }
    let sides = [0, 8].map { Int(size.0.bytes(of: size.1).integer(at: $0, as: Int64.self)) }
    let (words, groups) = (codes.entry.shape.dimensions, scales.entry.shape.dimensions)
    guard let shape = Shape(sides), words.count == 2, groups.count == 2, words[0] == sides[0], groups[0] == sides[0],
      shape.elementCount > 0, groups[1] > 0, sides[1] % groups[1] == 0
    else {
      throw Self.bad(
        codes,
        "has shape \(codes.entry.shape), its scales \(scales.entry.shape): not those of a matrix \(sides) in groups")
    }
    let kind: Encoding.Kind? = [8: .int4, 4: .int8][sides[1] % words[1] == 0 ? sides[1] / words[1] : 0]
    guard let encoding = kind.flatMap({ Encoding(kind: $0, groupSize: sides[1] / groups[1]) }) else {
      throw Self.bad(
        codes,
        "has \(32 * words[1]) bits a row and \(groups[1]) scales for \(sides[1]) columns; packs hold 4 and 8 bits in groups of 32, "
          + "64 and 128")
    }
    (self.name, self.shape, self.encoding) = (name, shape, encoding)
  }

  /// The matrices of a checkpoint that are packed like this and can be read, with the file of their codes; those that cannot are
  /// named where they are needed.
  static func all(of checkpoint: Checkpoint) -> [(file: Int, codes: PackedCodes)] {
    var found: [(Int, PackedCodes)] = []
    for (file, shard) in checkpoint.files.enumerated() {
      for entry in shard.tensors where entry.name.hasSuffix(suffixes[0]) {
        let name = String(entry.name.dropLast(suffixes[0].count))
        if let codes = try? PackedCodes(named: name, in: checkpoint) { found.append((file, codes)) }
      }
    }
    return found
  }

  private static func bad(_ tensor: (file: SafetensorsFile, entry: TensorEntry), _ detail: String) -> ModelError {
    .badTensor(
      name: tensor.entry.name, detail: detail, path: tensor.file.path, byteOffset: tensor.entry.headerOffset)
  }

  /// Bytes of codes and scales.
  package var byteCount: Int { codes.entry.byteRange.count + scales.entry.byteRange.count }

  /// Where the codes of some rows lie in their file.
  package func codeRange(_ rows: Range<Int>) -> Range<Int> { Self.range(rows, of: codes.entry) }

  private static func range(_ rows: Range<Int>, of entry: TensorEntry) -> Range<Int> {
    let rowByteCount = entry.byteRange.count / entry.shape.rows
    let start = entry.byteRange.lowerBound
    return start + rows.lowerBound * rowByteCount..<start + rows.upperBound * rowByteCount
  }

  /// The planes of some rows, one behind the other.
  package func planes(
    _ rows: Range<Int>
  ) throws(ModelError) -> (content: SharedBytes, codes: Range<Int>, scales: Range<Int>) {
    let count = rows.count * shape.columns
    let end = encoding.codeByteCount(elements: count)
    let whole = end + encoding.scaleByteCount(elements: count, columns: shape.columns)
    var buffer = AlignedBuffer(byteCount: whole)
    try buffer.withDisjoint(0..<end, end..<whole) { (codes, scales) throws(ModelError) in
      try write(rows, codes: &codes, scales: &scales)
    }
    return (SharedBytes(buffer), 0..<end, end..<whole)
  }

  /// Writes the planes of some rows.
  ///
  /// - Throws: ``ModelError/packedCode(tensor:row:group:detail:path:)`` for what an encoding cannot hold.
  @_lifetime(codePlane: copy codePlane)
  @_lifetime(scalePlane: copy scalePlane)
  package func write(
    _ rows: Range<Int>, codes codePlane: inout MutableRawSpan, scales scalePlane: inout MutableRawSpan
  ) throws(ModelError) {
    let source = SharedBytes(codes.file.file, codeRange(rows))
    let factors = SharedBytes(scales.file.file, Self.range(rows, of: scales.entry))
    if encoding.codeBits == 4 { writeNibbles(source.bytes, &codePlane) } else { writeBytes(source.bytes, &codePlane) }
    let groups = shape.columns / encoding.groupSize
    let codeByteCount = encoding.codeByteCount(elements: encoding.groupSize)
    for group in 0..<rows.count * groups {
      var bits: UInt16 = factors.bytes.integer(at: 2 * group)
      let own = source.bytes.extracting(group * codeByteCount..<(group + 1) * codeByteCount)
      func refuse(_ detail: String) -> ModelError {
        .packedCode(
          tensor: name, row: rows.lowerBound + group / groups, group: group % groups, detail: detail,
          path: codes.file.path)
      }
      if encoding.codeBits == 8, own.contains(0) { throw refuse("the code −128, which int8 of packs does not have") }
      if !Self.isPortable(bits) {
        // A group of zeros has whatever scale its writer took for none.
        guard Self.holdsOnly(encoding.codeBits == 4 ? 0x88 : 0x80, own) else {
          throw refuse("the scale \(BFloat16.widen(bits)), which is outside 2⁻¹⁷ to 65280")
        }
        bits = 0
      }
      scalePlane.storeBytes(of: bits.littleEndian, toByteOffset: 2 * group, as: UInt16.self)
    }
  }

  /// `Formats/encodings.md` §3.1.
  private static func isPortable(_ bits: UInt16) -> Bool { (0x3700...0x477F).contains(bits & 0x7FFF) }

  private static func holdsOnly(_ byte: UInt8, _ bytes: RawSpan) -> Bool {
    (0..<bytes.byteCount).allSatisfy { bytes.integer(at: $0, as: UInt8.self) == byte }
  }

  @_lifetime(plane: copy plane)
  private func writeBytes(_ source: RawSpan, _ plane: inout MutableRawSpan) {
    for at in stride(from: 0, to: source.byteCount, by: 8) {
      plane.storeBytes(
        of: source.integer(at: at, as: UInt64.self) ^ 0x8080_8080_8080_8080, toByteOffset: at, as: UInt64.self)
    }
  }

  /// Of each 32 codes, from pairs of neighbours to pairs that are 16 apart.
  @_lifetime(plane: copy plane)
  private func writeNibbles(_ source: RawSpan, _ plane: inout MutableRawSpan) {
    let low: UInt64 = 0x0F0F_0F0F_0F0F_0F0F
    // The bytes of 32 bits to every other byte of 64.
    func spread(_ four: UInt64) -> UInt64 {
      let two = (four | four << 16) & 0x0000_FFFF_0000_FFFF
      return (two | two << 8) & 0x00FF_00FF_00FF_00FF
    }
    for at in stride(from: 0, to: source.byteCount, by: 16) {
      let (a, b): (UInt64, UInt64) = (source.integer(at: at), source.integer(at: at + 8))
      let (even, odd) = (a & low | (b & low) << 4, a >> 4 & low | b & ~low)
      let first = spread(even & 0xFFFF_FFFF) | spread(odd & 0xFFFF_FFFF) << 8
      let second = spread(even >> 32) | spread(odd >> 32) << 8
      plane.storeBytes(of: first.littleEndian, toByteOffset: at, as: UInt64.self)
      plane.storeBytes(of: second.littleEndian, toByteOffset: at + 8, as: UInt64.self)
    }
  }
}
