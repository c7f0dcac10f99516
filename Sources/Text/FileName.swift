/// Names of files, which to the system are bytes and need not be UTF-8, kept in a `String` without loss.
///
/// A byte that is part of no character becomes a scalar of its own: U+10F700 plus the byte, from the end of the private
/// areas, where neither a standard nor a font has anything. A name that holds such scalars itself is taken byte by byte
/// there, so that no two names become one. Names that are UTF-8 stay what they are.
package enum FileName {
  private static let base: UInt32 = 0x10F700
  private static let escapes: ClosedRange<UInt32> = 0x10F780...0x10F7FF

  /// The name that the system has.
  package static func decode(_ bytes: [UInt8]) -> String {
    var name = String.UnicodeScalarView()
    var position = 0
    while position < bytes.count {
      let length = bytes[position] < 0x80 ? 1 : bytes[position] < 0xE0 ? 2 : bytes[position] < 0xF0 ? 3 : 4
      let part = bytes[position..<min(position + length, bytes.count)]
      if let scalar = String(validating: part, as: UTF8.self)?.unicodeScalars.first, byte(of: scalar) == nil {
        name.append(scalar)
        position += length
      } else {
        name.append(Unicode.Scalar(base + UInt32(bytes[position]))!)  // far from the surrogates
        position += 1
      }
    }
    return String(name)
  }

  /// The bytes of the name, for the system.
  package static func bytes(of name: String) -> [UInt8] {
    guard isEscaped(name) else { return Array(name.utf8) }
    return name.unicodeScalars.flatMap { scalar in byte(of: scalar).map { [$0] } ?? Array(UTF8.encode(scalar)!) }
  }

  /// Whether some bytes of the name are no UTF-8.
  package static func isEscaped(_ name: String) -> Bool {
    name.utf8.contains(0xF4) && name.unicodeScalars.contains { byte(of: $0) != nil }
  }

  /// The byte that a scalar stands for, nil for one that stands for itself.
  package static func byte(of scalar: Unicode.Scalar) -> UInt8? {
    escapes.contains(scalar.value) ? UInt8(truncatingIfNeeded: scalar.value) : nil
  }
}
