import Kernels
import Safetensors
package import Storage
import Tensors

// Codes and scales as an encoding of packs has them.

extension PackedCodes {
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

  /// Writes plane 0 of some rows.
  @_lifetime(plane: copy plane)
  func writeCodes(_ rows: Range<Int>, _ plane: inout MutableRawSpan) {
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
