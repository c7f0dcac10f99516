/// The letters that stand for bytes in the vocabularies of byte-level tokenizers, as GPT-2 chose them: visible Latin-1
/// characters stand for themselves, the other 68 bytes for U+0100 and up.
enum ByteAlphabet {
  private static func isVisible(_ byte: UInt32) -> Bool {
    (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte)
  }

  /// The letter of each byte.
  static let letters: [Unicode.Scalar] = {
    var next: UInt32 = 0x100
    return (UInt8.min...UInt8.max).map { byte in
      if isVisible(UInt32(byte)) { return Unicode.Scalar(byte) }
      defer { next += 1 }
      return Unicode.Scalar(next) ?? "?"  // below U+0144, never a surrogate
    }
  }()

  private static let bytes: [UInt8?] = {
    var bytes = [UInt8?](repeating: nil, count: 0x144)
    for (byte, letter) in letters.enumerated() { bytes[Int(letter.value)] = UInt8(byte) }
    return bytes
  }()

  /// The bytes a token stands for. A token with some other character stands for its own UTF-8.
  static func bytes(of token: String) -> [UInt8] {
    var bytes: [UInt8] = []
    for scalar in token.unicodeScalars {
      guard scalar.value < 0x144, let byte = Self.bytes[Int(scalar.value)] else { return Array(token.utf8) }
      bytes.append(byte)
    }
    return bytes
  }
}
