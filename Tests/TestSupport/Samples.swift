/// Numbers for tests of encodings, and their bytes in checkpoints.
package enum Samples {
  /// Numbers like trained weights: roughly normal with a standard deviation of 0.02, now and then one ten times as large.
  /// All are exact in bf16 and in f16 (at least 2⁻¹⁷ or 0).
  package static func weights(count: Int, seed: UInt64) -> [Float] {
    var random = SeededRandom(seed: seed)
    return (0..<count).map { _ in
      let outlier: Float = random.next() % 64 == 0 ? 10 : 1
      let value = truncated(random.normal() * 0.02 * outlier)
      return abs(value) < 0x1p-17 ? 0 : value
    }
  }

  /// Finite bf16 numbers with any bits whose magnitude is below `limit`.
  package static func anyBits(count: Int, below limit: Float, seed: UInt64) -> [Float] {
    var random = SeededRandom(seed: seed)
    return (0..<count).map { _ in
      while true {
        let value = Float(bitPattern: UInt32(UInt16(truncatingIfNeeded: random.next())) << 16)
        if abs(value) < limit { return value }
      }
    }
  }

  /// Groups of `size` numbers, exact in bf16, at the edges of what the encodings define.
  package static func edgeGroups(size: Int) -> [[Float]] {
    let tiny: Float = 0x1p-18
    let step: Float = 0x1p-25  // of bf16 just above 2⁻¹⁸
    let single: [Float] = [
      0, -0.0, 0x1p-133, -0x1p-133, 0x1p-126, tiny - step / 2, -tiny + step / 2, tiny, -tiny, tiny + step,
      -tiny - step, 0x1p-17, -0x1p-17, 0x1p-14, 1, -1, 65280, 456_704, -456_704, 520_192,
    ].map(truncated)
    var groups = single.map { value in (0..<size).map { $0 == size / 3 ? value : 0 } }
    groups += single.map { [Float](repeating: $0, count: size) }
    groups += single.map { value in (0..<size).map { $0 % 2 == 0 ? value : -value } }
    // The same magnitude on both sides, the negative first and last.
    groups.append((0..<size).map { $0 == 1 ? -1 : $0 == size - 1 ? 1 : 0.25 })
    groups.append((0..<size).map { $0 == 1 ? 1 : $0 == size - 1 ? -1 : 0.25 })
    groups.append((0..<size).map { -Float($0 + 1) / 128 })
    // Halves of a scale of one: ties between codes.
    groups.append((0..<size).map { $0 == 0 ? 7 : Float($0 % 14) / 2 - 3.5 })
    groups.append((0..<size).map { $0 == 0 ? 127 : Float($0) + 0.5 - Float(size) / 2 })
    return groups
  }

  /// Cut to the bits of bf16.
  package static func truncated(_ value: Float) -> Float { Float(bitPattern: value.bitPattern & 0xFFFF_0000) }

  package static func bf16(_ x: [Float]) -> [UInt8] {
    x.flatMap { littleEndian(UInt16(truncatingIfNeeded: $0.bitPattern >> 16)) }
  }
  package static func f16(_ x: [Float]) -> [UInt8] { x.flatMap { littleEndian(Float16($0).bitPattern) } }
  package static func f32(_ x: [Float]) -> [UInt8] { x.flatMap { littleEndian($0.bitPattern) } }

  private static func littleEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> T(8 * $0)) }
  }
}
