/// SplitMix64: a small generator with a seed, so that a failing test can be run again.
package struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64
  package init(seed: UInt64) { state = seed }

  package mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// A roughly normal number with mean 0 and standard deviation 1 (sum of twelve uniforms).
  package mutating func normal() -> Float {
    var sum: Float = -6
    // The numbers of `Float.random(in: 0..<1, using: &self)`, which takes five times as long.
    for _ in 0..<12 { sum += Float(next() & 0xFF_FFFF) * 0x1p-24 }
    return sum
  }
}
