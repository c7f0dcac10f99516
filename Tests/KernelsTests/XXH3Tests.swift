import CXXHash
import Kernels
import TestSupport
import Testing

/// The header compiled in against the library of the same name.
@Suite struct XXH3Tests {
  private static let most = 1 << 18
  private static let bytes: [UInt8] = {
    var random = SeededRandom(seed: 3)
    return (0..<most + 64).map { _ in UInt8(truncatingIfNeeded: random.next()) }
  }()

  private func expectLibrary(_ byteCount: Int, shift: Int) {
    let span = Self.bytes.rawBytes.extracting(shift..<shift + byteCount)
    let expected = unsafe span.withUnsafeBytes { unsafe XXH3_64bits($0.baseAddress, $0.count) }
    for kernels in KernelSet.available {
      let found = kernels.xxh3(span)
      #expect(found == expected, "\(kernels), \(byteCount) bytes at \(shift)")
    }
  }

  @Test("in pieces of any length")
  func pieces() {
    print("hash in pieces: TEST_SEED=\(testSeed)")
    var random = SeededRandom(seed: testSeed)
    for byteCount in [0, 1, 240, 241, 256, 257, 1024, 1088, 4096, 100_003, Self.most] {
      for most in [1, 64, 255, 256, 1000, 65_536, Self.most] where byteCount / most <= 1000 {
        let span = Self.bytes.rawBytes.extracting(first: byteCount)
        for kernels in KernelSet.available {
          var state = HashState(kernels)
          var done = 0
          while done < byteCount {
            let end = min(byteCount, done + Int.random(in: 0...most, using: &random))
            state.add(span.extracting(done..<end))
            done = end
          }
          #expect(state.hash == kernels.xxh3(span), "\(kernels), \(byteCount) bytes in pieces up to \(most)")
        }
      }
    }
  }

  @Test func everyShortLength() {
    for byteCount in 0...1000 { expectLibrary(byteCount, shift: 0) }
  }

  @Test("any alignment", arguments: [1, 7, 32, 63])
  func unaligned(shift: Int) {
    for byteCount in [0, 1, 3, 4, 8, 9, 16, 17, 128, 129, 240, 241, 1000, 4097, Self.most] {
      expectLibrary(byteCount, shift: shift)
    }
  }

  /// A stripe has 64 bytes, a block sixteen of them; the last stripe overlaps the one before it.
  @Test func aroundStripesAndBlocks() {
    for blocks in [1, 2, 3, 4, 16, 64, 255] {
      for offset in -66...66 { expectLibrary(1024 * blocks + offset, shift: 0) }
    }
  }
}
