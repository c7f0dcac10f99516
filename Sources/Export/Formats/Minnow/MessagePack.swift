import Storage

/// Values in MessagePack, as far as a manifest has them.
struct MessagePack {
  private var out: ByteWriter

  init(capacity: Int) { out = ByteWriter(capacity: capacity) }

  var bytes: [UInt8] { out.bytes }

  /// What begins a map of so many keys and values, which follow one after the other.
  mutating func map(_ count: Int) { head(count, short: 0x80, below: 16, wide: 0xDE) }

  mutating func array(_ count: Int) { head(count, short: 0x90, below: 16, wide: 0xDC) }

  mutating func append(_ text: String) {
    let count = text.utf8.count
    if count >= 32, count < 256 {
      out.append(UInt8(0xD9))
      out.append(UInt8(count))
    } else {
      head(count, short: 0xA0, below: 32, wide: 0xDA)
    }
    out.append(text)
  }

  /// In the fewest bytes.
  mutating func append(_ number: Int) {
    switch number {
    case ..<0x80: out.append(UInt8(number))
    case ..<0x100:
      out.append(UInt8(0xCC))
      out.append(UInt8(number))
    case ..<0x1_0000:
      out.append(UInt8(0xCD))
      out.append(UInt16(number).bigEndian)
    case ..<0x1_0000_0000:
      out.append(UInt8(0xCE))
      out.append(UInt32(number).bigEndian)
    default:
      out.append(UInt8(0xCF))
      out.append(UInt64(number).bigEndian)
    }
  }

  /// - Parameters:
  ///   - short: the byte of a count below `limit`, which is added.
  ///   - wide: the byte before a count of 16 bits; the next one is before a count of 32.
  private mutating func head(_ count: Int, short: UInt8, below limit: Int, wide: UInt8) {
    if count < limit {
      out.append(short + UInt8(count))
    } else if count < 0x1_0000 {
      out.append(wide)
      out.append(UInt16(count).bigEndian)
    } else {
      out.append(wide + 1)
      out.append(UInt32(count).bigEndian)
    }
  }
}
