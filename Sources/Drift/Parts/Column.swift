package import JSON
import Storage

/// A measurement that can be kept in a part and read back bit for bit (`Formats/drift-part.md`, section 4).
package protocol Measurement {
  var kept: JSONValue { get }
  /// Nil where the document is not what it must be.
  init?(kept: JSONValue)
}

// Numbers of one kind stand together as the hexadecimal digits of their little-endian bytes: short, and infinities and NaN keep
// their bits.

extension JSONValue {
  init(column bytes: [UInt8]) {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    text.reserveCapacity(2 * bytes.count)
    for byte in bytes {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    self = .string(String(decoding: text, as: UTF8.self))
  }

  init(column numbers: some Sequence<Double>) {
    var writer = ByteWriter()
    for number in numbers { writer.append(number.bitPattern) }
    self.init(column: writer.bytes)
  }

  init(column numbers: some Sequence<Float>) {
    var writer = ByteWriter()
    for number in numbers { writer.append(number) }
    self.init(column: writer.bytes)
  }

  init(column numbers: some Sequence<Int>) {
    var writer = ByteWriter()
    for number in numbers { writer.append(Int64(number)) }
    self.init(column: writer.bytes)
  }

  init(column truths: some Sequence<Bool>) { self.init(column: truths.map { $0 ? 1 : 0 } as [UInt8]) }

  /// Nil where this is no text of pairs of hexadecimal digits.
  var bytes: [UInt8]? {
    guard let text = string?.utf8, text.count % 2 == 0 else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count / 2)
    var high: UInt8?
    for character in text {
      let digit: UInt8
      switch character {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = character - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = character - UInt8(ascii: "a") + 10
      default: return nil
      }
      if let first = high {
        bytes.append(first << 4 | digit)
        high = nil
      } else {
        high = digit
      }
    }
    return bytes
  }

  var doubles: [Double]? { integers(UInt64.self)?.map { Double(bitPattern: $0) } }
  var floats: [Float]? { integers(UInt32.self)?.map { Float(bitPattern: $0) } }
  /// Numbers whose sums stay far from the ends of the type.
  var ints: [Int]? {
    guard let values = integers(Int64.self), values.allSatisfy({ abs($0.clamped) < 1 << 48 }) else { return nil }
    return values.map { Int($0) }
  }
  /// Counts, and numbers of things.
  var counts: [Int]? { ints.flatMap { $0.allSatisfy { $0 >= 0 } ? $0 : nil } }
  var truths: [Bool]? { bytes.flatMap { $0.allSatisfy { $0 < 2 } ? $0.map { $0 == 1 } : nil } }

  private func integers<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type) -> [T]? {
    let width = T.bitWidth / 8
    guard let bytes, bytes.count % width == 0 else { return nil }
    let span = bytes.bytes
    return (0..<bytes.count / width).map { span.integer(at: width * $0, as: T.self) }
  }

  /// The value of a key; null where there is none.
  subscript(key: String) -> JSONValue { object?[key] ?? .null }
}

extension Int64 {
  /// The same with a magnitude.
  fileprivate var clamped: Int64 { Swift.max(self, -.max) }
}
