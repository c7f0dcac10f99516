import Storage
import Tensors

/// Roughly normal numbers with a standard deviation of 0.02.
enum SyntheticWeights {
  /// The bytes of `count` numbers.
  static func bf16(count: Int, seed: UInt64) -> [UInt8] {
    var state = seed &+ 1
    var writer = ByteWriter(capacity: count * 2)
    for _ in 0..<count {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      // The sum of four uniform numbers, standard deviation 0.02.
      let sum = (0..<4).reduce(Float(0)) { $0 + Float(state >> UInt64(8 + 14 * $1) & 0x3FFF) / 16384 }
      writer.append(BFloat16.narrow((sum - 2) * 0.02 * 1.732))
    }
    return writer.bytes
  }
}
