import Kernels

/// XXH3 with 64 bits and seed 0.
package enum XXH3 {
  package static func hash(_ bytes: RawSpan) -> UInt64 { KernelSet.best.xxh3(bytes) }

  /// Sixteen hexadecimal digits, as hashes are shown.
  package static func text(_ hash: UInt64) -> String {
    let digits = String(hash, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }

  /// The inverse of ``text(_:)``; nil for anything but sixteen hexadecimal digits.
  package static func parse(_ text: String) -> UInt64? {
    guard text.utf8.count == 16, text.first != "+", text.first != "-" else { return nil }
    return UInt64(text, radix: 16)
  }
}
